//! Waiting in the receive call itself, where a thread serves one connection and its requests come quickly: without the
//! poll before it a small command with nothing else in flight costs about a tenth less CPU time.
//!
//! While it waits so, nothing else runs on the thread, so it does that only while there is nothing that another could bring it,
//! for [`LONGEST`] at most, and gives its turn to the thread's other work once a millisecond.

use std::io;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::{Driver, End, input, tasks};
use crate::threads::Served;

/// The longest wait in a receive call: how much later than without it a message from another thread, or a new connection, may be seen.
/// The kernel rounds it up to its tick.
pub const LONGEST: Duration = Duration::from_millis(4);

/// So many requests in a row came quickly before it begins.
const BRISK: u32 = 32;

/// Quickly: so many milliseconds after the one before, as the program's clock counts them.
const QUICKLY: u64 = 1;

/// Whether a connection's requests come quickly, and in which way its socket waits.
#[derive(Debug, Default)]
pub struct Pace {
    last: u64,
    brisk: u32,
    /// The socket blocks: every other call to it must not.
    blocking: bool,
    /// When others on this thread had their turn, in milliseconds.
    turn: u64,
}

impl Pace {
    /// A round of work begins.
    #[inline]
    pub fn round(&mut self, now: u64) {
        self.brisk = if now - self.last <= QUICKLY { self.brisk.saturating_add(1) } else { 0 };
        self.last = now;
    }

    /// Whether the next request can be waited for here. `due`: when the connection has to do something by itself.
    #[inline]
    fn is_alone(&self, due: Option<u64>) -> bool {
        let longest = LONGEST.as_millis() as u64 + 1;
        self.brisk >= BRISK && Served::count() == 1 && due.is_none_or(|due| due > self.last + longest)
    }

    /// Whether it is another's turn on this thread; it had it once this was said.
    #[inline]
    fn is_anothers_turn(&mut self) -> bool {
        std::mem::replace(&mut self.turn, self.last) != self.last
    }

    /// Whether the connection has the thread for itself, so that it may wait in calls.
    #[inline]
    pub const fn is_blocking(&self) -> bool {
        self.blocking
    }

    fn enter(&mut self, stream: &TcpStream) -> io::Result<()> {
        if !self.blocking {
            let socket = SockRef::from(stream);
            socket.set_read_timeout(Some(LONGEST))?;
            socket.set_nonblocking(false)?;
            self.blocking = true;
        }
        Ok(())
    }

    /// The socket is waited for as always from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn leave(&mut self, stream: &TcpStream) -> io::Result<()> {
        if self.blocking {
            SockRef::from(stream).set_nonblocking(true)?;
            self.blocking = false;
            self.brisk = 0;
        }
        Ok(())
    }
}

impl Driver<'_> {
    /// Waits for bytes in the receive call itself where that keeps nobody waiting; whether any came. Where none did, the
    /// socket is as it always is.
    ///
    /// # Errors
    /// The connection's end.
    pub(super) async fn wait_alone(&mut self, stream: &mut TcpStream, need: usize) -> Result<bool, End> {
        if self.pace.is_alone(self.protocol.poll_timeout()) {
            if self.pace.is_anothers_turn() {
                tokio::task::yield_now().await;
            }
            if !self.depends_on_others() {
                self.pace.enter(stream)?;
                let (next, flight) = (self.protocol.next_stat_sn(), self.protocol.unacknowledged());
                self.waiting.before(stream, self.clock, next, flight);
                let room = input::destination(&mut self.placing, &mut self.inbox, need);
                match rustix::net::recv(&*stream, room, RecvFlags::empty()) {
                    Ok((0, _)) => return Err(End::Disconnected),
                    Ok((_, count)) => {
                        self.came(count);
                        self.company.came(count);
                        return Ok(true);
                    }
                    // The time is over, or a signal came: the other wait goes on.
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(io::Error::from(error).into()),
                }
            }
        }
        self.waiting.pause();
        self.pace.leave(stream)?;
        Ok(false)
    }

    /// Sends all that can be sent at once where the socket blocks; whether that was all. Where it was not, the socket is as
    /// it always is.
    ///
    /// # Errors
    /// The network's.
    pub(super) fn send_alone(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while self.pace.blocking {
            match rustix::net::send(stream, self.outgoing.unsent(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.outgoing.sent(count);
                    if self.outgoing.is_empty() {
                        self.company.left(self.protocol.next_stat_sn());
                        return Ok(true);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.pace.leave(stream)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Takes what has come, where the socket blocks.
    pub(super) fn receive_at_once(&mut self, stream: &TcpStream, need: usize) -> Poll<io::Result<usize>> {
        let room = input::destination(&mut self.placing, &mut self.inbox, need);
        match rustix::net::recv(stream, room, RecvFlags::DONTWAIT) {
            Ok((_, count)) => {
                self.came(count);
                Poll::Ready(Ok(count))
            }
            Err(Errno::AGAIN | Errno::INTR) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Whether something else than bytes could bring this connection on.
    pub(super) fn depends_on_others(&self) -> bool {
        let waits = || tasks::any_in_flight(&self.slots) || self.slots.is_any_in_line() || self.logging_out;
        let stays = self.stalled.is_some() || !self.resting.is_empty() || !self.parked.is_empty();
        stays
            || !self.mailbox.is_empty()
            || !self.management.is_empty()
            || !self.deferred.is_empty()
            || !self.slots.is_empty() && waits()
    }
}
