//! Task management (RFC 7143 11.5, SAM-5 7): answered when the affected tasks are quiet.

use embedded_io_async::{Read, Write};
use iesp_iscsi::TaskId;
use iesp_iscsi::pdu::{TaskRequest, TaskResult};
use iesp_scsi::lun_number;
use iesp_session::{Decision, Effect, Scope};

use super::input::ANSWER;
use super::slots::State;
use super::{Driver, End};
use crate::board::Board;
use crate::target::seats::Clear;

impl<B: Board, S: Read + Write, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize>
    Driver<'_, '_, B, S, CONNECTIONS, TASKS, TEXT>
{
    /// A task management function came.
    pub(super) async fn manage(&mut self, request: TaskRequest, named: Option<TaskId>) -> Result<(), End> {
        let lun = lun_number(request.lun).filter(|number| self.target.lun(*number).is_some());
        let named = named.map(|task| (task, self.slots.lun(task)));
        match self.management.begin(request, named, lun, self.target.now_ms()) {
            Decision::Answer(result) => self.answer(&request, result).await,
            Decision::Abort { scope, .. } => {
                match scope {
                    Scope::Task(task) => self.drop_task(task),
                    // RFC 7143 4.2.3.3 a: data that R2Ts asked for are waited for.
                    Scope::Unit(_) | Scope::Session => self.abort_set(scope.lun(), true),
                }
                self.management.all_are_aborted();
                Ok(())
            }
        }
    }

    /// Answers the functions that need not wait any longer.
    pub(super) async fn answer_functions(&mut self) -> Result<(), End> {
        while let Some(scope) = self.management.handle_timeout(self.target.now_ms()) {
            self.drop_aborted(scope);
        }
        loop {
            let slots = &self.slots;
            let is_quiet = |scope| slots.aborted(scope, |_| true).is_none();
            let expected = self.protocol.expected_cmd_sn();
            let Some((quiet, others)) = self.management.next_own_quiet(expected, is_quiet) else { return Ok(()) };
            if let Some(scope) = others {
                self.clear_others(Clear { lun: scope.lun() }).await?;
            }
            match quiet.effect {
                Effect::None => {}
                Effect::ResetUnit(number) => {
                    if let Some(lun) = self.target.lun(number) {
                        lun.unit.reset(Some(self.nexus()));
                    }
                }
                Effect::ResetAll | Effect::ResetAndClose => {
                    for lun in &self.target.luns {
                        lun.unit.reset(None);
                    }
                }
            }
            self.answer(&quiet.request, TaskResult::Complete).await?;
            if quiet.effect == Effect::ResetAndClose {
                self.send().await?;
                self.target.seats.tell_others(None, |mail| mail.close = Some("target cold reset"));
            }
        }
    }

    async fn answer(&mut self, request: &TaskRequest, result: TaskResult) -> Result<(), End> {
        self.make_room(ANSWER).await?;
        self.put(|protocol, out| protocol.task_response(request, result, out));
        Ok(())
    }

    /// Has the other sessions abort their tasks, and waits until they are quiet.
    async fn clear_others(&mut self, clear: Clear) -> Result<(), End> {
        self.target.seats.tell_others(Some(self.seat), |mail| {
            // Two orders at once: all tasks, rather than none.
            mail.clear = Some(match mail.clear {
                None => clear,
                Some(other) if other == clear => clear,
                Some(_) => Clear { lun: None },
            });
        });
        loop {
            self.leave_lines();
            self.target.seats.settled(self.seat, |mail| mail.clear.is_some()).await;
            if !self.has_mail() {
                return Ok(());
            }
            // Two that wait for each other: what is asked of this one comes first.
            self.read_mail()?;
        }
    }

    fn has_mail(&self) -> bool {
        let mail = self.target.seats.mail(self.seat);
        self.seated && (mail.wake || mail.clear.is_some() || mail.close.is_some())
    }

    /// What others have for this connection to do: nothing is under way now.
    pub(super) fn read_mail(&mut self) -> Result<(), End> {
        if !self.has_mail() {
            return Ok(());
        }
        let mail = self.target.seats.mail(self.seat);
        if let Some(reason) = mail.close {
            return Err(End::Closed(reason));
        }
        self.retry |= mail.wake;
        if let Some(clear) = mail.clear {
            self.abort_set(clear.lun, false);
        }
        self.target.seats.done(self.seat);
        Ok(())
    }

    /// Aborts the tasks of a logical unit, or all; `waits`: those that asked for data end when these have come.
    pub(super) fn abort_set(&mut self, lun: Option<u16>, waits: bool) {
        while let Some(id) = self.slots.youngest(lun) {
            if waits && self.protocol.stop_soliciting(id) {
                // What still comes goes nowhere, so that nobody need wait for its range.
                let wake = self.abandon(id);
                self.set(id, State::Running);
                self.slots.mark_aborted(id);
                self.tell_of_end(wake);
            } else {
                self.drop_task(id);
            }
        }
        if !waits {
            self.drop_aborted(lun.map_or(Scope::Session, Scope::Unit));
        }
    }

    fn drop_aborted(&mut self, scope: Scope) {
        while let Some(id) = self.slots.aborted(scope, |_| true) {
            self.drop_task(id);
        }
    }

    /// Ends a task without a word.
    pub(super) fn drop_task(&mut self, id: TaskId) {
        let wake = self.abandon(id);
        self.protocol.forget(id);
        self.vacate(id, wake);
    }
}
