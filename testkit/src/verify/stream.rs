//! The operations of one worker, one after the other, and what its blocks should hold between them.
//!
//! The stream follows from the plan and the worker's number alone: no answer of the device and no clock goes in. So
//! the operations that a failure needs for its explanation are made again instead of being kept, and a crashed run is
//! known from how far it came.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::content::{Content, fold};
use super::model::{GrowingSet, Held, Version};
use super::plan::{Layout, Plan};

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Its number in the worker's stream, from 0.
    pub index: u64,
    /// What is done.
    pub action: Action,
    /// The first block; meaningless for a flush.
    pub block: u64,
    /// How many blocks; 0 for a flush.
    pub count: u32,
    /// The first block's local number.
    local: u64,
}

/// What an operation does. All but a flush first read the range and compare what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Only that.
    Verify,
    /// Then write new data.
    Write {
        /// With FUA.
        fua: bool,
        /// Which of the blocks are unique follows from it.
        mix: u64,
    },
    /// Then discard the range.
    Discard,
    /// Then zero the range.
    Zero,
    /// Flush the device.
    Flush,
}

impl Action {
    /// Whether the operation is on stable storage once it is acknowledged.
    #[must_use]
    pub fn is_durable(self) -> bool {
        matches!(self, Self::Write { fua: true, .. })
    }
}

/// The stream of a worker's operations.
pub struct Stream {
    plan: Plan,
    layout: Layout,
    worker: u32,
    rng: ChaCha8Rng,
    next: u64,
    versions: Vec<Version>,
    covered: GrowingSet,
}

impl Stream {
    /// The stream of `worker`, at its beginning. The plan must have passed [`Plan::check`].
    #[must_use]
    pub fn new(plan: &Plan, worker: u32) -> Self {
        let layout = plan.layout();
        let len = layout.local_len(worker);
        let mut covered = GrowingSet::new(len);
        let mut end = 0;
        for stripe in layout.stripes(worker) {
            (end..stripe.local).for_each(|nothing| _ = covered.insert(nothing));
            end = stripe.local + stripe.len;
        }
        (end..len).for_each(|nothing| _ = covered.insert(nothing));
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(u64::from(worker));
        let versions = vec![Version::UNTOUCHED; len as usize];
        Self { plan: *plan, layout, worker, rng, next: 0, versions, covered }
    }

    /// The plan that the stream follows.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whose stream it is.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// The number of the operation that comes next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// How many of the worker's blocks were not yet written and read back.
    #[must_use]
    pub fn uncovered(&self) -> u64 {
        self.covered.missing()
    }

    /// The stretches of blocks that the worker owns: first block and number of blocks.
    pub fn stretches(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        self.layout.stripes(self.worker).map(|stripe| (stripe.block, stripe.len))
    }

    /// What a block of this worker should hold.
    #[must_use]
    pub fn version(&self, block: u64) -> Version {
        self.versions[self.layout.local(block) as usize]
    }

    /// What the blocks of an operation should hold, in order.
    #[must_use]
    pub fn versions(&self, op: &Op) -> &[Version] {
        &self.versions[op.local as usize..][..op.count as usize]
    }

    /// Whether this worker owns a block of the area.
    #[must_use]
    pub fn owns(&self, block: u64) -> bool {
        let area = self.plan.first_block..self.plan.first_block + self.plan.blocks;
        area.contains(&block) && self.layout.owner(block) == self.worker
    }

    /// The next operation. It changes nothing of what the blocks should hold until [`Stream::apply`].
    pub fn draw(&mut self) -> Op {
        let index = self.next;
        self.next += 1;
        let percent = self.below(100) as u32;
        if percent < self.plan.flush_percent {
            return Op { index, action: Action::Flush, block: 0, count: 0, local: 0 };
        }
        let verify = percent < self.plan.flush_percent + self.plan.verify_percent;
        let (local, block, count) = self.place();
        let action = if verify { Action::Verify } else { self.change() };
        Op { index, action, block, count, local }
    }

    /// Where: anywhere, or at a block that still waits to be covered.
    fn place(&mut self) -> (u64, u64, u32) {
        let anywhere = self.below(self.versions.len() as u64);
        let seek = self.below(100) < u64::from(self.plan.seek_percent);
        let wanted = 1 + self.below(u64::from(self.plan.max_blocks));
        let start = if seek { self.covered.next_missing(anywhere).unwrap_or(anywhere) } else { anywhere };
        let stripe = self.layout.stripe(self.worker, start);
        let count = wanted.min(stripe.len);
        let local = start.clamp(stripe.local, stripe.local + stripe.len - count);
        (local, stripe.block + (local - stripe.local), count as u32)
    }

    /// One trim of four zeroes instead of discarding: that is promised to read as zeros everywhere.
    fn change(&mut self) -> Action {
        let percent = self.below(100) as u32;
        let zero = self.below(4) == 0;
        let fua = self.below(100) < u64::from(self.plan.fua_percent);
        let mix = self.rng.next_u64();
        match percent < self.plan.trim_percent {
            true if zero => Action::Zero,
            true => Action::Discard,
            false => Action::Write { fua, mix },
        }
    }

    /// A number below `limit`, with a bias below `limit / 2^64`; it stays the same whatever the crates do.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.rng.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// What the blocks should hold after an operation, in the order of the blocks; empty when it changes nothing.
    pub fn after(&self, op: &Op) -> impl Iterator<Item = Version> + use<> {
        let plan = &self.plan;
        let granule = plan.discard_granule;
        let writes = u64::from(100 - plan.trim_percent);
        let unique = u64::from(plan.unique_percent);
        let Op { index, action, block, count, .. } = *op;
        let end = block + u64::from(count);
        let kept = match action {
            Action::Verify | Action::Flush => 0,
            _ => count,
        };
        (0..u64::from(kept)).map(move |at| {
            let held = match action {
                Action::Write { mix, .. } if fold(mix, at) % writes.max(1) < unique => Held::Unique,
                Action::Write { .. } => Held::Duplicate,
                Action::Zero => Held::Zeros,
                Action::Discard if is_whole_granule(granule, block, end, block + at) => Held::Zeros,
                _ => Held::Anything,
            };
            Version::new(held, index)
        })
    }

    /// The operation has been done: its blocks now should hold what it left.
    pub fn apply(&mut self, op: &Op) {
        for local in op.local..op.local + u64::from(op.count) {
            if self.versions[local as usize].content(self.worker).is_some() {
                self.covered.insert(local);
            }
        }
        let start = op.local as usize;
        for (at, new) in self.after(op).enumerate() {
            self.versions[start + at] = new;
        }
    }

    /// The content that an operation gives the blocks that it writes, in order.
    pub fn contents(&self, op: &Op) -> impl Iterator<Item = Option<Content>> + use<> {
        let worker = self.worker;
        self.after(op).map(move |version| version.content(worker))
    }
}

/// A discard is promised for whole granules alone: their edges may keep what they held.
fn is_whole_granule(granule: u64, start: u64, end: u64, block: u64) -> bool {
    if granule == 0 {
        return false;
    }
    let first = block / granule * granule;
    first >= start && first + granule <= end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(workers: u32) -> Plan {
        Plan { workers, trim_percent: 10, unique_percent: 75, ..Plan::new(7, 4096, 1000) }
    }

    fn run(stream: &mut Stream, ops: u64) -> Vec<Op> {
        (0..ops)
            .map(|_| {
                let op = stream.draw();
                stream.apply(&op);
                op
            })
            .collect()
    }

    #[test]
    fn the_same_plan_makes_the_same_operations() {
        for worker in 0..3 {
            let (mut a, mut b) = (Stream::new(&plan(3), worker), Stream::new(&plan(3), worker));
            assert_eq!(run(&mut a, 500), run(&mut b, 500));
            assert_eq!(a.versions, b.versions);
        }
        let ops = |plan: &Plan, worker| run(&mut Stream::new(plan, worker), 50);
        assert_ne!(ops(&plan(3), 0), ops(&plan(3), 1));
        assert_ne!(ops(&plan(3), 0), ops(&Plan { seed: 8, ..plan(3) }, 0));
    }

    /// A seed in a bug report must mean the same operations to a later version.
    #[test]
    fn a_seed_means_the_same_for_ever() {
        let ops = run(&mut Stream::new(&plan(3), 1), 100);
        let sum = ops.iter().fold(0, |sum, op| fold(fold(sum, op.block), fold(u64::from(op.count), op.index)));
        assert_eq!(sum, 0x07c9_5bf8_0049_5849, "{sum:#x}");
    }

    #[test]
    fn operations_stay_with_their_worker() {
        for worker in 0..3 {
            let mut stream = Stream::new(&plan(3), worker);
            for op in run(&mut stream, 2000) {
                for block in op.block..op.block + u64::from(op.count) {
                    assert!(stream.owns(block));
                }
            }
        }
    }

    #[test]
    fn everything_is_covered_soon() {
        for workers in [1, 2, 5] {
            let mut steps = 0;
            for worker in 0..workers {
                let mut stream = Stream::new(&plan(workers), worker);
                while stream.uncovered() > 0 {
                    let op = stream.draw();
                    stream.apply(&op);
                    steps += 1;
                }
            }
            assert!(steps < 1500, "{workers} workers: {steps} operations for 1000 blocks");
        }
    }

    #[test]
    fn the_mix_is_as_asked() {
        let plan = Plan { unique_percent: 60, trim_percent: 20, fua_percent: 10, ..Plan::new(3, 512, 5000) };
        let mut stream = Stream::new(&Plan { workers: 1, ..plan }, 0);
        let mut counts = std::collections::HashMap::new();
        let (mut flushes, mut verifies, mut writes, mut fuas) = (0, 0, 0, 0);
        for _ in 0..20_000 {
            let op = stream.draw();
            stream.after(&op).for_each(|version| *counts.entry(version.held()).or_insert(0) += 1);
            match op.action {
                Action::Flush => flushes += 1,
                Action::Verify => verifies += 1,
                Action::Write { fua, .. } => {
                    writes += 1;
                    fuas += u32::from(fua);
                }
                _ => {}
            }
            stream.apply(&op);
        }
        let total: u32 = counts.values().sum();
        let percent = |held| f64::from(*counts.get(&held).unwrap_or(&0)) * 100.0 / f64::from(total);
        assert!((percent(Held::Unique) - 60.0).abs() < 1.5, "{counts:?}");
        assert!((percent(Held::Zeros) - 20.0).abs() < 1.5, "{counts:?}");
        assert!((percent(Held::Duplicate) - 20.0).abs() < 1.5, "{counts:?}");
        assert!((500..700).contains(&flushes) && (1850..2150).contains(&verifies));
        let fua_share = f64::from(fuas) / f64::from(writes);
        assert!((0.08..0.12).contains(&fua_share), "{fua_share}");
    }

    #[test]
    fn only_whole_granules_are_promised() {
        let promised =
            |granule, start, end| (start..end).map(|b| is_whole_granule(granule, start, end, b)).collect::<Vec<_>>();
        assert_eq!(promised(1, 3, 5), [true, true]);
        assert_eq!(promised(0, 3, 5), [false, false]);
        assert_eq!(promised(4, 2, 9), [false, false, true, true, true, true, false]);
    }
}
