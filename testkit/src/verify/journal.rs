//! What was acknowledged and what was flushed, kept outside the tested disk, to be held against it after a crash.
//!
//! A text file that only grows: a line that names the format, the plan as JSON, then one line an event, each with a
//! check. Every line is one `write` to a file opened for appending, so the workers need no lock, and the order of the
//! lines is an order of the events: an acknowledgement is written after it came, the start of a flush before it is
//! sent. A last line that is not whole is what a crash leaves: it did not happen.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use thiserror::Error;

use super::content::fold;
use super::plan::{Plan, PlanError};

const FORMAT: &str = "test-blockdevice journal 1";

/// A journal that is being written.
pub struct Journal {
    file: File,
    sync: bool,
}

/// An event of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The operation was acknowledged.
    Acknowledged,
    /// The flush is about to be sent.
    FlushStarts,
    /// The flush was acknowledged.
    Flushed,
}

const LETTERS: [(char, Event); 3] = [('a', Event::Acknowledged), ('s', Event::FlushStarts), ('f', Event::Flushed)];

impl Journal {
    /// Begins a journal; `sync` brings each line to stable storage before the run goes on, for a journal on a machine
    /// that may crash itself.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::AlreadyExists`] when the file is there: it may be wanted still.
    pub fn create(path: &Path, plan: &Plan, sync: bool) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
        writeln!(file, "{FORMAT}\n{}", serde_json::to_string(plan)?)?;
        file.sync_all()?;
        Ok(Self { file, sync })
    }

    /// Adds an event of `worker`'s operation `op`.
    ///
    /// # Errors
    /// What the file system says; the run must stop then, since nobody would know of what follows.
    pub fn record(&self, event: Event, worker: u32, op: u64) -> io::Result<()> {
        let line = line(event, worker, op);
        (&self.file).write_all(line.as_bytes())?;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}

fn letter(event: Event) -> char {
    LETTERS.iter().find(|(_, known)| *known == event).map_or('?', |(letter, _)| *letter)
}

fn line(event: Event, worker: u32, op: u64) -> String {
    let letter = letter(event);
    let check = fold(fold(letter as u64, u64::from(worker)), op) >> 32;
    format!("{letter} {worker} {op} {check:08x}\n")
}

fn parse(text: &str) -> Option<(Event, u32, u64)> {
    let mut fields = text.split(' ');
    let letter = fields.next()?;
    let event = LETTERS.iter().find(|(known, _)| letter.chars().eq([*known]))?.1;
    let (worker, op) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (line(event, worker, op).trim_end() == text).then_some((event, worker, op))
}

/// How far a worker came, in operations: all below the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached {
    /// On stable storage, because a flush that started after their acknowledgement has succeeded.
    pub flushed: u64,
    /// Acknowledged.
    pub acknowledged: u64,
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The run's plan.
    pub plan: Plan,
    /// For each worker.
    pub reached: Vec<Reached>,
    /// How many lines there are, not counting the two at the top and what is torn at the end.
    pub lines: u64,
}

/// A file that is no journal, or a damaged one.
#[derive(Debug, Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("cannot read the journal: {0}")]
    Io(#[from] io::Error),
    /// Its first line is another.
    #[error("this is no journal of test-blockdevice: its first line is not '{FORMAT}'")]
    Format,
    /// The plan is damaged.
    #[error("the journal's second line is damaged: {0}")]
    Plan(#[from] serde_json::Error),
    /// The plan makes no run.
    #[error("the journal's plan makes no run: {0}")]
    Impossible(#[from] PlanError),
    /// A line in the middle is damaged: the journal itself was not kept safely.
    #[error("line {0} of the journal is damaged, and more follow: it cannot be relied upon")]
    Damaged(u64),
}

impl Record {
    /// Reads a journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let mut lines = BufReader::new(File::open(path)?).split(b'\n');
        if lines.next().transpose()?.as_deref() != Some(FORMAT.as_bytes()) {
            return Err(JournalError::Format);
        }
        let plan: Plan = serde_json::from_slice(&lines.next().transpose()?.unwrap_or_default())?;
        plan.check()?;
        let mut record = Self { reached: vec![Reached::default(); plan.workers as usize], plan, lines: 0 };
        // What was acknowledged when each worker's flush started.
        let mut starts = vec![None; record.reached.len()];
        let mut damaged = None;
        for text in lines {
            let text = text?;
            if let Some(line) = damaged {
                return Err(JournalError::Damaged(line));
            }
            let event = str::from_utf8(&text).ok().and_then(parse);
            match event.filter(|(_, worker, _)| (*worker as usize) < record.reached.len()) {
                Some((event, worker, op)) => {
                    record.take(&mut starts, event, worker as usize, op);
                    record.lines += 1;
                }
                None => damaged = Some(record.lines + 3),
            }
        }
        Ok(record)
    }

    fn take(&mut self, starts: &mut [Option<Vec<u64>>], event: Event, worker: usize, op: u64) {
        match event {
            Event::Acknowledged => self.reached[worker].acknowledged = op + 1,
            Event::FlushStarts => starts[worker] = Some(self.reached.iter().map(|r| r.acknowledged).collect()),
            Event::Flushed => {
                for (reached, at_start) in self.reached.iter_mut().zip(starts[worker].take().into_iter().flatten()) {
                    reached.flushed = reached.flushed.max(at_start);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(events: &[(Event, u32, u64)], tail: &str) -> Result<Record, JournalError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::create(&path, &Plan::new(1, 512, 100), false).unwrap();
        for (event, worker, op) in events {
            journal.record(*event, *worker, *op).unwrap();
        }
        (&journal.file).write_all(tail.as_bytes()).unwrap();
        assert!(Journal::create(&path, &Plan::new(1, 512, 100), false).is_err());
        Record::read(&path)
    }

    use Event::{Acknowledged as A, FlushStarts as S, Flushed as F};

    fn reached(record: &Record) -> Vec<(u64, u64)> {
        record.reached.iter().map(|reached| (reached.flushed, reached.acknowledged)).collect()
    }

    #[test]
    fn a_flush_covers_what_was_acknowledged_before_it_started() {
        let record = write(&[(A, 0, 3), (A, 1, 5), (S, 0, 4), (A, 1, 6), (F, 0, 4), (A, 0, 7)], "").unwrap();
        assert_eq!(reached(&record), [(4, 8), (6, 7)]);
        assert_eq!(record.plan, Plan::new(1, 512, 100));
        let unfinished = write(&[(A, 0, 3), (S, 1, 4)], "").unwrap();
        assert_eq!(reached(&unfinished), [(0, 4), (0, 0)]);
    }

    #[test]
    fn flushes_of_several_workers_overlap() {
        let record = write(&[(A, 0, 1), (S, 0, 2), (A, 1, 1), (S, 1, 2), (F, 1, 2), (F, 0, 2)], "").unwrap();
        assert_eq!(reached(&record), [(2, 2), (2, 2)]);
    }

    #[test]
    fn a_torn_end_did_not_happen() {
        let whole = write(&[(A, 0, 1), (A, 0, 2)], "").unwrap();
        let line = line(A, 0, 12);
        for cut in 0..line.len() - 1 {
            assert_eq!(write(&[(A, 0, 1), (A, 0, 2)], &line[..cut]).unwrap(), whole, "{cut}");
        }
        assert_eq!(reached(&write(&[], &line).unwrap()), [(0, 13), (0, 0)]);
    }

    #[test]
    fn damage_in_the_middle_is_told() {
        assert!(matches!(write(&[(A, 0, 1)], "a 0 2 00000000\na 0 3 00000000\n"), Err(JournalError::Damaged(4))));
        assert!(matches!(write(&[], "a 9 2 00000000\nx\n"), Err(JournalError::Damaged(3))));
    }
}
