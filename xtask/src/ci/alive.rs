//! A sign of life while a step runs.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it changes.
const TICK: Duration = Duration::from_secs(1);

/// A line on a terminal with the time that a step has taken, until this is dropped; elsewhere
/// nothing.
#[derive(Debug)]
pub struct Sign {
    line: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Sign {
    /// Of this step.
    pub fn of(step: &'static str) -> Self {
        if !stderr().is_terminal() {
            return Sign { line: None };
        }
        let (over, until) = channel();
        let start = Instant::now();
        let thread = std::thread::spawn(move || {
            while until.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let _ = write!(stderr(), "\r    {step}: {} s ", start.elapsed().as_secs());
            }
            // Back to the begin of the line, and nothing from there on.
            let _ = write!(stderr(), "\r\x1b[K");
        });
        Sign { line: Some((over, thread)) }
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        if let Some((over, thread)) = self.line.take() {
            drop(over);
            let _ = thread.join();
        }
    }
}
