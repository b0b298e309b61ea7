//! The target of a run: `iesp` with two LUNs in memory and two portals on the loopback address.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use xtask_common::target::{Launch, Served, sparse_image};

/// The sizes of the LUNs, in bytes: one for a file system, one for the verifier.
const LUN_BYTES: [u64; 2] = [768 << 20, 128 << 20];

/// What `iesp` says on its standard error, in the folder of the run's logs.
const STDERR: &str = "iesp.stderr.log";

/// A served pair of disks. Dropping it kills the target.
#[derive(Debug)]
pub struct Target {
    served: Option<Served>,
    iesp: PathBuf,
    dir: PathBuf,
    images: tempfile::TempDir,
    arguments: Vec<String>,
    ports: [u16; 2],
    ends: u32,
}

impl Target {
    /// Starts `iesp` with fresh disks; its logs go to `dir`.
    ///
    /// # Errors
    /// When the disks cannot be made or the target does not serve.
    pub fn start(iesp: &Path, dir: &Path, arguments: &[String]) -> Result<Self> {
        // In memory, as far as the system has a place for it: what is tested is not this machine's disk.
        let memory = Path::new("/dev/shm");
        let images = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir_in(dir) };
        let images = images.context("no place for the disks' images")?;
        for (number, bytes) in LUN_BYTES.into_iter().enumerate() {
            sparse_image(&image(&images, number), bytes)?;
        }
        let mut target = Target {
            served: None,
            iesp: iesp.to_owned(),
            dir: dir.to_owned(),
            images,
            arguments: arguments.to_owned(),
            ports: [0, 0],
            ends: 0,
        };
        target.serve()?;
        let printed = std::fs::read_to_string(dir.join("iesp.stdout.log"))?;
        target.ports = ports_in(&printed).try_into().map_err(|ports| anyhow!("iesp has the portals {ports:?}"))?;
        Ok(target)
    }

    /// The ports of both portals, at 127.0.0.1.
    pub fn ports(&self) -> [u16; 2] {
        self.ports
    }

    /// Kills it as a crash does. Its log is kept beside that of the next one.
    ///
    /// # Errors
    /// When it had ended before, or one of its threads had panicked.
    pub fn kill(&mut self) -> Result<()> {
        let served = self.served.take().context("iesp does not run")?;
        let alive = is_alive(served.id());
        drop(served);
        let kept = self.keep_log()?;
        let said = String::from_utf8_lossy(&std::fs::read(&kept)?).into_owned();
        ensure!(!said.contains("panicked at"), "iesp panicked: see {}", kept.display());
        ensure!(alive, "iesp had ended before it was killed: see {}", kept.display());
        Ok(())
    }

    /// Stops it as a service manager does, to be started again. Its log is kept beside that of the next one.
    ///
    /// # Errors
    /// When it had ended before, or did not end as it should.
    pub fn end(&mut self) -> Result<()> {
        self.served.take().context("iesp does not run")?.stop()?;
        self.keep_log().map(drop)
    }

    /// The program that runs from the next start on.
    pub fn replace_program(&mut self, iesp: &Path) {
        iesp.clone_into(&mut self.iesp);
    }

    fn keep_log(&mut self) -> Result<PathBuf> {
        self.ends += 1;
        let (log, kept) = (self.dir.join(STDERR), self.dir.join(format!("iesp.stderr.ended-{}.log", self.ends)));
        std::fs::rename(&log, &kept).with_context(|| format!("cannot keep {}", log.display()))?;
        Ok(kept)
    }

    /// The image of a LUN.
    pub fn image(&self, number: usize) -> PathBuf {
        image(&self.images, number)
    }

    /// Starts it again, on the same disks and ports.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn serve(&mut self) -> Result<()> {
        let [first, second] = self.ports;
        let mut arguments = vec!["-d".to_owned(), image(&self.images, 1).display().to_string()];
        arguments.extend(["-i".to_owned(), format!("127.0.0.1:{second}"), "-L".to_owned(), "error,info".to_owned()]);
        arguments.extend(self.arguments.iter().cloned());
        let launch = Launch {
            iesp: &self.iesp,
            image: &image(&self.images, 0),
            address: &format!("127.0.0.1:{first}"),
            arguments: &arguments,
            chap: None,
            dir: &self.dir,
        };
        self.served = Some(Served::start(&launch)?);
        Ok(())
    }

    /// Stops it as a service manager does.
    ///
    /// # Errors
    /// When it had ended before, or did not end as it should.
    pub fn stop(mut self) -> Result<()> {
        self.served.take().context("iesp does not run")?.stop()
    }
}

/// Whether a child process that was not waited for still runs: one that has ended is a zombie ("Z").
fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with(['Z', 'X']))
}

fn image(images: &tempfile::TempDir, number: usize) -> PathBuf {
    images.path().join(format!("lun{number}.img"))
}

/// Lines such as `  address 127.0.0.1:45063`.
fn ports_in(printed: &str) -> Vec<u16> {
    let addresses = printed.lines().filter_map(|line| line.trim().strip_prefix("address "));
    addresses.filter_map(|address| address.rsplit(':').next()?.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_has_ended_is_not_alive() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        assert!(is_alive(child.id()));
        child.kill().unwrap();
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while is_alive(child.id()) {
            assert!(std::time::Instant::now() < limit);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
    }

    #[test]
    fn ports_are_what_iesp_says() {
        let printed = "iesp 0.1.0 serves\n  target  test\n  address 127.0.0.1:45063\n  address [::1]:37427\n  URL iscsi://x:1/y/0\n";
        assert_eq!(ports_in(printed), [45063, 37427]);
    }
}
