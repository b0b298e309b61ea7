//! Writes that the server has answered and no flush has covered. A server that ends may forget them, and nothing tells
//! whether it did: they are written again over the next connection, before anything else.

use std::collections::VecDeque;

use super::call::Call;
use super::protocol::{Command, Request, request_flags};

/// Most bytes that are kept; then writes wait for a flush.
const MOST: usize = 64 << 20;

/// What an entry takes besides its data.
const ENTRY: usize = 64;

/// The kept writes, the oldest first.
#[derive(Debug, Default)]
pub struct Journal {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// Entries that were dropped, ever: the number of the first one that is kept.
    dropped: u64,
    /// Of a failed flush: it has to be answered before another one counts.
    epoch: u64,
    /// Some were given up.
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
    /// A write was answered. One with FUA is durable, and kept only where older ones are: these may lie under it, and must not
    /// come over it when they are repeated.
    pub fn keep(&mut self, call: &Call) {
        if self.kept.is_empty() && call.request.flags & request_flags::FUA != 0 {
            return;
        }
        let data: Box<[u8]> =
            if call.request.command == Command::Write { call.payload().into() } else { Box::default() };
        self.bytes += data.len() + ENTRY;
        let request = Request { flags: call.request.flags & !request_flags::FUA, ..call.request };
        self.kept.push_back(Kept { request, data });
    }

    /// What a flush that is sent now will cover.
    pub fn mark(&self) -> Mark {
        Mark { end: self.dropped + self.kept.len() as u64, epoch: self.epoch }
    }

    /// A flush succeeded. False where another one has failed since it was sent: what that one lost it does not cover.
    pub fn flushed(&mut self, mark: Mark) -> bool {
        if mark.epoch != self.epoch {
            return false;
        }
        while self.dropped < mark.end {
            let Some(kept) = self.kept.pop_front() else { break };
            self.bytes -= kept.data.len() + ENTRY;
            self.dropped += 1;
        }
        true
    }

    /// A flush failed: the server may have dropped what it could not write.
    pub fn flush_failed(&mut self) {
        self.epoch += 1;
    }

    /// Gives everything up: others may have written there meanwhile. True where there was something.
    pub fn give_up(&mut self) -> bool {
        let some = !self.kept.is_empty();
        self.lost |= some;
        self.dropped += self.kept.len() as u64;
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

    /// Whether writes were given up: then no flush may say that all is well.
    pub const fn is_lost(&self) -> bool {
        self.lost
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
    fn what_was_given_up_is_not_forgotten() {
        let mut journal = Journal::default();
        assert!(!journal.give_up() && !journal.is_lost());
        write(&mut journal, 0, 512);
        assert!(journal.give_up() && journal.is_lost());
        assert!(!journal.give_up() && journal.is_lost());
    }
}
