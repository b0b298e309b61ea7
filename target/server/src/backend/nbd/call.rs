//! A request on its way, with the buffer that it reads into or writes from.

use std::time::Instant;

use iesp_scsi::{IoError, Outcome};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::protocol::{Command, Request, errors};
use crate::buffers::Buffer;
use crate::pool::Job;

/// Most pieces of a reply that may lie apart from each other while it comes.
const PIECES: usize = 1024;

/// A request, until it is answered. It may be sent again over another connection.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// The payload lies here, one way or the other.
    pub buffer: Buffer,
    /// Where in the buffer.
    pub at: usize,
    /// It is a write of an export that has a FLUSH: the journal is shown it when it was answered.
    pub keep: bool,
    /// When it was made.
    pub born: Instant,
    /// Connections that were lost under it.
    pub losses: u32,
    /// What of the reply has come.
    pub progress: Progress,
    done: Done,
}

/// Who is told what became of a call.
#[derive(Debug)]
enum Done {
    /// A part of some work waits for it.
    Part(oneshot::Sender<Answer>),
    /// It is all that a job asks for.
    Whole(Job),
}

impl Done {
    fn tell(self, answer: Answer) {
        match self {
            // Who no longer waits needs no answer.
            Self::Part(waiting) => drop(waiting.send(answer)),
            Self::Whole(job) => {
                let outcome = answer.result.map_or_else(Outcome::Failed, |_| Outcome::Done);
                Job { buffer: answer.buffer, ..job }.finish(outcome);
            }
        }
    }
}

/// What became of a call.
#[derive(Debug)]
pub struct Answer {
    /// Of BLOCK_STATUS: length in bytes and flags of the first extent.
    pub result: Result<Option<(u64, u32)>, IoError>,
    /// The call's buffer.
    pub buffer: Buffer,
}

/// How far a reply has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// Disjoint ranges of the payload that have come, in order: nearly always one.
    covered: SmallVec<[(u32, u32); 1]>,
    /// The first extent.
    pub extent: Option<(u64, u32)>,
    /// The first error.
    pub error: Option<u32>,
}

impl Progress {
    /// Bytes `from..to` of the payload are coming. False where some of them have come already, or the pieces are too many.
    pub fn cover(&mut self, from: u32, to: u32) -> bool {
        let next = self.covered.partition_point(|range| range.0 < from);
        let before = next.checked_sub(1).and_then(|index| self.covered.get(index)).map(|range| range.1);
        let after = self.covered.get(next).map(|range| range.0);
        if before.is_some_and(|end| end > from) || after.is_some_and(|start| start < to) {
            return false;
        }
        match (before == Some(from), after == Some(to)) {
            (true, true) => {
                let (_, end) = self.covered.remove(next);
                self.covered[next - 1].1 = end;
            }
            (true, false) => self.covered[next - 1].1 = to,
            (false, true) => self.covered[next].0 = from,
            (false, false) if self.covered.len() < PIECES => self.covered.insert(next, (from, to)),
            (false, false) => return false,
        }
        true
    }

    fn is_covered(&self, len: u32) -> bool {
        self.covered[..] == [(0, len)]
    }
}

impl Call {
    /// A request, and where its answer will come. READ and WRITE have `request.len` bytes of the buffer from `at` on.
    pub fn new(request: Request, buffer: Buffer, at: usize, keep: bool) -> (Self, oneshot::Receiver<Answer>) {
        let (done, answer) = oneshot::channel();
        (Self::of(request, buffer, at, keep, Done::Part(done)), answer)
    }

    /// The one request that a job needs; its buffer is the job's.
    pub fn whole(request: Request, mut job: Job, at: usize, keep: bool) -> Self {
        let buffer = std::mem::take(&mut job.buffer);
        Self::of(request, buffer, at, keep, Done::Whole(job))
    }

    fn of(request: Request, buffer: Buffer, at: usize, keep: bool, done: Done) -> Self {
        let call =
            Self { request, buffer, at, keep, born: Instant::now(), losses: 0, progress: Progress::default(), done };
        debug_assert!(call.payload_len() == 0 || call.payload().len() == call.payload_len());
        call
    }

    /// Bytes that go with it or come back.
    fn payload_len(&self) -> usize {
        match self.request.command {
            Command::Read | Command::Write => self.request.len as usize,
            _ => 0,
        }
    }

    /// The bytes that are read or written.
    pub fn payload(&self) -> &[u8] {
        self.buffer.get(self.at..self.at + self.payload_len()).unwrap_or_default()
    }

    /// The same, to be read into.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let len = self.payload_len();
        self.buffer.get_mut(self.at..self.at + len).unwrap_or_default()
    }

    /// The bytes that travel behind the header.
    pub fn outgoing(&self) -> &[u8] {
        if self.request.command == Command::Write { self.payload() } else { &[] }
    }

    /// Whether somebody waits for it.
    pub fn is_wanted(&self) -> bool {
        match &self.done {
            Done::Part(waiting) => !waiting.is_closed(),
            Done::Whole(_) => true,
        }
    }

    /// Whether all of a reply without error has come.
    pub fn is_complete(&self) -> bool {
        match self.request.command {
            Command::Read => self.progress.is_covered(self.request.len),
            Command::BlockStatus => self.progress.extent.is_some(),
            _ => true,
        }
    }

    /// The server's answer has come.
    pub fn answer(self) {
        let result = match self.progress.error {
            Some(error) => Err(failure(error)),
            None => Ok(self.progress.extent),
        };
        self.done.tell(Answer { result, buffer: self.buffer });
    }

    /// There will be no answer of the server's.
    pub fn fail(self, error: IoError) {
        self.done.tell(Answer { result: Err(error), buffer: self.buffer });
    }
}

/// What an error of the server's means to the device server (NBD, "Error values").
const fn failure(error: u32) -> IoError {
    match error {
        errors::EPERM => IoError::ReadOnly,
        errors::EIO => IoError::Medium,
        errors::ENOSPC => IoError::NoSpace,
        errors::ESHUTDOWN => IoError::NotReady,
        _ => IoError::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_any_order_make_a_whole_and_none_comes_twice() {
        let mut progress = Progress::default();
        for (from, to) in [(8, 12), (0, 4), (16, 20), (4, 8), (12, 16)] {
            assert!(!progress.is_covered(20));
            assert!(progress.cover(from, to));
            assert!(!progress.cover(from, to) && !progress.cover(from + 1, to + 1) && !progress.cover(from, to - 1));
        }
        assert!(progress.is_covered(20));
        assert!(!progress.cover(0, 20) && !progress.cover(19, 21));
    }

    #[test]
    fn a_reply_in_too_many_pieces_is_refused() {
        let mut progress = Progress::default();
        assert!((0..PIECES as u32).all(|piece| progress.cover(piece * 2, piece * 2 + 1)));
        assert!(!progress.cover(PIECES as u32 * 2, PIECES as u32 * 2 + 1));
    }
}
