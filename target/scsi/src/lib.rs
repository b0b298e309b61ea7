//! A SCSI direct-access block device (SAM-5, SPC-4, SBC-3) without any I/O.
//!
//! The crate decides; its driver moves the bytes. A command goes through
//!
//! 1. [`LogicalUnit::begin`]: decode, checks, unit attentions, reservations: gives a [`Task`], or
//! 2. [`Task::step`], again and again: each [`Step`] is an I/O request to the backend, whose [`Outcome`] is handed to the
//!    next call, until [`Step::Done`].
//!
//! No step blocks, none holds a buffer of its own. Overlapping ranges are ordered by the unit's range lock, which a
//! task holds from its first step to its last.
#![no_std]

/// Which I_T nexus (SAM-5 4.7) a command came by: an index that the driver hands out, below the unit's `NEXUSES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NexusId(pub u16);

/// What the backend can do. The Block Limits, Logical Block Provisioning and Block Device Characteristics VPD pages, the
/// caching mode page and the command set are derived from it.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Number of logical blocks.
    pub blocks: u64,
    /// Bytes in a logical block: 512 or 4096.
    pub block_size: u32,
    /// log2 of logical blocks in a physical block (3 = 512e on 4096).
    pub physical_block_exponent: u8,
    /// Writes are refused (DATA PROTECT, WRITE PROTECTED).
    pub read_only: bool,
    /// Writes may sit in a volatile cache until a flush.
    pub volatile_cache: bool,
    /// Deallocation, where the backend has it; blocks that were deallocated read as zeros (LBPRZ).
    pub unmap: Option<Unmap>,
    /// Most logical blocks that one command may transfer.
    pub max_transfer_blocks: u32,
    /// Logical blocks of a transfer that the backend likes best.
    pub optimal_transfer_blocks: u32,
    /// A spinning disk (RPM unknown) rather than a solid state one.
    pub rotational: bool,
}

/// Deallocation as the backend does it.
#[derive(Debug, Clone, Copy)]
pub struct Unmap {
    /// Logical blocks in the smallest unit that can be deallocated.
    pub granularity: u32,
    /// First logical block of such a unit.
    pub alignment: u32,
}

/// An I/O request to the backend. Lengths are in logical blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The range is held by another task: call [`Task::step`] again, with the same outcome, once a task of this unit ended
    /// with `wake` set.
    Blocked,
    /// Read into the Data-In Buffer, from its start. The driver cuts at the initiator's expected length.
    Read { lba: u64, blocks: u32 },
    /// Write from the Data-Out Buffer, from byte `offset` on; durable before the outcome is given where `fua`.
    Write { lba: u64, blocks: u32, offset: u32, fua: bool },
    /// Read into the scratch buffer, from its start; `blocks` fit in it.
    ReadScratch { lba: u64, blocks: u32 },
    /// Write from the scratch buffer, from its start.
    WriteScratch { lba: u64, blocks: u32, fua: bool },
    /// Make everything that was acknowledged durable.
    Flush,
    /// Deallocate: the blocks read as zeros afterwards.
    Unmap { lba: u64, blocks: u64 },
    /// Write zeros; may deallocate where `unmap`.
    Zero { lba: u64, blocks: u64, unmap: bool },
    /// Bring into the backend's cache, without waiting.
    Prefetch { lba: u64, blocks: u64 },
    /// Ask for the state of the blocks from `lba` on, at most `blocks`: answered by [`Outcome::Extent`].
    Extent { lba: u64, blocks: u64 },
    /// The command ended.
    Done(Completion),
}

/// What became of the step before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The first call.
    Start,
    /// It was done in full.
    Done,
    /// The answer to [`Step::Extent`]: the first `blocks` (at least 1) are all mapped, or all deallocated.
    Extent { mapped: bool, blocks: u64 },
    /// It failed.
    Failed(IoError),
}

/// Why a backend failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoError {
    /// The medium could not be read or written (EIO).
    Medium,
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
    /// SAM status code: 00h GOOD, 02h CHECK CONDITION, 18h RESERVATION CONFLICT, ...
    pub status: u8,
    /// Sense data as it travels.
    pub sense: SenseBytes,
    /// Bytes of the reply buffer that are the Data-In; 0 for reads, whose data went by [`Step::Read`].
    pub reply_len: u32,
    /// Another task may be waiting for the range that this one held: have the blocked ones of the unit step again.
    pub wake: bool,
}

/// Sense data: at most 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenseBytes {
    bytes: [u8; 32],
    len: u8,
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
