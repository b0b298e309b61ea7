//! Servers to test against, each on a free port of the loopback address and ended by its id.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The iSCSI name of the initiator in tests.
pub const INITIATOR: &str = "iqn.2024-01.org.example:initiator";
/// The iSCSI name of targets in tests.
pub const TARGET: &str = "iqn.2024-01.org.example:target";

/// A child process that is killed by its id when dropped, and by the kernel when this process ends.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
    /// A folder of its own, for sockets and logs.
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// The URL of a logical unit.
    pub fn url(&self, lun: u16) -> String {
        format!("iscsi://127.0.0.1:{}/{TARGET}/{lun}", self.port)
    }

    /// What the yardstick has complained of.
    pub fn complaints(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).expect("a log")
    }

    /// The testkit's own yardstick, serving a file.
    pub fn yardstick(file: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the log");
        let log = std::fs::File::create(dir.path().join("stderr")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_yardstick"));
        command.arg("--file").arg(file).args(["--target", TARGET]).stdout(Stdio::piped()).stderr(log);
        let mut child = start(&mut command);
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the yardstick says its port");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("no port in {line:?}")), dir }
    }

    /// Debian's tgt with one logical unit (LUN 1) on a file; `None` where it is not installed.
    pub fn tgt(file: &Path) -> Option<Self> {
        Command::new("tgtd").arg("--version").output().ok()?;
        let dir = tempfile::tempdir().expect("a folder for tgt's socket");
        let port = free_port();
        // The control port is a number below 32768 in the name of the socket, which is in a folder of its own.
        let mut command = Command::new("tgtd");
        command.args(["-f", "-C", "1", "--iscsi", &format!("portal=127.0.0.1:{port}")]);
        command.env("TGT_IPC_SOCKET", dir.path().join("socket")).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: start(&mut command), port, dir };
        until_listening(port);
        let admin = |line: &str| {
            let mut command = Command::new("tgtadm");
            command.args(["-C", "1", "--lld", "iscsi"]).args(line.split(' '));
            command.env("TGT_IPC_SOCKET", server.dir.path().join("socket"));
            let output = command.output().expect("tgtadm runs");
            assert!(output.status.success(), "tgtadm {line}: {}", String::from_utf8_lossy(&output.stderr));
        };
        admin(&format!("--mode target --op new --tid 1 --targetname {TARGET}"));
        admin(&format!("--mode logicalunit --op new --tid 1 --lun 1 --backing-store {}", file.display()));
        admin("--mode target --op bind --tid 1 --initiator-address ALL");
        Some(server)
    }
}

/// A file of `blocks` 512-byte blocks, each beginning with its number (little endian, 8 bytes).
pub fn numbered_file(dir: &Path, blocks: u64) -> std::path::PathBuf {
    let path = dir.join("disk");
    let mut bytes = vec![0xa5; usize::try_from(blocks * 512).expect("small")];
    for (number, block) in bytes.chunks_mut(512).enumerate() {
        block[..8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    std::fs::write(&path, bytes).expect("the file can be written");
    path
}

/// A port that nothing listened on a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

fn until_listening(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(command: &mut Command) -> Child {
    // SAFETY: the closure makes one system call between fork and exec, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?));
    }
    command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
