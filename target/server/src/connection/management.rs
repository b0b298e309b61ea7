//! Task management (RFC 7143 11.5, SAM-5 7): answered when the affected tasks are quiet.

use iesp_iscsi::pdu::{TaskRequest, TaskResult};
use iesp_iscsi::{Outbox, TaskId};
use iesp_scsi::lun_number;
use iesp_session::{Decision, Effect, Scope};

use super::Driver;
use super::tasks::{Slot, State};
use crate::messages::Receipt;

/// Most functions that wait at a time: all of them may be answered at once.
const PENDING: usize = 64;

/// The functions of this session that wait, and the sessions whose functions wait for tasks of this one.
#[derive(Debug, Default)]
pub struct Management {
    pub(super) functions: iesp_session::Management<PENDING>,
    receipts: Vec<Receipt>,
}

impl Management {
    /// Whether nobody waits for the end of a task.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.receipts.is_empty()
    }
}

/// Whether something works for the task that cannot be stopped.
const fn is_in_flight(slot: &Slot) -> bool {
    matches!(slot.state, State::InFlight { .. })
}

impl Driver<'_> {
    /// A task management function came.
    pub(super) fn manage(&mut self, request: TaskRequest, named: Option<TaskId>) {
        let lun = lun_number(request.lun).filter(|number| self.luns.get(*number).is_some());
        let named = named.map(|task| (task, self.slots.lun(task)));
        match self.management.functions.begin(request, named, lun, self.round / 1_000_000) {
            Decision::Answer(result) => self.answer(&request, result),
            Decision::Abort { scope, others } => {
                if let (Some(number), Some(guest)) = (others, &self.guest) {
                    let receipt = Receipt::new(self.mail.clone(), number);
                    guest.target().abort_others(guest, scope.lun(), &receipt);
                    // SAM-5 6.3.3: the tasks of all I_T nexuses, by whichever path they came.
                    let reset = self.luns.iter().filter(|lun| scope.lun().is_none_or(|number| number == lun.number));
                    for lun in reset {
                        self.node.abort_other_paths(&guest.target().name, lun, &receipt);
                    }
                }
                match scope {
                    Scope::Task(task) => self.abort(task),
                    // RFC 7143 4.2.3.3 a: data that R2Ts asked for are waited for.
                    Scope::Unit(_) | Scope::Session => self.abort_set(scope.lun(), true),
                }
                self.management.functions.all_are_aborted();
                self.check_management();
            }
        }
    }

    /// All other sessions' tasks that function `number` affects are quiet.
    pub(super) fn others_are_quiet(&mut self, number: u32) {
        self.management.functions.others_are_quiet(number);
        self.check_management();
    }

    /// Functions have waited for data long enough.
    pub(super) fn on_management_time(&mut self, now: u64) {
        while let Some(scope) = self.management.functions.handle_timeout(now) {
            self.drop_aborted(scope);
        }
        self.check_management();
    }

    /// Drops what was aborted and waits for data alone.
    fn drop_aborted(&mut self, scope: Scope) {
        while let Some(task) = self.slots.aborted(scope, |slot| !is_in_flight(slot)) {
            self.drop_task(task);
        }
    }

    /// Answers the functions that need not wait any longer.
    #[inline]
    pub(super) fn check_management(&mut self) {
        if !self.management.is_empty() {
            self.answer_functions();
        }
    }

    fn answer_functions(&mut self) {
        // 4.2.3.3: another session's function does not wait for what this one's initiator has yet to send.
        if self.slots.aborted(Scope::Session, is_in_flight).is_none() {
            self.management.receipts.clear();
        }
        let expected = self.protocol.expected_cmd_sn();
        let slots = &self.slots;
        let is_quiet = |scope| slots.aborted(scope, |_| true).is_none();
        while let Some(quiet) = self.management.functions.next_quiet(expected, is_quiet) {
            let by = self.guest.as_ref().map(crate::target::Guest::nexus);
            match (quiet.effect, &self.guest) {
                (Effect::None, _) | (_, None) => {}
                (Effect::ResetUnit(number), _) => {
                    if let Some(lun) = self.luns.get(number) {
                        lun.unit.reset(by.map(|by| lun.nexus(by)));
                    }
                }
                (Effect::ResetAll, Some(guest)) => guest.target().reset_units(),
                (Effect::ResetAndClose, Some(guest)) => {
                    guest.target().reset_units();
                    guest.target().close_sessions("target cold reset");
                }
            }
            answer(&mut self.protocol, &mut self.outgoing, self.peer, &quiet.request, TaskResult::Complete);
        }
    }

    fn answer(&mut self, request: &TaskRequest, result: TaskResult) {
        answer(&mut self.protocol, &mut self.outgoing, self.peer, request, result);
    }

    /// Another session's function affects this one's tasks.
    pub(super) fn abort_for_another(&mut self, lun: Option<u16>, receipt: Receipt) {
        self.abort_set(lun, false);
        self.management.receipts.push(receipt);
        self.check_management();
    }

    /// Aborts all tasks: the session ends.
    pub(super) fn abort_all(&mut self) {
        if let Some(placing) = self.placing.take() {
            self.buffers.give(placing.into_buffer());
        }
        self.abort_set(None, false);
        self.drop_aborted(Scope::Session);
    }

    /// Aborts the tasks of a logical unit, or all; `waits`: those that asked for data end when these have come.
    fn abort_set(&mut self, lun: Option<u16>, waits: bool) {
        while let Some(task) = self.slots.youngest(lun) {
            if waits && self.protocol.stop_soliciting(task) {
                self.slots.mark_aborted(task);
            } else {
                self.abort(task);
            }
        }
    }

    /// Ends a task without a word, at once or when its disk thread is done with it.
    fn abort(&mut self, id: TaskId) {
        if is_in_flight(&self.slots[id]) {
            self.slots.mark_aborted(id);
        } else {
            self.drop_task(id);
        }
    }

    /// A task that was aborted is quiet now.
    pub(super) fn drop_task(&mut self, id: TaskId) {
        self.reading.retain(|task| *task != id);
        self.resting.retain(|task| *task != id);
        self.unpark(id);
        if let Some(placing) = self.placing.as_mut().filter(|placing| placing.task() == Some(id)) {
            // What is still to come of its data is received, and belongs to nobody.
            placing.disown();
        }
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

fn answer(
    protocol: &mut iesp_iscsi::Connection<{ super::TASKS }>,
    outgoing: &mut super::Outgoing,
    peer: std::net::SocketAddr,
    request: &TaskRequest,
    result: TaskResult,
) {
    tracing::debug!(%peer, function = ?request.function, ?result, "task management");
    let mut out = Outbox::new(&mut outgoing.bytes, outgoing.len);
    protocol.task_response(request, result, &mut out);
    outgoing.len = out.len();
}
