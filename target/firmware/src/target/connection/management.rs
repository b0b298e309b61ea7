//! Task management (RFC 7143 11.5, SAM-5 7): answered when the affected tasks are quiet.

use embedded_io_async::{Read, Write};
use iesp_iscsi::TaskId;
use iesp_iscsi::pdu::{TaskFunction, TaskRequest, TaskResult};
use iesp_scsi::lun_number;

use super::input::ANSWER;
use super::{Driver, End};
use crate::board::Board;
use crate::target::seats::Clear;

impl<B: Board, S: Read + Write, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize>
    Driver<'_, '_, B, S, CONNECTIONS, TASKS, TEXT>
{
    /// A task management function came.
    pub(super) async fn manage(&mut self, request: TaskRequest, named: Option<TaskId>) -> Result<(), End> {
        let number = lun_number(request.lun).filter(|number| self.target.lun(*number).is_some());
        let result = match (request.function, number) {
            (TaskFunction::AbortTask, _) => match named {
                // 11.6.1: the tag alone names a task, but it must be of the logical unit that the request names.
                Some(task) if number == Some(self.slots.lun(task)) => {
                    self.drop_task(task);
                    TaskResult::Complete
                }
                _ => TaskResult::TaskDoesNotExist,
            },
            (TaskFunction::AbortTaskSet | TaskFunction::ClearTaskSet | TaskFunction::LogicalUnitReset, None) => {
                TaskResult::LunDoesNotExist
            }
            (TaskFunction::AbortTaskSet, _) => {
                self.abort_of(number);
                TaskResult::Complete
            }
            (TaskFunction::ClearTaskSet, _) => {
                self.abort_of(number);
                self.clear_others(Clear { lun: number, by: Some(self.nexus()) }).await?;
                TaskResult::Complete
            }
            (TaskFunction::LogicalUnitReset, Some(number)) => {
                self.abort_of(Some(number));
                self.clear_others(Clear { lun: Some(number), by: None }).await?;
                if let Some(lun) = self.target.lun(number) {
                    lun.unit.reset(Some(self.nexus()));
                }
                TaskResult::Complete
            }
            (TaskFunction::TargetWarmReset | TaskFunction::TargetColdReset, _) => {
                self.abort_of(None);
                self.clear_others(Clear { lun: None, by: None }).await?;
                for lun in &self.target.luns {
                    lun.unit.reset(None);
                }
                TaskResult::Complete
            }
            // ErrorRecoveryLevel 0 has no reassignment (11.5.1).
            (TaskFunction::TaskReassign, _) => TaskResult::ReassignmentNotSupported,
            // No ACA: NORMACA is 0 in the standard INQUIRY data.
            _ => TaskResult::NotSupported,
        };
        self.make_room(ANSWER).await?;
        self.put(|protocol, out| protocol.task_response(&request, result, out));
        if request.function == TaskFunction::TargetColdReset {
            self.send().await?;
            self.target.seats.tell_others(None, |mail| mail.close = Some("target cold reset"));
        }
        Ok(())
    }

    /// Has the other sessions abort their tasks, and waits until they are quiet.
    async fn clear_others(&mut self, clear: Clear) -> Result<(), End> {
        self.target.seats.tell_others(Some(self.seat), |mail| {
            // Two orders at once: all tasks, rather than none.
            mail.clear = Some(match mail.clear {
                None => clear,
                Some(other) if other == clear => clear,
                Some(_) => Clear { lun: None, by: None },
            });
        });
        loop {
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
            if let (Some(by), Some(number)) = (clear.by, clear.lun)
                && self.slots.any_of(|of| of == number)
                && let Some(lun) = self.target.lun(number)
            {
                lun.unit.tasks_cleared(by, self.nexus());
            }
            self.abort_of(clear.lun);
        }
        self.target.seats.done(self.seat);
        Ok(())
    }

    /// Aborts the tasks of one logical unit, or all.
    pub(super) fn abort_of(&mut self, lun: Option<u16>) {
        while let Some(id) = self.slots.youngest(lun) {
            self.drop_task(id);
        }
    }

    /// Ends a task without a word.
    fn drop_task(&mut self, id: TaskId) {
        let wake = self.abandon(id);
        self.protocol.forget(id);
        self.vacate(id, wake);
    }
}
