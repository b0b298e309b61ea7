//! The two ends of a TCP stream: bytes that came and were not taken yet, and bytes that wait to leave.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::buffers::Buffer;

/// What one system call may fetch, beside what is there: many small units, or several large ones. Calls and wake-ups cost
/// more than the caches that a larger buffer misses.
const FETCH: usize = 2 << 20;

/// Bytes that came.
#[derive(Debug)]
pub struct Inbox {
    bytes: Buffer,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Room for the PDUs of a login, which are at most `largest` bytes long.
    pub fn for_login(largest: usize) -> Option<Self> {
        Some(Self { bytes: Buffer::try_new(largest)?, start: 0, end: 0 })
    }

    /// Room for PDUs of at most `largest` bytes, with what has come already. False where there is no memory.
    #[must_use]
    pub fn grow(&mut self, largest: usize) -> bool {
        let Some(mut bytes) = Buffer::try_new(largest + FETCH) else { return false };
        let len = self.pending().len();
        bytes[..len].copy_from_slice(self.pending());
        *self = Self { bytes, start: 0, end: len };
        true
    }

    /// One without room, to stand in while the other is worked on.
    pub fn empty() -> Self {
        Self { bytes: Buffer::default(), start: 0, end: 0 }
    }

    /// What was not taken yet.
    #[inline]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// `count` bytes were taken.
    #[inline]
    pub fn take(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where more is received to; `need` bytes are wanted in all.
    pub fn room(&mut self, need: usize) -> &mut [u8] {
        // A unit that reaches beyond the end of the room is moved to its front: seldom, as the room is mostly emptied first.
        if self.start + need > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes were received into that room.
    #[inline]
    pub fn came(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.bytes.len());
    }
}

/// Bytes that wait to leave.
#[derive(Debug)]
pub struct Outgoing {
    /// Filled by an outbox up to `len`.
    pub bytes: Buffer,
    /// Bytes that are filled.
    pub len: usize,
    sent: usize,
}

impl Outgoing {
    /// Room for `capacity` bytes.
    pub fn new(capacity: usize) -> Option<Self> {
        Some(Self { bytes: Buffer::try_new(capacity)?, len: 0, sent: 0 })
    }

    /// Room for `capacity` bytes, with what waits already. False where there is no memory.
    #[must_use]
    pub fn grow(&mut self, capacity: usize) -> bool {
        let Some(mut bytes) = Buffer::try_new(capacity) else { return false };
        let len = self.unsent().len();
        bytes[..len].copy_from_slice(self.unsent());
        *self = Self { bytes, len, sent: 0 };
        true
    }

    /// Whether nothing waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that are free.
    #[inline]
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// What was not sent yet.
    #[inline]
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..self.len]
    }

    /// So many bytes of that were sent.
    #[inline]
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        debug_assert!(self.sent <= self.len);
        if self.sent == self.len {
            (self.len, self.sent) = (0, 0);
        }
    }

    /// Sends all of it.
    pub fn poll_send(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, self.unsent()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent(count);
        }
        Poll::Ready(Ok(()))
    }
}
