//! The tasks of a connection.

use iesp_scsi::{Outcome, StreamError, Streaming, Task};

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
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
    /// Bytes that the initiator expects to receive.
    pub(super) data_in: u32,
    /// Bytes of Data-Out that are wanted.
    pub(super) wanted: u32,
    /// Immediate data that lie in the work buffer.
    pub(super) kept: u32,
}

impl Slot {
    pub(super) const VACANT: Self = Self { state: State::Waiting, task: None, data_in: 0, wanted: 0, kept: 0 };

    /// A task begins here.
    pub(super) const fn begin(&mut self, task: Option<Task>, data_in: u32, wanted: u32) {
        *self = Self { state: State::Waiting, task, data_in, wanted, kept: 0 };
    }
}
