//! NBD servers as peers: each with one image, on a Unix domain socket of its own.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process_group};
use xtask_common::process::{Ended, Running, last_lines, run_logged};
use xtask_common::target::sparse_image;
use xtask_common::workspace::find_program;

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(20);

/// How long one that listens may take until it answers.
const GREETING: Duration = Duration::from_secs(60);

/// The disk's UUID: these exports leave nothing in the state folder.
const UUID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// nbdkit with a file
    Nbdkit,
    /// qemu-nbd with a qcow2 image
    QemuNbd,
    /// nbd-server with a file
    NbdServer,
}

impl Kind {
    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Kind::Nbdkit => "nbdkit",
            Kind::QemuNbd => "qemu-nbd",
            Kind::NbdServer => "nbd-server",
        }
    }

    /// Makes an image as it serves it, without contents.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn image(self, path: &Path, bytes: u64) -> Result<()> {
        if self != Kind::QemuNbd {
            return sparse_image(path, bytes);
        }
        let mut command = Command::new(program("qemu-img")?);
        command.args(["create", "-q", "-f", "qcow2"]).arg(path).arg(bytes.to_string());
        let log = path.with_extension("qemu-img.log");
        match run_logged(&mut command, &log, START)? {
            Ended::Exit(0) => Ok(std::fs::remove_file(log)?),
            ended => bail!("qemu-img create: {ended}: {}", last_lines(&log, 3).join(" | ")),
        }
    }
}

fn program(name: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("no {name} here: `cargo xtask setup` installs it"))
}

/// A server, and how to start it again.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    image: PathBuf,
    /// Of nbdkit: filters, which stand before the plugin.
    filters: Vec<String>,
    /// Of nbdkit: parameters, which stand behind the file.
    parameters: Vec<String>,
    log: PathBuf,
    /// Short, as a socket's path has to be.
    folder: tempfile::TempDir,
    process: Option<Running>,
    /// Of nbd-server, which goes into the background by itself: its process group.
    daemon: Option<Pid>,
}

impl Server {
    /// Serves an image; `log` is a file for what the server says.
    ///
    /// # Errors
    /// It is not installed, or does not serve.
    pub fn start(kind: Kind, image: &Path, log: &Path) -> Result<Self> {
        Self::with(kind, image, log, Vec::new(), Vec::new())
    }

    /// nbdkit with filters and their parameters.
    ///
    /// # Errors
    /// It is not installed, or does not serve.
    pub fn nbdkit(image: &Path, log: &Path, filters: &[&str], parameters: &[&str]) -> Result<Self> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self::with(Kind::Nbdkit, image, log, owned(filters), owned(parameters))
    }

    fn with(kind: Kind, image: &Path, log: &Path, filters: Vec<String>, parameters: Vec<String>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("iesp-nbd").tempdir()?;
        let image = image.canonicalize().with_context(|| format!("no {}", image.display()))?;
        let mut server =
            Server { kind, image, filters, parameters, log: log.to_owned(), folder, process: None, daemon: None };
        server.start_again()?;
        Ok(server)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// The export, for `-d`.
    pub fn url(&self) -> String {
        let name = if self.kind == Kind::Nbdkit { "" } else { "disk" };
        format!("nbd+unix:///{name}?socket={}", self.socket().display())
    }

    /// Arguments that iesp needs for such an export besides `-d`, whichever version it is.
    pub fn arguments() -> Vec<String> {
        // Lost connections are warnings.
        ["--uuid", UUID, "--log-level", "error,warning"].map(str::to_owned).into()
    }

    /// From now on it is started with these.
    pub fn change(&mut self, filters: Vec<String>, parameters: Vec<String>) {
        (self.filters, self.parameters) = (filters, parameters);
    }

    /// Starts it, where it was before; returns when it listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let socket = self.socket();
        if socket.exists() {
            // Left behind by the one that was killed.
            std::fs::remove_file(&socket)?;
        }
        let output = std::fs::File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command(&socket)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut process = Running::start(&mut command)?;
        let deadline = Instant::now() + START;
        // Nobody connects to look: some of them serve one client and no more.
        while !is_listening(&socket) {
            let name = self.kind.program();
            let ended = process.ended()?.filter(|ended| self.kind != Kind::NbdServer || *ended != Ended::Exit(0));
            if let Some(ended) = ended {
                bail!("{name} does not serve ({ended}): {}", last_lines(&self.log, 3).join(" | "));
            }
            if Instant::now() > deadline {
                bail!("{name} does not listen: {}", last_lines(&self.log, 3).join(" | "));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if self.kind == Kind::NbdServer {
            process.wait(START)?;
            self.daemon = Some(self.daemon_id(deadline)?);
            await_greeting(&socket).with_context(|| format!("{} does not answer", self.kind.program()))?;
        } else {
            self.process = Some(process);
        }
        Ok(())
    }

    fn command(&self, socket: &Path) -> Result<Command> {
        let mut command = Command::new(program(self.kind.program())?);
        match self.kind {
            Kind::Nbdkit => {
                command.args(["-f", "-U"]).arg(socket).args(&self.filters).arg("file").arg(&self.image);
                command.args(&self.parameters);
            }
            Kind::QemuNbd => {
                let options = ["-f", "qcow2", "-t", "-e", "16", "--discard=unmap", "-x", "disk", "-k"];
                command.args(options).arg(socket).arg(&self.image);
            }
            Kind::NbdServer => {
                let (config, image) = (self.folder.path().join("config"), self.image.display());
                let text = format!(
                    "[generic]\nunixsock = {}\n[disk]\nexportname = {image}\nflush = true\nfua = true\ntrim = true\n",
                    socket.display()
                );
                std::fs::write(&config, text)?;
                // In the foreground it would serve one client and no more.
                command.arg("-p").arg(self.pid_file()).arg("-C").arg(config);
            }
        }
        Ok(command)
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("pid")
    }

    fn daemon_id(&self, deadline: Instant) -> Result<Pid> {
        loop {
            let text = std::fs::read_to_string(self.pid_file()).unwrap_or_default();
            if let Some(id) = text.trim().parse().ok().and_then(Pid::from_raw) {
                return Ok(id);
            }
            if Instant::now() > deadline {
                bail!("{} writes no PID file", self.kind.program());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill_daemon(&mut self) {
        if let Some(group) = self.daemon.take() {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
            let _ = std::fs::remove_file(self.pid_file());
        }
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.kill_daemon();
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if let Some(ended) = process.ended()? {
            let log = last_lines(&self.log, 3).join(" | ");
            bail!("{} ended by itself ({ended}): {log}", self.kind.program());
        }
        // Dropping it kills it, and waits for its end.
        drop(process);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill_daemon();
    }
}

/// Until a client is greeted, which nbd-server does not do before it has made the parameters of its key exchange: that takes
/// it seconds of CPU time, now few, now many.
fn await_greeting(socket: &Path) -> std::io::Result<()> {
    let mut client = UnixStream::connect(socket)?;
    client.set_read_timeout(Some(GREETING))?;
    client.read_exact(&mut [0; 8])
}

/// Whether a Unix domain socket is listened on: /proc/net/unix has flag 10000 for that.
fn is_listening(socket: &Path) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/net/unix") else { return socket.exists() };
    let path = socket.display().to_string();
    table.lines().filter(|line| line.ends_with(&path)).any(|line| line.split_whitespace().nth(3) == Some("00010000"))
}
