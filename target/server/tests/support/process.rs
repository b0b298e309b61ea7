//! `iesp` as a child process that always ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program: this source's, or the one that IESP_PROGRAM names, to see what a test says of another version.
pub fn program() -> PathBuf {
    std::env::var_os("IESP_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_iesp").into(), PathBuf::from)
}

/// The program with these arguments, without what a user's environment might add.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// A file system that forgets nothing and waits for no disk: the tests are about the program.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A sparse file of `len` bytes; its path.
pub fn image(folder: &Path, name: &str, len: u64) -> String {
    let path = folder.join(name);
    File::create(&path).and_then(|file| file.set_len(len)).expect("an image");
    path.to_str().expect("a plain path").to_owned()
}

/// The program, serving.
pub struct Iesp {
    child: Child,
    /// Where it listens, in the order of its `-i`.
    pub addresses: Vec<SocketAddr>,
    /// What it printed when it began to serve.
    pub screen: String,
    stderr: File,
    stdout: BufReader<ChildStdout>,
    ended: bool,
}

impl Iesp {
    /// On a free port of 127.0.0.1, unless the arguments say otherwise.
    pub fn start(args: &[&str]) -> Self {
        let mut command = command(args);
        if !args.contains(&"-i") {
            command.args(["-i", "127.0.0.1"]);
        }
        if !args.contains(&"-p") {
            command.args(["-p", "0"]);
        }
        Self::spawn(command)
    }

    /// A memory disk.
    pub fn ram(size: &str) -> Self {
        Self::start(&["-b", "ram", "-d", size])
    }

    /// Waits until it serves.
    pub fn spawn(mut command: Command) -> Self {
        let stderr = tempfile::tempfile().expect("a temporary file");
        let log = stderr.try_clone().expect("a second handle");
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (addresses, screen) = (Vec::new(), String::new());
        let mut server = Self { child, addresses, screen, stderr, stdout, ended: false };
        server.read_screen();
        server
    }

    fn read_screen(&mut self) {
        while !self.screen.contains("Ctrl-C") {
            let mut line = String::new();
            if self.stdout.read_line(&mut line).expect("text") == 0 {
                panic!("iesp does not serve: {}{}", self.screen, self.errors());
            }
            if let Some(address) = line.trim().strip_prefix("address ") {
                self.addresses.push(address.parse().expect("an address"));
            }
            self.screen += &line;
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    pub fn errors(&self) -> String {
        let len = self.stderr.metadata().expect("a file").len();
        let mut text = vec![0; len as usize];
        // The child's handle shares the offset, which must stay where it is.
        self.stderr.read_exact_at(&mut text, 0).expect("text");
        String::from_utf8_lossy(&text).into_owned()
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("it runs");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                self.ended = true;
                return status;
            }
            assert!(Instant::now() < deadline, "iesp does not end: {}", self.errors());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGTERM; what it ended with and how long that took.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal(Signal::TERM);
        (self.wait(), start.elapsed())
    }

    /// As a power cut does it.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// A line of /proc/PID/status, in kB.
    pub fn status_kb(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("there is such a line");
        line.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().expect("a number")
    }

    /// It still runs, and no part of it panicked.
    pub fn assert_well(&mut self) {
        assert!(self.child.try_wait().expect("a child").is_none(), "iesp ended: {}", self.errors());
        let errors = self.errors();
        assert!(!errors.contains("panicked"), "{errors}");
    }
}

impl Drop for Iesp {
    fn drop(&mut self) {
        if !self.ended {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let errors = self.errors();
        if std::thread::panicking() {
            eprintln!("iesp wrote: {errors}");
        } else {
            assert!(!errors.contains("panicked"), "{errors}");
        }
    }
}
