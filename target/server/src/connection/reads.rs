//! Reads: from the backend straight into the outgoing bytes, a Data-In unit at a time.

use iesp_iscsi::{Outbox, TaskId};
use iesp_scsi::{Buffers, Completion, IoError, Outcome, Step};

use super::tasks::{Read, State};
use super::{ANSWER_ROOM, Driver};
use crate::backend::{Patience, Served};
use crate::buffers::Buffer;
use crate::luns::Lun;
use crate::pool::Work;

/// Most bytes of one Data-In unit: what is read stays in the cache until it is sent.
const SEGMENT: usize = 256 << 10;

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
        let read = Read { offset: lun.bytes(lba), left, sent: 0 };
        if left == 0 {
            return self.step(id, Outcome::Done, &[]);
        }
        self.slots[id].state = State::Reading(read);
        self.reading.push_back(id);
        self.pump_reads();
    }

    /// Sends pieces of the reads at hand, in turn. False where the outgoing bytes are full.
    #[inline]
    pub(super) fn pump_reads(&mut self) -> bool {
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
        let luns = self.luns_of(self.slots[id].lun);
        let Some(lun) = luns.get(self.slots[id].lun) else {
            self.reading.pop_front();
            return Piece::Left;
        };
        let len = self.protocol.data_in_len(id, read.left.min(SEGMENT));
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        // A unit behind others waits for the next round rather than being cut smaller.
        if out.room() < ANSWER_ROOM + len {
            return Piece::NoRoom;
        }
        let Some(room) = out.data_room(self.protocol.digests(), len) else { return Piece::NoRoom };
        match lun.backend.read(read.offset, room, Patience::None) {
            Ok(Served::Done(())) => {
                self.entry.counters().read(lun.number, len);
                self.sent(id, lun, read, len)
            }
            Ok(Served::WouldBlock) => {
                self.reading.pop_front();
                match self.buffers.take(len) {
                    Some(buffer) => {
                        let work = Work::Read { offset: read.offset, len };
                        self.submit(id, lun, work, buffer, Some((read, len)));
                    }
                    None => self.after_read(id, Outcome::Failed(IoError::Other), read.sent),
                }
                Piece::Left
            }
            Err(error) => {
                self.reading.pop_front();
                self.after_read(id, Outcome::Failed(error), read.sent);
                Piece::Left
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
            self.slots[id].state = State::Reading(Read { offset, left: read.left - len, sent: read.sent + len });
            return Piece::Sent;
        }
        self.reading.pop_front();
        let slot = &mut self.slots[id];
        let workspace = slot.workspace.as_mut().unwrap_or(&mut self.workspace);
        let buffers = Buffers { data_out: &[], reply: &mut workspace.reply, scratch: &mut workspace.scratch };
        let Some(task) = &mut slot.task else { return Piece::Left };
        let step = task.step(&lun.unit, Outcome::Done, buffers);
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        match step {
            // RFC 7143 11.7.3: GOOD travels with the last data.
            Step::Done(Completion { status: 0, wake, .. }) => {
                self.protocol.data_in(id, &mut out, len, Some(slot.data_in_len()));
                self.outgoing.len = out.len();
                let number = slot.lun;
                self.vacate(id);
                if wake {
                    self.wake(number);
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
        let luns = self.luns_of(self.slots[id].lun);
        let slot = &mut self.slots[id];
        slot.state = State::Collecting;
        let Some(lun) = luns.get(slot.lun) else { return };
        let workspace = slot.workspace.as_mut().unwrap_or(&mut self.workspace);
        let buffers = Buffers { data_out: &[], reply: &mut workspace.reply, scratch: &mut workspace.scratch };
        let Some(task) = &mut slot.task else { return };
        match task.step(&lun.unit, outcome, buffers) {
            Step::Done(completion) => self.end(id, &completion, sent as u32),
            _ => self.fail(id, iesp_iscsi::CommandFault::Unexpected),
        }
    }

    /// A disk thread has read a piece.
    pub(super) fn read_served(&mut self, id: TaskId, read: Read, len: usize, outcome: Outcome, buffer: Buffer) {
        self.slots[id].state = State::Collecting;
        if self.slots[id].aborted {
            self.buffers.give(buffer);
            return self.drop_task(id);
        }
        if outcome != Outcome::Done {
            self.buffers.give(buffer);
            return self.after_read(id, outcome, read.sent);
        }
        let luns = self.luns_of(self.slots[id].lun);
        let Some(lun) = luns.get(self.slots[id].lun) else { return };
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        match out.data_room(self.protocol.digests(), len) {
            Some(room) => {
                room.copy_from_slice(&buffer[..len]);
                self.buffers.give(buffer);
                self.slots[id].state = State::Reading(read);
                // `sent` takes the read off the front of the queue where it is the last piece.
                self.reading.push_front(id);
                self.sent(id, lun, read, len);
            }
            // It is in the page cache now: read it again when there is room.
            None => {
                self.buffers.give(buffer);
                self.slots[id].state = State::Reading(read);
                self.reading.push_back(id);
            }
        }
    }
}
