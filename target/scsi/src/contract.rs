//! What the crate and its driver say to each other: I/O requests, their outcomes, and how a command ended.

use crate::sense::SenseBytes;

/// Which I_T nexus (SAM-5 4.7) a command came by: an index that the driver hands out, below the unit's `NEXUSES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NexusId(pub u16);

/// The lengths that the initiator expects (RFC 7143 11.3.4), in bytes: 0 where that direction isn't set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfer {
    /// Bytes that the initiator has for the device.
    pub data_out: u32,
    /// Bytes that the initiator has room for.
    pub data_in: u32,
}

/// An I/O request to the backend. Lengths are in logical blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The range is held by another task: call [`Task::step`](crate::Task::step) again, with the same outcome, once a
    /// task of this unit ended with `wake` set. See [`Task`](crate::Task) for the driver's side of that bargain. The scratch
    /// buffer's contents are not asked for afterwards.
    Blocked,
    /// Others wait for blocks that this command gave back between two pieces: have the blocked tasks of the unit step
    /// again, then this one, with the same outcome. The scratch buffer's contents are not asked for afterwards.
    Wake,
    /// Read into the Data-In Buffer, from its start. The driver cuts at the initiator's expected length. A driver that reads
    /// piece by piece, as the peer takes it, gives the range back in between: [`Task::pause`](crate::Task::pause).
    Read {
        /// First block.
        lba: u64,
        /// How many.
        blocks: u32,
    },
    /// Write from the Data-Out Buffer, from byte `offset` on; durable before the outcome is given where `fua`. What the scratch
    /// buffer held is not asked for afterwards.
    Write {
        /// First block.
        lba: u64,
        /// How many.
        blocks: u32,
        /// Byte of the Data-Out Buffer that the first block starts at.
        offset: u32,
        /// Durable before the outcome.
        fua: bool,
    },
    /// Read into the scratch buffer, from its start; `blocks` fit in it.
    ReadScratch {
        /// First block.
        lba: u64,
        /// How many.
        blocks: u32,
    },
    /// Write from the scratch buffer, from its start.
    WriteScratch {
        /// First block.
        lba: u64,
        /// How many.
        blocks: u32,
        /// Durable before the outcome.
        fua: bool,
    },
    /// Make everything that was acknowledged durable.
    Flush,
    /// Deallocate: the blocks read as zeros afterwards.
    Unmap {
        /// First block.
        lba: u64,
        /// How many.
        blocks: u64,
    },
    /// Write zeros; may deallocate where `unmap`.
    Zero {
        /// First block.
        lba: u64,
        /// How many.
        blocks: u64,
        /// The blocks may be deallocated.
        unmap: bool,
    },
    /// Bring into the backend's cache, without waiting.
    Prefetch {
        /// First block.
        lba: u64,
        /// How many.
        blocks: u64,
    },
    /// Ask for the state of the blocks from `lba` on, at most `blocks`: answered by [`Outcome::Extent`].
    Extent {
        /// First block.
        lba: u64,
        /// Most blocks that the answer may speak of.
        blocks: u64,
    },
    /// The command ended.
    Done(Completion),
}

/// How the data of a command go to the backend as they come: [`Task::streaming`](crate::Task::streaming).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streaming {
    /// First block.
    pub lba: u64,
    /// How many; fewer where the initiator has fewer.
    pub blocks: u32,
    /// They are written.
    pub write: bool,
    /// They are compared with what is there then.
    pub compare: bool,
    /// FUA is set: durable before the status. What the caching mode page asks for comes on top
    /// ([`LogicalUnit::must_be_durable`](crate::LogicalUnit::must_be_durable)).
    pub fua: bool,
}

/// Why streamed data ended in failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamError {
    /// The backend failed.
    Io(IoError),
    /// They differ from what is there: the first byte of the Data-Out Buffer that does.
    Miscompare(u64),
}

/// What became of the step before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The first call.
    Start,
    /// It was done in full.
    Done,
    /// The answer to [`Step::Extent`]: the first `blocks` (at least 1) are all mapped, or all deallocated.
    Extent {
        /// Mapped rather than deallocated.
        mapped: bool,
        /// How many blocks are in this state, from the first one asked for.
        blocks: u64,
    },
    /// It failed.
    Failed(IoError),
}

/// Why a backend failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoError {
    /// The medium could not be read or written (EIO).
    Medium,
    /// The same where it is known which block failed first: the byte of the medium that this block begins with.
    MediumAt(u64),
    /// No space for a block that was not allocated (ENOSPC, EDQUOT).
    NoSpace,
    /// The backend turned read-only.
    ReadOnly,
    /// The backend is gone for now: another path or a later try may succeed.
    NotReady,
    /// Anything else.
    Other,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// SAM-5 5.3.1 status code: 00h GOOD, 02h CHECK CONDITION, 18h RESERVATION CONFLICT, ...
    pub status: u8,
    /// Sense data as it travels.
    pub sense: SenseBytes,
    /// Bytes of the reply buffer that are the Data-In; 0 for reads, whose data went by [`Step::Read`].
    pub reply_len: u32,
    /// Another task may be waiting for the range that this one held: have the blocked ones of the unit step again.
    pub wake: bool,
    /// REPORT LUNS told the nexus what there is: [`LogicalUnit::inventory_reported`](crate::LogicalUnit::inventory_reported).
    pub inventory_reported: bool,
}

impl Completion {
    /// GOOD, without data.
    pub const GOOD: Self = Self::status(status::GOOD);
    /// CONDITION MET (PRE-FETCH).
    pub const CONDITION_MET: Self = Self::status(status::CONDITION_MET);
    /// BUSY: try again later.
    pub const BUSY: Self = Self::status(status::BUSY);
    /// RESERVATION CONFLICT.
    pub const RESERVATION_CONFLICT: Self = Self::status(status::RESERVATION_CONFLICT);
    /// TASK SET FULL: no room for the command.
    pub const TASK_SET_FULL: Self = Self::status(status::TASK_SET_FULL);
    /// TASK ABORTED: by another I_T nexus, where the TAS bit of the Control mode page is set (here it never is).
    pub const TASK_ABORTED: Self = Self::status(status::TASK_ABORTED);

    /// A status without sense or data.
    #[must_use]
    pub const fn status(status: u8) -> Self {
        Self { status, sense: SenseBytes::EMPTY, reply_len: 0, wake: false, inventory_reported: false }
    }

    /// GOOD with `len` bytes in the reply buffer.
    #[must_use]
    pub const fn reply(len: u32) -> Self {
        Self { reply_len: len, ..Self::GOOD }
    }
}

/// SAM-5 5.3.1: the status codes.
pub mod status {
    /// The command was done.
    pub const GOOD: u8 = 0x00;
    /// Sense data say what is the matter.
    pub const CHECK_CONDITION: u8 = 0x02;
    /// PRE-FETCH: the blocks fit the cache.
    pub const CONDITION_MET: u8 = 0x04;
    /// The logical unit can't take a command now.
    pub const BUSY: u8 = 0x08;
    /// Another I_T nexus has the reservation.
    pub const RESERVATION_CONFLICT: u8 = 0x18;
    /// No room in the task set.
    pub const TASK_SET_FULL: u8 = 0x28;
    /// Aborted by another I_T nexus.
    pub const TASK_ABORTED: u8 = 0x40;
}

/// The buffers that a step works on; they belong to the driver.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// The whole Data-Out Buffer of the command, as far as the initiator sent it.
    pub data_out: &'a [u8],
    /// Small Data-In: at least [`REPLY_MAX`] bytes.
    pub reply: &'a mut [u8],
    /// Room for at least one logical block; the same contents between two steps.
    pub scratch: &'a mut [u8],
}

/// The most bytes that a command other than a read returns.
pub const REPLY_MAX: usize = 4096;
