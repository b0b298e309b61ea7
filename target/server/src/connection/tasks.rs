//! The driver's side of a task: what it waits for and the buffers that it holds.

use std::time::Instant;

use iesp_scsi::{Outcome, REPLY_MAX, Task};
use iesp_session::Places;

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

    /// One without room, until there is a session.
    pub fn none() -> Self {
        Self { reply: Vec::new(), scratch: Buffer::default() }
    }

    /// A new one.
    pub fn new() -> Self {
        Self { reply: vec![0; REPLY_MAX], scratch: Buffer::new(Self::SCRATCH) }
    }
}

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its Data-Out.
    Collecting,
    /// Its turn, with its data complete.
    Dormant,
    /// A range of blocks; then the step is repeated.
    Blocked(Outcome),
    /// A range of blocks, for the next piece of a read.
    BlockedRead(Read),
    /// Memory for its data, of which none have come.
    Parked {
        /// Bytes.
        wanted: u32,
    },
    /// Memory for the next piece of a read.
    ParkedRead(Read),
    /// The connection's next turn; then the step that follows is made.
    Resting(Outcome),
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
    /// It holds the blocks of what comes next.
    pub holds: bool,
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
    /// What it is counted as.
    pub command: latency::Command,
    /// When it was taken, in nanoseconds of the clock.
    pub began: u64,
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
}

impl Slot {
    const fn vacant() -> Self {
        Self {
            state: State::Collecting,
            task: None,
            command: latency::Command::Other,
            began: 0,
            data_in: 0,
            data: None,
            data_len: 0,
            fetched: None,
            workspace: None,
        }
    }

    /// A task begins here.
    #[inline]
    pub fn begin(&mut self, task: Option<Task>, data_in: u32) {
        self.state = State::Collecting;
        self.task = task;
        self.data_in = data_in;
        self.data_len = 0;
    }

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

/// Places for all tasks of a connection, made as far as they are needed.
pub type Slots = iesp_session::Tasks<Made, { super::TASKS }>;

/// The places that were made: as many as tasks were there at a time.
#[derive(Debug, Default)]
pub struct Made(Vec<Slot>);

impl std::ops::Index<usize> for Made {
    type Output = Slot;

    #[inline]
    fn index(&self, at: usize) -> &Slot {
        &self.0[at]
    }
}

impl std::ops::IndexMut<usize> for Made {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut Slot {
        &mut self.0[at]
    }
}

impl Places for Made {
    #[inline]
    fn make(&mut self, at: usize) {
        if at >= self.0.len() {
            self.0.resize_with(at + 1, Slot::vacant);
        }
    }
}

/// No tasks.
pub fn no_tasks() -> Slots {
    Slots::new(Made::default())
}

/// Whether a disk thread works for any of them.
pub fn any_in_flight(slots: &Slots) -> bool {
    slots.iter().any(|(_, slot)| matches!(slot.state, State::InFlight { .. }))
}
