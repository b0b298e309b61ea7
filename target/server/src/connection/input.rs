//! From bytes to events, and who handles them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use iesp_iscsi::{Collect, CommandFault, Event, Outbox, Received, TaskId};
use iesp_session::{NoRoom, Turn};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::socket::Inbox;
use super::tasks::State;
use super::{Driver, End, Next};
use crate::buffers::Buffer;
use crate::node::Door;

/// A Data-Out unit that is received in place.
#[derive(Debug)]
pub struct Placing {
    /// `None`: it was aborted.
    task: Option<TaskId>,
    /// The task's buffer.
    buffer: Buffer,
    /// Where the unit's data begin and end in it.
    start: usize,
    end: usize,
    /// Bytes that came.
    filled: usize,
}

impl Placing {
    /// Which task it is for.
    pub const fn task(&self) -> Option<TaskId> {
        self.task
    }

    /// Its task has ended: what comes is received to be dropped.
    pub const fn disown(&mut self) {
        self.task = None;
    }

    /// The task's buffer.
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// Whether more of its bytes are to come.
    const fn is_open(&self) -> bool {
        self.start + self.filled < self.end
    }

    fn rest(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start + self.filled..self.end]
    }
}

/// Where the next bytes are received to: the buffer of the task whose unit is being placed, else the inbox.
pub(super) fn destination<'b>(placing: &'b mut Option<Placing>, inbox: &'b mut Inbox, need: usize) -> &'b mut [u8] {
    match placing {
        Some(placing) if placing.is_open() => placing.rest(),
        _ => inbox.room(need),
    }
}

impl Driver<'_> {
    /// Does all that can be done at once.
    pub(super) fn advance(&mut self) -> Result<Next, End> {
        self.round = self.clock.nanos();
        let now = self.round / 1_000_000;
        self.turn = Turn::begin(self.round);
        #[cfg(target_os = "linux")]
        self.pace.round(now);
        let mut inbox = std::mem::replace(&mut self.inbox, Inbox::empty());
        let next = self.consume(&mut inbox, now);
        // Before the answers leave: what an initiator has seen is counted.
        self.entry.counters().publish(self.protocol.statistics());
        if !self.ended.is_empty() {
            self.ended.record(self.clock.nanos(), self.entry.counters().latencies());
        }
        self.inbox = inbox;
        next
    }

    /// RFC 7143 11.14: "the target MUST terminate all pending commands". The answer waits until they are quiet.
    fn begin_logout(&mut self) {
        self.logging_out = true;
        self.abort_all();
    }

    /// Receives into the task's buffer where a unit is being placed, else into the inbox.
    pub(super) fn poll_input(
        &mut self,
        stream: &mut TcpStream,
        need: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(destination(&mut self.placing, &mut self.inbox, need));
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        self.came(count);
        Poll::Ready(Ok(count))
    }

    /// So many bytes were received.
    pub(super) fn came(&mut self, count: usize) {
        match &mut self.placing {
            Some(placing) if placing.is_open() => placing.filled += count,
            _ => self.inbox.came(count),
        }
    }

    fn consume(&mut self, inbox: &mut Inbox, now: u64) -> Result<Next, End> {
        if !self.parked.is_empty() {
            self.retry_parked();
        }
        loop {
            if self.outgoing.room() < self.answer_room() {
                return Ok(Next::Send);
            }
            if self.logging_out || self.ending.is_some() {
                return Ok(Next::Wait(1));
            }
            if self.turn.is_over() {
                self.pump_reads();
                self.rested();
                return Ok(Next::More(None));
            }
            if self.placing.is_some() {
                match self.finish_placing(inbox)? {
                    Some(need) => return Ok(self.next_or_reads(need)),
                    None => continue,
                }
            }
            if let Some(unit) = self.early.turn(self.protocol.expected_cmd_sn()) {
                // It is whole, and there is room for its answer.
                self.take_unit(&unit, now, true)?;
                self.check_management();
                continue;
            }
            let pending = inbox.pending();
            let (consumed, joined) = match self.take_unit(pending, now, false)? {
                Taken::Unit { consumed, joined } => (consumed, joined),
                Taken::Full => return Ok(Next::Send),
                Taken::Incomplete { need } => return Ok(self.next_or_reads(need)),
            };
            inbox.take(consumed);
            let clock = self.clock;
            self.turn.took_pdu(|| clock.nanos());
            if !self.protocol.is_full_feature() {
                self.turn.end();
            }
            self.check_management();
            if let Some(placing) = &mut self.placing {
                let here = placing.rest().len().min(inbox.pending().len());
                placing.rest()[..here].copy_from_slice(&inbox.pending()[..here]);
                placing.filled += here;
                inbox.take(here);
            }
            if joined {
                return Ok(Next::Join);
            }
        }
    }

    /// No more PDUs are here: reads have their turn, and what is left of tasks that rest.
    fn next_or_reads(&mut self, need: usize) -> Next {
        self.rested();
        match self.pump_reads() {
            // A peer that takes nothing may still have something to say.
            is_done if self.resting.is_empty() && (is_done || self.stalled.is_some()) => Next::Wait(need),
            _ => Next::More(Some(need)),
        }
    }

    /// The unit at the front of `bytes`, which may have been kept since it came.
    fn take_unit(&mut self, bytes: &[u8], now: u64, was_kept: bool) -> Result<Taken, End> {
        let digests = self.protocol.digests();
        let before = self.outgoing.len;
        let mut out = Outbox::new(&mut self.outgoing.bytes, before);
        let mut door = Door::new(self.node, self.portal, self.local, self.listing.take());
        let received = if was_kept {
            self.protocol.turn(now, bytes, &mut out, &mut door)
        } else {
            self.protocol.next(now, bytes, &mut out, &mut door)
        };
        self.outgoing.len = out.len();
        let failed = received.is_err();
        let (note, listing) = door.into_parts();
        if failed {
            self.note = note;
        } else if listing.is_some() && self.protocol.has_text_exchange() {
            self.listing = listing;
        }
        if self.tracer.is_on() && !was_kept {
            match &received {
                Ok(Received::Unit { consumed, .. }) => self.tracer.received(self.peer, &bytes[..*consumed], digests),
                Ok(Received::Full | Received::Incomplete { .. }) => {}
                Err(_) => self.tracer.received(self.peer, bytes, digests),
            }
        }
        let (consumed, event) = match received? {
            Received::Incomplete { need } => return Ok(Taken::Incomplete { need }),
            Received::Full => return Ok(Taken::Full),
            Received::Unit { consumed, event } => (consumed, event),
        };
        let mut joined = false;
        match event {
            Event::Command(command) => self.command(&command),
            Event::Data { task, offset, data, complete } => self.data(task, offset, data, complete),
            Event::Handled => {}
            Event::Place { task, offset, len } => self.begin_placing(task, offset as usize, len as usize)?,
            Event::DataFault { task, fault } => self.gathered(task, Some(fault)),
            Event::TaskManagement(request, named) => self.manage(request, named),
            Event::Logout => self.begin_logout(),
            Event::LoggedIn => {
                joined = true;
                self.accepted_at = before;
            }
            Event::Early { cmd_sn } => {
                let unit = &bytes[..consumed];
                let kept = self.early.keep(cmd_sn, consumed, || unit.to_vec());
                kept.map_err(|NoRoom| End::Closed("too much data came before its turn"))?;
            }
        }
        Ok(Taken::Unit { consumed, joined })
    }

    /// A piece of a task's data.
    fn data(&mut self, task: TaskId, offset: u32, data: &[u8], complete: bool) {
        self.entry.counters().data_out.add(data.len() as u64);
        let slot = &mut self.slots[task];
        if let Some(buffer) = &mut slot.data {
            let offset = offset as usize;
            if let Some(place) = buffer.get_mut(offset..offset + data.len()) {
                place.copy_from_slice(data);
            }
        }
        if complete {
            self.gathered(task, None);
        }
    }

    fn begin_placing(&mut self, task: TaskId, offset: usize, len: usize) -> Result<(), End> {
        let buffer = self.slots[task].data.take().filter(|buffer| buffer.len() >= offset + len);
        // `collect` was told how long the data are, and the buffer is as long.
        let buffer = buffer.ok_or(End::Closed("data for a task without a buffer"))?;
        self.placing = Some(Placing { task: Some(task), buffer, start: offset, end: offset + len, filled: 0 });
        Ok(())
    }

    /// Bytes that the inbox must hold before the unit is whole, or none: then it was handled.
    fn finish_placing(&mut self, inbox: &mut Inbox) -> Result<Option<usize>, End> {
        let trailer = self.protocol.trailer_len();
        match &self.placing {
            Some(placing) if placing.start + placing.filled < placing.end => return Ok(Some(1)),
            Some(_) if inbox.pending().len() < trailer => return Ok(Some(trailer)),
            _ => {}
        }
        let Some(placing) = self.placing.take() else { return Ok(None) };
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        let data = &placing.buffer[placing.start..placing.end];
        let event = self.protocol.placed(data, &inbox.pending()[..trailer], &mut out);
        self.outgoing.len = out.len();
        inbox.take(trailer);
        if matches!(event, Ok(Event::Data { .. })) {
            self.entry.counters().data_out.add((placing.end - placing.start) as u64);
        }
        let Some(task) = placing.task else {
            self.buffers.give(placing.buffer);
            return event.map(|_| None).map_err(End::from);
        };
        self.slots[task].data = Some(placing.buffer);
        match event? {
            Event::Data { task, complete: true, .. } => self.gathered(task, None),
            Event::DataFault { task, fault } => self.gathered(task, Some(fault)),
            _ => {}
        }
        Ok(None)
    }

    /// No more data come for a task.
    fn gathered(&mut self, task: TaskId, fault: Option<CommandFault>) {
        match fault {
            // A task management function waited for them.
            _ if self.slots.is_aborted(task) => self.drop_task(task),
            Some(fault) => self.fail(task, fault),
            None => self.schedule(task, &[]),
        }
    }

    /// Room for data that come after their command, now or later.
    pub(super) fn await_data(&mut self, task: TaskId, wanted: u32, immediate: &[u8]) {
        if self.try_await_data(task, wanted as usize, immediate) {
            return;
        }
        // Nothing is here, and nothing comes unasked: it is asked for when there is memory.
        if immediate.is_empty() && self.protocol.is_collected(task, 0) {
            self.park(task, State::Parked { wanted });
        } else {
            self.refuse_task(task);
        }
    }

    /// Asks for a task's data. False where there is no memory for them now.
    pub(super) fn try_await_data(&mut self, task: TaskId, wanted: usize, immediate: &[u8]) -> bool {
        if wanted > 0 {
            let Some(mut buffer) = self.buffers.take(wanted) else { return false };
            let here = immediate.len().min(wanted);
            buffer[..here].copy_from_slice(&immediate[..here]);
            self.slots[task].data = Some(buffer);
        }
        self.slots[task].state = State::Collecting;
        self.slots[task].data_len = wanted;
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        let collect = self.protocol.collect(task, wanted as u32, &mut out);
        self.outgoing.len = out.len();
        if collect == Collect::Complete {
            self.schedule(task, &[]);
        }
        true
    }
}

enum Taken {
    Unit { consumed: usize, joined: bool },
    Full,
    Incomplete { need: usize },
}
