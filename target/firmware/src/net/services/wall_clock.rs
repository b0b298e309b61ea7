//! The time of day, once a time server has told it.

use core::cell::Cell;
use core::fmt;

use embassy_time::Instant;

/// What the board's clock is behind the time of day.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// Microseconds from 1970 to the board's start.
    started_us: Cell<Option<u64>>,
}

impl WallClock {
    /// It is so many microseconds after 1970 now.
    pub(super) fn set(&self, now_us: u64) {
        self.started_us.set(now_us.checked_sub(Instant::now().as_micros()));
    }

    /// When the board was so many milliseconds old; `None` as long as nobody knows.
    pub(super) fn at(&self, uptime_ms: u64) -> Option<Timestamp> {
        Some(Timestamp(self.started_us.get()? / 1000 + uptime_ms))
    }

    pub(super) fn is_known(&self) -> bool {
        self.started_us.get().is_some()
    }
}

/// Milliseconds since 1970, shown as RFC 3339 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamp(u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = date(days);
        let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// The date so many days after 1 January 1970: years begin in March here, so that the odd day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_795_564_800_123, "2026-11-25T00:00:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
        }
    }
}
