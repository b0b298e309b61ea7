//! The driver's side of a task: what it waits for and the buffers that it holds.

use std::time::Instant;

use iesp_iscsi::TaskId;
use iesp_iscsi::pdu::TaskAttribute;
use iesp_scsi::{Outcome, REPLY_MAX, Task};

use crate::buffers::Buffer;
use crate::latency;
use crate::luns::Lun;
use crate::pool::Work;

/// Room for the device server's own work: it keeps its contents between the steps of a task.
#[derive(Debug)]
pub struct Workspace {
    /// Small Data-In.
    pub reply: Vec<u8>,
    /// Blocks to compare, or a pattern to write.
    pub scratch: Buffer,
}

impl Workspace {
    const SCRATCH: usize = 256 << 10;

    /// A new one.
    pub fn new() -> Self {
        Self { reply: vec![0; REPLY_MAX], scratch: Buffer::new(Self::SCRATCH) }
    }
}

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no task here.
    Free,
    /// Its Data-Out.
    Collecting,
    /// Its turn, with its data complete.
    Dormant,
    /// A range of blocks; then the step is repeated.
    Blocked(Outcome),
    /// Room in the outgoing bytes: a read.
    Reading(Read),
    /// A disk thread, which reads for it where `read` says so.
    InFlight {
        /// The read that goes on afterwards, and how much of it is being read.
        read: Option<(Read, usize)>,
        /// What it does.
        work: Work,
        /// When that began.
        since: Instant,
    },
}

/// How far a read is. In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// On the disk, of what comes next.
    pub offset: u64,
    /// Still to be sent.
    pub left: usize,
    /// Sent.
    pub sent: usize,
}

/// Bytes that were read ahead of their Data-In units: `at..end` of the buffer are to be sent next.
#[derive(Debug)]
pub struct Fetched {
    /// Where they lie.
    pub buffer: Buffer,
    /// The first one that was not sent.
    pub at: usize,
    /// Behind the last one.
    pub end: usize,
}

impl Fetched {
    /// How many are left.
    pub const fn left(&self) -> usize {
        self.end - self.at
    }

    /// Fills `room` with what is next; false where there is less.
    pub fn give(&mut self, room: &mut [u8]) -> bool {
        let Some(bytes) = self.buffer.get(self.at..self.end).and_then(|left| left.get(..room.len())) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.at += room.len();
        true
    }
}

/// A place for a task.
#[derive(Debug)]
pub struct Slot {
    /// What it waits for.
    pub state: State,
    /// The device server's state of it.
    pub task: Option<Task>,
    /// Logical unit number.
    pub lun: u16,
    /// What it is counted as.
    pub command: latency::Command,
    /// When it was taken, in nanoseconds of the clock.
    pub began: u64,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Which of the session's commands it is, counted from the first.
    arrival: u64,
    /// Bytes that the initiator expects to receive.
    pub data_in: u32,
    /// Its Data-Out, where that outlives the inbox.
    pub data: Option<Buffer>,
    /// Bytes of it that belong to the command.
    pub data_len: usize,
    /// What was read for it and not sent yet.
    pub fetched: Option<Fetched>,
    /// Its own workspace, once it has waited between two steps.
    pub workspace: Option<Workspace>,
    /// It was aborted while something could not be stopped: nothing is answered.
    pub aborted: bool,
}

impl Slot {
    /// Bytes that the device server would send.
    #[inline]
    pub fn data_in_len(&self) -> u32 {
        self.task.as_ref().map_or(0, Task::data_in_len)
    }

    /// Bytes that the device server takes.
    #[inline]
    pub fn data_out_len(&self) -> u32 {
        self.task.as_ref().map_or(0, Task::data_out_len)
    }

    /// Gives back the range of blocks that the task holds; true where others may wait for it.
    pub fn abandon(&mut self, lun: &Lun) -> bool {
        self.task.as_mut().is_some_and(|task| task.abandon(&lun.unit))
    }
}

/// Places for all tasks of a connection, by their numbers.
#[derive(Debug)]
pub struct Slots {
    slots: Vec<Slot>,
    active: usize,
    /// Ordered tasks among them.
    ordered: usize,
    arrivals: u64,
}

impl Slots {
    /// `count` free ones.
    pub fn new(count: usize) -> Self {
        let slots = (0..count)
            .map(|_| Slot {
                state: State::Free,
                task: None,
                lun: 0,
                command: latency::Command::Other,
                began: 0,
                attribute: TaskAttribute::Simple,
                arrival: 0,
                data_in: 0,
                data: None,
                data_len: 0,
                fetched: None,
                workspace: None,
                aborted: false,
            })
            .collect();
        Self { slots, active: 0, ordered: 0, arrivals: 0 }
    }

    /// Puts a task in its place.
    #[inline]
    pub fn occupy(
        &mut self,
        id: TaskId,
        task: Option<Task>,
        lun: u16,
        attribute: TaskAttribute,
        data_in: u32,
    ) -> &mut Slot {
        let slot = &mut self.slots[id.index()];
        debug_assert!(slot.state == State::Free);
        self.active += 1;
        self.ordered += usize::from(attribute == TaskAttribute::Ordered);
        self.arrivals += 1;
        slot.arrival = self.arrivals;
        slot.state = State::Collecting;
        slot.task = task;
        slot.lun = lun;
        slot.attribute = attribute;
        slot.data_in = data_in;
        slot.data_len = 0;
        slot.aborted = false;
        slot
    }

    /// The place is free again; what it held is to be taken out first.
    #[inline]
    pub fn vacate(&mut self, id: TaskId) {
        let slot = &mut self.slots[id.index()];
        slot.state = State::Free;
        self.active -= 1;
        self.ordered -= usize::from(slot.attribute == TaskAttribute::Ordered);
    }

    /// Whether older tasks of the same logical unit are to end first (SAM-5 8.9): an ordered one waits for all of them,
    /// others for the ordered ones.
    #[inline]
    pub fn must_wait(&self, id: TaskId) -> bool {
        if self.ordered == 0 {
            return false;
        }
        let task = &self.slots[id.index()];
        let all = match task.attribute {
            TaskAttribute::HeadOfQueue => return false,
            TaskAttribute::Ordered => true,
            _ => false,
        };
        let stands_before = |other: &Slot| {
            other.state != State::Free
                && other.lun == task.lun
                && other.arrival < task.arrival
                && (all || other.attribute == TaskAttribute::Ordered)
        };
        self.slots.iter().any(stands_before)
    }

    /// Whether no task is there.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.active == 0
    }

    /// Whether a disk thread works for one.
    pub fn any_in_flight(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot.state, State::InFlight { .. }))
    }

    /// Whether one is there of a logical unit of which `is_gone` says so.
    pub fn any_of(&self, is_gone: impl Fn(u16) -> bool) -> bool {
        self.slots.iter().any(|slot| slot.state != State::Free && slot.task.is_some() && is_gone(slot.lun))
    }

    /// Whether one was aborted and has not ended yet.
    pub fn any_aborted(&self) -> bool {
        self.slots.iter().any(|slot| slot.state != State::Free && slot.aborted)
    }

    /// The tasks that are there, of one logical unit or all. The youngest first: when all of them are to end, none is begun
    /// because an older one has ended.
    pub fn of(&self, lun: Option<u16>) -> Vec<TaskId> {
        let here = |slot: &Slot| slot.state != State::Free && lun.is_none_or(|lun| lun == slot.lun);
        let numbers = self.slots.iter().enumerate().filter(|(_, slot)| here(slot));
        let mut tasks: Vec<_> = numbers.map(|(number, _)| TaskId(number as u16)).collect();
        tasks.sort_unstable_by_key(|task| std::cmp::Reverse(self[*task].arrival));
        tasks
    }
}

impl std::ops::Index<TaskId> for Slots {
    type Output = Slot;

    #[inline]
    fn index(&self, id: TaskId) -> &Slot {
        &self.slots[id.index()]
    }
}

impl std::ops::IndexMut<TaskId> for Slots {
    #[inline]
    fn index_mut(&mut self, id: TaskId) -> &mut Slot {
        &mut self.slots[id.index()]
    }
}
