//! What was acknowledged and what was flushed, kept outside the tested disk, to be held against it after a crash.
//!
//! A text file that only grows: a line that names the format, the plan as JSON, then one line an event, each with a
//! check. Every line is one `write` to a file opened for appending, so the workers need no lock, and the order of the
//! lines is an order of the events: an acknowledgement is written after it came, the start of a flush before it is
//! sent. A last line that is not whole is what a crash leaves: it did not happen.
//!
//! Beside a block log (QEMU's `blklogwrites`, [`crate::powercut`]) each line also has the log's length at that moment.
//! The log only grows, so an event belongs to each cut of the log at this length or behind it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use thiserror::Error;

use super::content::fold;
use super::plan::{Plan, PlanError};

const FORMAT: &str = "test-blockdevice journal 1";
/// The format whose lines have the length of a block log.
const FORMAT_BESIDE_LOG: &str = "test-blockdevice journal 2";

/// A journal that is being written.
pub struct Journal {
    file: File,
    sync: bool,
    block_log: Option<File>,
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
    /// that may crash itself. Each line keeps the length that the file `block_log` has at that moment.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::AlreadyExists`] when the file is there: it may be wanted still.
    pub fn create(path: &Path, plan: &Plan, sync: bool, block_log: Option<&Path>) -> io::Result<Self> {
        let block_log = block_log.map(File::open).transpose()?;
        let format = if block_log.is_some() { FORMAT_BESIDE_LOG } else { FORMAT };
        let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
        writeln!(file, "{format}\n{}", serde_json::to_string(plan)?)?;
        file.sync_all()?;
        Ok(Self { file, sync, block_log })
    }

    /// Adds an event of `worker`'s operation `op`.
    ///
    /// # Errors
    /// What the file system says; the run must stop then, since nobody would know of what follows.
    pub fn record(&self, event: Event, worker: u32, op: u64) -> io::Result<()> {
        // Asked for after the event: what the event followed is in the log by then.
        let log_length = self.block_log.as_ref().map(|log| log.metadata().map(|found| found.len())).transpose()?;
        let line = Line { event, worker, op, log_length };
        (&self.file).write_all(line.text().as_bytes())?;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}

/// A line of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    event: Event,
    worker: u32,
    op: u64,
    /// The block log's length, in a journal beside one.
    log_length: Option<u64>,
}

impl Line {
    fn text(&self) -> String {
        let letter = LETTERS.iter().find(|(_, known)| *known == self.event).map_or('?', |(letter, _)| *letter);
        let Self { worker, op, .. } = self;
        let check = fold(fold(letter as u64, u64::from(*worker)), *op);
        match self.log_length {
            None => format!("{letter} {worker} {op} {:08x}\n", check >> 32),
            Some(length) => format!("{letter} {worker} {op} {length} {:08x}\n", fold(check, length) >> 32),
        }
    }

    fn parse(text: &str, beside_log: bool) -> Option<Self> {
        let mut fields = text.split(' ');
        let letter = fields.next()?;
        let event = LETTERS.iter().find(|(known, _)| letter.chars().eq([*known]))?.1;
        let (worker, op) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let log_length = if beside_log { Some(fields.next()?.parse().ok()?) } else { None };
        let line = Self { event, worker, op, log_length };
        (line.text().trim_end() == text).then_some(line)
    }
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
    #[error("this is no journal of test-blockdevice: its first line is not '{FORMAT}' or '{FORMAT_BESIDE_LOG}'")]
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
        Ok(Events::read(path)?.record(None))
    }

    fn take(&mut self, starts: &mut [Option<Vec<u64>>], line: &Line, until: u64) {
        let worker = line.worker as usize;
        let happened = line.log_length.is_none_or(|length| length <= until);
        match line.event {
            Event::Acknowledged if happened => self.reached[worker].acknowledged = line.op + 1,
            Event::Acknowledged => {}
            Event::FlushStarts => starts[worker] = Some(self.reached.iter().map(|r| r.acknowledged).collect()),
            Event::Flushed => {
                let start = starts[worker].take().filter(|_| happened);
                for (reached, at_start) in self.reached.iter_mut().zip(start.into_iter().flatten()) {
                    reached.flushed = reached.flushed.max(at_start);
                }
            }
        }
    }
}

/// All events of a journal, of which several records can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// The run's plan.
    pub plan: Plan,
    /// Whether the events have the lengths of a block log.
    pub beside_log: bool,
    lines: Vec<Line>,
}

impl Events {
    /// Reads a journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let mut texts = BufReader::new(File::open(path)?).split(b'\n');
        let beside_log = match texts.next().transpose()? {
            Some(first) if first == FORMAT.as_bytes() => false,
            Some(first) if first == FORMAT_BESIDE_LOG.as_bytes() => true,
            _ => return Err(JournalError::Format),
        };
        let plan: Plan = serde_json::from_slice(&texts.next().transpose()?.unwrap_or_default())?;
        plan.check()?;
        let mut events = Self { plan, beside_log, lines: Vec::new() };
        let mut damaged = None;
        for text in texts {
            let text = text?;
            if let Some(line) = damaged {
                return Err(JournalError::Damaged(line));
            }
            let line = str::from_utf8(&text).ok().and_then(|text| Line::parse(text, beside_log));
            match line.filter(|line| line.worker < plan.workers) {
                Some(line) => events.lines.push(line),
                None => damaged = Some(events.lines.len() as u64 + 3),
            }
        }
        Ok(events)
    }

    /// How far the run came; with `until`, how far it had come for certain when its block log was that many bytes long.
    #[must_use]
    pub fn record(&self, until: Option<u64>) -> Record {
        let reached = vec![Reached::default(); self.plan.workers as usize];
        let mut record = Record { plan: self.plan, lines: self.lines.len() as u64, reached };
        // What was acknowledged when each worker's flush started.
        let mut starts = vec![None; record.reached.len()];
        for line in &self.lines {
            record.take(&mut starts, line, until.unwrap_or(u64::MAX));
        }
        record
    }

    /// The lengths that the block log had when events of this kind were recorded, in their order.
    pub fn log_lengths(&self, event: Event) -> impl Iterator<Item = u64> {
        self.lines.iter().filter(move |line| line.event == event).filter_map(|line| line.log_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(events: &[(Event, u32, u64)], tail: &str) -> Result<Record, JournalError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::create(&path, &Plan::new(1, 512, 100), false, None).unwrap();
        for (event, worker, op) in events {
            journal.record(*event, *worker, *op).unwrap();
        }
        (&journal.file).write_all(tail.as_bytes()).unwrap();
        assert!(Journal::create(&path, &Plan::new(1, 512, 100), false, None).is_err());
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
        let line = Line { event: A, worker: 0, op: 12, log_length: None }.text();
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

    #[test]
    fn beside_a_block_log_each_event_has_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("journal"), folder.path().join("log"));
        let mut grows = File::create(&log).unwrap();
        let journal = Journal::create(&path, &Plan::new(1, 512, 100), false, Some(&log)).unwrap();
        for (number, event) in [(A, 0, 3), (A, 1, 5), (S, 0, 4), (A, 1, 6), (F, 0, 4), (A, 0, 7)].iter().enumerate() {
            assert_eq!(log.metadata().unwrap().len(), number as u64 * 10);
            journal.record(event.0, event.1, event.2).unwrap();
            grows.write_all(&[0; 10]).unwrap();
        }
        let events = Events::read(&path).unwrap();
        assert!(events.beside_log);
        assert_eq!(events.log_lengths(F).collect::<Vec<_>>(), [40]);
        assert_eq!(events.log_lengths(A).collect::<Vec<_>>(), [0, 10, 30, 50]);
        let at = |until| reached(&events.record(until));
        assert_eq!(at(None), [(4, 8), (6, 7)]);
        assert_eq!(at(Some(50)), [(4, 8), (6, 7)]);
        assert_eq!(at(Some(49)), [(4, 4), (6, 7)]);
        assert_eq!(at(Some(39)), [(0, 4), (0, 7)]);
        assert_eq!(at(Some(9)), [(0, 4), (0, 0)]);
    }
}
