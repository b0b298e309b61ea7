//! What a run found wrong, in a form to print, to log and to count.

use serde::Serialize;

/// What kind of fault a device showed. The names are what users and scripts see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// The first write to a block in this run left no trace.
    NeverWritten,
    /// A block holds what it held before the last write.
    LostWrite,
    /// A block held the last write's data once, and holds older data now.
    ForgottenWrite,
    /// A write was flushed, or had FUA, and is gone after a crash.
    LostFlushedWrite,
    /// A read returned older data; the next read was right.
    StaleRead,
    /// Data lies where it does not belong.
    MisdirectedWrite,
    /// A write arrived in part.
    TornWrite,
    /// Some bits differ.
    BitFlip,
    /// A discarded range, promised to be zeros, holds data.
    DiscardIgnored,
    /// A zeroed range holds data.
    ZeroIgnored,
    /// A block reads as zeros that nothing zeroed.
    UnexpectedZeros,
    /// A block holds what nobody wrote.
    Corrupt,
    /// COMPARE AND WRITE succeeded for two who compared with the same data.
    LostUpdate,
    /// The device reported an error for a read.
    ReadError,
    /// The device reported an error for a write.
    WriteError,
    /// The device reported an error for a flush.
    FlushError,
    /// The device reported an error for a discard or a command to zero.
    TrimError,
}

/// Every kind with its name.
pub const NAMES: [(FaultKind, &str); 17] = [
    (FaultKind::NeverWritten, "never-written"),
    (FaultKind::LostWrite, "lost-write"),
    (FaultKind::ForgottenWrite, "forgotten-write"),
    (FaultKind::LostFlushedWrite, "lost-flushed-write"),
    (FaultKind::StaleRead, "stale-read"),
    (FaultKind::MisdirectedWrite, "misdirected-write"),
    (FaultKind::TornWrite, "torn-write"),
    (FaultKind::BitFlip, "bit-flip"),
    (FaultKind::DiscardIgnored, "discard-ignored"),
    (FaultKind::ZeroIgnored, "zero-ignored"),
    (FaultKind::UnexpectedZeros, "unexpected-zeros"),
    (FaultKind::Corrupt, "corrupt"),
    (FaultKind::LostUpdate, "lost-update"),
    (FaultKind::ReadError, "read-error"),
    (FaultKind::WriteError, "write-error"),
    (FaultKind::FlushError, "flush-error"),
    (FaultKind::TrimError, "trim-error"),
];

impl FaultKind {
    /// The name that users and scripts see.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("unnamed", |(_, name)| *name)
    }
}

impl Serialize for FaultKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One fault.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What kind.
    pub kind: FaultKind,
    /// The first block concerned, counted in the run's blocks from the disk's beginning; `None` for a flush.
    pub block: Option<u64>,
    /// Where that is, in bytes.
    pub offset: Option<u64>,
    /// How many blocks of the same operation are concerned.
    pub blocks: u64,
    /// The worker that found it.
    pub worker: u32,
    /// The operation of that worker that found it, from 0; when the final check found it, how many there were.
    pub op: u64,
    /// Whether the check of the whole area at the end found it.
    pub at_the_end: bool,
    /// What is known, in sentences.
    pub explanation: String,
    /// `--ops` of a run that meets it again; `None` where that makes no sense.
    pub repeat_ops: Option<u64>,
    /// The operations that touched the block, and the bytes that differ: the text of a log file.
    #[serde(skip)]
    pub log: String,
}
