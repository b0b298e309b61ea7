//! Reads: from the backend straight into the outgoing bytes, a Data-In unit at a time.

use iesp_iscsi::{Outbox, TaskId};
use iesp_scsi::{Buffers, Completion, Outcome, Step};

use super::tasks::{Fetched, Read, State};
use super::{ANSWER_ROOM, Driver, STALLED_ROOM};
use crate::backend::{Patience, Served};
use crate::buffers::Buffer;
use crate::luns::Lun;
use crate::pool::Work;

/// Most bytes of one Data-In unit: what is read stays in the cache until it is sent.
const SEGMENT: usize = 256 << 10;

/// Most bytes that one job reads: what a device or a server brings together is not asked for in turns.
const FETCH: usize = 4 << 20;

/// What a read takes where there is hardly any memory: of any session's share there is as much.
const LITTLE: usize = 16 << 10;

/// What came of trying to send the next piece of a read.
enum Piece {
    /// It is among the outgoing bytes; the read goes on.
    Sent,
    /// The read has ended, or waits for a disk thread.
    Left,
    /// There is no room for it: send first.
    NoRoom,
}

impl Driver<'_> {
    /// The device server wants blocks read for a task.
    #[inline]
    pub(super) fn begin_read(&mut self, id: TaskId, lun: &Lun, lba: u64, blocks: u32) {
        let left = lun.bytes(blocks.into()).min(self.slots[id].data_in.into()) as usize;
        let read = Read { offset: lun.bytes(lba), left, sent: 0, holds: true };
        if left == 0 {
            return self.step(id, Outcome::Done, &[]);
        }
        self.slots[id].state = State::Reading(read);
        self.reading.push_back(id);
        self.pump_reads();
        if !self.reading.is_empty() {
            self.let_go(id, lun);
        }
    }

    /// A read that could not go on at once: nobody waits for its blocks while its peer takes what lies before it.
    #[inline]
    fn let_go(&mut self, id: TaskId, lun: &Lun) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if let State::Reading(read) = &mut slot.state
            && read.holds
        {
            read.holds = false;
            if slot.task.as_mut().is_some_and(|task| task.pause(&lun.unit)) {
                self.wake(lun.number);
            }
        }
    }

    /// Takes the blocks of a read's next piece. False where others have them: the read stands in line.
    fn hold(&mut self, id: TaskId, lun: &Lun, mut read: Read) -> Option<Read> {
        if read.holds {
            return Some(read);
        }
        let first = read.offset >> lun.block_shift;
        let end = (read.offset + read.left.min(FETCH) as u64).div_ceil(lun.bytes(1));
        let slot = &mut self.slots[id];
        let held = slot.task.as_mut().is_some_and(|task| task.resume(&lun.unit, first, (end - first) as u32));
        read.holds = held;
        slot.state = if held { State::Reading(read) } else { State::BlockedRead(read) };
        if held {
            return Some(read);
        }
        self.slots.stand_in_line(id);
        None
    }

    /// A read whose blocks others had tries again.
    pub(super) fn retry_read(&mut self, id: TaskId, read: Read) {
        let number = self.slots.lun(id);
        let luns = self.luns_of(number);
        let Some(lun) = luns.get(number) else { return };
        self.slots[id].state = State::Reading(read);
        self.reading.push_front(id);
        self.pump_reads();
        // Where there is no room for its data it must not keep its place in line while its peer takes its time.
        if let Some(slot) = self.slots.get_mut(id)
            && slot.state == State::Reading(read)
            && slot.task.as_mut().is_some_and(|task| task.pause(&lun.unit))
        {
            self.wake(lun.number);
        }
    }

    /// Sends pieces of the reads at hand, in turn. False where there is no room for the next one.
    #[inline]
    pub(super) fn pump_reads(&mut self) -> bool {
        if self.stalled.is_some() {
            return self.reading.is_empty();
        }
        while let Some(&id) = self.reading.front() {
            let State::Reading(read) = self.slots[id].state else {
                self.reading.pop_front();
                continue;
            };
            if let Piece::NoRoom = self.piece(id, read) {
                return false;
            }
        }
        true
    }

    #[inline]
    fn piece(&mut self, id: TaskId, read: Read) -> Piece {
        let number = self.slots.lun(id);
        let luns = self.luns_of(number);
        let Some(lun) = luns.get(number) else {
            self.reading.pop_front();
            return Piece::Left;
        };
        let fetched = self.slots[id].fetched.as_ref().map_or(usize::MAX, Fetched::left);
        let len = self.protocol.data_in_len(id, read.left.min(SEGMENT).min(fetched));
        let out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        // A unit behind others waits for the next round rather than being cut smaller.
        if out.room() < ANSWER_ROOM + STALLED_ROOM + len {
            return Piece::NoRoom;
        }
        let read = if self.slots[id].fetched.is_some() {
            read
        } else {
            let Some(read) = self.hold(id, lun, read) else {
                self.reading.pop_front();
                return Piece::Left;
            };
            read
        };
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        let Some(room) = out.data_room(self.protocol.digests(), len) else { return Piece::NoRoom };
        if let Some(fetched) = &mut self.slots[id].fetched {
            debug_assert!(fetched.left() >= len, "`len` was cut to what is there");
            fetched.give(room);
            if fetched.left() == 0
                && let Some(fetched) = self.slots[id].fetched.take()
            {
                self.buffers.give(fetched.buffer);
            }
            return self.sent(id, lun, read, len);
        }
        let block = lun.block_size() as usize;
        if read.left > len && !len.is_multiple_of(block) {
            // A block is read at once, so that no COMPARE AND WRITE comes between its parts.
            self.reading.pop_front();
            self.fetch(id, lun, read, len.next_multiple_of(block).min(read.left));
            return Piece::Left;
        }
        match lun.backend.read(read.offset, room, Patience::None) {
            Ok(Served::Done(())) => {
                self.entry.counters().read(lun.number, len);
                self.sent(id, lun, read, len)
            }
            Ok(Served::WouldBlock) => {
                self.reading.pop_front();
                self.fetch(id, lun, read, len);
                Piece::Left
            }
            Err(error) => {
                self.reading.pop_front();
                self.after_read(id, Outcome::Failed(error), read.sent);
                Piece::Left
            }
        }
    }

    /// Has a read's next bytes brought: all that are left, or as many as there is memory for, at least `least`.
    fn fetch(&mut self, id: TaskId, lun: &Lun, read: Read, least: usize) {
        let most = read.left.min(FETCH);
        let little = least.min(LITTLE.max(lun.block_size() as usize));
        let mut take = |len| Some((self.buffers.take(len)?, len));
        match take(most).or_else(|| take(least)).or_else(|| take(little)) {
            Some((buffer, len)) => {
                self.submit(id, lun, Work::Read { offset: read.offset, len }, buffer, Some((read, len)));
            }
            None => {
                self.slots[id].state = State::Reading(read);
                self.let_go(id, lun);
                self.park(id, State::ParkedRead(Read { holds: false, ..read }));
            }
        }
    }

    /// The next `len` bytes lie in the outgoing bytes: makes them a unit, with the status where they are the last.
    #[inline]
    fn sent(&mut self, id: TaskId, lun: &Lun, read: Read, len: usize) -> Piece {
        self.entry.counters().data_in.add(len as u64);
        if read.left > len {
            let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
            self.protocol.data_in(id, &mut out, len, None);
            self.outgoing.len = out.len();
            let offset = read.offset + len as u64;
            let next = Read { offset, left: read.left - len, sent: read.sent + len, ..read };
            self.slots[id].state = State::Reading(next);
            self.let_go(id, lun);
            // The reads of a session have their pieces in turn.
            self.reading.rotate_left(1);
            return Piece::Sent;
        }
        self.reading.pop_front();
        let slot = &mut self.slots[id];
        let workspace = slot.workspace.as_mut().unwrap_or(&mut self.workspace);
        let buffers = Buffers { data_out: &[], reply: &mut workspace.reply, scratch: &mut workspace.scratch };
        let Some(task) = &mut slot.task else { return Piece::Left };
        let step = task.step(lun.reached(), Outcome::Done, buffers);
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        match step {
            // RFC 7143 11.7.3: GOOD travels with the last data.
            Step::Done(Completion { status: 0, wake, .. }) => {
                self.protocol.data_in(id, &mut out, len, Some(slot.data_in_len()));
                self.outgoing.len = out.len();
                self.measure(id);
                self.vacate(id);
                if wake {
                    self.wake(lun.number);
                }
            }
            Step::Done(completion) => {
                self.protocol.data_in(id, &mut out, len, None);
                self.outgoing.len = out.len();
                self.end(id, &completion, (read.sent + len) as u32);
            }
            _ => {
                debug_assert!(false, "a read is the last step of its command");
                self.outgoing.len = out.len();
                self.fail(id, iesp_iscsi::CommandFault::Unexpected);
            }
        }
        Piece::Left
    }

    /// A read failed: the device server says how.
    fn after_read(&mut self, id: TaskId, outcome: Outcome, sent: usize) {
        let number = self.slots.lun(id);
        let luns = self.luns_of(number);
        let slot = &mut self.slots[id];
        slot.state = State::Collecting;
        let Some(lun) = luns.get(number) else { return };
        if let Outcome::Failed(error) = outcome {
            lun.trouble.failed(lun, error);
        }
        let workspace = slot.workspace.as_mut().unwrap_or(&mut self.workspace);
        let buffers = Buffers { data_out: &[], reply: &mut workspace.reply, scratch: &mut workspace.scratch };
        let Some(task) = &mut slot.task else { return };
        match task.step(lun.reached(), outcome, buffers) {
            Step::Done(completion) => self.end(id, &completion, sent as u32),
            _ => self.fail(id, iesp_iscsi::CommandFault::Unexpected),
        }
    }

    /// A job has read `len` bytes: they are sent as there is room.
    pub(super) fn read_served(&mut self, id: TaskId, read: Read, len: usize, outcome: Outcome, buffer: Buffer) {
        self.slots[id].state = State::Collecting;
        if self.slots.is_aborted(id) {
            self.buffers.give(buffer);
            return self.drop_task(id);
        }
        if outcome != Outcome::Done {
            self.buffers.give(buffer);
            return self.after_read(id, outcome, read.sent);
        }
        self.slots[id].state = State::Reading(read);
        self.slots[id].fetched = Some(Fetched { buffer, at: 0, end: len });
        let number = self.slots.lun(id);
        if let Some(lun) = self.luns_of(number).get(number) {
            self.let_go(id, lun);
        }
        self.reading.push_back(id);
        self.pump_reads();
    }
}
