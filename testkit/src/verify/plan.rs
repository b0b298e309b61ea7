//! What a run does, as far as it decides the operations: with the same plan every worker makes the same operations,
//! whatever the device answers and however the threads' turns fall.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::content::fold;

/// The options that decide which operations a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Everything that is chosen at random follows from it.
    pub seed: u64,
    /// The bytes of a block: the unit of the model, a multiple of 512.
    pub block_size: u32,
    /// Where the tested area begins on the disk, in blocks.
    pub first_block: u64,
    /// How many blocks are tested.
    pub blocks: u64,
    /// The most blocks that one operation takes.
    pub max_blocks: u32,
    /// How many workers share the area.
    pub workers: u32,
    /// Of 100 blocks written so many have data of their own.
    pub unique_percent: u32,
    /// Of 100 operations on blocks so many are trims; the rest of the blocks is duplicates of one block.
    pub trim_percent: u32,
    /// Of 100 operations so many are flushes.
    pub flush_percent: u32,
    /// Of 100 writes so many are with FUA.
    pub fua_percent: u32,
    /// Of 100 operations so many only read and compare.
    pub verify_percent: u32,
    /// Of 100 picked places so many are where blocks still wait to be covered.
    pub seek_percent: u32,
    /// What a discarded range reads as, and from which granule on, in blocks; 0: nothing is promised.
    pub discard_granule: u64,
}

/// A combination of options that makes no run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// Not a multiple of 512 or zero.
    #[error("a block size of {0} bytes: it must be a multiple of 512")]
    BlockSize(u32),
    /// Over a hundred.
    #[error("{what} adds up to {percent} %")]
    Percent {
        /// Which percentages.
        what: &'static str,
        /// Their sum.
        percent: u32,
    },
    /// Zero, or more than fits.
    #[error("there must be at least one {0}")]
    None(&'static str),
    /// An operation of several GiB.
    #[error("{0} blocks an operation: at most 1 GiB is possible")]
    MaxBlocks(u32),
    /// An area that no disk has.
    #[error("{0} blocks: their end is beyond 2^64 bytes")]
    TooLarge(u64),
    /// More workers than blocks, or than a generation has room for.
    #[error(
        "{workers} threads for {blocks} blocks: each needs at least one block, and 65536 is the most; name fewer by --threads"
    )]
    Workers {
        /// How many workers.
        workers: u32,
        /// How many blocks.
        blocks: u64,
    },
}

impl Plan {
    /// A plan with iESP's defaults for an area of `blocks` blocks.
    #[must_use]
    pub fn new(seed: u64, block_size: u32, blocks: u64) -> Self {
        Self {
            seed,
            block_size,
            first_block: 0,
            blocks,
            max_blocks: 16,
            workers: 2,
            unique_percent: 51,
            trim_percent: 0,
            flush_percent: 3,
            fua_percent: 3,
            verify_percent: 10,
            seek_percent: 50,
            discard_granule: 1,
        }
    }

    /// Checks that the options go together.
    ///
    /// # Errors
    /// [`PlanError`] with the first that does not.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.block_size == 0 || !self.block_size.is_multiple_of(512) {
            return Err(PlanError::BlockSize(self.block_size));
        }
        let sums = [
            ("unique and trim", self.unique_percent.saturating_add(self.trim_percent)),
            ("flush and verify", self.flush_percent.saturating_add(self.verify_percent)),
            ("FUA", self.fua_percent),
        ];
        for (what, percent) in sums {
            if percent > 100 {
                return Err(PlanError::Percent { what, percent });
            }
        }
        if self.flush_percent + self.verify_percent == 100 {
            return Err(PlanError::None("per cent left for writes"));
        }
        if self.max_blocks == 0 {
            return Err(PlanError::None("block an operation"));
        }
        if u64::from(self.max_blocks) * u64::from(self.block_size) > 1 << 30 {
            return Err(PlanError::MaxBlocks(self.max_blocks));
        }
        if self.workers == 0 {
            return Err(PlanError::None("thread"));
        }
        let end = self.first_block.checked_add(self.blocks);
        if end.and_then(|end| end.checked_mul(u64::from(self.block_size))).is_none() {
            return Err(PlanError::TooLarge(self.blocks));
        }
        if self.blocks < u64::from(self.workers) || self.workers > 1 << 16 {
            return Err(PlanError::Workers { workers: self.workers, blocks: self.blocks });
        }
        Ok(())
    }

    /// Where a block begins on the disk, in bytes.
    #[must_use]
    pub fn offset(&self, block: u64) -> u64 {
        block * u64::from(self.block_size)
    }

    /// How the blocks are shared out. The plan must have passed [`Plan::check`].
    #[must_use]
    pub fn layout(&self) -> Layout {
        let workers = u64::from(self.workers);
        if workers == 1 {
            return Layout { first: self.first_block, blocks: self.blocks, workers, stripe: self.blocks, lead: 0 };
        }
        let wanted = (u64::from(self.max_blocks) * 8).max(64);
        let stripe = wanted.min(self.blocks / workers).max(1);
        let lead = fold(self.seed, stripe) % stripe;
        Layout { first: self.first_block, blocks: self.blocks, workers, stripe, lead }
    }
}

/// Which worker owns which blocks: stripes in turn, so that the workers' operations interleave over the whole disk
/// and yet none needs to ask another. Where the stripes begin follows from the seed, so that no block is always the
/// last of its stripe.
///
/// A worker's blocks have *local* numbers without gaps; the few that fall before or behind the area do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    first: u64,
    blocks: u64,
    workers: u64,
    stripe: u64,
    /// So many blocks of the first stripe lie before the area.
    lead: u64,
}

/// The blocks of a stripe that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    /// The local number of the first.
    pub local: u64,
    /// The block's number on the disk.
    pub block: u64,
    /// How many.
    pub len: u64,
}

impl Layout {
    /// Which worker owns a block.
    #[must_use]
    pub fn owner(&self, block: u64) -> u32 {
        (((block - self.first + self.lead) / self.stripe) % self.workers) as u32
    }

    /// A block's number among those of its owner.
    #[must_use]
    pub fn local(&self, block: u64) -> u64 {
        let place = block - self.first + self.lead;
        place / self.stripe / self.workers * self.stripe + place % self.stripe
    }

    /// How many local numbers a worker has, those without a block included.
    #[must_use]
    pub fn local_len(&self, worker: u32) -> u64 {
        let stripes = (self.blocks + self.lead).div_ceil(self.stripe);
        let own = (stripes + self.workers - 1 - u64::from(worker)) / self.workers;
        own * self.stripe
    }

    /// The stripe that a worker's local number falls into.
    #[must_use]
    pub fn stripe(&self, worker: u32, local: u64) -> Stripe {
        let index = local / self.stripe;
        let start = (index * self.workers + u64::from(worker)) * self.stripe;
        let end = (start + self.stripe).min(self.blocks + self.lead);
        let real = start.max(self.lead);
        Stripe { local: index * self.stripe + (real - start), block: self.first + real - self.lead, len: end - real }
    }

    /// All stripes of a worker, in order.
    pub fn stripes(&self, worker: u32) -> impl Iterator<Item = Stripe> + use<> {
        let layout = *self;
        (0..layout.local_len(worker) / layout.stripe).map(move |index| layout.stripe(worker, index * layout.stripe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_block_has_one_owner_and_one_number(
            seed in any::<u64>(), first in 0..1000u64, blocks in 1..2000u64, max_blocks in 1..40u32, workers in 1..9u32,
        ) {
            prop_assume!(blocks >= u64::from(workers));
            let plan = Plan { first_block: first, max_blocks, workers, ..Plan::new(seed, 512, blocks) };
            prop_assert_eq!(plan.check(), Ok(()));
            let layout = plan.layout();
            let mut owned = 0;
            for worker in 0..workers {
                let len = layout.local_len(worker);
                let mut worker_owns = 0;
                for stripe in layout.stripes(worker) {
                    prop_assert!(stripe.len > 0 && stripe.local + stripe.len <= len);
                    for index in 0..stripe.len {
                        let block = stripe.block + index;
                        prop_assert!((first..first + blocks).contains(&block));
                        prop_assert_eq!(layout.owner(block), worker);
                        prop_assert_eq!(layout.local(block), stripe.local + index);
                        prop_assert_eq!(layout.stripe(worker, stripe.local + index), stripe);
                    }
                    worker_owns += stripe.len;
                }
                prop_assert!(worker_owns > 0);
                owned += worker_owns;
            }
            prop_assert_eq!(owned, blocks);
        }
    }

    #[test]
    fn options_that_make_no_run() {
        let good = Plan::new(1, 4096, 100);
        assert_eq!(good.check(), Ok(()));
        assert!(Plan { block_size: 1000, ..good }.check().is_err());
        assert!(Plan { trim_percent: 50, ..good }.check().is_err());
        assert!(Plan { max_blocks: 0, ..good }.check().is_err());
        assert!(Plan { workers: 101, ..good }.check().is_err());
        assert!(Plan { blocks: u64::MAX / 4096, first_block: 1, ..good }.check().is_err());
        assert!(Plan { blocks: u64::MAX, first_block: 1, ..good }.check().is_err());
        assert!(Plan { blocks: 1 << 40, workers: 65_537, ..good }.check().is_err());
        assert!(Plan { flush_percent: 50, verify_percent: 50, ..good }.check().is_err());
    }
}
