//! The tasks of a connection: a table of fixed size, and where each task's data stand.

use super::CommandFault;
use crate::pdu::{RESERVED_TAG, ScsiCommand};

/// A task of a connection: an index below its capacity, free to index tables of the driver's with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskId(pub u16);

impl TaskId {
    /// As an index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A task: from its command to its status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) command: ScsiCommand,
    /// Data-In: DataSN of the next unit, bytes sent, bytes sent since the last F bit.
    pub(crate) data_sn: u32,
    pub(crate) sent: u32,
    pub(crate) burst: u32,
    pub(crate) out: DataOutState,
}

/// Data-Out: what came and what was asked for. All in bytes of the Data-Out Buffer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DataOutState {
    /// What the device server takes: at most what the initiator has.
    pub(crate) wanted: u32,
    /// In order from the start (DataPDUInOrder and DataSequenceInOrder are Yes).
    pub(crate) received: u32,
    /// Asked for by R2T or sent without being asked: up to here.
    pub(crate) requested: u32,
    /// Unsolicited units are still to come.
    pub(crate) unsolicited: bool,
    /// DataSN of the next unit of the sequence.
    pub(crate) data_sn: u32,
    /// R2TSN of the next R2T, and of the one that is being answered.
    pub(crate) r2t_sn: u32,
    pub(crate) answering: u32,
    /// End of the sequence that is being received.
    pub(crate) sequence_end: u32,
    /// The driver asked for the data.
    pub(crate) collecting: bool,
    /// They broke the rules; what is still to come is discarded.
    pub(crate) failed: Option<CommandFault>,
}

/// All tasks. Tags and tasks are kept apart so that a search for a tag stays in few cache lines.
#[derive(Debug)]
pub(crate) struct Slots<const TASKS: usize> {
    tags: [u32; TASKS],
    slots: [Option<Slot>; TASKS],
    generations: [u16; TASKS],
    free: [u16; TASKS],
    free_len: usize,
    immediate: usize,
    /// Commands that are not immediate that may be there at a time.
    most: usize,
}

impl<const TASKS: usize> Slots<TASKS> {
    /// Places that only immediate commands take: ABORT TASK and the like must find one when the window is full.
    const RESERVE: usize = if TASKS / 16 > 2 { TASKS / 16 } else { 2 };

    pub(crate) fn new() -> Self {
        const { assert!(TASKS > 2 && TASKS < 512, "between 3 and 511 tasks") };
        Self {
            tags: [RESERVED_TAG; TASKS],
            slots: [None; TASKS],
            generations: [0; TASKS],
            // The lowest index is taken first, and the one that was given back last: it is in the cache.
            free: core::array::from_fn(|at| (TASKS - 1 - at) as u16),
            free_len: TASKS,
            immediate: 0,
            most: TASKS - Self::RESERVE,
        }
    }

    /// No task is there; how many there may be stays.
    pub(crate) fn renew(&mut self) {
        let most = self.most;
        *self = Self { most, ..Self::new() };
    }

    /// Takes no more than this many commands that are not immediate at a time, and at least one.
    pub(crate) fn limit(&mut self, most: u32) {
        self.most = (most.max(1) as usize).min(TASKS - Self::RESERVE);
    }

    /// Commands that are not immediate that can still be taken.
    #[inline]
    pub(crate) const fn window(&self) -> u32 {
        let ordered = TASKS - self.free_len - self.immediate;
        self.most.saturating_sub(ordered) as u32
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.free_len == TASKS
    }

    #[inline]
    pub(crate) fn find(&self, itt: u32) -> Option<TaskId> {
        if self.is_empty() || itt == RESERVED_TAG {
            return None;
        }
        self.tags.iter().position(|tag| *tag == itt).map(|at| TaskId(at as u16))
    }

    /// Takes a place; `None` where there is none for an immediate command.
    #[inline]
    pub(crate) fn insert(&mut self, command: ScsiCommand) -> Option<TaskId> {
        if self.free_len == 0 || command.immediate && self.immediate == Self::RESERVE {
            return None;
        }
        self.free_len -= 1;
        let id = TaskId(self.free[self.free_len]);
        self.immediate += usize::from(command.immediate);
        self.tags[id.index()] = command.itt;
        self.slots[id.index()] = Some(Slot { command, data_sn: 0, sent: 0, burst: 0, out: DataOutState::default() });
        Some(id)
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Slot> {
        let slot = self.slots.get_mut(id.index())?.take()?;
        self.tags[id.index()] = RESERVED_TAG;
        self.generations[id.index()] = self.generations[id.index()].wrapping_add(1) & 0x7fff;
        self.free[self.free_len] = id.0;
        self.free_len += 1;
        self.immediate -= usize::from(slot.command.immediate);
        Some(slot)
    }

    #[inline]
    pub(crate) fn slot(&self, id: TaskId) -> Option<&Slot> {
        self.slots.get(id.index())?.as_ref()
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, id: TaskId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskId, &Slot)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| Some((TaskId(at as u16), slot.as_ref()?)))
    }

    /// The Target Transfer Tag of an R2T: place, R2TSN and generation, so that what comes late for a task that has ended
    /// is told from what comes for its successor. Never the reserved tag: bit 31 is clear.
    pub(crate) fn tag(&self, id: TaskId, r2t_sn: u32) -> u32 {
        u32::from(self.generations[id.index()]) << 16 | (r2t_sn & 0x7f) << 9 | u32::from(id.0)
    }

    /// The task that gave out `ttt`, if it is still there; for whichever R2T.
    pub(crate) fn by_tag(&self, ttt: u32) -> Option<TaskId> {
        let id = TaskId((ttt & 0x1ff) as u16);
        self.slot(id)?;
        (self.generations[id.index()] == (ttt >> 16) as u16).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::{Bhs, Opcode};

    fn command(itt: u32, immediate: bool) -> ScsiCommand {
        let mut bhs = Bhs::new(Opcode::ScsiCommand);
        bhs.set_u32(16, itt);
        let parsed = ScsiCommand::parse(&bhs);
        ScsiCommand { immediate, ..parsed.ok().filter(|parsed| parsed.itt == itt).unwrap_or_else(|| unreachable!()) }
    }

    #[test]
    fn immediate_commands_have_their_own_places() {
        let mut slots = Slots::<6>::new();
        assert_eq!(slots.window(), 4);
        for itt in 0..4 {
            assert!(slots.insert(command(itt, false)).is_some());
        }
        assert_eq!(slots.window(), 0);
        let first = slots.insert(command(10, true));
        assert!(first.is_some() && slots.insert(command(11, true)).is_some());
        assert!(slots.insert(command(12, true)).is_none());
        assert_eq!(slots.find(10), first);
    }

    #[test]
    fn a_smaller_window() {
        let mut slots = Slots::<6>::new();
        slots.limit(2);
        assert_eq!(slots.window(), 2);
        assert!(slots.insert(command(1, false)).is_some() && slots.insert(command(2, true)).is_some());
        assert_eq!(slots.window(), 1);
        slots.limit(0);
        assert_eq!(slots.window(), 0);
        slots.limit(100);
        assert_eq!(slots.window(), 3);
    }

    #[test]
    fn a_late_tag_finds_nobody() {
        let mut slots = Slots::<6>::new();
        let id = slots.insert(command(1, false)).unwrap_or(TaskId(99));
        let tag = slots.tag(id, 0);
        assert_eq!(slots.by_tag(tag), Some(id));
        slots.remove(id);
        assert_eq!(slots.insert(command(2, false)), Some(id));
        assert_eq!(slots.by_tag(tag), None);
    }
}
