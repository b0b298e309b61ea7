//! Commands: the device server's steps, the data that go either way, the status.

use embedded_io_async::{Read, Write};
use iesp_iscsi::connection::Command;
use iesp_iscsi::{CommandFault, TaskId};
use iesp_scsi::{Buffers, Completion, IoError, Outcome, Step, StreamError, TransportFailure};

use super::input::ANSWER;
use super::slots::{Slot, State, Stream};
use super::{Driver, End};
use crate::board::Board;
use crate::card::BLOCK;

impl<B: Board, S: Read + Write, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize>
    Driver<'_, '_, B, S, CONNECTIONS, TASKS, TEXT>
{
    /// Steps of the device server, until the command ended or has to wait.
    pub(super) async fn step(&mut self, id: TaskId, mut outcome: Outcome) -> Result<(), End> {
        let target = self.target;
        self.set(id, State::Running);
        let number = self.slots.lun(id);
        loop {
            let Some(slot) = self.slots.get_mut(id) else { return Ok(()) };
            let (wanted, data_in) = (slot.wanted as usize, slot.data_in);
            let (Some(lun), Some(task)) = (target.lun(number), &mut slot.task) else { return Ok(()) };
            let has_data = wanted > 0 && self.work_of == Some(id);
            let data_out = if has_data { self.work.get(..wanted).unwrap_or(self.work) } else { &[] };
            let buffers = Buffers { data_out, reply: self.reply, scratch: self.scratch };
            let result = match task.step(&lun.unit, outcome, buffers) {
                Step::Done(completion) => return self.complete(id, &completion).await,
                Step::Blocked => {
                    self.set(id, State::Blocked(outcome));
                    self.slots.stand_in_line(id);
                    return Ok(());
                }
                Step::Wake => {
                    self.wake_others();
                    continue;
                }
                Step::Read { lba, blocks } => {
                    let len = u64::from(blocks).saturating_mul(BLOCK as u64).min(data_in.into()) as u32;
                    target.count(|counters| counters.reads += 1);
                    return self.read(id, number, lba, len).await;
                }
                Step::Write { lba, blocks, offset, fua } => {
                    target.count(|counters| counters.writes += 1);
                    let (from, len) = (offset as usize, blocks as usize * BLOCK);
                    match self.work.get(from..from + len).filter(|_| has_data) {
                        Some(data) => {
                            let written = target.write_blocks(number, lba, data).await;
                            self.then_flush(written, fua).await
                        }
                        None => Err(IoError::Other),
                    }
                }
                Step::ReadScratch { lba, blocks } => match self.scratch.get_mut(..blocks as usize * BLOCK) {
                    Some(room) => target.read_blocks(number, lba, room).await,
                    None => Err(IoError::Other),
                },
                Step::WriteScratch { lba, blocks, fua } => match self.scratch.get(..blocks as usize * BLOCK) {
                    Some(data) => {
                        let written = target.write_blocks(number, lba, data).await;
                        self.then_flush(written, fua).await
                    }
                    None => Err(IoError::Other),
                },
                Step::Flush => self.flush_blocks().await,
                Step::Unmap { lba, blocks } => target.erase_blocks(number, lba, blocks).await,
                Step::Zero { lba, blocks, unmap: true } => target.erase_blocks(number, lba, blocks).await,
                Step::Zero { lba, blocks, unmap: false } => self.write_zeros(number, lba, blocks).await,
                Step::Prefetch { .. } => Ok(()),
                Step::Extent { blocks, .. } => {
                    // The card does not tell what was erased.
                    outcome = Outcome::Extent { mapped: true, blocks };
                    continue;
                }
            };
            outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Done);
        }
    }

    async fn then_flush(&mut self, written: Result<(), IoError>, fua: bool) -> Result<(), IoError> {
        match written {
            Ok(()) if fua => self.flush_blocks().await,
            other => other,
        }
    }

    async fn write_zeros(&mut self, lun: u16, mut lba: u64, mut blocks: u64) -> Result<(), IoError> {
        let room = (self.scratch.len() / BLOCK) as u64;
        self.scratch.fill(0);
        while blocks > 0 {
            let now = blocks.min(room);
            let data = self.scratch.get(..now as usize * BLOCK).unwrap_or_default();
            self.target.write_blocks(lun, lba, data).await?;
            lba += now;
            blocks -= now;
        }
        Ok(())
    }

    /// A READ: from the card into the outgoing bytes, a unit at a time. While one is on its way, the card works on the next.
    async fn read(&mut self, id: TaskId, lun: u16, lba: u64, len: u32) -> Result<(), End> {
        let (mut sent, mut in_scratch) = (0, None);
        let most = self.outbox.len().saturating_sub(128) / BLOCK * BLOCK;
        while sent < len {
            if self.out > 0 {
                self.give_range_back(id);
                self.send().await?;
            }
            let allowed = self.protocol.data_in_len(id, (len - sent) as usize).min(most);
            let digests = self.protocol.digests();
            // Whole blocks at a time, but for the end of what is wanted and for peers of odd lengths.
            let whole = (sent as usize).is_multiple_of(BLOCK) && allowed >= BLOCK;
            let now = if whole { allowed / BLOCK * BLOCK } else { allowed.min(BLOCK - sent as usize % BLOCK) };
            let at = lba + u64::from(sent) / BLOCK as u64;
            self.take_range(id, at, now.div_ceil(BLOCK) as u32).await?;
            let mut out = iesp_iscsi::Outbox::new(self.outbox, self.out);
            let Some(room) = out.data_room(digests, now) else { return Err(End::Closed("no room for a unit")) };
            let result = if whole {
                self.target.read_blocks(lun, at, room).await
            } else {
                let block = self.scratch.get_mut(..BLOCK).unwrap_or_default();
                // The parts of a block are of one time.
                let result = match in_scratch {
                    Some(there) if there == at => Ok(()),
                    _ => self.target.read_blocks(lun, at, block).await,
                };
                in_scratch = Some(at);
                let from = sent as usize % BLOCK;
                if let Some(part) = block.get(from..from + now) {
                    room.copy_from_slice(part);
                }
                result
            };
            if let Err(error) = result {
                return self.after_read(id, Outcome::Failed(error), sent).await;
            }
            sent += now as u32;
            if sent < len {
                self.put(|protocol, out| protocol.data_in(id, out, now, None));
            } else {
                return self.end_read(id, now, sent).await;
            }
        }
        self.after_read(id, Outcome::Done, sent).await
    }

    /// The last `len` bytes of a READ lie in the outgoing bytes: GOOD travels with them (RFC 7143 11.7.3).
    async fn end_read(&mut self, id: TaskId, len: usize, sent: u32) -> Result<(), End> {
        let completion = self.last_step(id, Outcome::Done);
        match completion {
            Some(Completion { status: 0, wake, .. }) => {
                let wanted = self.slots.get(id).and_then(|slot| slot.task).map_or(0, |task| task.data_in_len());
                self.put(|protocol, out| protocol.data_in(id, out, len, Some(wanted)));
                self.vacate(id, wake);
                Ok(())
            }
            Some(completion) => {
                self.put(|protocol, out| protocol.data_in(id, out, len, None));
                self.end(id, &completion, sent).await
            }
            None => self.fail(id, CommandFault::Unexpected).await,
        }
    }

    async fn after_read(&mut self, id: TaskId, outcome: Outcome, sent: u32) -> Result<(), End> {
        match self.last_step(id, outcome) {
            Some(completion) => {
                let good = completion.status == 0;
                let task = self.slots.get(id).and_then(|slot| slot.task);
                let is_out = self.protocol.is_data_out(id);
                let wanted = if good && !is_out { task.map_or(0, |task| task.data_in_len()) } else { sent };
                self.end(id, &completion, wanted).await
            }
            None => self.fail(id, CommandFault::Unexpected).await,
        }
    }

    /// The step after which a command is done.
    fn last_step(&mut self, id: TaskId, outcome: Outcome) -> Option<Completion> {
        let number = self.slots.lun(id);
        let slot = self.slots.get_mut(id)?;
        let (lun, task) = (self.target.lun(number)?, slot.task.as_mut()?);
        let buffers = Buffers { data_out: &[], reply: self.reply, scratch: self.scratch };
        match task.step(&lun.unit, outcome, buffers) {
            Step::Done(completion) => Some(completion),
            _ => None,
        }
    }

    /// Data of a command that is streamed: whole blocks go to the card, what is left of one waits for its rest.
    pub(super) async fn stream_in(&mut self, id: TaskId, mut data: &[u8]) -> Result<(), End> {
        let lun = self.slots.lun(id);
        let Some(&Slot { state: State::Streaming(mut stream), .. }) = self.slots.get(id) else { return Ok(()) };
        // Behind the last whole block is nothing to be taken.
        let left = (stream.len - stream.taken) as usize;
        data = data.get(..left).unwrap_or(data);
        while !data.is_empty() && stream.failed.is_none() {
            let filled = stream.taken as usize % BLOCK;
            let whole = data.len() / BLOCK * BLOCK;
            let direct = filled == 0 && whole > 0;
            let (now, later) = data.split_at(if direct { whole } else { data.len().min(BLOCK - filled) });
            let result = if direct {
                self.take_blocks(id, &stream, lun, now).await?
            } else {
                self.carry_in(id, &mut stream, lun, now).await?
            };
            stream.failed = result.err();
            stream.taken += now.len() as u32;
            data = later;
        }
        stream.taken += data.len() as u32;
        self.set(id, State::Streaming(stream));
        Ok(())
    }

    /// Whole blocks of a command that is streamed; they are held meanwhile.
    async fn take_blocks(
        &mut self,
        id: TaskId,
        stream: &Stream,
        lun: u16,
        data: &[u8],
    ) -> Result<Result<(), StreamError>, End> {
        let first = stream.what.lba + u64::from(stream.taken) / BLOCK as u64;
        self.take_range(id, first, (data.len() / BLOCK) as u32).await?;
        let result = self.store_blocks(first, stream, lun, data).await;
        self.give_range_back(id);
        Ok(result)
    }

    /// Writes or compares blocks of a command that is streamed, from block `first` on.
    async fn store_blocks(&mut self, first: u64, stream: &Stream, lun: u16, data: &[u8]) -> Result<(), StreamError> {
        if stream.what.write {
            self.target.write_blocks(lun, first, data).await.map_err(StreamError::Io)?;
        }
        if !stream.what.compare {
            return Ok(());
        }
        if stream.what.write {
            // What is verified is what is on the medium.
            self.flush_blocks().await.map_err(StreamError::Io)?;
        }
        let room = self.scratch.len() / BLOCK * BLOCK;
        let (mut lba, mut offset) = (first, u64::from(stream.taken) / BLOCK as u64 * BLOCK as u64);
        for part in data.chunks(room) {
            let there = self.scratch.get_mut(..part.len()).unwrap_or_default();
            self.target.read_blocks(lun, lba, there).await.map_err(StreamError::Io)?;
            if let Some(at) = there.iter().zip(part).position(|(a, b)| a != b) {
                return Err(StreamError::Miscompare(offset + at as u64));
            }
            lba += (part.len() / BLOCK) as u64;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// A part of a block; the block is taken when it is whole.
    async fn carry_in(
        &mut self,
        id: TaskId,
        stream: &mut Stream,
        lun: u16,
        part: &[u8],
    ) -> Result<Result<(), StreamError>, End> {
        match self.carry(stream, part) {
            Ok(Some(block)) => self.take_blocks(id, stream, lun, &block).await,
            Ok(None) => Ok(Ok(())),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Puts a part of a block to the others; the block, where it is whole now.
    fn carry(&mut self, stream: &mut Stream, part: &[u8]) -> Result<Option<[u8; BLOCK]>, StreamError> {
        let other = StreamError::Io(IoError::Other);
        let filled = stream.taken as usize % BLOCK;
        let at = match stream.carry {
            Some(at) => at,
            None => {
                let free = self.carries_used.iter_mut().enumerate().find(|(_, used)| !**used);
                let (at, used) = free.ok_or(other)?;
                *used = true;
                stream.carry = Some(at);
                at
            }
        };
        let block = self.carries.get_mut(at).ok_or(other)?;
        block.get_mut(filled..filled + part.len()).ok_or(other)?.copy_from_slice(part);
        Ok((filled + part.len() >= BLOCK).then_some(*block))
    }

    /// All data of a command that is streamed have come.
    pub(super) async fn end_stream(&mut self, id: TaskId) -> Result<(), End> {
        let number = self.slots.lun(id);
        let Some(slot) = self.slots.get_mut(id) else { return Ok(()) };
        let State::Streaming(stream) = slot.state else { return Ok(()) };
        slot.state = State::Running;
        let Some(lun) = self.target.lun(number) else { return Ok(()) };
        self.target.count(|counters| counters.writes += u64::from(stream.what.write));
        self.give_back(&stream);
        let mut result = stream.failed.map_or(Ok(()), Err);
        if result.is_ok() && stream.what.write && lun.unit.must_be_durable(stream.what.fua) {
            result = self.flush_blocks().await.map_err(StreamError::Io);
        }
        let Some(task) = self.slots.get_mut(id).and_then(|slot| slot.task.as_mut()) else { return Ok(()) };
        let completion = task.end_streaming(&lun.unit, result);
        self.complete(id, &completion).await
    }

    fn give_back(&mut self, stream: &Stream) {
        if let Some(used) = stream.carry.and_then(|at| self.carries_used.get_mut(at)) {
            *used = false;
        }
    }

    /// A command's data broke the rules.
    pub(super) async fn fail(&mut self, id: TaskId, fault: CommandFault) -> Result<(), End> {
        if self.slots.get(id).is_none() {
            return Ok(());
        }
        let Some(lun) = self.target.lun(self.slots.lun(id)) else { return Ok(()) };
        let failure = match fault {
            CommandFault::Unexpected | CommandFault::Unsupported => TransportFailure::UnexpectedUnsolicitedData,
            CommandFault::IncorrectAmount => TransportFailure::NotEnoughUnsolicitedData,
            CommandFault::Digest => TransportFailure::ProtocolServiceCrc,
        };
        let mut completion = lun.unit.transport_failure(failure);
        completion.wake |= self.abandon(id);
        self.end(id, &completion, 0).await
    }

    /// A task ended with status; reads have sent their data by themselves.
    pub(super) async fn complete(&mut self, id: TaskId, completion: &Completion) -> Result<(), End> {
        let task = self.slots.get(id).and_then(|slot| slot.task);
        let (data_in, data_out) = task.map_or((0, 0), |task| (task.data_in_len(), task.data_out_len()));
        let data_in = if completion.status == 0 { completion.reply_len.max(data_in) } else { 0 };
        let data_in = if data_in > 0 && self.protocol.is_data_out(id) { 0 } else { data_in };
        let wanted = data_out.max(data_in);
        self.end(id, completion, wanted).await
    }

    /// Sends what a task has to say, then its place is free.
    pub(super) async fn end(&mut self, id: TaskId, completion: &Completion, wanted: u32) -> Result<(), End> {
        let Some(slot) = self.slots.get(id) else { return Ok(()) };
        let len = completion.reply_len.min(slot.data_in) as usize;
        let len = len.min(self.reply.len());
        // Before the peer is waited for.
        if completion.wake {
            self.wake_others();
        }
        if len == 0 || completion.status != 0 {
            self.make_room(ANSWER).await?;
            self.put(|protocol, out| protocol.respond(id, out, completion.status, completion.sense.as_slice(), wanted));
        } else {
            self.send_reply(id, len, wanted).await?;
        }
        self.vacate(id, false);
        Ok(())
    }

    /// Small Data-In, in as many units as the initiator's segment length asks for; the last one carries the status.
    async fn send_reply(&mut self, id: TaskId, len: usize, wanted: u32) -> Result<(), End> {
        let most = self.outbox.len().saturating_sub(128);
        let mut sent = 0;
        while sent < len {
            let now = self.protocol.data_in_len(id, len - sent).min(most);
            let digests = self.protocol.digests();
            self.make_room(digests.unit_len(now)).await?;
            let mut out = iesp_iscsi::Outbox::new(self.outbox, self.out);
            let Some(room) = out.data_room(digests, now) else { return Err(End::Closed("no room for a unit")) };
            let part =
                self.reply.get(sent..sent + now).ok_or(End::Closed("an answer larger than there is room for"))?;
            room.copy_from_slice(part);
            sent += now;
            let end = (sent == len).then_some(wanted);
            self.put(|protocol, out| protocol.data_in(id, out, now, end));
        }
        Ok(())
    }

    /// Gives back the range of blocks that a task holds; true where others may wait for it.
    pub(super) fn abandon(&mut self, id: TaskId) -> bool {
        let lun = self.target.lun(self.slots.lun(id));
        let Some(slot) = self.slots.get_mut(id) else { return false };
        let state = slot.state;
        let wake = match (lun, &mut slot.task) {
            (Some(lun), Some(task)) => task.abandon(&lun.unit),
            _ => false,
        };
        if let State::Streaming(stream) = state {
            self.give_back(&stream);
        }
        wake
    }

    pub(super) fn set(&mut self, id: TaskId, state: State) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.state = state;
        }
    }

    /// A task's place is free; whoever waited for its end goes on.
    pub(super) fn vacate(&mut self, id: TaskId, wake: bool) {
        self.slots.vacate(id);
        if self.work_of == Some(id) {
            self.work_of = None;
        }
        self.tell_of_end(wake);
    }

    /// A task has ended; `wake`: others may have waited for its range.
    pub(super) fn tell_of_end(&mut self, wake: bool) {
        self.retry |= self.slots.is_any_in_line();
        if wake {
            self.wake_others();
        }
    }

    /// A command for a logical unit that is not there (SPC-4 6.6.1, 6.33): small answers, no task of the device server.
    pub(super) async fn absent_unit(&mut self, command: &Command<'_>) -> Result<(), End> {
        let completion = iesp_scsi::absent_unit(self.target.inventory(), &command.cdb, self.reply);
        self.slots.occupy(command.task, u16::MAX, command.attribute).begin(None, command.data_in, 0);
        let wanted = completion.reply_len;
        self.end(command.task, &completion, wanted).await
    }
}
