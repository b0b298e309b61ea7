//! What a connection waits for: room for what it sends, bytes, messages, and the time.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use iesp_iscsi::Outbox;
use iesp_iscsi::connection::OUTBOX_MIN;
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout};

use super::{Driver, End, LOGOUT_LIMIT};
use crate::messages::Message;
use crate::threads::Served;

/// How long a peer may leave what is sent to it unread.
const SEND_LIMIT: Duration = Duration::from_secs(60);

/// How long a connection that has its thread for itself goes on before it looks for others, in nanoseconds.
const GIVE_WAY: u64 = 1_000_000;

/// After so many milliseconds without anything to do a session gives back what others may need.
const IDLE: u64 = 2000;

impl Driver<'_> {
    /// Sends what the socket takes at once. What is left then waits in [`Self::wait`], and the connection goes on meanwhile.
    pub(super) async fn send(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if self.outgoing.is_empty() || self.stalled.is_some() {
            return Ok(());
        }
        self.trace_sending();
        match self.send_at_once(stream).await {
            Poll::Ready(sent) => {
                self.tracer.sent();
                sent
            }
            Poll::Pending => {
                self.stalled = Some(self.clock.now());
                Ok(())
            }
        }
    }

    /// Sends what the socket takes at once; pending where that is not all.
    pub(super) async fn send_at_once(&mut self, stream: &mut TcpStream) -> Poll<io::Result<()>> {
        #[cfg(target_os = "linux")]
        match self.send_alone(stream) {
            Ok(false) => {}
            sent => return Poll::Ready(sent.map(drop)),
        }
        poll_fn(|cx| Poll::Ready(self.outgoing.poll_send(stream, cx))).await
    }

    /// Sends all of it, to a peer that takes it in time.
    pub(super) async fn send_all(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.trace_sending();
        let sent = timeout(SEND_LIMIT, poll_fn(|cx| self.outgoing.poll_send(stream, cx))).await;
        self.tracer.sent();
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Shows what is about to leave, where that is asked for.
    #[inline]
    pub(super) fn trace_sending(&mut self) {
        if self.tracer.is_on() {
            let waiting = &self.outgoing.bytes[..self.outgoing.len];
            self.tracer.sending(self.peer, waiting, self.protocol.digests());
        }
    }

    /// Sends more to a peer that does not take it; whether all has left.
    fn poll_stalled(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(since) = self.stalled else { return Ok(false) };
        self.trace_sending();
        if self.outgoing.poll_send(stream, cx)?.is_pending() {
            let limit = SEND_LIMIT.as_millis() as u64;
            let is_late = self.clock.now().saturating_sub(since) >= limit;
            return if is_late { Err(io::ErrorKind::TimedOut.into()) } else { Ok(false) };
        }
        self.stalled = None;
        self.tracer.sent();
        // What a slow peer reads may take it longer than the silence that is allowed.
        self.protocol.peer_took(self.clock.now());
        Ok(true)
    }

    /// A message, where there may be no room for what it has to send.
    fn receive_without_room(&mut self, message: Message) {
        match message {
            Message::Close(_)
            | Message::Abort { .. }
            | Message::Quiet { .. }
            | Message::Luns { .. }
            | Message::Trace(_)
            | Message::Memory
            | Message::Hurry => self.receive(message),
            Message::Served { .. } => self.deferred.push_back(message),
            Message::Wake { lun } => {
                let same = |other: &Message| matches!(other, Message::Wake { lun: waiting } if *waiting == lun);
                if !self.deferred.iter().any(same) {
                    self.deferred.push_back(message);
                }
            }
            Message::Shutdown(reason) => {
                // The time for a logout runs also for a peer that cannot be asked for it.
                self.end_after(LOGOUT_LIMIT, reason);
                self.deferred.push_back(message);
            }
        }
    }

    /// Waits for messages, the time, room for what is stalled, and bytes (`need` in all) where they can be taken.
    pub(super) async fn wait(
        &mut self,
        stream: &mut TcpStream,
        need: Option<usize>,
        sleep: &mut Pin<Box<Sleep>>,
    ) -> Result<(), End> {
        self.arm(sleep);
        poll_fn(|cx| {
            let mut woken = self.poll_messages(cx);
            match self.poll_stalled(stream, cx) {
                Ok(has_left) => woken |= has_left,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
            if let Some(need) = need {
                match self.poll_input(stream, need, cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(End::Disconnected)),
                    Poll::Ready(Ok(_)) => woken = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => {}
                }
            }
            if sleep.as_mut().poll(cx).is_ready() {
                self.deadline = None;
                return Poll::Ready(self.on_time());
            }
            if woken { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Sees to the messages that are there; whether any was.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        loop {
            if self.outgoing.room() >= self.answer_room() {
                let Some(message) = self.next_message(cx) else { return any };
                self.receive(message);
            } else {
                let Poll::Ready(Some(message)) = self.mailbox.poll_recv(cx) else { return any };
                self.receive_without_room(message);
            }
            any = true;
        }
    }

    /// The turn is over: messages and bytes that are there are seen to, and others on this thread have their turn.
    pub(super) async fn give_way(&mut self, stream: &mut TcpStream, need: Option<usize>) -> Result<(), End> {
        poll_fn(|cx| {
            self.poll_messages(cx);
            match need.map_or(Poll::Pending, |need| self.poll_more_input(stream, need, cx)) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(End::Disconnected)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(_)) | Poll::Pending => Poll::Ready(Ok(())),
            }
        })
        .await?;
        if Served::count() > 1 || self.given_way + GIVE_WAY <= self.round {
            self.given_way = self.round;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn poll_more_input(
        &mut self,
        stream: &mut TcpStream,
        need: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        #[cfg(target_os = "linux")]
        if self.pace.is_blocking() {
            return self.receive_at_once(stream, need);
        }
        self.poll_input(stream, need, cx)
    }

    pub(super) fn next_message(&mut self, cx: &mut Context<'_>) -> Option<Message> {
        if let Some(message) = self.deferred.pop_front() {
            return Some(message);
        }
        match self.mailbox.poll_recv(cx) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        }
    }

    /// Sets the timer, unless it is set to an earlier time anyway: then it is looked at when that has come.
    fn arm(&mut self, sleep: &mut Pin<Box<Sleep>>) {
        let management = self.management.functions.poll_timeout();
        let stalled = self.stalled.map(|since| since + SEND_LIMIT.as_millis() as u64);
        let idle = (!self.is_lean && self.slots.is_empty()).then_some(self.round / 1_000_000 + IDLE);
        let due =
            [self.protocol.poll_timeout(), management, stalled, idle, self.parked_due()].into_iter().flatten().min();
        let Some(due) = due else { return };
        let due = self.clock.instant(due);
        if self.deadline.is_none_or(|deadline| due < deadline) {
            self.deadline = Some(due);
            sleep.as_mut().reset(due);
        }
    }

    fn on_time(&mut self) -> Result<(), End> {
        let now = self.clock.now();
        if !self.is_lean && self.slots.is_empty() && now >= self.round / 1_000_000 + IDLE {
            self.give_back();
        }
        let is_due = self.protocol.poll_timeout().is_some_and(|due| due <= now);
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        if is_due && out.room() < OUTBOX_MIN {
            return Err(End::Closed("the initiator does not take what is sent to it"));
        }
        let result = self.protocol.handle_timeout(now, &mut out);
        self.outgoing.len = out.len();
        self.on_management_time(now);
        self.on_parked_time(now);
        result.map_err(End::from)
    }
}
