//! The two ends of a TCP stream: bytes that came and were not taken yet, and bytes that wait to leave.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most bytes that one system call fetches where no large unit is on its way: what is behind a large unit's header
/// is fetched up to the unit's end, so that nothing has to be moved afterwards.
const FETCH: usize = 64 << 10;

/// Bytes that came.
#[derive(Debug)]
pub struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Room for units of at most `largest` bytes.
    pub fn new(largest: usize) -> Self {
        Self { bytes: vec![0; largest + FETCH].into_boxed_slice(), start: 0, end: 0 }
    }

    /// One without room, to stand in while the other is worked on.
    pub fn empty() -> Self {
        Self { bytes: Box::default(), start: 0, end: 0 }
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

    /// Fetches more; `need` bytes are wanted in all. Ready with 0 at the end of the stream.
    pub fn poll_fetch(&mut self, stream: &mut TcpStream, need: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let have = self.end - self.start;
        let missing = need.saturating_sub(have);
        if self.start + need.max(have + FETCH.min(self.bytes.len() - need)) > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, have);
        }
        let room = if need > FETCH / 4 { missing } else { FETCH };
        let end = (self.end + room.max(missing)).min(self.bytes.len());
        let mut buffer = ReadBuf::new(&mut self.bytes[self.end..end]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let fetched = buffer.filled().len();
        self.end += fetched;
        Poll::Ready(Ok(fetched))
    }
}

/// Bytes that wait to leave.
#[derive(Debug)]
pub struct Outgoing {
    /// Filled by an outbox up to `len`.
    pub bytes: Box<[u8]>,
    /// Bytes that are filled.
    pub len: usize,
    sent: usize,
}

impl Outgoing {
    /// Room for `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into_boxed_slice(), len: 0, sent: 0 }
    }

    /// Whether nothing waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that are free.
    #[inline]
    pub const fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// Sends all of it.
    pub fn poll_send(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.len {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.sent..self.len]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        (self.len, self.sent) = (0, 0);
        Poll::Ready(Ok(()))
    }
}
