//! The board's serial line: read all the time, kept in a log, searched for what it says.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a read waits, and how long until a port that is gone is opened again.
const PATIENCE: Duration = Duration::from_millis(200);
/// A line that is longer is cut.
const LONGEST: usize = 4096;

/// A serial line that is listened to. It ends with this value.
#[derive(Debug)]
pub struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    lines: Mutex<Vec<String>>,
    more: Condvar,
    bad: Vec<String>,
}

impl Console {
    /// Listens to a port; a port that is not there, or goes away with the board's power, is opened when it comes.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn open(port: &str, baud: u32, bad: &[String], log: &Path) -> Result<Self> {
        let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            lines: Mutex::default(),
            more: Condvar::new(),
            bad: bad.to_vec(),
        });
        let (ours, port) = (Arc::clone(&shared), port.to_owned());
        std::thread::Builder::new().name("serial".into()).spawn(move || {
            let mut line = Vec::new();
            while !ours.stop.load(Ordering::Relaxed) {
                match serialport::new(&port, baud).timeout(PATIENCE).open() {
                    Ok(mut port) => ours.listen(&mut port, &mut line, &mut log),
                    Err(_) => std::thread::sleep(PATIENCE),
                }
            }
        })?;
        Ok(Console { shared })
    }

    /// How many lines have come: where [`Console::wait_for`] may begin.
    pub fn count(&self) -> usize {
        self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The first line from number `from` on that has this text.
    ///
    /// # Errors
    /// When it does not come in time, or a line that is a failure comes before it.
    pub fn wait_for(&self, text: &str, from: usize, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = from;
        loop {
            while let Some(line) = lines.get(next) {
                next += 1;
                if self.shared.is_bad(line) {
                    bail!("the board says: {line}");
                }
                if line.contains(text) {
                    return Ok(line.clone());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last =
                    lines.last().map_or("it has said nothing".to_owned(), |line| format!("its last line: {line}"));
                bail!("the board does not say {text:?} within {} s; {last}", limit.as_secs_f64());
            }
            lines = self.shared.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first line so far that is a failure.
    pub fn complaint(&self) -> Option<String> {
        let lines = self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| self.shared.is_bad(line)).cloned()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn is_bad(&self, line: &str) -> bool {
        self.bad.iter().any(|text| line.contains(text))
    }

    /// Reads until the port is gone.
    fn listen(&self, port: &mut impl Read, line: &mut Vec<u8>, log: &mut impl Write) {
        let mut bytes = [0; 1024];
        while !self.stop.load(Ordering::Relaxed) {
            let count = match port.read(&mut bytes) {
                Ok(0) => return std::thread::sleep(PATIENCE),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => continue,
                Err(_) => return std::thread::sleep(PATIENCE),
            };
            // A log that cannot be written any more is no reason to stop listening.
            let _ = log.write_all(&bytes[..count]);
            for &byte in &bytes[..count] {
                if byte == b'\n' || line.len() == LONGEST {
                    let text = String::from_utf8_lossy(line).trim_end().to_owned();
                    line.clear();
                    self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                    self.more.notify_all();
                } else {
                    line.push(byte);
                }
            }
        }
    }
}

/// A pseudo terminal for an emulated board: what it writes to the one end is read from the other as from a serial port.
///
/// # Errors
/// When the system has none.
pub fn pseudo_terminal() -> Result<(File, String)> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    // macOS has no such flag: a board's emulator inherits it there.
    #[cfg(not(target_vendor = "apple"))]
    let flags = flags | OpenptFlags::CLOEXEC;
    let board = openpt(flags).context("no pseudo terminal")?;
    grantpt(&board)?;
    unlockpt(&board)?;
    // What is written before the other end is opened would come through the line discipline: an end of line more for
    // each carriage return, and all of it back as an echo.
    let mut terminal = tcgetattr(&board).context("the terminal's settings")?;
    terminal.make_raw();
    tcsetattr(&board, OptionalActions::Now, &terminal).context("the terminal's settings")?;
    let name = ptsname(&board, Vec::new())?.into_string().context("the terminal's name")?;
    Ok((board.into(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn what_a_board_says_is_found_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("serial.log");
        let (mut board, port) = pseudo_terminal().unwrap();
        let console = Console::open(&port, 115_200, &["panicked".to_owned()], &log).unwrap();
        board.write_all(b"booting\r\nserving at 10.0.0.7\r\nhalf").unwrap();
        assert_eq!(console.wait_for("serving", 0, SOON).unwrap(), "serving at 10.0.0.7");
        let error = console.wait_for("half", 0, Duration::from_millis(300)).unwrap_err().to_string();
        assert!(error.contains("its last line: serving at"), "{error}");
        board.write_all(b" a line\r\n").unwrap();
        assert_eq!(console.wait_for("half", 2, SOON).unwrap(), "half a line");
        assert_eq!(console.complaint(), None);
        board.write_all(b"panicked at src/x.rs\r\nserving again\r\n").unwrap();
        assert!(console.wait_for("again", 3, SOON).unwrap_err().to_string().contains("panicked at src/x.rs"));
        assert_eq!(console.complaint().unwrap(), "panicked at src/x.rs");
        assert!(std::fs::read_to_string(log).unwrap().starts_with("booting"));
    }

    #[test]
    fn a_port_that_comes_later_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("tty");
        let log = dir.path().join("log");
        let console = Console::open(link.to_str().unwrap(), 115_200, &[], &log).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let (mut board, port) = pseudo_terminal().unwrap();
        std::os::unix::fs::symlink(port, &link).unwrap();
        board.write_all(b"hello\n").unwrap();
        console.wait_for("hello", 0, SOON).unwrap();
    }
}
