//! Where the requests of a load go.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::engine::{Load, Order};

/// The places of one thread's requests.
pub(super) struct Places {
    rng: ChaCha8Rng,
    random: bool,
    read_percent: u64,
    block: u64,
    first: u64,
    blocks: u64,
    next: u64,
}

impl Places {
    pub(super) fn new(load: &Load, thread: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(load.seed);
        rng.set_stream(u64::from(thread));
        let all = load.len / load.block;
        let (first, blocks) = match load.order {
            Order::Random => (0, all),
            Order::Sequential => {
                // Parts that together are the whole; a thread without one goes where another is, too.
                let part = |thread: u32| all * u64::from(thread) / u64::from(load.threads);
                let (first, end) = (part(thread), part(thread + 1));
                (first.min(all.saturating_sub(1)), (end - first).max(1))
            }
        };
        Self {
            rng,
            random: load.order == Order::Random,
            read_percent: u64::from(load.read_percent),
            block: load.block,
            first: load.start + first * load.block,
            blocks: blocks.max(1),
            next: 0,
        }
    }

    /// The next one, and whether it is written.
    pub(super) fn next(&mut self) -> (u64, bool) {
        let block = if self.random {
            // The bias of at most blocks / 2^64 is of no matter here.
            ((u128::from(self.rng.next_u64()) * u128::from(self.blocks)) >> 64) as u64
        } else {
            let block = self.next;
            self.next = (self.next + 1) % self.blocks;
            block
        };
        let write = match self.read_percent {
            100.. => false,
            0 => true,
            percent => (u64::from(self.rng.next_u32()) * 100) >> 32 >= percent,
        };
        (self.first + block * self.block, write)
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::tests::load;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_are_aligned_and_in_the_area(
            block in 1..65u64, threads in 1..9u32, sequential in any::<bool>(), percent in 0..=100u32
        ) {
            let order = if sequential { Order::Sequential } else { Order::Random };
            let load = Load { read_percent: percent, ..load(block * 512, threads, order) };
            for thread in 0..threads {
                let mut places = Places::new(&load, thread);
                let mut writes = 0;
                for _ in 0..1000 {
                    let (offset, write) = places.next();
                    prop_assert!(offset >= load.start && offset + load.block <= load.start + load.len);
                    prop_assert_eq!((offset - load.start) % load.block, 0);
                    writes += u32::from(write);
                }
                prop_assert!(writes.abs_diff((100 - percent) * 10) < 120);
            }
        }

        #[test]
        fn sequential_places_of_all_threads_are_the_whole_area(block in 1..65u64, threads in 1..9u32) {
            let load = load(block * 512, threads, Order::Sequential);
            let all = load.len / load.block;
            let mut seen = std::collections::BTreeSet::new();
            for thread in 0..threads {
                let mut places = Places::new(&load, thread);
                seen.extend((0..all).map(|_| places.next().0));
            }
            prop_assert_eq!(seen.len() as u64, all);
        }
    }
}
