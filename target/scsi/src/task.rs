//! A command on its way: from its CDB to its status.

use crate::commands::Row;
use crate::contract::{Buffers, Completion, IoError, NexusId, Outcome, Step, StreamError, Streaming, Transfer};
use crate::range::Hold;
use crate::sense::Sense;
use crate::unit::{LogicalUnit, Nexus, Path, Refusal, Unit, admit};
use crate::work::{Context, Next, Plan, Work};
use portable_atomic::Ordering;

/// A command that was begun: small, without references, at home in the driver's task slot. It is stepped until
/// [`Step::Done`], or given to [`Task::abandon`]: dropping it in between would leave its range held.
///
/// # Blocked tasks and wake-ups
///
/// A task that answers [`Step::Blocked`] waits for another one of the same unit. Whoever ends, abandons or pauses a task with
/// `wake` set, or gets [`Step::Wake`], has *all* blocked tasks of the unit step again. With several threads, the wake has to reach each thread
/// that has blocked tasks or is inside [`Task::step`] at that moment: a notice that stays until it is taken (a counter, a
/// permit, a message), looked at after a blocked task was put aside. Then no wake-up is lost: the task that stands in
/// the way learns of the waiting one in the same atomic operation that turned it away.
///
/// A blocked task has a place in line, and those behind it wait for it to step once it was woken. So the driver steps it soon,
/// whatever its peer does. A driver that is about to wait for a peer takes its blocked tasks out of line by [`Task::pause`].
///
/// # Pieces
///
/// Commands over many blocks (VERIFY, WRITE AND VERIFY, WRITE SAME, UNMAP, PRE-FETCH) are steps of bounded size. SBC-3 promises
/// nothing about several blocks of one such command, so each step holds its own blocks alone and gives them back. COMPARE AND
/// WRITE holds all of its blocks to its end (SBC-3 5.2).
#[derive(Debug, Clone, Copy)]
pub struct Task {
    work: Work,
    hold: Hold,
    data_out: u32,
    data_in: u32,
    nexus: NexusId,
    /// It has written what a flush is still to make durable.
    cached: bool,
    /// The next piece is decided; its range is to be taken.
    due: bool,
}

impl Task {
    #[inline]
    pub(crate) fn begin(
        unit: &Unit,
        state: &Nexus,
        nexus: NexusId,
        luns: &[u16],
        cdb: &[u8; 16],
        transfer: Transfer,
    ) -> Result<Self, Refusal> {
        let found = Row::of(cdb);
        let (passes, shared) = match &found {
            Ok(row) => (row.passes_unit_attention(), row.ignores_reservation(cdb)),
            Err(_) => (false, false),
        };
        admit(unit, state, nexus, passes, shared)?;
        let row = found?;
        if !row.is_supported(&unit.capabilities, &unit.limits) {
            return Err(row.unsupported().into());
        }
        row.check_reserved(cdb)?;
        // SBC-3 4.10: the capacity is the medium's, too.
        if unit.absent && (row.needs_medium() || row.is_read_capacity()) {
            return Err(Sense::NOT_READY.into());
        }
        if row.needs_medium() && unit.stopped.load(Ordering::Relaxed) {
            return Err(Sense::INITIALIZING_COMMAND_REQUIRED.into());
        }
        let Plan { work, hold, data_out, data_in } = Plan::of(unit, row, luns, cdb, transfer)?;
        // After the look at the fields: a command that is wrong in itself is told so on a protected medium too.
        if row.writes() && unit.is_write_protected() {
            return Err(Sense::WRITE_PROTECTED.into());
        }
        Ok(Self { work, hold, data_out, data_in, nexus, cached: false, due: false })
    }

    pub(crate) fn ended(nexus: NexusId, completion: Completion) -> Self {
        let work = Work::Ended(completion);
        Self { work, hold: Hold::NONE, data_out: 0, data_in: 0, nexus, cached: false, due: false }
    }

    /// Bytes that the device server takes from the Data-Out Buffer for this CDB; 0 when the command already failed. The
    /// initiator may have announced fewer or more: that is the residual.
    #[inline]
    #[must_use]
    pub fn data_out_len(&self) -> u32 {
        self.data_out
    }

    /// Bytes that the reads of this command deliver if nothing fails, before they are cut at the initiator's expected
    /// length; 0 for other commands, whose Data-In is [`Completion::reply_len`].
    #[inline]
    #[must_use]
    pub fn data_in_len(&self) -> u32 {
        self.data_in
    }

    /// What is to be done next, now that `outcome` came of the step before.
    #[inline]
    pub fn step<'a, const N: usize>(
        &mut self,
        path: impl Into<Path<'a, N>>,
        outcome: Outcome,
        buffers: Buffers<'_>,
    ) -> Step {
        let Path { unit, identity } = path.into();
        if let Work::Ended(completion) = self.work {
            return Step::Done(completion);
        }
        let mut context = Context { unit: &unit.unit, identity, nexuses: &unit.nexuses, nexus: self.nexus, buffers };
        match self.advance(&mut context, outcome) {
            Ok(Next::Io(step)) => {
                self.note(&step);
                step
            }
            Ok(Next::End(completion)) if self.cached && unit.unit.trusts_no_cache() => {
                self.work = Work::Hardening(completion);
                self.cached = false;
                Step::Flush
            }
            Ok(Next::End(completion)) => self.end(&unit.unit, completion),
            // Pieces are taken by then.
            Ok(Next::Piece(_)) => self.end(&unit.unit, unit.unit.check_condition(Sense::INTERNAL_TARGET_FAILURE)),
            Err(sense) => self.end(&unit.unit, unit.unit.check_condition(sense)),
        }
    }

    /// For a driver without room for whole Data-Out Buffers: how the blocks of a WRITE, WRITE AND VERIFY or VERIFY may go to
    /// the backend as they come, each piece between [`Self::resume`] and [`Self::pause`], in place of steps. `None` for every
    /// other command: it wants all its data in one piece.
    #[must_use]
    pub fn streaming(&self) -> Option<Streaming> {
        match &self.work {
            Work::Write(write) => Some(write.streaming()),
            Work::Verify(verify) => verify.streaming(),
            _ => None,
        }
    }

    /// The data of a command that was streamed have come, and what became of them.
    pub fn end_streaming<const N: usize>(
        &mut self,
        unit: &LogicalUnit<N>,
        result: Result<(), StreamError>,
    ) -> Completion {
        let mut completion = match result {
            Ok(()) => Completion::GOOD,
            Err(StreamError::Io(error)) => {
                unit.unit.check_condition(failure(&unit.unit, error, self.work.is_writing()))
            }
            Err(StreamError::Miscompare(offset)) => {
                unit.unit.check_condition(Sense::MISCOMPARE_DURING_VERIFY.with_information(offset))
            }
        };
        completion.wake = unit.unit.ranges.release(&mut self.hold);
        completion
    }

    #[inline]
    fn advance(&mut self, context: &mut Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        if let Outcome::Failed(error) = outcome {
            return Err(failure(context.unit, error, self.work.is_writing()));
        }
        if self.work.is_in_pieces() {
            return self.advance_pieces(context, outcome);
        }
        if outcome == Outcome::Start && !context.unit.ranges.acquire(&mut self.hold) {
            return Ok(Next::Io(Step::Blocked));
        }
        self.work.step(context, outcome)
    }

    /// Whether a step leaves something in the cache, or makes it durable.
    #[inline]
    fn note(&mut self, step: &Step) {
        match step {
            Step::Write { fua, .. } | Step::WriteScratch { fua, .. } => self.cached |= !fua,
            Step::Unmap { .. } | Step::Zero { .. } => self.cached = true,
            Step::Flush => self.cached = false,
            _ => {}
        }
    }

    /// The blocks of a piece that is done are given back before those of the next are asked for.
    fn advance_pieces(&mut self, context: &mut Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        let ranges = &context.unit.ranges;
        let again = self.due;
        if !again {
            match self.work.step(context, outcome)? {
                Next::Piece(hold) => {
                    let wake = ranges.release(&mut self.hold);
                    self.hold = hold;
                    self.due = true;
                    if wake {
                        return Ok(Next::Io(Step::Wake));
                    }
                }
                next => return Ok(next),
            }
        }
        if !ranges.acquire(&mut self.hold) {
            return Ok(Next::Io(Step::Blocked));
        }
        self.due = false;
        self.work.piece(context, again).map(Next::Io)
    }

    #[inline]
    fn end(&mut self, unit: &Unit, mut completion: Completion) -> Step {
        completion.wake = unit.ranges.release(&mut self.hold);
        Step::Done(completion)
    }

    /// Gives back the task's blocks and its place in line until it is resumed or steps again; true when blocked tasks of the
    /// unit have to step again. For a READ or a streamed command between two pieces of its I/O, while data travel, and for a
    /// blocked task whose driver waits for a peer. A COMPARE AND WRITE that was begun must not be paused.
    #[inline]
    #[must_use]
    pub fn pause<const N: usize>(&mut self, unit: &LogicalUnit<N>) -> bool {
        unit.unit.ranges.release(&mut self.hold)
    }

    /// Takes `blocks` blocks from `lba` on for the next piece of I/O of a paused task; false where another task holds them:
    /// try again, with the same blocks, when blocked tasks step again. A block that is read in two pieces may have changed
    /// in between.
    #[inline]
    pub fn resume<const N: usize>(&mut self, unit: &LogicalUnit<N>, lba: u64, blocks: u32) -> bool {
        self.hold.aim(lba, blocks.into());
        unit.unit.ranges.acquire(&mut self.hold)
    }

    /// The command was aborted, and none of its I/O is under way any more: what it holds is given back. True when
    /// blocked tasks of the unit have to step again.
    pub fn abandon<const N: usize>(&mut self, unit: &LogicalUnit<N>) -> bool {
        self.work = Work::Ended(Completion::GOOD);
        unit.unit.ranges.release(&mut self.hold)
    }
}

/// What a backend's failure means to the initiator.
#[cold]
fn failure(unit: &Unit, error: IoError, writing: bool) -> Sense {
    match (error, writing) {
        (IoError::Medium, true) => Sense::WRITE_ERROR,
        (IoError::Medium, false) => Sense::UNRECOVERED_READ_ERROR,
        // SBC-3 4.18.1: INFORMATION is the first logical block in error.
        (IoError::MediumAt(byte), _) => {
            failure(unit, IoError::Medium, writing).with_information(byte / u64::from(unit.capabilities.block_size))
        }
        (IoError::NoSpace, _) => Sense::SPACE_ALLOCATION_FAILED,
        (IoError::ReadOnly, _) => Sense::WRITE_PROTECTED,
        (IoError::NotReady, _) => Sense::NOT_READY,
        (IoError::Other, _) => Sense::INTERNAL_TARGET_FAILURE,
    }
}
