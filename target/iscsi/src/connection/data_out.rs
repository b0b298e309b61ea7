//! Data-Out: immediate, unsolicited and solicited data, in order (RFC 7143 4.2.5.2, 11.7, 11.8).

use super::slots::{DataOutState, TaskId};
use super::{Close, Collect, CommandFault, Connection, Event};
use crate::digest;
use crate::outbox::Outbox;
use crate::pdu::{Bhs, DataOut, RESERVED_TAG, ReadyToTransfer};

/// A Data-Out unit whose data are received straight into the task's buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placing {
    task: TaskId,
    unit: DataOut,
    len: u32,
    pub(super) bhs: Bhs,
}

/// Where a Data-Out unit belongs.
enum Owner {
    Task(TaskId),
    /// To a task that has ended, or to none: discarded.
    Nobody,
    /// The unit broke the rules of the task that it belongs to.
    Fault(TaskId, CommandFault),
}

impl<const TASKS: usize, const TEXT: usize> Connection<TASKS, TEXT> {
    /// Whether `wanted` bytes (or all that the initiator has) came with the command and none are to follow, so that there is
    /// nothing for [`Self::collect`] to do.
    #[inline]
    pub fn is_collected(&self, task: TaskId, wanted: u32) -> bool {
        self.slots.slot(task).is_some_and(|slot| slot.out.received >= wanted && !slot.out.unsolicited)
    }

    /// The device server takes `wanted` bytes of the task's data (less where the initiator has less): asks for what does
    /// not come by itself. The outbox has room for [`super::OUTBOX_MIN`] bytes.
    pub fn collect(&mut self, task: TaskId, wanted: u32, out: &mut Outbox<'_>) -> Collect {
        let Some(slot) = self.slots.slot_mut(task) else { return Collect::Complete };
        let expected = if slot.command.write { slot.command.expected_len } else { 0 };
        slot.out.wanted = wanted.min(expected);
        slot.out.collecting = true;
        if slot.out.is_complete() {
            slot.out.collecting = false;
            return Collect::Complete;
        }
        self.solicit(task, out);
        Collect::Pending
    }

    /// Asks for no more data of a task; whether data that were asked for are still to come, by [`Event::Data`] as before.
    ///
    /// RFC 7143 4.2.3.3 a: a function on a set of tasks waits for these.
    pub fn stop_soliciting(&mut self, task: TaskId) -> bool {
        let Some(slot) = self.slots.slot_mut(task) else { return false };
        let state = &mut slot.out;
        if !state.collecting || state.failed.is_some() || state.answering == state.r2t_sn {
            return false;
        }
        state.wanted = state.wanted.min(state.requested);
        true
    }

    /// Bytes behind the data of the unit that [`Event::Place`] announced.
    pub fn trailer_len(&self) -> usize {
        self.placing.map_or(0, |placing| self.digests.trailer_len(placing.len as usize))
    }

    /// The data that [`Event::Place`] announced were received: `data` as they lie in the task's buffer, and the
    /// [`Self::trailer_len`] bytes behind them. The outbox has room for [`super::OUTBOX_MIN`] bytes.
    ///
    /// # Errors
    /// Where nothing was announced.
    pub fn placed(&mut self, data: &[u8], trailer: &[u8], out: &mut Outbox<'_>) -> Result<Event<'static>, Close> {
        let Some(placing) = self.placing.take() else { return Err(Close::Protocol("no data was announced")) };
        if self.digests.data {
            let (padding, wire) = trailer.split_at(trailer.len().saturating_sub(4));
            let crc = digest::append(digest::digest(data), padding);
            if wire != crc.to_le_bytes() {
                return Ok(self.data_digest_error(&placing.bhs, out));
            }
        }
        let (task, offset) = (placing.task, placing.unit.offset);
        let complete = self.take(task, placing.unit, placing.len, out);
        Ok(Event::Data { task, offset, data: &[], complete })
    }

    /// The header of a Data-Out unit whose data have not come whole. `None`: wait for the rest, it is to be discarded.
    pub(super) fn place(&mut self, bhs: &Bhs) -> Option<Event<'static>> {
        let unit = DataOut::parse(bhs);
        let len = bhs.data_len() as u32;
        let Owner::Task(task) = self.owner(&unit, len) else { return None };
        let wanted = self.slots.slot(task)?.out.wanted;
        // Data that the device server does not take has no place.
        if unit.offset.checked_add(len)? > wanted {
            return None;
        }
        self.placing = Some(Placing { task, unit, len, bhs: *bhs });
        Some(Event::Place { task, offset: unit.offset, len })
    }

    /// A whole Data-Out unit.
    pub(super) fn data_out<'b>(&mut self, bhs: &Bhs, data: &'b [u8], out: &mut Outbox<'_>) -> Event<'b> {
        let unit = DataOut::parse(bhs);
        let len = data.len() as u32;
        let task = match self.owner(&unit, len) {
            Owner::Task(task) => task,
            Owner::Nobody => return Event::Handled,
            Owner::Fault(task, fault) => return self.data_fault(task, &unit, len, fault),
        };
        let wanted = self.slots.slot(task).map_or(0, |slot| slot.out.wanted);
        let complete = self.take(task, unit, len, out);
        let taken = wanted.saturating_sub(unit.offset).min(len) as usize;
        Event::Data { task, offset: unit.offset, data: data.get(..taken).unwrap_or(&[]), complete }
    }

    /// The task of a Data-Out unit whose digest was wrong fails (RFC 7143 7.8).
    pub(super) fn data_out_lost(&mut self, bhs: &Bhs) -> Event<'static> {
        let len = bhs.data_len() as u32;
        match self.owner(&DataOut::parse(bhs), len) {
            Owner::Task(task) => self.data_fault(task, &DataOut::parse(bhs), len, CommandFault::Digest),
            Owner::Fault(task, fault) => self.data_fault(task, &DataOut::parse(bhs), len, fault),
            Owner::Nobody => Event::Handled,
        }
    }

    /// A task's data broke the rules. It is answered when the last unit that was expected has come (RFC 7143 11.17):
    /// none of its data is on its way then. What was not expected is no reason to wait for more.
    fn data_fault(&mut self, task: TaskId, unit: &DataOut, len: u32, fault: CommandFault) -> Event<'static> {
        let Some(slot) = self.slots.slot_mut(task) else { return Event::Handled };
        let state = &mut slot.out;
        let fault = *state.failed.get_or_insert(fault);
        // A solicited sequence is over, too, where all of it has come and the F bit was forgotten.
        let all = unit.offset.saturating_add(len) >= state.sequence_end;
        if unit.ttt == RESERVED_TAG {
            state.unsolicited &= !unit.is_final;
        } else if unit.is_final || all {
            state.answering = state.answering.wrapping_add(1);
        }
        let expects_more = state.unsolicited || state.answering != state.r2t_sn;
        if expects_more && fault != CommandFault::Unexpected {
            return Event::Handled;
        }
        state.collecting = false;
        Event::DataFault { task, fault }
    }

    fn owner(&self, unit: &DataOut, len: u32) -> Owner {
        let found = if unit.ttt == RESERVED_TAG { self.slots.find(unit.itt) } else { self.slots.by_tag(unit.ttt) };
        // What comes for a task that has ended, was aborted or has failed is discarded without a word: the initiator
        // may have sent it before it knew (RFC 7143 4.2.3.3).
        let Some((id, slot)) = found.and_then(|id| Some((id, self.slots.slot(id)?))) else { return Owner::Nobody };
        if !slot.out.collecting || slot.command.itt != unit.itt {
            return Owner::Nobody;
        }
        if let Some(fault) = slot.out.failed {
            return Owner::Fault(id, fault);
        }
        match self.check(&slot.out, slot.command.expected_len, unit, len, id) {
            Ok(()) => Owner::Task(id),
            Err(fault) => Owner::Fault(id, fault),
        }
    }

    /// The rules of a sequence: DataPDUInOrder and DataSequenceInOrder are Yes, so the next unit can only be one.
    fn check(
        &self,
        out: &DataOutState,
        expected_len: u32,
        unit: &DataOut,
        len: u32,
        id: TaskId,
    ) -> Result<(), CommandFault> {
        let limit = if unit.ttt == RESERVED_TAG {
            if !out.unsolicited {
                return Err(CommandFault::Unexpected);
            }
            // 13.14: immediate and unsolicited data together are at most FirstBurstLength.
            self.parameters.first_burst_length.min(expected_len)
        } else {
            if out.unsolicited || unit.ttt != self.slots.tag(id, out.answering) || out.answering == out.r2t_sn {
                return Err(CommandFault::Unexpected);
            }
            out.sequence_end
        };
        // 11.7.5: DataSN counts the units of a sequence from 0. A gap is a lost unit, for which 7.9 gives this choice
        // in ErrorRecoveryLevel 0.
        if unit.data_sn != out.data_sn || unit.offset != out.received {
            return Err(CommandFault::Digest);
        }
        let end = unit.offset.checked_add(len).ok_or(CommandFault::IncorrectAmount)?;
        // 11.7.1: the F bit ends the sequence, and all that an R2T asked for must have come by then.
        let solicited = unit.ttt != RESERVED_TAG;
        if end > limit || solicited && unit.is_final != (end == limit) {
            return Err(CommandFault::IncorrectAmount);
        }
        Ok(())
    }

    /// Counts a unit that [`Self::owner`] found to be right, and asks for the next. Whether everything has come.
    fn take(&mut self, task: TaskId, unit: DataOut, len: u32, out: &mut Outbox<'_>) -> bool {
        let max_burst = self.parameters.max_burst_length;
        let Some(slot) = self.slots.slot_mut(task) else { return false };
        let state = &mut slot.out;
        state.received = unit.offset.saturating_add(len);
        state.data_sn = state.data_sn.wrapping_add(1);
        if unit.is_final {
            state.data_sn = 0;
            if unit.ttt == RESERVED_TAG {
                state.unsolicited = false;
            } else {
                state.answering = state.answering.wrapping_add(1);
                state.sequence_end = state.sequence_end.saturating_add(max_burst).min(state.wanted);
            }
        }
        if state.is_complete() {
            state.collecting = false;
            return true;
        }
        self.solicit(task, out);
        false
    }

    /// Sends as many R2Ts as may be outstanding.
    fn solicit(&mut self, task: TaskId, out: &mut Outbox<'_>) {
        loop {
            let numbers = self.numbers();
            let Some(slot) = self.slots.slot_mut(task) else { return };
            let state = &mut slot.out;
            // 4.2.5.2: unsolicited data come first; the first R2T asks for what is behind them.
            if state.unsolicited {
                return;
            }
            if state.r2t_sn == 0 {
                state.requested = state.received;
            }
            let outstanding = state.r2t_sn.wrapping_sub(state.answering);
            if state.requested >= state.wanted || outstanding >= self.parameters.max_outstanding_r2t {
                return;
            }
            let len = (state.wanted - state.requested).min(self.parameters.max_burst_length);
            let r2t_sn = state.r2t_sn;
            let offset = state.requested;
            state.requested += len;
            state.r2t_sn = r2t_sn.wrapping_add(1);
            if r2t_sn == 0 {
                state.sequence_end = state.requested;
            }
            let (lun, itt) = (slot.command.lun, slot.command.itt);
            let r2t = ReadyToTransfer { lun, itt, ttt: self.slots.tag(task, r2t_sn), numbers, r2t_sn, offset, len };
            out.push(self.digests, r2t.emit(), &[]);
        }
    }
}

impl DataOutState {
    const fn is_complete(&self) -> bool {
        self.received >= self.wanted && !self.unsolicited
    }
}
