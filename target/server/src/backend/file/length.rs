//! Whether a file is still as long as it was when it was opened. Somebody may cut it under us: then a write behind its end
//! would make it long again, and zeros of what was lost.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::sys;

/// The length of a file, and whether it has become less since.
#[derive(Debug)]
pub(super) struct Length {
    len: AtomicU64,
    cut: AtomicBool,
    /// When it was looked at, in the system's ticks.
    looked: AtomicU64,
}

impl Length {
    /// `len` bytes.
    pub(super) const fn new(len: u64) -> Self {
        Self { len: AtomicU64::new(len), cut: AtomicBool::new(false), looked: AtomicU64::new(0) }
    }

    /// What it is taken to be, in bytes.
    pub(super) fn get(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Somebody who knows says that it is to be `len` bytes from now on: nothing is missing then.
    pub(super) fn set(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
        self.cut.store(false, Ordering::Relaxed);
    }

    /// Looks, and tells the log once, by the file's name; once it was cut it stays so, as what is missing may have been filled with zeros meanwhile.
    pub(super) fn is_cut(&self, name: &str, look: impl FnOnce() -> io::Result<u64>) -> bool {
        if self.cut.load(Ordering::Relaxed) {
            return true;
        }
        let now = look();
        if now.as_ref().is_ok_and(|len| *len >= self.get()) {
            return false;
        }
        if !self.cut.swap(true, Ordering::Relaxed) {
            let found = now.unwrap_or(0);
            tracing::error!(
                disk = name,
                was = self.get(),
                found,
                "the file or device is shorter than it was, or gone: nothing more is written to it; restart, or reload the configuration, after a check"
            );
        }
        true
    }

    /// Looks at most once a tick, which is some milliseconds: for what is done often.
    #[inline]
    pub(super) fn is_cut_of_late(&self, name: &str, look: impl FnOnce() -> io::Result<u64>) -> bool {
        let now = sys::tick();
        if self.looked.load(Ordering::Relaxed) == now {
            return self.cut.load(Ordering::Relaxed);
        }
        self.looked.store(now, Ordering::Relaxed);
        self.is_cut(name, look)
    }
}
