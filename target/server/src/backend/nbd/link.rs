//! One connection to a server: its bytes in both directions, without waiting for one where the other can go on.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::courtesy::Courtesy;
use super::handshake::Export;
use super::lane::{BATCH, Lane};
use super::protocol::{Command, Request};
use super::replies::{Replies, Violation};

/// A TCP or a Unix domain socket, or TLS over one.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Stream for T {}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkEnd {
    /// It was asked to.
    #[error("stopped")]
    Stopped,
    /// All that was in flight was answered, and nothing more is sent. The server is being shut down, where nobody else wanted it.
    #[error("the server is being shut down")]
    Retired,
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// The network says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server did not keep to the protocol.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// Nothing came for too long.
    #[error("the server owes an answer and says nothing")]
    Silent,
    /// The export has another size.
    #[error("the export has another size")]
    Resized,
    /// A flush failed: what it was to cover is written again.
    #[error("a flush failed")]
    FlushFailed,
}

/// Sends the calls of `lane` and takes their replies until the connection ends. What was not answered stays in the lane.
pub async fn drive(mut stream: Box<dyn Stream>, lane: Rc<RefCell<Lane>>, export: Export) -> LinkEnd {
    let (mut replies, mut courtesy) = (Replies::new(&export), Courtesy::default());
    let end = poll_fn(|cx| {
        let mut lane = lane.borrow_mut();
        courtesy.leave_turn(lane.in_flight());
        poll(&mut *stream, &mut lane, &mut replies, cx)
    })
    .await;
    match end {
        Ok(()) | Err(LinkEnd::Retired) => {
            let goodbye = Request { command: Command::Disconnect, flags: 0, offset: 0, len: 0 };
            // A courtesy: the server sees the end of the connection anyway.
            let _ = stream.write_all(&goodbye.emit(0, export.extended)).await;
            let _ = stream.shutdown().await;
            end.err().unwrap_or(LinkEnd::Stopped)
        }
        Err(end) => end,
    }
}

fn poll(
    stream: &mut dyn Stream,
    lane: &mut Lane,
    replies: &mut Replies,
    cx: &mut Context<'_>,
) -> Poll<Result<(), LinkEnd>> {
    lane.register(cx.waker());
    loop {
        if lane.is_stopped() {
            return Poll::Ready(Ok(()));
        }
        if lane.is_retired() {
            return Poll::Ready(Err(LinkEnd::Retired));
        }
        let sent = poll_send(stream, lane, cx)?;
        let received = poll_receive(stream, lane, replies, cx)?;
        if sent.is_pending() && received.is_pending() {
            // TLS may have taken what the socket did not.
            if let Poll::Ready(Err(error)) = Pin::new(&mut *stream).poll_flush(cx) {
                return Poll::Ready(Err(error.into()));
            }
            return Poll::Pending;
        }
    }
}

/// Ready where something was sent.
fn poll_send(stream: &mut dyn Stream, lane: &mut Lane, cx: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
    lane.admit();
    let mut slices = [IoSlice::new(&[]); 2 * BATCH];
    let count = lane.gather(&mut slices);
    if count == 0 {
        return Poll::Pending;
    }
    match Pin::new(stream).poll_write_vectored(cx, &slices[..count]) {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(LinkEnd::Closed)),
        Poll::Ready(Ok(bytes)) => {
            lane.advance(bytes);
            Poll::Ready(Ok(()))
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        Poll::Pending => Poll::Pending,
    }
}

/// Ready where something was received.
fn poll_receive(
    stream: &mut dyn Stream,
    lane: &mut Lane,
    replies: &mut Replies,
    cx: &mut Context<'_>,
) -> Poll<Result<(), LinkEnd>> {
    let mut room = ReadBuf::new(replies.room(lane));
    let result = Pin::new(stream).poll_read(cx, &mut room);
    let bytes = room.filled().len();
    match result {
        Poll::Ready(Ok(())) if bytes == 0 => Poll::Ready(Err(LinkEnd::Closed)),
        Poll::Ready(Ok(())) => {
            lane.hear();
            Poll::Ready(replies.received(bytes, lane).map_err(LinkEnd::from))
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        Poll::Pending => Poll::Pending,
    }
}
