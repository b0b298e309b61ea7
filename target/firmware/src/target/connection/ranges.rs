//! Ranges of blocks: they are held while the card works, never while a peer is waited for.

use core::future::poll_fn;

use embedded_io_async::{Read, Write};
use iesp_iscsi::TaskId;

use super::{Driver, End};
use crate::board::Board;

impl<B: Board, S: Read + Write, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize>
    Driver<'_, '_, B, S, CONNECTIONS, TASKS, TEXT>
{
    /// Takes the blocks of a task's next piece of I/O. Where others have them it waits: for the card, not for a peer.
    pub(super) async fn take_range(&mut self, id: TaskId, lba: u64, blocks: u32) -> Result<(), End> {
        loop {
            let (lun, slot) = (self.target.lun(self.slots.lun(id)), self.slots.get_mut(id));
            let (Some(lun), Some(task)) = (lun, slot.and_then(|slot| slot.task.as_mut())) else { return Ok(()) };
            if task.resume(&lun.unit, lba, blocks) {
                return Ok(());
            }
            self.leave_lines();
            let (target, seat) = (self.target, self.seat);
            poll_fn(|cx| target.seats.poll_wake(seat, cx)).await;
            if target.seats.mail(seat).close.is_some() {
                return Err(self.closing());
            }
            // Others of this connection may have waited for the same.
            self.retry = true;
        }
    }

    /// Gives back what a task holds until its next piece of I/O.
    pub(super) fn give_range_back(&mut self, id: TaskId) {
        let (lun, slot) = (self.target.lun(self.slots.lun(id)), self.slots.get_mut(id));
        if let (Some(lun), Some(task)) = (lun, slot.and_then(|slot| slot.task.as_mut()))
            && task.pause(&lun.unit)
        {
            self.wake_others();
        }
    }

    /// No task of this connection keeps others in line behind it while the connection waits; they are tried again afterwards.
    pub(super) fn leave_lines(&mut self) {
        let mut after = None;
        while let Some((id, arrival)) = self.slots.next_in_line(after) {
            after = Some(arrival);
            self.give_range_back(id);
            self.retry = true;
        }
    }

    /// Has everyone's blocked tasks try again.
    pub(super) fn wake_others(&self) {
        self.target.seats.tell_others(None, |mail| mail.wake = true);
    }
}
