//! How busy the processor is: what it did not sleep.

use core::sync::atomic::{AtomicU8, Ordering};

/// How long is measured, in microseconds.
const WINDOW_US: u64 = 2_000_000;
/// As long as nothing is known.
const UNKNOWN: u8 = u8::MAX;

static PERCENT: AtomicU8 = AtomicU8::new(UNKNOWN);

/// How busy the processor was in the last seconds, in percent; `None` in the first ones.
pub(crate) fn busy_percent() -> Option<u8> {
    Some(PERCENT.load(Ordering::Relaxed)).filter(|percent| *percent != UNKNOWN)
}

/// What is measured now.
#[derive(Debug, Default)]
pub(crate) struct Load {
    since_us: u64,
    slept_us: u64,
}

impl Load {
    /// It slept from then to then.
    pub(crate) fn slept(&mut self, from_us: u64, to_us: u64) {
        self.slept_us += to_us.saturating_sub(from_us);
        let passed = to_us.saturating_sub(self.since_us);
        if passed >= WINDOW_US {
            let idle = self.slept_us.min(passed) * 100 / passed;
            PERCENT.store(100 - idle as u8, Ordering::Relaxed);
            (self.since_us, self.slept_us) = (to_us, 0);
        }
    }
}
