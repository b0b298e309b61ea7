//! A target as a child process that always ends.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long a PDU may take. Generous: the machine may be busy.
const ANSWER: Duration = Duration::from_secs(20);

/// How long a program may take to serve.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a target is started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Setup {
    /// Its arguments; `{folder}` is where its files are.
    pub arguments: Vec<String>,
    /// Files that it reads: their names and their content of one line.
    pub files: Vec<(String, String)>,
    /// CHAP secrets of initiators, with which a replay computes responses.
    pub secrets: Vec<String>,
}

impl Setup {
    /// A target with these arguments.
    #[must_use]
    pub fn new(arguments: &[&str]) -> Self {
        Self { arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(), ..Self::default() }
    }

    /// The same with a file.
    #[must_use]
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// The same with a secret.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }
}

/// The program `iesp` of some build.
#[derive(Clone)]
pub struct Program {
    path: PathBuf,
    front: Option<Front>,
    patience: Duration,
}

/// Where initiators connect instead: given the target's address it answers with another one, and what has to live as
/// long as the target.
pub type Front = Arc<dyn Fn(SocketAddr) -> std::io::Result<(SocketAddr, Box<dyn Any>)>>;

/// Why a program does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be started, or its files cannot be made.
    #[error("{path}: {error}")]
    Start {
        /// The program.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It ended, or does not say where it listens.
    #[error("it does not serve: {0}")]
    Silent(String),
    /// It ended, or a part of it panicked, while it served.
    #[error("it did not go on: {ended:?}: {errors}")]
    Failed {
        /// How it ended, if it did.
        ended: Option<ExitStatus>,
        /// What it wrote to standard error.
        errors: String,
    },
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Program {
    /// The program in a file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), front: None, patience: ANSWER }
    }

    /// The same behind a proxy.
    #[must_use]
    pub fn behind(mut self, front: Front) -> Self {
        self.front = Some(front);
        self
    }

    /// How long a PDU that was recorded may take in a replay, instead of 20 seconds.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(super) const fn answers_within(&self) -> Duration {
        self.patience
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it on a free port of 127.0.0.1, and waits until it serves.
    ///
    /// # Errors
    /// It does not serve.
    pub fn serve(&self, setup: &Setup) -> Result<Server, ProgramError> {
        let failed = |error| ProgramError::Start { path: self.path.display().to_string(), error };
        let folder = tempfile::tempdir().map_err(failed)?;
        for (name, content) in &setup.files {
            std::fs::write(folder.path().join(name), content).map_err(failed)?;
        }
        let place = folder.path().to_string_lossy().into_owned();
        let errors = tempfile::tempfile().map_err(failed)?;
        let mut child = Command::new(&self.path)
            .args(setup.arguments.iter().map(|argument| argument.replace("{folder}", &place)))
            .args(["-i", "127.0.0.1", "-p", "0"])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let screen = child.stdout.take();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, address, errors, _front: None, _folder: folder };
        let screen = screen.ok_or_else(|| ProgramError::Silent("no standard output".to_owned()))?;
        let address = first_address(screen).ok_or_else(|| ProgramError::Silent(server.errors()))?;
        server.address = address;
        if let Some(front) = &self.front {
            let (address, alive) = front(address).map_err(failed)?;
            (server.address, server._front) = (address, Some(alive));
        }
        Ok(server)
    }
}

/// The address that the program prints before it serves. A thread reads on, so that the program can always write.
fn first_address(screen: impl Read + Send + 'static) -> Option<SocketAddr> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut address = None;
        for line in BufReader::new(screen).lines().map_while(Result::ok) {
            if let Some(text) = line.trim().strip_prefix("address ") {
                address = address.or_else(|| text.parse().ok());
            }
            // It serves once it says how it ends.
            if let (true, Some(address)) = (line.contains("Ctrl-C"), address) {
                let _ = send.send(address);
            }
        }
    });
    receive.recv_timeout(PATIENCE).ok()
}

/// A program that serves; it is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    errors: File,
    _front: Option<Box<dyn Any>>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Where initiators connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, after a look at whether it still ran and no part of it panicked.
    ///
    /// # Errors
    /// It ended before, or a part of it panicked.
    pub fn finish(mut self) -> Result<(), ProgramError> {
        let ended = self.child.try_wait().ok().flatten();
        self.kill();
        let errors = self.errors();
        if ended.is_none() && !errors.contains("panicked") {
            return Ok(());
        }
        Err(ProgramError::Failed { ended, errors })
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        // Without it there is less to tell.
        let _ = self.errors.rewind().and_then(|()| self.errors.read_to_string(&mut text));
        text
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
