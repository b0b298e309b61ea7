//! The installed daemon, started as its unit has it started; the service manager is played by this program.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask_common::process::{Ended, Running, last_lines};

use super::chroot::Chroot;
use super::exercise::logged;

/// How long it may take to say that it serves, and between two signs of life.
const LIMIT: Duration = Duration::from_secs(30);
/// The watchdog's limit in this check.
const WATCHDOG: Duration = Duration::from_millis(600);
/// Where the socket for its words is, in the chroot.
const NOTIFY: &str = "run/notify.sock";

/// A running daemon, which is killed when this value is dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Running,
    url: String,
    portal: String,
    notified: UnixDatagram,
    stderr: PathBuf,
    /// What the service manager takes away with it.
    runtime: [PathBuf; 2],
}

impl Daemon {
    /// Starts it on a free port of the loopback address, and waits until it says that it is ready and well.
    ///
    /// # Errors
    /// When it does not serve, or does not say so.
    pub fn start(chroot: &Chroot, folder: &Path) -> Result<Self> {
        let unit = std::fs::read_to_string(chroot.root().join("usr/lib/systemd/system/iesp.service"))?;
        let value = |key| unit_value(&unit, key).with_context(|| format!("the unit has no {key}="));
        let (user, group, state) = (value("User")?, value("Group")?, value("StateDirectory")?);
        let runtime = format!("/run/{}", value("RuntimeDirectory")?);
        logged(folder, "install", chroot.command("install").args(["-d", "-o", user, "-g", group, &runtime]))?;
        let mut words = value("ExecStart")?.split_whitespace();

        let socket = chroot.root().join(NOTIFY);
        // One of the last start.
        let _ = std::fs::remove_file(&socket);
        let notified = UnixDatagram::bind(&socket)?;
        notified.set_read_timeout(Some(LIMIT))?;
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&socket, everyone)?;

        let stderr = folder.join("daemon.stderr.log");
        let mut command = chroot.command("setpriv");
        command.args(["--reuid", user, "--regid", group, "--init-groups", "--no-new-privs", "--bounding-set=-all"]);
        command.args(["--inh-caps=-all", "--"]).arg(words.next().context("an empty ExecStart=")?).args(words);
        command.args(["-i", "127.0.0.1", "-p", "0"]);
        command.env("NOTIFY_SOCKET", format!("/{NOTIFY}")).env("STATE_DIRECTORY", format!("/var/lib/{state}"));
        command.env("RUNTIME_DIRECTORY", &runtime);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&stderr)?);
        let mut process = Running::start(&mut command)?;
        let stdout = process.take_stdout().context("no standard output")?;
        let (sender, urls) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                if let Some(at) = line.find("iscsi://") {
                    let _ = sender.send(line[at..].trim().to_owned());
                }
            }
        });
        let Ok(url) = urls.recv_timeout(LIMIT) else {
            let ended = process.wait(Duration::from_secs(1))?;
            bail!("the daemon does not serve ({ended}): {}", last_lines(&stderr, 5).join(" | "));
        };
        let portal = url.trim_start_matches("iscsi://").split('/').next().unwrap_or_default().to_owned();
        let runtime = [chroot.root().join(runtime.trim_start_matches('/')), socket];
        let daemon = Daemon { process, url, portal, notified, stderr, runtime };
        let ready = daemon.heard()?;
        ensure!(ready.contains("READY=1\n"), "instead of READY=1 it says {ready:?}");
        let start = Instant::now();
        for _ in 0..3 {
            let alive = daemon.heard()?;
            ensure!(alive == "WATCHDOG=1\n", "instead of WATCHDOG=1 it says {alive:?}");
        }
        ensure!(start.elapsed() < WATCHDOG * 3, "three signs of life took {:?}", start.elapsed());
        // It goes on to say so. Where nobody took it the socket would be full at last, and the daemon wait for room.
        let more = daemon.notified.try_clone()?;
        std::thread::spawn(move || while more.recv(&mut [0; 4096]).is_ok() {});
        Ok(daemon)
    }

    fn heard(&self) -> Result<String> {
        let mut buffer = [0; 4096];
        let len = self.notified.recv(&mut buffer).context("it says nothing to the service manager")?;
        Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    /// The URL of LUN 0.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `ADDRESS:PORT`.
    pub fn portal(&self) -> &str {
        &self.portal
    }

    /// Stops it as a service manager does.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(mut self) -> Result<()> {
        let ended = self.process.stop(LIMIT)?;
        ensure!(ended == Ended::Exit(0), "the daemon's end: {ended}: {}", last_lines(&self.stderr, 5).join(" | "));
        let [folder, socket] = &self.runtime;
        std::fs::remove_dir_all(folder).with_context(|| format!("no {}", folder.display()))?;
        std::fs::remove_file(socket).with_context(|| format!("no {}", socket.display()))
    }
}

/// The last value of a key in a unit.
pub fn unit_value<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_says_what_is_started() {
        let unit = include_str!("../../../target/server/package/systemd/iesp.service");
        assert!(unit_value(unit, "ExecStart").unwrap().starts_with("/usr/bin/iesp "));
        assert_eq!(unit_value(unit, "User"), Some("iesp"));
        assert_eq!(unit_value(unit, "Exec"), None);
    }
}
