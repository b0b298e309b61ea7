//! The board's serial line: read all the time, kept in a log, searched for what it says.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use qemu_launcher::Waited;
use serialport::SerialPort;

/// How long a read waits, and how long until a port that is gone is opened again.
const PATIENCE: Duration = Duration::from_millis(200);

/// A serial line that is listened to. It ends with this value.
#[derive(Debug)]
pub struct Console {
    console: qemu_launcher::Console,
    stop: Arc<AtomicBool>,
    bad: Vec<String>,
}

impl Console {
    /// Listens to a port; a port that is not there, or goes away with the board's power, is opened
    /// when it comes.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn open(port: &str, baud: u32, bad: &[String], log: &Path) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let port = Port { name: port.to_owned(), baud, open: None, stop: Arc::clone(&stop) };
        Ok(Console { console: qemu_launcher::Console::collect(port, None, log)?, stop, bad: bad.to_vec() })
    }

    /// How many lines have come: where [`Console::wait_for`] may begin.
    pub fn count(&self) -> usize {
        self.console.count()
    }

    /// The first line from number `from` on that has this text.
    ///
    /// # Errors
    /// When it does not come in time, or a line that is a failure comes before it.
    pub fn wait_for(&self, text: &str, from: usize, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.console.lines().from(from);
        while let Waited::Line(line) = lines.next(deadline) {
            if self.is_bad(&line) {
                bail!("the board says: {line}");
            }
            if line.contains(text) {
                return Ok(line);
            }
        }
        let last = self.lines().pop().map_or("it has said nothing".to_owned(), |line| format!("its last line: {line}"));
        bail!("the board does not say {text:?} within {} s; {last}", limit.as_secs_f64());
    }

    /// The first line so far that is a failure.
    pub fn complaint(&self) -> Option<String> {
        self.lines().into_iter().find(|line| self.is_bad(line))
    }

    /// All complete lines so far.
    fn lines(&self) -> Vec<String> {
        let mut lines = self.console.lines();
        let next = || match lines.next(Instant::now()) {
            Waited::Line(line) => Some(line),
            Waited::TimedOut | Waited::Closed => None,
        };
        std::iter::from_fn(next).collect()
    }

    fn is_bad(&self, line: &str) -> bool {
        self.bad.iter().any(|text| line.contains(text))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A serial port that is read whenever it is there: its end comes only when it is told to stop.
struct Port {
    name: String,
    baud: u32,
    open: Option<Box<dyn SerialPort>>,
    stop: Arc<AtomicBool>,
}

impl Read for Port {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(port) = &mut self.open else {
                match serialport::new(&self.name, self.baud).timeout(PATIENCE).open() {
                    Ok(port) => self.open = Some(port),
                    Err(_) => std::thread::sleep(PATIENCE),
                }
                continue;
            };
            match port.read(bytes) {
                Ok(count) if count > 0 => return Ok(count),
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                _ => {
                    self.open = None;
                    std::thread::sleep(PATIENCE);
                }
            }
        }
        Ok(0)
    }
}

/// A pseudo terminal for an emulated board: what it writes to the one end is read from the other as
/// from a serial port.
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
    // What is written before the other end is opened would come through the line discipline: an end
    // of line more for each carriage return, and all of it back as an echo.
    let mut terminal = tcgetattr(&board).context("the terminal's settings")?;
    terminal.make_raw();
    tcsetattr(&board, OptionalActions::Now, &terminal).context("the terminal's settings")?;
    let name = ptsname(&board, Vec::new())?.into_string().context("the terminal's name")?;
    Ok((board.into(), name))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
