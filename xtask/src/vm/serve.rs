//! The target of a run: `iesp` with two LUNs in memory and two portals on the loopback address.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::target::{Launch, Served, sparse_image};

/// The sizes of the LUNs, in bytes: one for a file system, one for the verifier.
const LUN_BYTES: [u64; 2] = [768 << 20, 128 << 20];

/// A served pair of disks. Dropping it kills the target.
#[derive(Debug)]
pub struct Target {
    served: Option<Served>,
    iesp: PathBuf,
    dir: PathBuf,
    images: tempfile::TempDir,
    arguments: Vec<String>,
    ports: [u16; 2],
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

    /// Kills it as a crash does.
    pub fn kill(&mut self) {
        self.served = None;
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
    fn ports_are_what_iesp_says() {
        let printed = "iesp 0.1.0 serves\n  target  test\n  address 127.0.0.1:45063\n  address [::1]:37427\n  URL iscsi://x:1/y/0\n";
        assert_eq!(ports_in(printed), [45063, 37427]);
    }
}
