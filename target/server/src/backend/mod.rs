//! What a logical unit's blocks are kept in. A backend knows bytes and offsets: no SCSI command, no session.

mod commits;
pub mod durability;
mod file;
mod nbd;

use file::is_zero;
pub use file::{FileBackend, OpenError, OpenOptions};
pub use nbd::{Address as NbdAddress, ExportKey, NbdBackend, NbdError, NbdOptions, TlsFiles};

mod absent;

pub use absent::Absent;

use iesp_scsi::IoError;

use crate::pool::{Job, Threads};
use durability::Durability;

/// Whether a call may wait for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Only what can be done at once: the caller serves other commands on this thread.
    None,
    /// Until it is done.
    Any,
}

/// What became of a call that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served<T = ()> {
    /// Done.
    Done(T),
    /// It would have waited, and nothing was done: call again with [`Patience::Any`]. Never the answer to that.
    WouldBlock,
}

/// What a backend can do; the pages that an initiator reads are derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Bytes.
    pub len: u64,
    /// Writes are refused.
    pub read_only: bool,
    /// Bytes of the unit in which space is given back; 0 where it is not.
    pub discard_granularity: u32,
    /// A write that was answered may be lost until a flush: initiators must know, or they send none.
    pub volatile_cache: bool,
    /// A spinning disk.
    pub rotational: bool,
}

/// How a backend is, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It serves.
    Serving,
    /// It is away, and may come back by itself: why.
    Waiting(&'static str),
    /// It serves no longer, until somebody has looked at it: why.
    Failed(&'static str),
}

impl Condition {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Waiting(_) => "waiting",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it does not serve.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Serving => None,
            Self::Waiting(why) | Self::Failed(why) => Some(why),
        }
    }
}

/// Blocks of a logical unit, as bytes. Callers stay within [`Facts::len`]. Several threads call at once.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// What it can do.
    fn facts(&self) -> Facts;

    /// Takes a job that it will finish by itself, while others are under way. Where it does not, the job comes back and is for
    /// a thread that waits.
    ///
    /// # Errors
    /// The job.
    fn submit(&self, job: Job) -> Result<(), Job> {
        Err(job)
    }

    /// Threads of its own, for jobs that it does not take.
    fn threads(&self) -> Option<&Threads> {
        None
    }

    /// Whose syncs its jobs share. `None`: its own way makes them durable, or they are durable at once.
    fn durability(&self) -> Option<&Durability> {
        None
    }

    /// Makes syncs for as long as jobs wait for one, on a thread that may wait.
    fn commit(&self) {}

    /// Gives it back after a failed flush, which makes all later ones fail, when somebody has looked into what was lost.
    /// Whether there was anything to give back.
    ///
    /// # Errors
    /// It fails still.
    #[cfg_attr(windows, allow(dead_code, reason = "a running process is not asked there"))]
    fn restore(&self) -> Result<bool, IoError> {
        Ok(false)
    }

    /// Reads all of `buffer`.
    fn read(&self, offset: u64, buffer: &mut [u8], patience: Patience) -> Result<Served, IoError>;

    /// Writes all of `data`; durably where `durable`.
    fn write(&self, offset: u64, data: &[u8], durable: bool, patience: Patience) -> Result<Served, IoError>;

    /// Makes every write that was answered durable.
    fn flush(&self, patience: Patience) -> Result<Served, IoError>;

    /// Gives the space back; the bytes read as zeros.
    fn unmap(&self, offset: u64, len: u64, patience: Patience) -> Result<Served, IoError>;

    /// Writes zeros; gives the space back where `unmap`.
    fn zero(&self, offset: u64, len: u64, unmap: bool, patience: Patience) -> Result<Served, IoError>;

    /// Whether the bytes from `offset` on take space, and for how many of `len` (at least one) that holds.
    fn extent(&self, offset: u64, len: u64, patience: Patience) -> Result<Served<(bool, u64)>, IoError>;

    /// Has the bytes brought into memory, without waiting for them.
    fn prefetch(&self, offset: u64, len: u64);

    /// Gives it `wanted` bytes, where it is one whose size is chosen here, and looks how many it has now.
    ///
    /// # Errors
    /// The system's.
    fn resize(&self, _wanted: Option<u64>) -> std::io::Result<u64> {
        Ok(self.facts().len)
    }

    /// Has `changed` called when its size changes by itself, with the bytes that it has then.
    fn watch(&self, _changed: Box<dyn Fn(u64) + Send>) {}

    /// How it is now, without asking a device.
    fn condition(&self) -> Condition {
        Condition::Serving
    }

    /// Nobody will call it any more: what it has running on other threads ends.
    fn close(&self) {}

    /// It has lost its name: what is on it will be gone once nobody has it open.
    fn is_deleted(&self) -> bool {
        false
    }

    /// Bytes that it takes below; `None` where that is not known.
    fn allocated(&self) -> Option<u64> {
        None
    }
}
