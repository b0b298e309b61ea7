//! Windows.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tokio::sync::Notify;
use windows_sys::Win32::Foundation::{CloseHandle, FILETIME, STILL_ACTIVE};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetExitCodeProcess, GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
};

/// The service manager's wishes, which are no signals.
static STOP: LazyLock<Notify> = LazyLock::new(Notify::new);
static RELOAD: LazyLock<Notify> = LazyLock::new(Notify::new);

/// As Ctrl-C does it: for the service manager.
pub fn ask_to_stop() {
    STOP.notify_one();
}

/// Has the configuration read again: for the service manager.
pub fn ask_to_reload() {
    RELOAD.notify_one();
}

/// Ctrl-C, Ctrl-Break, a closed window, a shutdown; and the service manager's wish.
#[derive(Debug)]
pub struct Stop {
    c: CtrlC,
    r#break: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Stop {
    /// Those that come from now on are not lost. To be called on a runtime.
    ///
    /// # Errors
    /// Where the system has no handler left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { c: ctrl_c()?, r#break: ctrl_break()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    /// Waits for the next one: its name, and the exit code of a program that it ends.
    pub async fn recv(&mut self) -> (&'static str, i32) {
        let name = tokio::select! {
            _ = self.c.recv() => "Ctrl-C",
            _ = self.r#break.recv() => "Ctrl-Break",
            _ = self.close.recv() => "a closed window",
            _ = self.shutdown.recv() => "a shutdown",
            () = STOP.notified() => "the service manager",
        };
        (name, 1)
    }
}

/// The service manager's `paramchange`.
#[derive(Debug)]
pub struct Reload;

impl Reload {
    /// Always.
    ///
    /// # Errors
    /// None.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next one.
    pub async fn recv(&mut self) {
        RELOAD.notified().await;
    }
}

/// A service has no window.
pub fn detach() {}

/// Whether there is a process of this id.
pub fn is_alive(id: u32) -> bool {
    // SAFETY: the handle is checked, used while it is open, and closed once.
    unsafe {
        let process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, id);
        if process.is_null() {
            return false;
        }
        let mut code = 0;
        let told = GetExitCodeProcess(process, &raw mut code);
        CloseHandle(process);
        told != 0 && code == STILL_ACTIVE.cast_unsigned()
    }
}

/// There is no folder of the system's that only some may write to by a fixed name.
pub fn is_privileged() -> bool {
    false
}

/// A file, by its name without links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileId(PathBuf);

/// Which file this is a name of.
///
/// # Errors
/// Where it is a name of none.
pub fn file_id(path: &Path) -> std::io::Result<FileId> {
    std::fs::canonicalize(path).map(FileId)
}

/// Whether two names are of one file. False where one of them is of none.
pub fn is_same(one: &Path, other: &Path) -> bool {
    file_id(one).is_ok_and(|id| file_id(other).is_ok_and(|other| id == other))
}

/// Disks of the machine's own are not served.
pub fn is_device(_: &Path) -> bool {
    false
}

/// NTFS keeps names in its journal, and has no call for it.
///
/// # Errors
/// None.
#[expect(clippy::unnecessary_wraps, reason = "the names of all systems are the same")]
pub fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// The user's folder for programs' data; a service's is the machine's.
pub fn data_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("LOCALAPPDATA").or_else(|| absolute("ProgramData"))
}

/// This machine's name.
pub fn name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// The system and the machine's architecture.
pub fn kernel() -> String {
    format!("Windows {}", std::env::consts::ARCH)
}

/// CPU time of all threads of this process.
pub fn cpu_time() -> Duration {
    let mut times = [FILETIME::default(); 4];
    let [created, ended, kernel, user] = &mut times;
    // SAFETY: the pseudo handle of this process is always good, and the four places are this function's own.
    let told = unsafe { GetProcessTimes(GetCurrentProcess(), created, ended, kernel, user) };
    if told == 0 {
        return Duration::ZERO;
    }
    let hundred_nanos = |time: &FILETIME| (u64::from(time.dwHighDateTime) << 32) | u64::from(time.dwLowDateTime);
    Duration::from_nanos(hundred_nanos(kernel).saturating_add(hundred_nanos(user)).saturating_mul(100))
}

/// There is no such limit.
///
/// # Errors
/// None.
#[expect(clippy::unnecessary_wraps, reason = "the names of all systems are the same")]
pub fn outlive_large_files() -> std::io::Result<()> {
    Ok(())
}
