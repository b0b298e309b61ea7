//! Becoming a daemon, and the file with the process id.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::system;

/// Tells the process that it is the daemon.
const MARK: &str = "IESP_DAEMON";

/// Whether this process is the daemon that another one started.
pub fn is_daemon() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts this program again without a terminal, and returns when it serves: so that what keeps it from serving is
/// seen by whoever started it.
///
/// # Errors
/// Where it did not come to serve; it has said why.
pub fn become_daemon() -> Result<(), Failure> {
    if cfg!(windows) {
        return Err(Failure::usage("-f: Windows has services in place of daemons: iesp service install -- FLAGS"));
    }
    let cannot = |error: std::io::Error| Failure::runtime(format!("the daemon cannot be started: {error}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let mut daemon = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut said_something = false;
    if let Some(output) = daemon.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            said_something = true;
            println!("{line}");
        }
    }
    if said_something {
        return Ok(());
    }
    let status = daemon.wait().map_err(cannot)?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        // It has said why.
        Some(code) if code != 0 => Err(Failure::silent(code)),
        _ => Err(Failure::runtime(format!("the daemon did not come to serve ({status})"))),
    }
}

/// The daemon serves: lets go of the terminal. Before this is called, nothing else writes to standard output.
pub fn detach() {
    if !is_daemon() {
        return;
    }
    system::detach();
}

/// A file with the process id, removed when dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes it.
    ///
    /// # Errors
    /// Where it names a process that lives, is something else than a PID file, or cannot be written.
    pub fn write(path: &Path) -> Result<Self, Failure> {
        if !may_be_replaced(path) {
            let message = "it is there, and is no PID file: name another one with -P, or remove it";
            return Err(Failure::runtime(format!("{}: {message}", path.display())));
        }
        if let Some(other) = living(path) {
            return Err(Failure::runtime(format!("{}: process {other} runs already: end it first", path.display())));
        }
        std::fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|error| Failure::runtime(format!("the PID file {} cannot be written: {error}", path.display())))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether there is no such file, or one that holds a process id and nothing else: it is written over and removed in the end.
fn may_be_replaced(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() < 32 => {
            std::fs::read_to_string(path).is_ok_and(|text| text.trim().is_empty() || text.trim().parse::<u32>().is_ok())
        }
        Ok(_) => false,
        // What else is wrong with it is told when it is written.
        Err(_) => true,
    }
}

fn living(path: &Path) -> Option<u32> {
    let id = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    system::is_alive(id).then_some(id)
}
