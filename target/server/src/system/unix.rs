//! Linux, FreeBSD, macOS.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Those that come from now on are not lost. To be called on a runtime.
    ///
    /// # Errors
    /// Where the system has no handler left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one: its name, and the exit code of a program that it ends.
    pub async fn recv(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", 130),
            _ = self.terminate.recv() => ("SIGTERM", 143),
        }
    }
}

/// SIGHUP.
#[derive(Debug)]
pub struct Reload(Signal);

impl Reload {
    /// As [`Stop::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub async fn recv(&mut self) {
        self.0.recv().await;
    }
}

/// Lets go of the terminal.
pub fn detach() {
    // A session of its own: no signal of the terminal's reaches it. It fails only where it has one already.
    let _ = rustix::process::setsid();
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        // What was written so far reached the starting process; from now on the log file speaks.
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// Whether there is a process of this id.
pub fn is_alive(id: u32) -> bool {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| rustix::process::test_kill_process(id).is_ok())
}

/// Whether this is root.
pub fn is_privileged() -> bool {
    rustix::process::geteuid().is_root()
}

/// A file or a block device, whatever it is called: a device has the same number by each of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileId {
    /// A block device's number.
    Device(u64),
    /// A file system's number, and that of the file in it.
    File(u64, u64),
}

/// Which file or block device this is a name of.
///
/// # Errors
/// Where it is a name of none.
pub fn file_id(path: &Path) -> std::io::Result<FileId> {
    let metadata = std::fs::metadata(path)?;
    let is_device = metadata.file_type().is_block_device();
    Ok(if is_device { FileId::Device(metadata.rdev()) } else { FileId::File(metadata.dev(), metadata.ino()) })
}

/// Whether two names are of one file or device. False where one of them is of none.
pub fn is_same(one: &Path, other: &Path) -> bool {
    file_id(one).is_ok_and(|id| file_id(other).is_ok_and(|other| id == other))
}

/// Whether this is a block device, or a link to one.
pub fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// Has the names in a folder survive a power cut.
///
/// # Errors
/// The system's.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::File::open(folder)?.sync_all() {
        // A file system without it, or one that comes by the network: it has its own ways.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

/// The user's data folder (XDG base directory specification); `None` without a home.
pub fn data_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))
}

/// This machine's name.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The kernel and the machine's architecture.
pub fn kernel() -> String {
    let system = rustix::system::uname();
    format!("{} {}", system.sysname().to_string_lossy(), system.machine().to_string_lossy())
}

/// CPU time of all threads of this process.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A file that must not grow is an error of the write, not the end of the program (setrlimit(2), RLIMIT_FSIZE). To be called
/// on a runtime; it holds from then on.
///
/// # Errors
/// Where the system has no handler left.
pub fn outlive_large_files() -> std::io::Result<()> {
    // The handler stays when this is dropped.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}
