//! Task management (RFC 7143 11.5, SAM-5 7): answered when the affected tasks are quiet.

use iesp_iscsi::pdu::{TaskFunction, TaskRequest, TaskResult};
use iesp_iscsi::{Outbox, TaskId};
use iesp_scsi::{NexusId, lun_number};

use super::Driver;
use super::tasks::State;
use crate::messages::Receipt;

/// Most functions that wait at a time. They are no tasks, so that the command window bounds none that is immediate; and all
/// of them may be answered at once.
const PENDING: usize = 64;

/// What is to be done once all is quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    ResetUnit(u16),
    ResetAll,
    /// All units are reset and all sessions end (11.5.1: TARGET COLD RESET).
    ResetAndClose,
}

/// A function that waits.
#[derive(Debug)]
struct Pending {
    request: TaskRequest,
    number: u64,
    /// Other sessions' tasks are not quiet yet.
    others: bool,
    effect: Effect,
}

/// The functions that wait for tasks of this session or of others.
#[derive(Debug, Default)]
pub struct Management {
    pending: Vec<Pending>,
    /// Other sessions wait for tasks of this one.
    receipts: Vec<Receipt>,
    count: u64,
}

impl Driver<'_> {
    /// A task management function came.
    pub(super) fn manage(&mut self, request: TaskRequest, named: Option<TaskId>) {
        if self.management.pending.len() >= PENDING {
            return self.answer(&request, TaskResult::Rejected);
        }
        let number = lun_number(request.lun).filter(|number| self.luns.get(*number).is_some());
        match request.function {
            TaskFunction::AbortTask => match named {
                // 11.6.1: the tag alone names a task, but it must be of the logical unit that the request names.
                Some(task) if number == Some(self.slots.lun(task)) => {
                    self.abort(task);
                    self.wait_for_quiet(request, Effect::Nothing, None);
                }
                _ => self.answer(&request, TaskResult::TaskDoesNotExist),
            },
            TaskFunction::AbortTaskSet => self.of_unit(request, number, |driver, number| {
                driver.abort_of(Some(number));
                driver.wait_for_quiet(request, Effect::Nothing, None);
            }),
            TaskFunction::ClearTaskSet => self.of_unit(request, number, |driver, number| {
                driver.abort_of(Some(number));
                let by = driver.guest.as_ref().map(crate::target::Guest::nexus);
                driver.wait_for_quiet(request, Effect::Nothing, Some((Some(number), by)));
            }),
            TaskFunction::LogicalUnitReset => self.of_unit(request, number, |driver, number| {
                driver.abort_of(Some(number));
                driver.wait_for_quiet(request, Effect::ResetUnit(number), Some((Some(number), None)));
            }),
            TaskFunction::TargetWarmReset => {
                self.abort_of(None);
                self.wait_for_quiet(request, Effect::ResetAll, Some((None, None)));
            }
            TaskFunction::TargetColdReset => {
                self.abort_of(None);
                self.wait_for_quiet(request, Effect::ResetAndClose, Some((None, None)));
            }
            // ErrorRecoveryLevel 0 has no reassignment (11.5.1).
            TaskFunction::TaskReassign => self.answer(&request, TaskResult::ReassignmentNotSupported),
            // No ACA: NORMACA is 0 in the standard INQUIRY data.
            TaskFunction::ClearAca | TaskFunction::Unknown(_) => self.answer(&request, TaskResult::NotSupported),
        }
    }

    fn of_unit(&mut self, request: TaskRequest, number: Option<u16>, act: impl FnOnce(&mut Self, u16)) {
        match number {
            Some(number) => act(self, number),
            None => self.answer(&request, TaskResult::LunDoesNotExist),
        }
    }

    /// Answers now or later; `others` are the sessions' tasks that it affects, and who clears them.
    fn wait_for_quiet(&mut self, request: TaskRequest, effect: Effect, others: Option<(Option<u16>, Option<NexusId>)>) {
        self.management.count += 1;
        let number = self.management.count;
        if let (Some((lun, cleared_by)), Some(guest)) = (others, &self.guest) {
            let receipt = Receipt::new(self.mail.clone(), number);
            guest.target().abort_others(guest, lun, cleared_by, &receipt);
        }
        self.management.pending.push(Pending { request, number, others: others.is_some(), effect });
        self.check_management();
    }

    /// All other sessions' tasks that function `number` affects are quiet.
    pub(super) fn others_are_quiet(&mut self, number: u64) {
        if let Some(pending) = self.management.pending.iter_mut().find(|pending| pending.number == number) {
            pending.others = false;
        }
        self.check_management();
    }

    /// Answers the functions that need not wait any longer.
    #[inline]
    pub(super) fn check_management(&mut self) {
        if self.management.pending.is_empty() && self.management.receipts.is_empty() {
            return;
        }
        if self.slots.is_any_aborted() {
            return;
        }
        self.management.receipts.clear();
        while let Some(at) = self.management.pending.iter().position(|pending| !pending.others) {
            let pending = self.management.pending.remove(at);
            self.take_effect(pending.effect);
            self.answer(&pending.request, TaskResult::Complete);
        }
    }

    fn take_effect(&mut self, effect: Effect) {
        let by = self.guest.as_ref().map(crate::target::Guest::nexus);
        match effect {
            Effect::Nothing => {}
            Effect::ResetUnit(number) => {
                if let Some(lun) = self.luns.get(number) {
                    lun.unit.reset(by);
                }
            }
            Effect::ResetAll | Effect::ResetAndClose => {
                let Some(guest) = &self.guest else { return };
                guest.target().reset_units();
                if effect == Effect::ResetAndClose {
                    guest.target().close_sessions("target cold reset");
                }
            }
        }
    }

    fn answer(&mut self, request: &TaskRequest, result: TaskResult) {
        tracing::debug!(peer = %self.peer, function = ?request.function, ?result, "task management");
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        self.protocol.task_response(request, result, &mut out);
        self.outgoing.len = out.len();
    }

    /// Another session's function affects this one's tasks.
    pub(super) fn abort_for_another(&mut self, lun: Option<u16>, cleared_by: Option<NexusId>, receipt: Receipt) {
        if let (Some(by), Some(guest), Some(number)) = (cleared_by, &self.guest, lun)
            && self.slots.any_of(|of| of == number)
            && let Some(lun) = self.luns.get(number)
        {
            lun.unit.tasks_cleared(by, guest.nexus());
        }
        self.abort_of(lun);
        self.management.receipts.push(receipt);
        self.check_management();
    }

    /// Aborts all tasks: the session ends.
    pub(super) fn abort_all(&mut self) {
        if let Some(placing) = self.placing.take() {
            self.buffers.give(placing.into_buffer());
        }
        self.abort_of(None);
    }

    pub(super) fn abort_of(&mut self, lun: Option<u16>) {
        while let Some(task) = self.slots.youngest(lun) {
            self.abort(task);
        }
    }

    /// Ends a task without a word, at once or when its disk thread or its place in the inbox is done with it.
    fn abort(&mut self, id: TaskId) {
        let placed = self.placing.as_ref().is_some_and(|placing| placing.task() == id);
        match self.slots[id].state {
            State::InFlight { .. } => self.slots.mark_aborted(id),
            _ if placed => self.slots.mark_aborted(id),
            _ => self.drop_task(id),
        }
    }

    /// A task that was aborted is quiet now.
    pub(super) fn drop_task(&mut self, id: TaskId) {
        self.reading.retain(|task| *task != id);
        let number = self.slots.lun(id);
        let luns = self.luns_of(number);
        let slot = &mut self.slots[id];
        let wake = match luns.get(number) {
            Some(lun) => slot.abandon(lun),
            None => false,
        };
        self.protocol.forget(id);
        self.vacate(id);
        if wake {
            self.wake(number);
        }
    }
}
