//! One connection: between its socket, the protocol, the device server and the card.
//!
//! A unit is seen to before the next one is looked at; what comes meanwhile waits in the socket. So there is one buffer of each
//! kind, and nothing is under way when tasks are aborted. What overlaps is what the hardware does at the same time: the
//! network sends and receives while the card works.

mod disk;
mod execute;
mod input;
mod management;
mod ranges;
mod slots;

use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;

use embassy_futures::poll_once;
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Read, Write};
use iesp_iscsi::{Close, Connection, Limits, Outbox, Timeouts};
use iesp_scsi::NexusId;
use iesp_session::{Management, Tasks};

use super::Target;
use crate::Clock;
use crate::board::Board;
use crate::card::BLOCK;
use slots::Slot;

/// How long a peer may leave what is sent to it unread, in microseconds.
const SEND_LIMIT_US: u32 = 60_000_000;

/// Most task management functions that wait at a time.
const FUNCTIONS: usize = 4;

/// How long a login waits for the end of the session that it reinstates.
const REINSTATEMENT_US: u32 = 10_000_000;

/// Bytes of a unit that are not data: headers, additional header segments of a reasonable length, digests, padding.
pub const UNIT_OVERHEAD: usize = 128;

/// Incomplete blocks of writes that a connection can hold: for initiators whose units are no whole blocks.
pub type Carries = [[u8; BLOCK]; CARRIES];
const CARRIES: usize = 2;
/// Nothing in them.
pub const NO_CARRIES: Carries = [[0; BLOCK]; CARRIES];

/// Room for the protocol of a connection, which is renewed for each. As it is at the start it is zeros, which a board's flash need not
/// hold: an `Option` takes a pattern that no connection has, and with it all of the memory lies in flash, too.
#[derive(Debug)]
#[repr(u8)]
#[allow(clippy::large_enum_variant, reason = "it is the room")]
pub enum Protocol<const TASKS: usize, const TEXT: usize> {
    /// None was there yet.
    Empty,
    /// That of the connection that is there, or was there last.
    Of(Connection<TASKS, TEXT>),
}

impl<const TASKS: usize, const TEXT: usize> Protocol<TASKS, TEXT> {
    /// Makes it, which takes twice its size of the stack: for a time when there is little else.
    #[inline(never)]
    pub fn prepare(&mut self) {
        *self = Self::Of(Connection::new(Limits::default(), Timeouts::default(), 1, 0));
        if let Self::Of(connection) = self {
            connection.take_units_whole();
        }
    }

    /// For a new connection.
    fn renewed(&mut self, limits: Limits, timeouts: Timeouts, tsih: u16, now: u64) -> &mut Connection<TASKS, TEXT> {
        if matches!(self, Self::Empty) {
            self.prepare();
        }
        match self {
            Self::Of(connection) => {
                connection.renew(limits, timeouts, tsih, now);
                connection
            }
            Self::Empty => unreachable!("it was prepared"),
        }
    }
}

/// The memory of a connection.
#[derive(Debug)]
pub struct Buffers<'m> {
    /// What came: the largest unit that an initiator may send is 128 bytes less, in whole blocks.
    pub inbox: &'m mut [u8],
    /// What is to be sent; at least as large as `inbox`, and as the connection's text and 256 bytes.
    pub outbox: &'m mut [u8],
    /// Small answers: at least 2048 bytes, [`iesp_scsi::REPLY_MAX`] where there is room.
    pub reply: &'m mut [u8],
    /// Blocks to compare or to repeat: at least one.
    pub scratch: &'m mut [u8],
    /// The data of a command that needs them in one piece; what it holds is the longest transfer of a command.
    pub work: &'m mut [u8],
    /// Incomplete blocks of writes.
    pub carries: &'m mut Carries,
}

impl Buffers<'_> {
    /// The same buffers, for one connection.
    pub fn reborrow(&mut self) -> Buffers<'_> {
        Buffers {
            inbox: self.inbox,
            outbox: self.outbox,
            reply: self.reply,
            scratch: self.scratch,
            work: self.work,
            carries: self.carries,
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The initiator logged out.
    LoggedOut,
    /// The peer closed the connection.
    Disconnected,
    /// The protocol says so.
    Protocol(Close),
    /// The target says so.
    Closed(&'static str),
    /// The network failed.
    Network,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoggedOut => f.write_str("logged out"),
            Self::Disconnected => f.write_str("closed by the initiator"),
            Self::Protocol(close) => write!(f, "{close}"),
            Self::Closed(reason) => f.write_str(reason),
            Self::Network => f.write_str("the network failed"),
        }
    }
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Protocol(close)
    }
}

/// A connection and all that belongs to it.
struct Driver<'a, 'm, B: Board, S, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize> {
    target: &'a Target<'m, B, CONNECTIONS>,
    stream: &'a mut S,
    protocol: &'a mut Connection<TASKS, TEXT>,
    local: SocketAddr,
    seat: usize,
    inbox: &'a mut [u8],
    /// What of the inbox is filled.
    start: usize,
    end: usize,
    outbox: &'a mut [u8],
    /// Bytes of the outbox that wait to leave.
    out: usize,
    reply: &'a mut [u8],
    scratch: &'a mut [u8],
    work: &'a mut [u8],
    /// The task whose data lie in the work buffer.
    work_of: Option<iesp_iscsi::TaskId>,
    carries: &'a mut Carries,
    carries_used: [bool; CARRIES],
    slots: Tasks<[Slot; TASKS], TASKS>,
    /// Task management functions that wait.
    management: Management<FUNCTIONS>,
    /// Tasks that wait may have got what they wait for.
    retry: bool,
    /// A session of full feature phase.
    seated: bool,
    /// A login was accepted.
    joined: bool,
    counted: iesp_iscsi::connection::Statistics,
}

impl<'m, B: Board, const CONNECTIONS: usize> Target<'m, B, CONNECTIONS> {
    /// Serves a connection that came to the address `local` until it ends. `seat` is its number among the
    /// connections of this target; no other has the same at the same time.
    pub async fn serve<S: Read + Write, const TASKS: usize, const TEXT: usize>(
        &self,
        seat: usize,
        local: SocketAddr,
        stream: &mut S,
        protocol: &mut Protocol<TASKS, TEXT>,
        buffers: Buffers<'_>,
    ) -> End {
        let Buffers { inbox, outbox, reply, scratch, work, carries } = buffers;
        let segment = inbox.len().saturating_sub(UNIT_OVERHEAD) / BLOCK * BLOCK;
        let fits = segment >= BLOCK
            && outbox.len() >= inbox.len().max(Connection::<TASKS, TEXT>::OUTBOX_MIN)
            && inbox.len() >= TEXT + UNIT_OVERHEAD
            && scratch.len() >= BLOCK
            && work.len() >= 2 * BLOCK
            && seat < CONNECTIONS;
        if !fits {
            return End::Closed("the connection's buffers are too small");
        }
        let protocol = protocol.renewed(Self::limits(segment), Self::timeouts(), self.next_tsih(), self.now_ms());
        let mut driver = Driver {
            target: self,
            stream,
            protocol,
            local,
            seat,
            inbox,
            start: 0,
            end: 0,
            outbox,
            out: 0,
            reply,
            scratch,
            work,
            work_of: None,
            carries,
            carries_used: [false; CARRIES],
            slots: Tasks::new([Slot::VACANT; TASKS]),
            management: Management::default(),
            retry: false,
            seated: false,
            joined: false,
            counted: iesp_iscsi::connection::Statistics::default(),
        };
        let end = match driver.run().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        driver.finish(end).await;
        end
    }
}

impl<B: Board, S: Read + Write, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize>
    Driver<'_, '_, B, S, CONNECTIONS, TASKS, TEXT>
{
    async fn run(&mut self) -> Result<core::convert::Infallible, End> {
        loop {
            self.read_mail()?;
            if !self.management.is_empty() {
                self.answer_functions().await?;
            }
            if core::mem::take(&mut self.retry) {
                self.retry_waiting().await?;
                continue;
            }
            if let Some(need) = self.take_unit().await? {
                self.send().await?;
                self.wait(need).await?;
            }
        }
    }

    /// The outgoing bytes, as an outbox; its length is to be put back by [`Self::filled`].
    fn outbox(&mut self) -> Outbox<'_> {
        Outbox::new(self.outbox, self.out)
    }

    /// Does something to the outbox.
    fn put<T>(&mut self, put: impl FnOnce(&mut Connection<TASKS, TEXT>, &mut Outbox<'_>) -> T) -> T {
        let mut out = Outbox::new(self.outbox, self.out);
        let value = put(self.protocol, &mut out);
        self.out = out.len();
        value
    }

    /// Sends first where fewer than `len` bytes of the outbox are free.
    async fn make_room(&mut self, len: usize) -> Result<(), End> {
        if self.outbox().room() < len { self.send().await } else { Ok(()) }
    }

    /// Sends what waits.
    async fn send(&mut self) -> Result<(), End> {
        self.publish();
        let mut sent = 0;
        while sent < self.out {
            let bytes = self.outbox.get(sent..self.out).unwrap_or_default();
            match poll_once(self.stream.write(bytes)) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::Network),
                Poll::Ready(Ok(count)) => {
                    sent += count;
                    continue;
                }
                Poll::Pending => self.leave_lines(),
            }
            let bytes = self.outbox.get(sent..self.out).unwrap_or_default();
            let (target, seat) = (self.target, self.seat);
            // Only an order to close is seen to here: others wait for the peer, but not for ever.
            let closed = poll_fn(|cx| match target.seats.poll_mail(seat, cx) {
                Poll::Ready(()) if target.seats.mail(seat).close.is_some() => Poll::Ready(()),
                _ => Poll::Pending,
            });
            match select3(self.stream.write(bytes), closed, target.clock.sleep_us(SEND_LIMIT_US)).await {
                Either3::First(Ok(0) | Err(_)) => return Err(End::Network),
                Either3::First(Ok(count)) => sent += count,
                Either3::Second(()) => return Err(self.closing()),
                Either3::Third(()) => return Err(End::Closed("the initiator does not take what is sent to it")),
            }
        }
        self.target.count(|counters| counters.sent += sent as u64);
        self.out = 0;
        // No flush: for a socket that means to wait until the peer has acknowledged all of it.
        Ok(())
    }

    fn closing(&self) -> End {
        End::Closed(self.target.seats.mail(self.seat).close.unwrap_or("the target closes the connection"))
    }

    /// Waits for bytes (`need` in all), mail or the time, whichever comes first.
    async fn wait(&mut self, need: usize) -> Result<(), End> {
        if need > self.inbox.len() {
            return Err(End::Closed("a unit larger than there is room for"));
        }
        if self.start + need > self.inbox.len() || self.start == self.end {
            self.inbox.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = self.inbox.get_mut(self.end..).unwrap_or_default();
        let (target, seat) = (self.target, self.seat);
        let now = target.now_ms();
        let due = [self.protocol.poll_timeout(), self.management.poll_timeout()].into_iter().flatten().min();
        let due = due.map_or(60_000, |due| due.saturating_sub(now).min(60_000));
        let mail = poll_fn(|cx| target.seats.poll_mail(seat, cx));
        let timer = target.clock.sleep_us(due as u32 * 1000);
        match select3(self.stream.read(room), mail, timer).await {
            Either3::First(Ok(0)) => Err(End::Disconnected),
            Either3::First(Ok(count)) => {
                self.end += count;
                self.target.count(|counters| counters.received += count as u64);
                Ok(())
            }
            Either3::First(Err(_)) => Err(End::Network),
            Either3::Second(()) => Ok(()),
            Either3::Third(()) => {
                let now = target.now_ms();
                self.put(|protocol, out| protocol.handle_timeout(now, out))?;
                self.send().await
            }
        }
    }

    /// The session that this login reinstates ends first (RFC 7143 6.3.5); the login's last response waits for that.
    async fn join(&mut self) -> Result<(), End> {
        self.joined = true;
        self.target.count(|counters| counters.logins += 1);
        let target = self.target;
        let Some(established) = self.protocol.established() else {
            return Err(End::Closed("the login has no initiator"));
        };
        if established.target.is_none() {
            return Ok(());
        }
        if let Some(old) = target.seats.find(established.initiator, established.isid) {
            target.seats.tell_one(old, |mail| mail.close = Some("the initiator logged in again"));
            let gone = target.seats.settled(self.seat, |mail| mail.close.is_some());
            if let Either::Second(()) = select(gone, target.clock.sleep_us(REINSTATEMENT_US)).await {
                return Err(End::Closed("the session that is to be reinstated does not end"));
            }
        }
        target.seats.take(self.seat, established.initiator, established.isid);
        self.seated = true;
        for lun in &target.luns {
            lun.unit.nexus_established(self.nexus());
        }
        Ok(())
    }

    const fn nexus(&self) -> NexusId {
        NexusId(self.seat as u16)
    }

    /// What the protocol counted goes to the target's counters.
    fn publish(&mut self) {
        let now = *self.protocol.statistics();
        let before = core::mem::replace(&mut self.counted, now);
        self.target.count(|counters| {
            counters.units += now.units - before.units;
            counters.digest_errors += (now.digest_errors - before.digest_errors) as u32;
            counters.format_errors += (now.format_errors - before.format_errors) as u32;
        });
    }

    /// Nothing of this connection may touch the disks when its session is gone.
    async fn finish(&mut self, end: End) {
        self.abort_set(None, false);
        if let End::Protocol(_) = end {
            // The last word says why; a peer that does not take it goes without.
            let _ = self.send().await;
        }
        self.publish();
        if core::mem::take(&mut self.seated) {
            for lun in &self.target.luns {
                lun.unit.nexus_lost(self.nexus());
            }
            self.target.seats.leave(self.seat);
        }
        if self.joined {
            self.target.count(|counters| match end {
                End::LoggedOut => counters.logouts += 1,
                _ => counters.failures += 1,
            });
        }
    }
}
