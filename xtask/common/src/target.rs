//! A target under test: `iesp`, started on a free port of the loopback address and stopped as a service manager stops it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Ended, Running, last_lines};

/// The name that every target under test has.
pub const TARGET_NAME: &str = "iqn.2026-01.io.github.iesp:test";

/// How long `iesp` may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long `iesp` may take from SIGTERM to its end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A user and a secret for CHAP.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Chap {
    /// CHAP_N.
    pub user: String,
    /// The shared secret: 12 to 16 bytes satisfy every initiator.
    pub secret: String,
}

/// What to serve and how.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The program.
    pub iesp: &'a Path,
    /// The disk's image, which exists.
    pub image: &'a Path,
    /// The loopback address to listen on.
    pub address: &'a str,
    /// More arguments, such as block sizes.
    pub arguments: &'a [String],
    /// One-way CHAP, when initiators have to prove who they are.
    pub chap: Option<&'a Chap>,
    /// A folder of its own for logs and secrets.
    pub dir: &'a Path,
}

/// A running `iesp`. Dropping it kills it; [`Served::stop`] says whether it behaved.
#[derive(Debug)]
pub struct Served {
    process: Running,
    /// `ADDRESS:PORT`.
    portal: String,
    /// The URL of LUN 0, credentials included.
    url: String,
    stderr: PathBuf,
}

impl Served {
    /// Starts the program and waits until it says where it serves.
    ///
    /// # Errors
    /// When it does not start, ends at once, or says nothing for 20 seconds: the message has what it printed.
    pub fn start(launch: &Launch<'_>) -> Result<Self> {
        let mut command = Command::new(launch.iesp);
        command.arg("-d").arg(launch.image).args(["-i", launch.address, "-p", "0", "-t", TARGET_NAME]);
        command.args(launch.arguments);
        if let Some(chap) = launch.chap {
            let secret = launch.dir.join("chap-secret");
            write_secret(&secret, &chap.secret)?;
            command.args(["--chap-user", &chap.user]).arg("--chap-secret-file").arg(secret);
        }
        Self::run(command, launch.chap, launch.dir)
    }

    /// Starts any program that says in the same way where it serves, and waits until it does. Its logs go to the folder.
    ///
    /// # Errors
    /// See [`Served::start`].
    pub fn run(mut command: Command, chap: Option<&Chap>, dir: &Path) -> Result<Self> {
        let stderr = dir.join("iesp.stderr.log");
        let errors = File::create(&stderr).with_context(|| format!("cannot write {}", stderr.display()))?;
        let mut process = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors))?;
        let stdout = process.take_stdout().context("iesp has no standard output")?;
        let announced = watch(stdout, dir.join("iesp.stdout.log"))?;

        let url = match announced.recv_timeout(START_LIMIT) {
            Ok(url) => url,
            Err(_) => {
                let ended = process.wait(Duration::from_secs(1))?;
                bail!("iesp does not serve ({ended}): {}", last_lines(&stderr, 5).join(" | "));
            }
        };
        let rest = url.strip_prefix("iscsi://").unwrap_or(&url);
        let portal = rest.split('/').next().unwrap_or_default().to_owned();
        let user = chap.map(|chap| format!("{}%{}@", chap.user, chap.secret)).unwrap_or_default();
        Ok(Served { process, url: format!("iscsi://{user}{rest}"), portal, stderr })
    }

    /// The URL of LUN 0 for libiscsi and QEMU, credentials included.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `ADDRESS:PORT`.
    pub fn portal(&self) -> &str {
        &self.portal
    }

    /// The program's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops the program with SIGTERM.
    ///
    /// # Errors
    /// What was wrong with the target's life: that it had ended before, that it did not end within 10 seconds or with
    /// another exit code than 0, or that one of its threads panicked.
    pub fn stop(mut self) -> Result<()> {
        if let Some(ended) = self.process.ended()? {
            bail!("iesp died while it was tested ({ended}): {}", last_lines(&self.stderr, 5).join(" | "));
        }
        let ended = self.process.stop(STOP_LIMIT)?;
        if let Some(panic) = panic_in(&self.stderr) {
            bail!("iesp panicked: {panic}");
        }
        if ended != Ended::Exit(0) {
            bail!("iesp, asked to stop, did not end with exit code 0 but with {ended}");
        }
        Ok(())
    }
}

/// Copies what the program prints to a log, and sends the first `iscsi://` URL in it.
fn watch(stdout: impl Read + Send + 'static, log: PathBuf) -> Result<mpsc::Receiver<String>> {
    let mut copy = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("iesp-stdout".into()).spawn(move || {
        // Its own sender makes the receiver see the end of the program at once.
        for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
            let _ = writeln!(copy, "{line}");
            if let Some(url) = url_in(&line) {
                let _ = sender.send(url.to_owned());
            }
        }
    })?;
    Ok(receiver)
}

/// The `iscsi://ADDRESS:PORT/NAME/LUN` in a line of text.
fn url_in(line: &str) -> Option<&str> {
    let url = &line[line.find("iscsi://")?..];
    let end = url.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>')).unwrap_or(url.len());
    Some(&url[..end]).filter(|url| url.matches('/').count() >= 4)
}

fn panic_in(stderr: &Path) -> Option<String> {
    let text = std::fs::read(stderr).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().skip_while(|line| !line.contains("panicked at"));
    Some([lines.next()?, lines.next().unwrap_or_default()].join(" "))
}

/// Writes a secret that only this user can read: `iesp` refuses others.
fn write_secret(file: &Path, secret: &str) -> Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(writeln!(out, "{secret}")?)
}

/// Makes a sparse image, in place of one that is there.
///
/// # Errors
/// When the file cannot be made.
pub fn sparse_image(file: &Path, bytes: u64) -> Result<()> {
    let image = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    Ok(image.set_len(bytes)?)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A script in the repository, not one made here: a file that was just written cannot be executed while another
    /// test's fork still holds it open.
    const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fixtures/fake-iesp.sh");

    fn launch(script: &str, chap: Option<&Chap>) -> (tempfile::TempDir, Result<Served>) {
        let dir = tempfile::tempdir().unwrap();
        let (iesp, image) = (Path::new(FAKE), Path::new(script));
        let launch = Launch { iesp, image, address: "127.0.0.1", arguments: &[], chap, dir: dir.path() };
        let served = Served::start(&launch);
        (dir, served)
    }

    const SERVES: &str = "echo 'serving at iscsi://127.0.0.1:4711/iqn.x:y/0 (LUN 0)'; while :; do sleep 0.01; done";

    #[test]
    fn the_url_is_the_programs_own_with_credentials() {
        let chap = Chap { user: "me".into(), secret: "secret secret".into() };
        let (_dir, served) = launch(&format!("trap 'exit 0' TERM; {SERVES}"), Some(&chap));
        let served = served.unwrap();
        assert_eq!(served.url(), "iscsi://me%secret secret@127.0.0.1:4711/iqn.x:y/0");
        assert_eq!(served.portal(), "127.0.0.1:4711");
        served.stop().unwrap();
    }

    #[test]
    fn a_panic_is_a_fault_though_the_exit_code_is_0() {
        let script = format!("trap 'exit 0' TERM; echo \"thread 'x' panicked at src/a.rs:1:2:\" >&2; {SERVES}");
        let (_dir, served) = launch(&script, None);
        assert!(served.unwrap().stop().unwrap_err().to_string().contains("panicked at src/a.rs"));
    }

    #[test]
    fn another_exit_code_is_a_fault() {
        let (_dir, served) = launch(&format!("trap 'exit 7' TERM; {SERVES}"), None);
        assert!(served.unwrap().stop().unwrap_err().to_string().contains("exit code 7"));
    }

    #[test]
    fn a_death_is_a_fault() {
        let (_dir, served) = launch("echo iscsi://127.0.0.1:1/n/0; kill -ABRT $$", None);
        let mut served = served.unwrap();
        served.process.wait(Duration::from_secs(10)).unwrap();
        assert!(served.stop().unwrap_err().to_string().contains("died while it was tested (signal 6)"));
    }

    #[test]
    fn what_does_not_serve_says_why() {
        let (_dir, served) = launch("echo 'no such file' >&2; exit 2", None);
        let error = served.unwrap_err().to_string();
        assert!(error.contains("exit code 2") && error.contains("no such file"), "{error}");
    }

    #[test]
    fn urls_in_lines() {
        assert_eq!(url_in("  URL: iscsi://[::1]:3260/iqn.a:b/0"), Some("iscsi://[::1]:3260/iqn.a:b/0"));
        assert_eq!(url_in("`iscsi://h:1/t/0`, copy it"), Some("iscsi://h:1/t/0"));
        assert_eq!(url_in("portal iscsi://h:1 only"), None);
        assert_eq!(url_in("nothing"), None);
    }
}
