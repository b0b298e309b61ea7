//! NBD servers as child processes that always end.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::process::PATIENCE;
use crate::support::{Client, Iesp};

/// Whether a program is there. In CI it has to be: `cargo xtask setup` installs it.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|folder| folder.join(program).is_file());
    assert!(found || std::env::var_os("CI").is_none(), "{program} is missing: cargo xtask setup installs it");
    if !found {
        eprintln!("skipped: {program} is missing: cargo xtask setup installs it");
    }
    found
}

/// A server, with all its processes a group of their own.
pub struct Server {
    program: &'static str,
    arguments: Vec<String>,
    child: Option<Child>,
    socket: Option<PathBuf>,
    /// Of a server that goes into the background by itself.
    pid_file: Option<PathBuf>,
    log: File,
    /// Its export, for `-d`.
    pub url: String,
}

impl Server {
    /// `None` where there is no such program.
    pub fn start(program: &'static str, arguments: Vec<String>, socket: Option<PathBuf>, url: String) -> Option<Self> {
        if !has(program) {
            return None;
        }
        let log = tempfile::tempfile().expect("a temporary file");
        let pid_file =
            arguments.iter().position(|argument| argument == "-p").map(|at| PathBuf::from(&arguments[at + 1]));
        let mut server = Self { program, arguments, child: None, socket, pid_file, log, url };
        server.start_again();
        Some(server)
    }

    /// nbdkit with these arguments: filters, the plugin, its parameters.
    pub fn nbdkit(folder: &Path, arguments: &[&str]) -> Option<Self> {
        let socket = folder.join("nbdkit.sock");
        let mut all: Vec<_> = ["-f", "-U"].map(str::to_owned).into();
        all.push(socket.display().to_string());
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let url = format!("nbd+unix:///?socket={}", socket.display());
        Self::start("nbdkit", all, Some(socket), url)
    }

    /// qemu-nbd with an image of this format, of so many bytes.
    pub fn qemu(folder: &Path, format: &str, len: u64) -> Option<Self> {
        if !has("qemu-img") {
            return None;
        }
        let (socket, image) = (folder.join("qemu.sock"), folder.join(format!("disk.{format}")));
        let made =
            Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(&image).arg(len.to_string()).status();
        assert!(made.expect("qemu-img runs").success());
        let arguments = ["-f", format, "-t", "-e", "8", "--discard=unmap", "-x", "disk", "-k"];
        let mut all: Vec<_> = arguments.map(str::to_owned).into();
        all.extend([socket.display().to_string(), image.display().to_string()]);
        let url = format!("nbd+unix:///disk?socket={}", socket.display());
        Self::start("qemu-nbd", all, Some(socket), url)
    }

    /// nbd-server on a free port, with these lines about its export.
    pub fn nbd_server(folder: &Path, image: &str, lines: &str) -> Option<Self> {
        let (config, port) = (folder.join("nbd-server.conf"), free_port());
        let text = format!("[generic]\nlistenaddr = 127.0.0.1\nport = {port}\n[disk]\nexportname = {image}\n{lines}\n");
        std::fs::write(&config, text).expect("a configuration");
        let all = ["-p", &folder.join("nbd-server.pid").display().to_string(), "-C", &config.display().to_string()]
            .map(str::to_owned)
            .into();
        Self::start("nbd-server", all, None, format!("nbd://127.0.0.1:{port}/disk"))
    }

    /// The same server again, where it was; returns when it takes connections.
    pub fn start_again(&mut self) {
        if let Some(socket) = &self.socket {
            // Left behind by the one that was killed, perhaps.
            let _ = std::fs::remove_file(socket);
        }
        let output = || Stdio::from(self.log.try_clone().expect("a second handle"));
        let mut command = Command::new(self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(output()).stderr(output()).process_group(0);
        self.child = Some(command.spawn().expect("it starts"));
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child"));
            let gone = ended.is_some_and(|status| self.pid_file.is_none() || !status.success());
            assert!(!gone && Instant::now() < deadline, "{} does not serve: {}", self.program, self.errors());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it wrote.
    fn errors(&self) -> String {
        let mut text = vec![0; self.log.metadata().expect("a file").len() as usize];
        self.log.read_exact_at(&mut text, 0).expect("text");
        String::from_utf8_lossy(&text).into_owned()
    }

    fn answers(&self) -> bool {
        match &self.socket {
            Some(socket) => UnixStream::connect(socket).is_ok(),
            None => {
                let rest = self.url.split_once("://").expect("a URI").1;
                let address = rest.split('/').next().expect("an address");
                std::net::TcpStream::connect(address).is_ok()
            }
        }
    }

    /// SIGKILL, for all its processes.
    ///
    /// # Panics
    /// It had ended before: nobody but this may end it.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if self.pid_file.is_none()
            && let Ok(Some(status)) = child.try_wait()
        {
            let text = format!("{} ended by itself ({status}): {}", self.program, self.errors());
            if std::thread::panicking() {
                eprintln!("{text}")
            } else {
                panic!("{text}")
            }
            return;
        }
        let own = self.pid_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
        let group = own.or_else(|| i32::try_from(child.id()).ok()).and_then(Pid::from_raw).expect("a process id");
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
    }

    /// The program in front of it, with more arguments. Nobody else writes there.
    pub fn iesp(&self, more: &[&str]) -> Iesp {
        let uuid = uuid();
        let mut arguments = vec!["-b", "nbd", "-d", &self.url];
        if !more.contains(&"--uuid") {
            arguments.extend(["--uuid", &uuid, "--nbd-shared=false"]);
        }
        arguments.extend(more);
        Iesp::start(&arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Any: these tests leave nothing in the state folder.
pub fn uuid() -> String {
    "0f0e0d0c-0b0a-4908-8706-050403020100".to_owned()
}

/// A session with the program.
pub fn session(iesp: &Iesp) -> Client {
    Client::login(iesp.address())
}

/// Bytes that differ from block to block and from seed to seed.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let word = |index: u64| (index ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) | 1;
    (0..len as u64).step_by(8).flat_map(|at| word(at / 8).to_le_bytes()).take(len).collect()
}
