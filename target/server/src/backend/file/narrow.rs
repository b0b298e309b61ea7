//! Which block it is that cannot be read or written, in a range of which one cannot.

use std::time::{Duration, Instant};

/// How long the search may take: a disk may try for seconds before it gives a block up.
const LIMIT: Duration = Duration::from_secs(2);

/// The first bad block of `start..end`, whole blocks of `block` bytes of which at least one is bad: the byte that it begins
/// with. `attempt` reads or writes the range from a byte on, of this length. `None` where that is not found out.
pub(super) fn first_bad(
    mut start: u64,
    mut end: u64,
    block: u64,
    mut attempt: impl FnMut(u64, usize) -> bool,
) -> Option<u64> {
    let limit = Instant::now() + LIMIT;
    // All before `start` is good, and one of `start..end` is bad.
    while end.saturating_sub(start) > block && Instant::now() < limit {
        let half = (end - start) / block / 2 * block;
        if attempt(start, half as usize) {
            start += half;
        } else {
            end = start + half;
        }
    }
    // The last one was taken for bad because the others were good: it may have been a passing fault.
    (end == start + block && !attempt(start, block as usize)).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_is_found() {
        for bad in [[0, 7], [3, 4], [31, 31], [8, 24], [9, 9]] {
            let mut attempts = 0;
            let found = first_bad(512 * 100, 512 * 132, 512, |offset, len| {
                attempts += 1;
                assert!(len > 0 && len.is_multiple_of(512));
                let blocks = offset / 512 - 100..(offset + len as u64) / 512 - 100;
                !bad.iter().any(|block| blocks.contains(block))
            });
            assert_eq!(found, Some((100 + bad[0]) * 512), "{bad:?}");
            assert!(attempts <= 6, "{attempts}");
        }
    }

    #[test]
    fn a_fault_that_has_passed_has_no_place() {
        assert_eq!(first_bad(0, 4096, 512, |_, _| true), None);
        assert_eq!(first_bad(0, 0, 512, |_, _| false), None);
    }
}
