//! Commands: from the protocol to the device server, its steps to the backend, its status back.

use std::sync::Arc;
use std::time::Instant;

use iesp_iscsi::connection::Command;
use iesp_iscsi::{CommandFault, Outbox, TaskId};
use iesp_scsi::{
    Buffers, Completion, IoError, LONG_CDB, NexusId, Outcome, Step, Transfer, TransportFailure, lun_number,
};
use iesp_session::Turn;

use super::Driver;
use super::tasks::{Read, State, Workspace};
use crate::backend::{Patience, Served};
use crate::buffers::Buffer;
use crate::latency;
use crate::luns::Lun;
use crate::pool::{self, Job, Work};

/// Most unused workspaces that a connection keeps.
const SPARE: usize = 4;

impl Driver<'_> {
    /// A command came.
    #[inline]
    pub(super) fn command(&mut self, command: &Command<'_>) {
        let luns = Arc::clone(&self.luns);
        let lun = lun_number(command.lun).and_then(|number| luns.get(number));
        let Some(lun) = lun else { return self.absent_unit(command) };
        if !self.management.is_empty() && self.management.functions.affects(lun.number, command.cmd_sn) {
            return self.protocol.forget(command.task);
        }
        // Commands come in full feature phase only, and then there is a guest.
        let nexus = self.guest.as_ref().map_or(NexusId(u16::MAX), crate::target::Guest::nexus);
        let unsupported = command.fault == Some(CommandFault::Unsupported);
        let cdb = if unsupported { &LONG_CDB } else { &command.cdb };
        let transfer = Transfer { data_out: command.data_out, data_in: command.data_in };
        let task = lun.unit.begin(lun.nexus(nexus), luns.inventory(), cdb, transfer);
        let wanted = task.data_out_len().min(command.data_out);
        self.is_lean = false;
        let slot = self.slots.occupy(command.task, lun.number, command.attribute);
        slot.begin(Some(task), command.data_in);
        slot.data_len = wanted as usize;
        (slot.command, slot.began) = (latency::Command::of(cdb[0]), self.round);
        match command.fault {
            None | Some(CommandFault::Unsupported) => {}
            Some(fault) => return self.fail(command.task, fault),
        }
        let immediate = command.immediate_data.get(..wanted as usize);
        self.entry.counters().data_out.add(command.immediate_data.len() as u64);
        match immediate {
            // Everything came with the command: nothing is to be collected, unless units follow that nobody wants.
            Some(data) if self.protocol.is_collected(command.task, wanted) => self.schedule(command.task, data),
            _ => self.await_data(command.task, wanted, command.immediate_data),
        }
    }

    /// All data of a task have come: it runs when its turn has come.
    #[inline]
    pub(super) fn schedule(&mut self, id: TaskId, immediate: &[u8]) {
        if self.slots.must_wait(id) {
            self.keep_data(id, immediate);
            self.slots[id].state = State::Dormant;
            self.slots.stand_in_line(id);
            return;
        }
        self.step(id, Outcome::Start, immediate);
    }

    /// Steps of the device server, as long as the backend does each at once.
    #[inline]
    pub(super) fn step(&mut self, id: TaskId, mut outcome: Outcome, immediate: &[u8]) {
        let number = self.slots.lun(id);
        let luns = self.luns_of(number);
        let Some(lun) = luns.get(number) else { return };
        loop {
            let slot = &mut self.slots[id];
            if let Outcome::Failed(error) = outcome {
                lun.trouble.failed(lun, error);
            }
            let workspace = slot.workspace.as_mut().unwrap_or(&mut self.workspace);
            let data_out = match &slot.data {
                Some(data) => data.get(..slot.data_len).unwrap_or(data),
                None => immediate,
            };
            let buffers = Buffers { data_out, reply: &mut workspace.reply, scratch: &mut workspace.scratch };
            let Some(task) = &mut slot.task else { return };
            let step = task.step(lun.reached(), outcome, buffers);
            outcome = match step {
                Step::Done(completion) => return self.complete(id, &completion),
                Step::Read { lba, blocks } => return self.begin_read(id, lun, lba, blocks),
                Step::Write { lba, blocks, offset, fua } => {
                    let (from, len) = (offset as usize, lun.bytes(blocks.into()) as usize);
                    let at = lun.bytes(lba);
                    let Some(data) = data_out.get(from..from + len) else {
                        debug_assert!(false, "the device server writes what it was given");
                        outcome = Outcome::Failed(IoError::Other);
                        continue;
                    };
                    match lun.backend.write(at, data, fua, Patience::None) {
                        Ok(Served::Done(())) => {
                            self.entry.counters().written(lun.number, len);
                            Outcome::Done
                        }
                        Err(error) => Outcome::Failed(error),
                        Ok(Served::WouldBlock) => {
                            let work = Work::Write { offset: at, from, len, durable: fua };
                            return self.write_elsewhere(id, lun, work, immediate);
                        }
                    }
                }
                Step::Blocked => return self.block(id, outcome, immediate),
                Step::Wake => {
                    self.wake(lun.number);
                    outcome
                }
                Step::Prefetch { lba, blocks } => {
                    lun.backend.prefetch(lun.bytes(lba), lun.bytes(blocks));
                    Outcome::Done
                }
                other => match self.perform(id, lun, other, immediate) {
                    Some(outcome) if self.is_turn_over() => return self.rest(id, outcome, immediate),
                    Some(outcome) => outcome,
                    None => return,
                },
            };
        }
    }

    fn is_turn_over(&mut self) -> bool {
        self.turn.took_time(self.clock.nanos());
        self.turn.is_over()
    }

    /// The turn is over: the task's next step belongs to the next one.
    fn rest(&mut self, id: TaskId, outcome: Outcome, immediate: &[u8]) {
        self.keep_data(id, immediate);
        self.keep_workspace(id);
        self.slots[id].state = State::Resting(outcome);
        self.resting.push_back(id);
    }

    /// Tasks that rest go on, each in its turn, behind the PDUs that were here.
    pub(super) fn rested(&mut self) {
        if self.resting.is_empty() {
            return;
        }
        self.turn = Turn::begin(self.clock.nanos());
        for _ in 0..self.resting.len() {
            if self.outgoing.room() < self.answer_room() || self.turn.is_over() {
                return;
            }
            let Some(id) = self.resting.pop_front() else { return };
            if let State::Resting(outcome) = self.slots[id].state {
                self.step(id, outcome, &[]);
            }
        }
    }

    /// A step of a kind that is not in a hurry. `None`: a disk thread does it.
    fn perform(&mut self, id: TaskId, lun: &Lun, step: Step, immediate: &[u8]) -> Option<Outcome> {
        let work = match step {
            Step::ReadScratch { lba, blocks } => {
                Work::Read { offset: lun.bytes(lba), len: lun.bytes(blocks.into()) as usize }
            }
            Step::WriteScratch { lba, blocks, fua } => {
                let len = lun.bytes(blocks.into()) as usize;
                Work::Write { offset: lun.bytes(lba), from: 0, len, durable: fua }
            }
            Step::Flush => Work::Flush,
            Step::Unmap { lba, blocks } => Work::Unmap { offset: lun.bytes(lba), len: lun.bytes(blocks) },
            Step::Zero { lba, blocks, unmap } => Work::Zero { offset: lun.bytes(lba), len: lun.bytes(blocks), unmap },
            Step::Extent { lba, blocks } => {
                Work::Extent { offset: lun.bytes(lba), len: lun.bytes(blocks), block: lun.block_size() }
            }
            Step::Blocked
            | Step::Wake
            | Step::Read { .. }
            | Step::Write { .. }
            | Step::Prefetch { .. }
            | Step::Done(_) => {
                return Some(Outcome::Failed(IoError::Other));
            }
        };
        let workspace = self.slots[id].workspace.as_mut().unwrap_or(&mut self.workspace);
        match work.perform(&*lun.backend, &mut workspace.scratch, Patience::None) {
            Ok(Served::Done(outcome)) => {
                self.entry.counters().done(lun.number, work);
                return Some(outcome);
            }
            Err(error) => return Some(Outcome::Failed(error)),
            Ok(Served::WouldBlock) => {}
        }
        // The task keeps its workspace from now on; the scratch buffer goes to the disk thread and back.
        self.keep_data(id, immediate);
        self.keep_workspace(id);
        let scratch = self.slots[id].workspace.as_mut().map(|workspace| std::mem::take(&mut workspace.scratch));
        self.submit(id, lun, work, scratch.unwrap_or_default(), None);
        None
    }

    /// A disk thread has done its work for a task.
    pub(super) fn served(&mut self, id: TaskId, outcome: Outcome, buffer: Buffer) {
        let State::InFlight { read, work, since } = self.slots[id].state else { return };
        self.entry.counters().waited(since.elapsed());
        if !matches!(outcome, Outcome::Failed(_)) {
            self.entry.counters().done(self.slots.lun(id), work);
        }
        if let Some((read, len)) = read {
            return self.read_served(id, read, len, outcome, buffer);
        }
        let slot = &mut self.slots[id];
        slot.state = State::Collecting;
        match &mut slot.workspace {
            Some(workspace) if workspace.scratch.is_empty() => workspace.scratch = buffer,
            _ => slot.data = Some(buffer),
        }
        if self.slots.is_aborted(id) {
            return self.drop_task(id);
        }
        self.step(id, outcome, &[]);
    }

    fn write_elsewhere(&mut self, id: TaskId, lun: &Lun, work: Work, immediate: &[u8]) {
        self.keep_data(id, immediate);
        let buffer = self.slots[id].data.take().unwrap_or_default();
        // The workspace is for others meanwhile: the device server needs nothing of it after a write.
        self.submit(id, lun, work, buffer, None);
    }

    pub(super) fn submit(&mut self, id: TaskId, lun: &Lun, work: Work, buffer: Buffer, read: Option<(Read, usize)>) {
        self.slots[id].state = State::InFlight { read, work, since: Instant::now() };
        let backend = Arc::clone(&lun.backend);
        pool::submit(Job { task: id, work, buffer, backend, reply: self.mail.clone() });
    }

    /// Copies what lies in the inbox, for a task that outlives it.
    fn keep_data(&mut self, id: TaskId, immediate: &[u8]) {
        if immediate.is_empty() || self.slots[id].data.is_some() {
            return;
        }
        // A command's immediate data is at most FirstBurstLength: where the budget is used up it is taken all the same.
        let mut buffer = self.buffers.take(immediate.len()).unwrap_or_else(|| Buffer::new(immediate.len() + 1));
        buffer[..immediate.len()].copy_from_slice(immediate);
        self.slots[id].data_len = immediate.len();
        self.slots[id].data = Some(buffer);
    }

    fn keep_workspace(&mut self, id: TaskId) {
        if self.slots[id].workspace.is_none() {
            let fresh = self.spare.pop().unwrap_or_else(Workspace::new);
            self.slots[id].workspace = Some(std::mem::replace(&mut self.workspace, fresh));
        }
    }

    fn block(&mut self, id: TaskId, outcome: Outcome, immediate: &[u8]) {
        self.keep_data(id, immediate);
        self.slots[id].state = State::Blocked(outcome);
        self.slots.stand_in_line(id);
    }

    /// A task ended that the blocked ones may have waited for.
    pub(super) fn retry_blocked(&mut self, lun: u16) {
        let mut after = None;
        while let Some((id, arrival)) = self.slots.next_in_line(after) {
            after = Some(arrival);
            if self.slots.lun(id) != lun {
                continue;
            }
            match self.slots[id].state {
                State::Blocked(outcome) => {
                    self.slots.leave_line(id);
                    self.step(id, outcome, &[]);
                }
                State::BlockedRead(read) => {
                    self.slots.leave_line(id);
                    self.retry_read(id, read);
                }
                _ => {}
            }
        }
    }

    /// A command's data broke the rules.
    pub(super) fn fail(&mut self, id: TaskId, fault: CommandFault) {
        let number = self.slots.lun(id);
        let luns = self.luns_of(number);
        let Some(lun) = luns.get(number) else { return };
        let failure = match fault {
            CommandFault::Unexpected | CommandFault::Unsupported => TransportFailure::UnexpectedUnsolicitedData,
            CommandFault::IncorrectAmount => TransportFailure::NotEnoughUnsolicitedData,
            CommandFault::Digest => TransportFailure::ProtocolServiceCrc,
        };
        let mut completion = lun.unit.transport_failure(failure);
        completion.wake |= self.slots[id].abandon(lun);
        self.end(id, &completion, 0);
    }

    /// A task ended with status; reads have sent their data by themselves.
    #[inline]
    fn complete(&mut self, id: TaskId, completion: &Completion) {
        if completion.inventory_reported {
            self.inventory_reported();
        }
        let slot = &self.slots[id];
        let data_in = if completion.status == 0 { completion.reply_len.max(slot.data_in_len()) } else { 0 };
        let data_in = if data_in > 0 && self.protocol.is_data_out(id) { 0 } else { data_in };
        let wanted = slot.data_out_len().max(data_in);
        self.end(id, completion, wanted);
    }

    /// Sends what a task has to say, then its place is free.
    pub(super) fn end(&mut self, id: TaskId, completion: &Completion, wanted: u32) {
        let slot = &mut self.slots[id];
        let workspace = slot.workspace.as_ref().unwrap_or(&self.workspace);
        let reply = &workspace.reply[..completion.reply_len.min(slot.data_in) as usize];
        let mut out = Outbox::new(&mut self.outgoing.bytes, self.outgoing.len);
        let good = completion.status == 0;
        if reply.is_empty() || !good {
            self.protocol.respond(id, &mut out, completion.status, completion.sense.as_slice(), wanted);
        } else {
            self.entry.counters().data_in.add(reply.len() as u64);
            send_reply(&mut self.protocol, id, &mut out, reply, wanted);
        }
        self.outgoing.len = out.len();
        let lun = self.slots.lun(id);
        if !good {
            self.entry.counters().failed(lun);
        }
        self.measure(id);
        self.vacate(id);
        if completion.wake {
            self.wake(lun);
        }
    }

    /// A task was answered: how long it took is known when the answer leaves.
    #[inline]
    pub(super) fn measure(&mut self, id: TaskId) {
        let slot = &self.slots[id];
        let counters = self.entry.counters();
        let Some(row) = counters.row(self.slots.lun(id)) else { return };
        if self.ended.push(row, slot.command, slot.began) {
            self.ended.record(self.clock.nanos(), counters.latencies());
        }
    }

    /// Gives back what a task held; whoever waited for its end goes on.
    pub(super) fn vacate(&mut self, id: TaskId) {
        let slot = &mut self.slots[id];
        if let Some(buffer) = slot.data.take() {
            self.buffers.give(buffer);
        }
        if let Some(fetched) = slot.fetched.take() {
            self.buffers.give(fetched.buffer);
        }
        if let Some(workspace) = slot.workspace.take()
            && self.spare.len() < SPARE
        {
            self.spare.push(workspace);
        }
        self.slots.vacate(id);
        if self.slots.is_any_in_line() {
            self.start_dormant();
        }
        if !self.leaving.is_empty() {
            self.check_leaving();
        }
        self.check_management();
    }

    fn start_dormant(&mut self) {
        let mut after = None;
        while let Some((id, arrival)) = self.slots.next_in_line(after) {
            after = Some(arrival);
            if self.slots[id].state == State::Dormant && !self.slots.must_wait(id) {
                self.slots.leave_line(id);
                self.slots[id].state = State::Collecting;
                self.step(id, Outcome::Start, &[]);
            }
        }
    }

    /// A command for a logical unit that is not there (SPC-4 6.6.1, 6.33): small answers, no task of the device server.
    fn absent_unit(&mut self, command: &Command<'_>) {
        let reply = &mut self.workspace.reply;
        let is_awaited = lun_number(command.lun).is_some_and(|number| self.luns.is_awaited(number));
        let answer = if is_awaited { iesp_scsi::awaited_unit } else { iesp_scsi::absent_unit };
        let completion = answer(self.luns.inventory(), &command.cdb, reply);
        if completion.inventory_reported {
            self.inventory_reported();
        }
        self.slots.occupy(command.task, u16::MAX, command.attribute).begin(None, command.data_in);
        let wanted = completion.reply_len;
        self.end(command.task, &completion, wanted);
    }

    /// REPORT LUNS answered: it is no news to the initiator any more at any logical unit (SPC-4 7.8.8, LUICLR).
    #[cold]
    fn inventory_reported(&self) {
        let Some(guest) = &self.guest else { return };
        for lun in self.luns.iter() {
            lun.unit.inventory_reported(lun.nexus(guest.nexus()));
        }
    }
}

/// Small Data-In, in as many units as the initiator's segment length asks for; the last one carries the status.
fn send_reply(
    protocol: &mut iesp_iscsi::Connection<{ super::TASKS }>,
    id: TaskId,
    out: &mut Outbox<'_>,
    mut reply: &[u8],
    wanted: u32,
) {
    while !reply.is_empty() {
        let len = protocol.data_in_len(id, reply.len());
        // Callers have made room for the largest reply in the smallest segments.
        let Some(room) = out.data_room(protocol.digests(), len) else { return };
        room.copy_from_slice(&reply[..len]);
        reply = &reply[len..];
        protocol.data_in(id, out, len, reply.is_empty().then_some(wanted));
    }
}
