//! Whether a file is still as long as it was when it was opened. Somebody may cut it under us: then a write behind its end
//! would make it long again, and zeros of what was lost.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::sys;

/// What is looked at.
pub(super) trait Look {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Where the first hole begins in so many bytes; `len` where there is none.
    fn first_hole(&self, len: u64) -> u64;
}

impl Look for File {
    fn len(&self) -> io::Result<u64> {
        sys::len(self)
    }

    fn first_hole(&self, len: u64) -> u64 {
        match sys::extent(self, 0, len) {
            Ok((true, data)) => data.min(len),
            _ => 0,
        }
    }
}

/// The length of a file, and whether it has become less since.
#[derive(Debug)]
pub(super) struct Length {
    len: AtomicU64,
    cut: AtomicBool,
    /// The shortest that it was found to be: what lay behind is lost, even where the file is long again.
    lost_from: AtomicU64,
    /// When it was looked at, in the system's ticks.
    looked: AtomicU64,
    /// Where writes ended since that look, and before it since the one before.
    ends: [Ends; 2],
}

/// Ends of writes. It forgets none, and may take others for one.
#[derive(Debug)]
struct Ends([AtomicU64; 4]);

impl Ends {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 4])
    }

    fn place(&self, end: u64) -> (&AtomicU64, u64) {
        // Fibonacci hashing: the ends of writes have their low bits in common.
        let hash = end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        (&self.0[(hash >> 6) as usize], 1 << (hash & 63))
    }

    #[inline]
    fn add(&self, end: u64) {
        let (word, bit) = self.place(end);
        // Looked at first: all connections share it.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn may_have(&self, end: u64) -> bool {
        let (word, bit) = self.place(end);
        word.load(Ordering::Relaxed) & bit != 0
    }

    fn take(&self, other: &Self) {
        for (own, other) in self.0.iter().zip(&other.0) {
            own.store(other.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

impl Length {
    /// `len` bytes.
    pub(super) const fn new(len: u64) -> Self {
        Self {
            len: AtomicU64::new(len),
            cut: AtomicBool::new(false),
            lost_from: AtomicU64::new(u64::MAX),
            looked: AtomicU64::new(0),
            ends: [Ends::new(), Ends::new()],
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
    pub(super) fn is_cut(&self, name: &str, file: &impl Look) -> bool {
        let now = file.len();
        if now.as_ref().is_ok_and(|len| *len >= self.get()) {
            return self.cut.load(Ordering::Relaxed);
        }
        let found = now.unwrap_or(0);
        // A write behind the cut makes the file longer again, with a hole before it of what was lost.
        let is_longer_again = self.ends.iter().any(|ends| ends.may_have(found));
        let lost_from = if is_longer_again { file.first_hole(found) } else { found };
        self.lost_from.fetch_min(lost_from, Ordering::Relaxed);
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

    /// Looks at most once a tick, which is some milliseconds: for what is done often. `end` is that of the write that follows.
    #[inline]
    pub(super) fn is_cut_of_late(&self, name: &str, end: Option<u64>, file: &impl Look) -> bool {
        let now = sys::tick();
        let [ends, before] = &self.ends;
        if self.looked.load(Ordering::Relaxed) != now {
            self.looked.store(now, Ordering::Relaxed);
            if self.is_cut(name, file) {
                return true;
            }
            before.take(ends);
        }
        if let Some(end) = end {
            ends.add(end);
        }
        self.cut.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes, and where the first hole is.
    struct Seen(u64, u64);

    impl Look for Seen {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0)
        }

        fn first_hole(&self, len: u64) -> u64 {
            self.1.min(len)
        }
    }

    fn is_cut(length: &Length, found: u64) -> bool {
        length.is_cut("disk", &Seen(found, 0))
    }

    #[test]
    fn what_was_lost_stays_lost_when_the_file_is_long_again() {
        let length = Length::new(100);
        assert!(!is_cut(&length, 100));
        assert_eq!(length.lost(0, 100), None);
        assert!(is_cut(&length, 60) && is_cut(&length, 100));
        assert_eq!((length.lost(0, 60), length.lost(0, 61), length.lost(80, 10)), (None, Some(60), Some(80)));
        length.set(200);
        assert!(is_cut(&length, 200));
        assert_eq!(length.lost(50, 20), Some(60));
        // It is to be that short.
        length.set(60);
        assert!(!is_cut(&length, 60));
        assert!(is_cut(&length, 50));
        assert!(length.forget() && !length.forget());
        assert_eq!(length.lost(0, 100), None);
    }

    #[test]
    fn what_a_write_left_out_that_made_a_cut_file_longer_again_is_lost() {
        for looks in [0, 1] {
            let length = Length::new(100);
            assert!(!length.is_cut_of_late("disk", Some(70), &Seen(100, 100)));
            for _ in 0..looks {
                length.looked.store(0, Ordering::Relaxed);
                assert!(!length.is_cut_of_late("disk", None, &Seen(100, 100)));
            }
            assert!(length.is_cut("disk", &Seen(70, 40)));
            assert_eq!((length.lost(0, 40), length.lost(0, 41)), (None, Some(40)), "{looks}");
        }
        // No write ended there: that is where it was cut.
        let length = Length::new(100);
        assert!(!length.is_cut_of_late("disk", Some(70), &Seen(100, 100)));
        assert!(length.is_cut("disk", &Seen(60, 40)));
        assert_eq!((length.lost(0, 60), length.lost(0, 61)), (None, Some(60)));
    }
}
