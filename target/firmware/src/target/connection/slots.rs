//! The tasks of a connection.

use iesp_iscsi::TaskId;
use iesp_iscsi::pdu::TaskAttribute;
use iesp_scsi::{Outcome, StreamError, Streaming, Task};

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// There is none here.
    Free,
    /// It was not begun: others stand before it, or another task has what it needs.
    Waiting,
    /// A range of blocks; then the step is repeated.
    Blocked(Outcome),
    /// Its data, which go to the card as they come.
    Streaming(Stream),
    /// Its data, which are gathered in the work buffer.
    Gathering,
    /// It is being worked on.
    Running,
}

/// A command whose data go to the card as they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) what: Streaming,
    /// Bytes that are to be taken, whole blocks; and those that came.
    pub(super) len: u32,
    pub(super) taken: u32,
    pub(super) failed: Option<StreamError>,
    /// Which of the buffers for incomplete blocks it has.
    pub(super) carry: Option<usize>,
}

/// A place for a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) task: Option<Task>,
    pub(super) lun: u16,
    pub(super) attribute: TaskAttribute,
    arrival: u32,
    /// Bytes that the initiator expects to receive.
    pub(super) data_in: u32,
    /// Bytes of Data-Out that are wanted.
    pub(super) wanted: u32,
    /// Immediate data that lie in the work buffer.
    pub(super) kept: u32,
}

/// Places for all tasks, by their numbers.
#[derive(Debug)]
pub(super) struct Slots<const TASKS: usize> {
    slots: [Slot; TASKS],
    arrivals: u32,
}

impl<const TASKS: usize> Slots<TASKS> {
    pub(super) const fn new() -> Self {
        const FREE: Slot = Slot {
            state: State::Free,
            task: None,
            lun: 0,
            attribute: TaskAttribute::Simple,
            arrival: 0,
            data_in: 0,
            wanted: 0,
            kept: 0,
        };
        Self { slots: [FREE; TASKS], arrivals: 0 }
    }

    /// Puts a task in its place.
    pub(super) fn occupy(
        &mut self,
        id: TaskId,
        task: Option<Task>,
        lun: u16,
        attribute: TaskAttribute,
        (data_in, wanted): (u32, u32),
    ) {
        self.arrivals = self.arrivals.wrapping_add(1);
        let arrival = self.arrivals;
        if let Some(slot) = self.slots.get_mut(id.index()) {
            *slot = Slot { state: State::Waiting, task, lun, attribute, arrival, data_in, wanted, kept: 0 };
        }
    }

    pub(super) fn vacate(&mut self, id: TaskId) {
        if let Some(slot) = self.slots.get_mut(id.index()) {
            slot.state = State::Free;
            slot.task = None;
        }
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&Slot> {
        self.slots.get(id.index()).filter(|slot| !matches!(slot.state, State::Free))
    }

    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index()).filter(|slot| !matches!(slot.state, State::Free))
    }

    pub(super) fn set(&mut self, id: TaskId, state: State) {
        if let Some(slot) = self.get_mut(id) {
            slot.state = state;
        }
    }

    /// Whether older tasks of the same logical unit are to end first (SAM-5 8.9): an ordered one waits for all of them,
    /// others for the ordered ones.
    pub(super) fn must_wait(&self, id: TaskId) -> bool {
        let Some(task) = self.get(id) else { return false };
        let all = match task.attribute {
            TaskAttribute::HeadOfQueue => return false,
            TaskAttribute::Ordered => true,
            _ => false,
        };
        self.there().any(|(_, other)| {
            other.lun == task.lun
                && before(other.arrival, task.arrival)
                && (all || other.attribute == TaskAttribute::Ordered)
        })
    }

    fn there(&self) -> impl Iterator<Item = (TaskId, &Slot)> {
        let numbered = self.slots.iter().enumerate().map(|(at, slot)| (TaskId(at as u16), slot));
        numbered.filter(|(_, slot)| !matches!(slot.state, State::Free))
    }

    /// The oldest task that stands in line and is younger than `after`.
    pub(super) fn next_in_line(&self, after: Option<u32>) -> Option<(TaskId, u32)> {
        let waiting = self.there().filter(|(_, slot)| matches!(slot.state, State::Waiting | State::Blocked(_)));
        let younger = waiting.filter(|(_, slot)| after.is_none_or(|after| before(after, slot.arrival)));
        let oldest = younger.reduce(|a, b| if before(b.1.arrival, a.1.arrival) { b } else { a });
        oldest.map(|(id, slot)| (id, slot.arrival))
    }

    /// The first task, of one logical unit or of any.
    pub(super) fn any_of(&self, lun: Option<u16>) -> Option<TaskId> {
        self.there().find(|(_, slot)| lun.is_none_or(|lun| lun == slot.lun)).map(|(id, _)| id)
    }
}

/// `a` came before `b`.
const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
