//! In place of a disk that is not there yet, and of which no more is known than who it is.

use iesp_scsi::IoError;

use super::{Backend, Condition, Facts, Patience, Served};

/// Nothing: every call fails with [`IoError::NotReady`].
#[derive(Debug)]
pub struct Absent;

const AWAY: IoError = IoError::NotReady;

impl Backend for Absent {
    fn facts(&self) -> Facts {
        Facts { len: 0, read_only: false, discard_granularity: 0, volatile_cache: true, rotational: false }
    }

    fn read(&self, _: u64, _: &mut [u8], _: Patience) -> Result<Served, IoError> {
        Err(AWAY)
    }

    fn write(&self, _: u64, _: &[u8], _: bool, _: Patience) -> Result<Served, IoError> {
        Err(AWAY)
    }

    /// Nothing was ever written.
    fn flush(&self, _: Patience) -> Result<Served, IoError> {
        Ok(Served::Done(()))
    }

    fn unmap(&self, _: u64, _: u64, _: Patience) -> Result<Served, IoError> {
        Err(AWAY)
    }

    fn zero(&self, _: u64, _: u64, _: bool, _: Patience) -> Result<Served, IoError> {
        Err(AWAY)
    }

    fn extent(&self, _: u64, _: u64, _: Patience) -> Result<Served<(bool, u64)>, IoError> {
        Err(AWAY)
    }

    fn prefetch(&self, _: u64, _: u64) {}

    fn condition(&self) -> Condition {
        Condition::Waiting("it was not there yet")
    }
}
