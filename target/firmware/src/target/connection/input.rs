//! From bytes to events, and who handles them.

use embedded_io_async::{Read, Write};
use iesp_iscsi::connection::Command;
use iesp_iscsi::{Collect, CommandFault, Event, Outbox, Received, TaskId};
use iesp_scsi::{Completion, LONG_CDB, Outcome, Transfer, lun_number};

use super::slots::{State, Stream};
use super::{Driver, End};
use crate::board::Board;
use crate::card::BLOCK;
use crate::target::door::Door;

/// Room for a status with sense data, an R2T and the like.
pub(super) const ANSWER: usize = 512;

impl<B: Board, S: Read + Write, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize>
    Driver<'_, '_, B, S, CONNECTIONS, TASKS, TEXT>
{
    /// Sees to the next unit of the inbox; the bytes that it wants where it is not whole.
    pub(super) async fn take_unit(&mut self) -> Result<Option<usize>, End> {
        // What a command's immediate data lie in is not to change while it is executed.
        let inbox = core::mem::take(&mut self.inbox);
        let result = self.take_unit_of(inbox).await;
        self.inbox = inbox;
        result
    }

    async fn take_unit_of(&mut self, inbox: &[u8]) -> Result<Option<usize>, End> {
        let pending = inbox.get(self.start..self.end).unwrap_or_default();
        let (now, waits) = (self.target.now_ms(), self.out);
        let mut out = Outbox::new(self.outbox, self.out);
        let mut door = Door { target: self.target, local: self.local };
        let received = self.protocol.next(now, pending, &mut out, &mut door);
        self.out = out.len();
        let (consumed, event) = match received? {
            Received::Incomplete { need } => return Ok(Some(need)),
            Received::Full => {
                self.send().await?;
                return Ok(None);
            }
            Received::Unit { consumed, event } => (consumed, event),
        };
        match event {
            Event::Command(command) => self.command(&command).await?,
            Event::Data { task, offset, data, complete } => {
                self.ask_early(waits).await?;
                self.data(task, offset, data, complete).await?;
            }
            Event::Handled => {}
            Event::Place { .. } => return Err(End::Closed("a unit that is not whole")),
            Event::DataFault { task, .. } if self.slots.is_aborted(task) => self.drop_task(task),
            Event::DataFault { task, fault } => self.fail(task, fault).await?,
            Event::TaskManagement(request, named) => self.manage(request, named).await?,
            Event::Logout => {
                // RFC 7143 11.14: "the target MUST terminate all pending commands".
                self.abort_set(None, false);
                self.make_room(ANSWER).await?;
                self.put(|protocol, out| protocol.logout_response(out));
                self.send().await?;
                return Err(End::LoggedOut);
            }
            Event::LoggedIn => self.join().await?,
            // One connection of TCP brings commands in their order; whoever numbers them otherwise has lost count.
            Event::Early { .. } => return Err(End::Closed("a command came before its turn")),
        }
        self.start += consumed;
        Ok(None)
    }

    /// A command came.
    async fn command(&mut self, command: &Command<'_>) -> Result<(), End> {
        let target = self.target;
        let lun = lun_number(command.lun).and_then(|number| target.lun(number));
        let Some(lun) = lun else { return self.absent_unit(command).await };
        if self.management.affects(lun.number, command.cmd_sn) {
            self.protocol.forget(command.task);
            return Ok(());
        }
        let unsupported = command.fault == Some(CommandFault::Unsupported);
        let cdb = if unsupported { &LONG_CDB } else { &command.cdb };
        let transfer = Transfer { data_out: command.data_out, data_in: command.data_in };
        let task = lun.unit.begin(self.nexus(), target.inventory(), cdb, transfer);
        let wanted = task.data_out_len().min(command.data_out);
        self.slots.occupy(command.task, lun.number, command.attribute).begin(Some(task), command.data_in, wanted);
        match command.fault {
            None | Some(CommandFault::Unsupported) => {}
            Some(fault) => return self.fail(command.task, fault).await,
        }
        let immediate = command.immediate_data;
        let immediate = immediate.get(..wanted as usize).unwrap_or(immediate);
        self.begin(command.task, immediate).await
    }

    /// Begins a task, or keeps it until others have ended.
    pub(super) async fn begin(&mut self, id: TaskId, immediate: &[u8]) -> Result<(), End> {
        let target = self.target;
        if self.slots.must_wait(id) {
            return self.keep(id, State::Waiting, immediate).await;
        }
        let number = self.slots.lun(id);
        let Some(slot) = self.slots.get_mut(id) else { return Ok(()) };
        let (Some(_), Some(task)) = (target.lun(number), &mut slot.task) else { return Ok(()) };
        let wanted = slot.wanted;
        if let Some(what) = task.streaming() {
            let len = what.blocks.min(wanted / BLOCK as u32) * BLOCK as u32;
            slot.state = State::Streaming(Stream { what, len, taken: 0, failed: None, carry: None });
            let waits = self.out;
            let asked = self.collect(id, wanted).await?;
            self.ask_early(waits).await?;
            self.stream_in(id, immediate).await?;
            return match asked {
                Collect::Complete => self.end_stream(id).await,
                Collect::Pending => Ok(()),
            };
        }
        if wanted > 0 {
            if self.work_of.is_some_and(|owner| owner != id) {
                return self.keep(id, State::Waiting, immediate).await;
            }
            if self.work_of.is_none() {
                self.work_of = Some(id);
                self.gather(0, immediate);
            }
        }
        self.set(id, State::Gathering);
        // A list longer than any that is allowed is cut, and then refused for its length.
        let wanted = wanted.min(self.work.len() as u32);
        match self.collect(id, wanted).await? {
            Collect::Complete => self.step(id, Outcome::Start).await,
            Collect::Pending => Ok(()),
        }
    }

    /// What asks for more data (`waits` bytes waited before it) leaves before the card is busy: they come while it works.
    async fn ask_early(&mut self, waits: usize) -> Result<(), End> {
        if self.out > waits { self.send().await } else { Ok(()) }
    }

    async fn collect(&mut self, id: TaskId, wanted: u32) -> Result<Collect, End> {
        self.make_room(ANSWER).await?;
        Ok(self.put(|protocol, out| protocol.collect(id, wanted, out)))
    }

    /// Keeps a task whose turn has not come, with the data that came with it.
    async fn keep(&mut self, id: TaskId, state: State, immediate: &[u8]) -> Result<(), End> {
        // More of its data come, and nobody has asked for them.
        let comes = !self.protocol.is_collected(id, 0);
        if comes || !immediate.is_empty() && self.work_of != Some(id) {
            if comes || self.work_of.is_some() || immediate.len() > self.work.len() {
                // SAM-5 5.3.5: there is no room for another command now. What else comes for it is discarded.
                self.abandon(id);
                return self.end(id, &Completion::TASK_SET_FULL, 0).await;
            }
            self.work_of = Some(id);
            self.gather(0, immediate);
            if let Some(slot) = self.slots.get_mut(id) {
                slot.kept = immediate.len() as u32;
            }
        }
        self.set(id, state);
        self.slots.stand_in_line(id);
        Ok(())
    }

    /// Tries those that wait again, the oldest first.
    pub(super) async fn retry_waiting(&mut self) -> Result<(), End> {
        let mut after = None;
        while let Some((id, arrival)) = self.slots.next_in_line(after) {
            after = Some(arrival);
            // Whoever has to wait on takes the same place again.
            self.slots.leave_line(id);
            let Some(slot) = self.slots.get(id) else { continue };
            let streams = slot.task.is_some_and(|task| task.streaming().is_some());
            match (slot.state, slot.kept as usize) {
                (State::Blocked(outcome), _) => self.step(id, outcome).await?,
                (_, kept) if kept > 0 && streams => self.begin_kept(id, kept).await?,
                // Data that are wanted in one piece are where they belong.
                _ => self.begin(id, &[]).await?,
            }
        }
        Ok(())
    }

    /// Begins a WRITE whose immediate data lie in the work buffer.
    async fn begin_kept(&mut self, id: TaskId, kept: usize) -> Result<(), End> {
        let work = core::mem::take(&mut self.work);
        let result = self.begin(id, work.get(..kept).unwrap_or_default()).await;
        self.work = work;
        // Unless it still waits, they are on their way to the card.
        let waits = self.slots.get(id).is_some_and(|slot| matches!(slot.state, State::Waiting));
        if !waits && self.work_of == Some(id) {
            self.work_of = None;
            self.retry = true;
        }
        result
    }

    /// Puts data into the work buffer.
    fn gather(&mut self, offset: usize, data: &[u8]) {
        let end = self.work.len().min(offset.saturating_add(data.len()));
        if let Some(place) = self.work.get_mut(offset..end) {
            place.copy_from_slice(data.get(..place.len()).unwrap_or_default());
        }
    }

    /// A piece of a task's data.
    async fn data(&mut self, id: TaskId, offset: u32, data: &[u8], complete: bool) -> Result<(), End> {
        let Some(slot) = self.slots.get(id) else { return Ok(()) };
        if self.slots.is_aborted(id) {
            // A task management function waits for them.
            if complete {
                self.drop_task(id);
            }
            return Ok(());
        }
        match slot.state {
            State::Streaming(_) => {
                self.stream_in(id, data).await?;
                if complete { self.end_stream(id).await } else { Ok(()) }
            }
            State::Gathering => {
                self.gather(offset as usize, data);
                if complete { self.step(id, Outcome::Start).await } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}
