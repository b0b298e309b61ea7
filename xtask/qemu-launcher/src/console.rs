//! A serial line of the guest: what comes is logged and can be waited for, and lines can be sent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::LaunchError;

/// A line that is longer is cut here, and goes on as the next one.
const LONGEST_LINE: usize = 16 * 1024;

/// A serial line: collected by a thread of its own, from the start to the end of the guest.
pub struct Console {
    shared: Arc<Shared>,
    input: Mutex<Option<Box<dyn Write + Send>>>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.state();
        f.debug_struct("Console").field("lines", &state.lines.len()).field("closed", &state.closed).finish()
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// What came after the last line's end.
    partial: String,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a wait for a line came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// A line.
    Line(String),
    /// The time was up.
    TimedOut,
    /// The serial line was closed: the guest has ended.
    Closed,
}

impl Console {
    /// Collects from `output` into the file `log`; what is sent goes to `input`.
    ///
    /// # Errors
    /// When the log cannot be written or the thread cannot be started.
    pub fn collect(
        mut output: impl Read + Send + 'static,
        input: Option<Box<dyn Write + Send>>,
        log: &Path,
    ) -> Result<Self, LaunchError> {
        let mut file = File::create(log).map_err(LaunchError::io(format!("cannot write {}", log.display())))?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let collected = Arc::clone(&shared);
        let collect = move || {
            let mut bytes = [0; 4096];
            let mut decoder = Decoder::default();
            loop {
                let count = match output.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let came = bytes.get(..count).unwrap_or_default();
                // A full disk must not stop the guest: what waits for lines still sees them.
                let _ = file.write_all(came);
                let mut state = collected.state();
                decoder.feed(came, &mut state);
                collected.changed.notify_all();
            }
            collected.state().closed = true;
            collected.changed.notify_all();
        };
        let thread = std::thread::Builder::new().name("console".to_owned()).spawn(collect);
        thread.map_err(LaunchError::io("cannot start a thread"))?;
        Ok(Console { shared, input: Mutex::new(input) })
    }

    /// The lines from the first one on. Each reader has a place of its own.
    #[must_use]
    pub fn lines(&self) -> Lines {
        Lines { shared: Arc::clone(&self.shared), next: 0 }
    }

    /// How many complete lines have come.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.state().lines.len()
    }

    /// All lines up to now; the last one may be incomplete.
    #[must_use]
    pub fn text(&self) -> Vec<String> {
        let state = self.shared.state();
        let partial = (!state.partial.is_empty()).then(|| state.partial.clone());
        state.lines.iter().cloned().chain(partial).collect()
    }

    /// Sends a line to the guest.
    ///
    /// # Errors
    /// When the guest has ended, or this console only listens.
    pub fn send(&self, line: &str) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_mut().ok_or(io::ErrorKind::Unsupported)?;
        input.write_all(format!("{line}\n").as_bytes())?;
        input.flush()
    }
}

/// A reader of a console's lines.
pub struct Lines {
    shared: Arc<Shared>,
    next: usize,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("next", &self.next).finish()
    }
}

impl Lines {
    /// The lines from this number on; 0 is the first.
    #[must_use]
    pub fn from(self, number: usize) -> Self {
        Lines { next: number, ..self }
    }

    /// Waits for the next line.
    pub fn next(&mut self, deadline: Instant) -> Waited {
        let mut state = self.shared.state();
        loop {
            if let Some(line) = state.lines.get(self.next) {
                self.next += 1;
                return Waited::Line(line.clone());
            }
            if state.closed {
                return Waited::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::TimedOut;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a line that contains `pattern`, and answers with the whole line. What a loader leaves standing without
    /// an end of line is found too.
    pub fn find(&mut self, pattern: &str, deadline: Instant) -> Waited {
        let mut state = self.shared.state();
        loop {
            while let Some(line) = state.lines.get(self.next) {
                self.next += 1;
                if line.contains(pattern) {
                    return Waited::Line(line.clone());
                }
            }
            if state.partial.contains(pattern) {
                return Waited::Line(state.partial.clone());
            }
            if state.closed {
                return Waited::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::TimedOut;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Makes lines of bytes: without escape sequences, carriage returns and what is not UTF-8.
#[derive(Default)]
struct Decoder {
    bytes: Vec<u8>,
    escape: Escape,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC [, until a letter.
    Control,
}

impl Decoder {
    fn feed(&mut self, came: &[u8], state: &mut State) {
        for byte in came {
            match (self.escape, byte) {
                (Escape::Begun, b'[') => self.escape = Escape::Control,
                (Escape::Begun, _) => self.escape = Escape::None,
                (Escape::Control, 0x40..=0x7e) => self.escape = Escape::None,
                (Escape::Control, _) => {}
                (Escape::None, 0x1b) => self.escape = Escape::Begun,
                (Escape::None, b'\n') => self.end_line(state),
                (Escape::None, b'\t' | 0x20..) if *byte != 0x7f => {
                    self.bytes.push(*byte);
                    if self.bytes.len() >= LONGEST_LINE {
                        self.end_line(state);
                    }
                }
                (Escape::None, _) => {}
            }
        }
        state.partial = String::from_utf8_lossy(&self.bytes).into_owned();
    }

    fn end_line(&mut self, state: &mut State) {
        state.lines.push(String::from_utf8_lossy(&self.bytes).into_owned());
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn decoded(chunks: &[&[u8]]) -> (Vec<String>, String) {
        let (mut decoder, mut state) = (Decoder::default(), State::default());
        chunks.iter().for_each(|chunk| decoder.feed(chunk, &mut state));
        (state.lines, state.partial)
    }

    #[test]
    fn lines_are_free_of_escapes_however_they_are_cut() {
        let bytes = b"\x1b[2J\x1b[1;31mone\r\ntwo\t2\nthr\xffee";
        let expected = (vec!["one".to_owned(), "two\t2".to_owned()], "thr\u{fffd}ee".to_owned());
        assert_eq!(decoded(&[bytes]), expected);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decoded(&single), expected);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; LONGEST_LINE * 2 + 5];
        let (lines, partial) = decoded(&[&long]);
        assert_eq!((lines.len(), partial.len()), (2, 5));
    }

    #[test]
    fn lines_are_waited_for_and_sent() {
        let dir = tempfile::tempdir().unwrap();
        let (here, mut guest) = UnixStream::pair().unwrap();
        let input: Box<dyn Write + Send> = Box::new(here.try_clone().unwrap());
        let console = Console::collect(here, Some(input), &dir.path().join("log")).unwrap();
        let (mut all, mut found) = (console.lines(), console.lines());

        assert_eq!(all.next(Instant::now() + Duration::from_millis(20)), Waited::TimedOut);
        guest.write_all(b"kernel\r\nlogin now: ").unwrap();
        assert_eq!(all.next(soon()), Waited::Line("kernel".into()));
        // A prompt has no end of line.
        assert_eq!(found.find("login", soon()), Waited::Line("login now: ".into()));

        console.send("root").unwrap();
        let mut sent = [0; 5];
        guest.read_exact(&mut sent).unwrap();
        assert_eq!(&sent, b"root\n");

        drop(guest);
        assert_eq!(found.find("never said", soon()), Waited::Closed);
        assert_eq!(console.text(), ["kernel", "login now: "]);
        assert_eq!(std::fs::read(dir.path().join("log")).unwrap(), b"kernel\r\nlogin now: ");
    }

    #[test]
    fn a_console_that_only_listens_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::collect(io::empty(), None, &dir.path().join("log")).unwrap();
        assert_eq!(console.send("x").unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
