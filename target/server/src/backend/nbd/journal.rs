//! Writes that the server has answered and no flush has covered. A server that ends may forget them, and nothing tells
//! whether it did.
//!
//! An exclusive export's are kept and written again over the next connection, before anything else. A shared export's are
//! only counted: another client may have written over them since, so that with the connection they are lost.

use std::collections::VecDeque;

use super::call::Call;
use super::protocol::{Command, Request, request_flags};

/// Most bytes that are kept; then writes wait for a flush.
const MOST: usize = 64 << 20;

/// What an entry takes besides its data.
const ENTRY: usize = 64;

/// The writes that wait for a flush.
#[derive(Debug, Default)]
pub struct Journal {
    /// Other clients write to the export, too.
    shared: bool,
    /// An exclusive export's writes, the oldest first.
    kept: VecDeque<Kept>,
    bytes: usize,
    /// Writes that were answered, ever.
    answered: u64,
    /// The first of these that no flush has covered.
    covered: u64,
    /// Flushes that failed: one that was sent before such a failure covers nothing.
    epoch: u64,
    /// Some were given up, and nobody has looked into that since: nothing is kept.
    lost: bool,
}

/// A write that may have to be repeated.
#[derive(Debug, Clone)]
pub struct Kept {
    /// WRITE or WRITE_ZEROES.
    pub request: Request,
    /// Of a WRITE.
    pub data: Box<[u8]>,
}

/// What a flush covers when it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    end: u64,
    epoch: u64,
}

impl Journal {
    /// Of an export to which others write, too, or nobody else.
    pub fn new(shared: bool) -> Self {
        Self { shared, ..Self::default() }
    }

    /// Whether other clients write to the export, too.
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// Takes a write that was answered. One with FUA is durable, and kept only where older ones are: these may lie under it,
    /// and must not come over it when they are repeated.
    pub fn keep(&mut self, call: &Call) {
        let durable = call.request.flags & request_flags::FUA != 0;
        if durable && (self.shared || self.kept.is_empty()) {
            return;
        }
        self.answered += 1;
        if self.shared || self.lost {
            return;
        }
        let data: Box<[u8]> =
            if call.request.command == Command::Write { call.payload().into() } else { Box::default() };
        self.bytes += data.len() + ENTRY;
        let request = Request { flags: call.request.flags & !request_flags::FUA, ..call.request };
        self.kept.push_back(Kept { request, data });
    }

    /// What a flush that is sent now will cover.
    pub const fn mark(&self) -> Mark {
        Mark { end: self.answered, epoch: self.epoch }
    }

    /// A flush succeeded. False where another one has failed since it was sent: what that one lost it does not cover.
    pub fn flushed(&mut self, mark: Mark) -> bool {
        if mark.epoch != self.epoch {
            return false;
        }
        // Those that are kept are the last ones.
        let first = self.answered - self.kept.len() as u64;
        let count = mark.end.saturating_sub(first) as usize;
        self.bytes -= self.kept.drain(..count).map(|kept| kept.data.len() + ENTRY).sum::<usize>();
        self.covered = self.covered.max(mark.end);
        true
    }

    /// A flush failed: the server may have dropped what it could not write.
    pub const fn flush_failed(&mut self) {
        self.epoch += 1;
    }

    /// Gives up what waits for a flush: others may have written there meanwhile. True where there was something.
    pub fn give_up(&mut self) -> bool {
        let some = self.covered < self.answered;
        self.lost |= some;
        self.covered = self.answered;
        self.kept.clear();
        self.bytes = 0;
        some
    }

    /// The export ends at `len` bytes: nothing behind that can be written again.
    pub fn cut(&mut self, len: u64) {
        for kept in &mut self.kept {
            let left = len.saturating_sub(kept.request.offset).min(kept.request.len.into()) as u32;
            if left < kept.request.len {
                kept.request.len = left;
                let data = std::mem::take(&mut kept.data).into_vec();
                self.bytes -= data.len();
                kept.data = data.into_iter().take(left as usize).collect();
                self.bytes += kept.data.len();
            }
        }
    }

    /// Somebody has looked into what was given up.
    pub const fn restore(&mut self) {
        self.lost = false;
    }

    /// Writes must wait.
    pub const fn is_full(&self) -> bool {
        self.bytes >= MOST
    }

    /// A flush is due.
    pub const fn is_half_full(&self) -> bool {
        self.bytes >= MOST / 2
    }

    /// From the entry `from` on, as many as may be written at the same time: at most `most`, none over another.
    pub fn batch(&self, from: usize, most: usize) -> &[Kept] {
        let rest = self.kept.as_slices();
        let rest =
            if from < rest.0.len() { &rest.0[from..] } else { rest.1.get(from - rest.0.len()..).unwrap_or_default() };
        let mut count = 0;
        while count < most.min(rest.len()) && !rest[..count].iter().any(|other| other.overlaps(&rest[count])) {
            count += 1;
        }
        &rest[..count]
    }
}

impl Kept {
    fn overlaps(&self, other: &Self) -> bool {
        let end = |request: &Request| request.offset + u64::from(request.len);
        self.request.offset < end(&other.request) && other.request.offset < end(&self.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(journal: &mut Journal, offset: u64, len: u32) {
        write_with(journal, 0, offset, len);
    }

    fn write_with(journal: &mut Journal, flags: u16, offset: u64, len: u32) {
        let request = Request { command: Command::Write, flags, offset, len };
        journal.keep(&Call::new(request, crate::buffers::Buffer::of(&vec![1; len as usize]), 0, true).0);
    }

    #[test]
    fn a_flush_covers_what_was_answered_before_it_was_sent() {
        let mut journal = Journal::default();
        write(&mut journal, 0, 512);
        let mark = journal.mark();
        write(&mut journal, 512, 512);
        assert!(journal.flushed(mark));
        assert_eq!(journal.batch(0, 9)[0].request.offset, 512);
        assert!(journal.flushed(mark), "an older flush takes nothing away");
        assert_eq!((journal.batch(0, 9).len(), journal.bytes), (1, 512 + ENTRY));
        assert!(journal.flushed(journal.mark()));
        assert_eq!((journal.batch(0, 9).len(), journal.bytes), (0, 0));
    }

    #[test]
    fn a_flush_beside_one_that_failed_covers_nothing() {
        let mut journal = Journal::default();
        write(&mut journal, 0, 512);
        let mark = journal.mark();
        journal.flush_failed();
        assert!(!journal.flushed(mark));
        assert_eq!(journal.batch(0, 9).len(), 1);
    }

    #[test]
    fn what_lies_over_another_is_written_after_it() {
        let mut journal = Journal::default();
        for offset in [0, 4096, 8192, 4608, 0, 512] {
            write(&mut journal, offset, 4096);
        }
        assert_eq!(journal.batch(0, 9).len(), 3);
        assert_eq!(journal.batch(0, 2).len(), 2);
        assert_eq!(journal.batch(3, 9).len(), 2, "512 to 4608 lies over 0 to 4096");
        assert_eq!((journal.batch(5, 9).len(), journal.batch(6, 9).len()), (1, 0));
    }

    #[test]
    fn a_durable_write_is_kept_where_an_older_one_may_lie_under_it() {
        let mut journal = Journal::default();
        write_with(&mut journal, request_flags::FUA, 0, 512);
        assert!(journal.batch(0, 9).is_empty());
        write(&mut journal, 0, 512);
        write_with(&mut journal, request_flags::FUA, 0, 512);
        assert_eq!((journal.batch(0, 9).len(), journal.batch(1, 9)[0].request.flags), (1, 0));
    }

    #[test]
    fn nothing_is_kept_behind_the_end() {
        let mut journal = Journal::default();
        for offset in [0, 4096, 8192] {
            write(&mut journal, offset, 4096);
        }
        let mark = journal.mark();
        write(&mut journal, 0, 512);
        journal.cut(6144);
        let lens: Vec<_> = journal.kept.iter().map(|kept| (kept.request.len, kept.data.len())).collect();
        assert_eq!(lens, [(4096, 4096), (2048, 2048), (0, 0), (512, 512)]);
        assert!(journal.flushed(mark));
        assert_eq!((journal.kept.len(), journal.bytes), (1, 512 + ENTRY), "a flush covers what it covered");
    }

    #[test]
    fn a_shared_export_s_writes_are_counted_and_never_repeated() {
        let mut journal = Journal::new(true);
        write_with(&mut journal, request_flags::FUA, 0, 512);
        assert!(!journal.give_up(), "a durable write waits for no flush");
        write(&mut journal, 0, 512);
        let mark = journal.mark();
        write(&mut journal, 512, 512);
        assert!(journal.batch(0, 9).is_empty() && journal.bytes == 0);
        assert!(journal.flushed(mark));
        assert!(journal.give_up(), "the second write was not covered");
        let mut journal = Journal::new(true);
        write(&mut journal, 0, 512);
        assert!(journal.flushed(journal.mark()));
        assert!(!journal.give_up(), "a flush has covered it");
    }

    #[test]
    fn nothing_is_kept_after_something_was_given_up() {
        let mut journal = Journal::default();
        assert!(!journal.give_up());
        write(&mut journal, 0, 512);
        assert!(journal.give_up());
        assert!(!journal.give_up());
        write(&mut journal, 0, 512);
        assert!(journal.batch(0, 9).is_empty() && journal.bytes == 0);
        journal.restore();
        write(&mut journal, 0, 512);
        assert_eq!(journal.batch(0, 9).len(), 1);
        assert!(journal.flushed(journal.mark()) && !journal.give_up());
    }
}
