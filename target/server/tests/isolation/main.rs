//! What one initiator does, or doesn't, and what it costs the others: measured on the other one.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod floods;
mod memory;
mod reads;

use std::time::{Duration, Instant};

use support::{Client, cdb};

/// The middle of how long `count` reads of 4 KiB took, one after the other, and the longest.
fn small_reads(client: &mut Client, count: usize) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..count)
        .map(|at| {
            let start = Instant::now();
            client.get(&cdb::read(at as u64 * 8, 8), 4096).good();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    (times[count / 2], times[count - 1])
}
