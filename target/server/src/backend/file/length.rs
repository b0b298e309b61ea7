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
    /// The shortest that it was found to be: what lay behind is lost, even where the file is long again.
    lost_from: AtomicU64,
    /// When it was looked at, in the system's ticks.
    looked: AtomicU64,
}

impl Length {
    /// `len` bytes.
    pub(super) const fn new(len: u64) -> Self {
        Self {
            len: AtomicU64::new(len),
            cut: AtomicBool::new(false),
            lost_from: AtomicU64::new(u64::MAX),
            looked: AtomicU64::new(0),
        }
    }

    /// What it is taken to be, in bytes.
    pub(super) fn get(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Somebody who knows says that it is to be `len` bytes from now on. What was lost of it stays lost.
    pub(super) fn set(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
        if len <= self.lost_from.load(Ordering::Relaxed) {
            self.forget();
        }
    }

    /// Whether it was found to be shorter.
    pub(super) fn was_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Somebody has looked into what was lost: what is there now counts. Whether anything was.
    pub(super) fn forget(&self) -> bool {
        self.lost_from.store(u64::MAX, Ordering::Relaxed);
        self.cut.swap(false, Ordering::Relaxed)
    }

    /// The first byte of a range that was lost.
    #[inline]
    pub(super) fn lost(&self, offset: u64, len: usize) -> Option<u64> {
        let from = self.lost_from.load(Ordering::Relaxed);
        (offset + len as u64 > from).then(|| from.max(offset))
    }

    /// Looks, and tells the log once, by the file's name; once it was cut it stays so, as what is missing may have been
    /// filled with zeros meanwhile.
    pub(super) fn is_cut(&self, name: &str, look: impl FnOnce() -> io::Result<u64>) -> bool {
        let now = look();
        if now.as_ref().is_ok_and(|len| *len >= self.get()) {
            return self.cut.load(Ordering::Relaxed);
        }
        let found = now.unwrap_or(0);
        self.lost_from.fetch_min(found, Ordering::Relaxed);
        if !self.cut.swap(true, Ordering::Relaxed) {
            tracing::error!(
                disk = name,
                was = self.get(),
                found,
                "the file or device is shorter than it was, or gone: nothing more is written to it; \
                 check it, then give it back by `iesp restore`"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_stays_lost_when_the_file_is_long_again() {
        let length = Length::new(100);
        assert!(!length.is_cut("disk", || Ok(100)));
        assert_eq!(length.lost(0, 100), None);
        assert!(length.is_cut("disk", || Ok(60)) && length.is_cut("disk", || Ok(100)));
        assert_eq!((length.lost(0, 60), length.lost(0, 61), length.lost(80, 10)), (None, Some(60), Some(80)));
        length.set(200);
        assert!(length.is_cut("disk", || Ok(200)));
        assert_eq!(length.lost(50, 20), Some(60));
        // It is to be that short.
        length.set(60);
        assert!(!length.is_cut("disk", || Ok(60)));
        assert!(length.is_cut("disk", || Ok(50)));
        assert!(length.forget() && !length.forget());
        assert_eq!(length.lost(0, 100), None);
    }
}
