//! A connection in memory: bytes in order, after some time, as many on their way as fit.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

use crate::time::now_us;

/// One direction.
struct Half {
    /// When they arrive, in microseconds, and what is left of them.
    chunks: VecDeque<(u64, VecDeque<u8>)>,
    len: usize,
    room: usize,
    delay_us: u64,
    /// The writer is gone.
    ended: bool,
    /// The reader is gone.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Half {
    fn new(room: usize, delay_us: u64) -> Rc<RefCell<Self>> {
        let (reader, writer) = (None, None);
        let half =
            Self { chunks: VecDeque::new(), len: 0, room, delay_us, ended: false, unread: false, reader, writer };
        Rc::new(RefCell::new(half))
    }

    fn poll_read(&mut self, buf: &mut [u8], cx: &mut Context<'_>) -> Poll<Result<usize, ErrorKind>> {
        let Some((at, bytes)) = self.chunks.front_mut() else {
            self.reader = Some(cx.waker().clone());
            return if self.ended || buf.is_empty() { Poll::Ready(Ok(0)) } else { Poll::Pending };
        };
        if *at > now_us() {
            embassy_time_driver::schedule_wake(*at, cx.waker());
            return Poll::Pending;
        }
        let count = buf.len().min(bytes.len());
        for (room, byte) in buf.iter_mut().zip(bytes.drain(..count)) {
            *room = byte;
        }
        if bytes.is_empty() {
            self.chunks.pop_front();
        }
        self.len -= count;
        self.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, buf: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, ErrorKind>> {
        if self.unread {
            return Poll::Ready(Err(ErrorKind::ConnectionReset));
        }
        let count = buf.len().min(self.room - self.len);
        if count == 0 && !buf.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.chunks.push_back((now_us() + self.delay_us, buf[..count].iter().copied().collect()));
        self.len += count;
        self.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }
}

/// One end of a connection; dropping it closes the connection.
pub struct End {
    incoming: Rc<RefCell<Half>>,
    outgoing: Rc<RefCell<Half>>,
}

/// A connection with room for so many bytes on their way in each direction, each of which takes `delay_us`.
pub fn pipe(room: usize, delay_us: u64) -> (End, End) {
    let (there, back) = (Half::new(room, delay_us), Half::new(room, delay_us));
    let other = End { incoming: Rc::clone(&there), outgoing: Rc::clone(&back) };
    (End { incoming: back, outgoing: there }, other)
}

impl ErrorType for End {
    type Error = ErrorKind;
}

impl Read for End {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| self.incoming.borrow_mut().poll_read(buf, cx)).await
    }
}

impl Write for End {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|cx| self.outgoing.borrow_mut().poll_write(buf, cx)).await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.ended = true;
        outgoing.reader.take().into_iter().for_each(Waker::wake);
        let mut incoming = self.incoming.borrow_mut();
        incoming.unread = true;
        incoming.writer.take().into_iter().for_each(Waker::wake);
    }
}
