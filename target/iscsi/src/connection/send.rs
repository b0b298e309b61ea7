//! What a target sends of its own accord or for a task: Data-In, status, rejections, asynchronous messages.

use super::{Connection, TaskId};
use crate::outbox::Outbox;
use crate::pdu::{
    AsyncEvent, AsyncMessage, Bhs, CommandResponse, DataIn, Numbers, Reject, RejectReason, Residual, TaskRequest,
    TaskResponse, TaskResult,
};

/// SAM-5 5.3: the status that alone may travel with data (RFC 7143 11.7.3).
const GOOD: u8 = 0;

impl<const TASKS: usize, const TEXT: usize> Connection<TASKS, TEXT> {
    /// How many of the `remaining` bytes the task's next Data-In unit may carry: MaxRecvDataSegmentLength of the
    /// initiator, and what is left of MaxBurstLength.
    #[inline]
    pub fn data_in_len(&self, task: TaskId, remaining: usize) -> usize {
        let burst = self.slots.slot(task).map_or(0, |slot| slot.burst);
        let left = self.parameters.max_burst_length.saturating_sub(burst);
        remaining.min(self.parameters.peer_max_recv_data_segment_length.min(left) as usize)
    }

    /// Closes a Data-In unit whose `len` bytes lie in [`Outbox::data_room`], at most [`Self::data_in_len`]. `end` ends the
    /// task with GOOD: then it is how many bytes the device server would have sent, had the initiator taken all.
    ///
    /// # Panics
    /// Where the unit does not fit.
    #[inline]
    pub fn data_in(&mut self, task: TaskId, out: &mut Outbox<'_>, len: usize, end: Option<u32>) {
        let max_burst = self.parameters.max_burst_length;
        let Some(slot) = self.slots.slot_mut(task) else { return };
        let burst = slot.burst + len as u32;
        let is_final = end.is_some() || burst >= max_burst;
        let mut unit = DataIn {
            is_final,
            status: None,
            itt: slot.command.itt,
            numbers: Numbers::default(),
            data_sn: slot.data_sn,
            offset: slot.sent,
            residual: Residual::None,
        };
        slot.data_sn = slot.data_sn.wrapping_add(1);
        slot.sent += len as u32;
        slot.burst = if is_final { 0 } else { burst };
        if let Some(wanted) = end {
            unit.residual = Residual::of(wanted, slot.command.expected_len);
            unit.status = Some(GOOD);
            self.slots.remove(task);
            unit.numbers = self.next_status();
        } else {
            // 11.7.4: StatSN is reserved where there is no status.
            unit.numbers = Numbers { stat_sn: 0, ..self.numbers() };
        }
        out.seal(self.digests, unit.emit(), len);
    }

    /// Ends a task with a SCSI Response. `wanted` is how many bytes the device server would have moved, had the initiator
    /// expected as many; `sense` is at most 252 bytes. The outbox has room for [`super::OUTBOX_MIN`] bytes.
    pub fn respond(&mut self, task: TaskId, out: &mut Outbox<'_>, status: u8, sense: &[u8], wanted: u32) {
        let Some(slot) = self.slots.remove(task) else { return };
        self.statistics.responses += 1;
        let command = slot.command;
        // 11.3.4: without R or W nothing was expected.
        let expected = if command.read || command.write { command.expected_len } else { 0 };
        let response = CommandResponse {
            // 11.4.3: a status of the device server's is "command completed at target", whatever it says.
            response: 0,
            status,
            itt: command.itt,
            numbers: self.next_status(),
            exp_data_sn: slot.data_sn.wrapping_add(slot.out.r2t_sn),
            residual: Residual::of(wanted, expected),
        };
        if sense.is_empty() {
            out.push(self.digests, response.emit(), &[]);
            return;
        }
        // 11.4.7: the length of the sense data, then the sense data.
        let mut data = [0; 254];
        let len = sense.len().min(252);
        data[..2].copy_from_slice(&(len as u16).to_be_bytes());
        data[2..2 + len].copy_from_slice(&sense[..len]);
        out.push(self.digests, response.emit(), &data[..2 + len]);
    }

    /// Whether the initiator has data for the task and room for none (W without R): a command that only returns data then moves
    /// none, and RFC 7143 11.4.5.1 makes all that was expected the residual.
    pub fn is_data_out(&self, task: TaskId) -> bool {
        let is_out = |command: &crate::pdu::ScsiCommand| command.write && !command.read && command.expected_len > 0;
        self.slots.slot(task).is_some_and(|slot| is_out(&slot.command))
    }

    /// Ends a task without a word, as an abort does (SAM-5 5.6, with TAS 0).
    pub fn forget(&mut self, task: TaskId) {
        self.slots.remove(task);
    }

    /// Answers a task management function, once the affected tasks are quiet. The outbox has room for
    /// [`super::OUTBOX_MIN`] bytes.
    pub fn task_response(&mut self, request: &TaskRequest, result: TaskResult, out: &mut Outbox<'_>) {
        let response = TaskResponse { result, itt: request.itt, numbers: self.next_status() };
        out.push(self.digests, response.emit(), &[]);
    }

    /// Tells the initiator of an event, in full feature phase. The outbox has room for [`super::OUTBOX_MIN`] bytes.
    pub fn notify(&mut self, event: AsyncEvent, out: &mut Outbox<'_>) {
        if self.is_full_feature() {
            let message = AsyncMessage { lun: 0, event, numbers: self.next_status() };
            out.push(self.digests, message.emit(), &[]);
        }
    }

    /// Rejects a unit: its header is the data (RFC 7143 11.17).
    pub(super) fn reject(&mut self, reason: RejectReason, bhs: &Bhs, out: &mut Outbox<'_>) {
        if matches!(reason, RejectReason::InvalidPduField | RejectReason::ProtocolError) {
            self.statistics.format_errors += 1;
        }
        let reject = Reject { reason, numbers: self.next_status() };
        out.push(self.digests, reject.emit(), &bhs.0);
    }

    /// The numbers of a unit that uses up a StatSN.
    #[inline]
    pub(super) fn next_status(&mut self) -> Numbers {
        let numbers = self.numbers();
        self.stat_sn = self.stat_sn.wrapping_add(1);
        numbers
    }

    /// The numbers of a unit that uses up none.
    #[inline]
    pub(super) fn numbers(&self) -> Numbers {
        Numbers {
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.window.expected(),
            max_cmd_sn: self.window.max(self.slots.window()),
        }
    }
}
