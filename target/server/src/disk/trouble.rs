//! What goes wrong with a disk, for those who ask and in the log. A disk that fails does so command after command: a line a
//! while has to do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use iesp_scsi::IoError;

use crate::backend::Condition;
use crate::luns::Lun;

/// Milliseconds between two lines about a disk.
const PAUSE: u64 = 5000;

/// Where a file is that has no name any more.
#[cfg(target_os = "linux")]
const WHERE: &str = "; until then it can be copied from /proc/PROCESS/fd";
#[cfg(not(target_os = "linux"))]
const WHERE: &str = "";

/// How a disk is, and since when.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// How it is.
    pub condition: Condition,
    /// Since when.
    pub since: Instant,
}

/// What was told of a disk.
#[derive(Debug)]
pub struct Trouble {
    state: Mutex<State>,
    /// From when on the next line may come, in milliseconds of [`now`].
    next: AtomicU64,
    /// Failures since the last line.
    untold: AtomicU64,
    /// That its file was deleted.
    deleted: AtomicBool,
}

impl Default for Trouble {
    fn default() -> Self {
        let state = State { condition: Condition::Serving, since: Instant::now() };
        Self {
            state: Mutex::new(state),
            next: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            deleted: AtomicBool::new(false),
        }
    }
}

impl Trouble {
    /// How the disk is now. That it is in another way than it was is in the log.
    pub fn state(&self, lun: &Lun) -> State {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let condition = lun.backend.condition();
        if condition != state.condition {
            let before = std::mem::replace(&mut *state, State { condition, since: Instant::now() });
            let (number, disk, seconds) = (lun.number, &lun.config.source, before.since.elapsed().as_secs());
            match condition {
                Condition::Serving => tracing::error!(lun = number, %disk, seconds, "the disk is served again"),
                Condition::Waiting(why) => tracing::error!(lun = number, %disk, why, "the disk is away"),
                Condition::Failed(why) => tracing::error!(lun = number, %disk, why, "the disk has failed"),
            }
        }
        *state
    }

    /// A step of a command failed.
    #[cold]
    pub fn failed(&self, lun: &Lun, error: IoError) {
        let Some(untold) = self.turn(now()) else { return };
        let (reason, disk) = (reason(error), &lun.config.source);
        if untold == 0 {
            tracing::error!(lun = lun.number, %disk, reason, "a command failed");
        } else {
            tracing::error!(lun = lun.number, %disk, reason, untold, "commands fail");
        }
    }

    /// Looks how the disk is, and whether its file still has a name.
    pub fn look(&self, lun: &Lun) {
        self.state(lun);
        if lun.backend.is_deleted() && !self.deleted.swap(true, Ordering::Relaxed) {
            let (disk, process) = (&lun.config.source, std::process::id());
            tracing::error!(
                lun = lun.number,
                %disk,
                process,
                "the file was deleted or replaced: what is on the disk is gone when iesp ends{WHERE}"
            );
        }
    }

    /// How many failures were not told, where it is time for a line.
    fn turn(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let due =
            now >= next && self.next.compare_exchange(next, now + PAUSE, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if due {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn reason(error: IoError) -> &'static str {
    match error {
        IoError::Medium | IoError::MediumAt(_) => "it cannot be read or written",
        IoError::NoSpace => "there is no space for what is to be written: make room below it",
        IoError::ReadOnly => "it may not be written any more",
        IoError::NotReady => "it is not there",
        IoError::Other => "the system or iesp has no memory or no way for it",
    }
}

/// Milliseconds of a clock that never goes back.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX - PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_always_fails_gets_a_line_every_five_seconds() {
        let trouble = Trouble::default();
        assert_eq!(trouble.turn(0), Some(0));
        assert_eq!(trouble.turn(1), None);
        assert_eq!(trouble.turn(4999), None);
        assert_eq!(trouble.turn(5000), Some(2));
        assert_eq!(trouble.turn(20_000), Some(0));
    }
}
