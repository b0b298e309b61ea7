//! The operations that touched a block, made again from the seed.

use std::fmt::Write;

use super::model::Version;
use super::plan::Plan;
use super::stream::{Action, Op, Stream};

/// What happened to one block.
pub struct History {
    block: u64,
    /// The operations that touched it, each with what the block should have held behind it.
    entries: Vec<(Op, Version)>,
    /// The worker's flushes.
    flushes: Vec<u64>,
}

impl History {
    /// What the first `ops` operations of `worker` did to `block`.
    #[must_use]
    pub fn new(plan: &Plan, worker: u32, ops: u64, block: u64) -> Self {
        let mut stream = Stream::new(plan, worker);
        let (mut entries, mut flushes) = (Vec::new(), Vec::new());
        for _ in 0..ops {
            let op = stream.draw();
            stream.apply(&op);
            if op.action == Action::Flush {
                flushes.push(op.index);
            } else if (op.block..op.block + u64::from(op.count)).contains(&block) {
                entries.push((op, stream.version(block)));
            }
        }
        Self { block, entries, flushes }
    }

    /// The operation with this number, if it touched the block.
    #[must_use]
    pub fn op(&self, index: u64) -> Option<&Op> {
        self.entries.iter().map(|(op, _)| op).find(|op| op.index == index)
    }

    /// What the block held before the operation `index`, newest first: each change once.
    pub fn before(&self, index: u64) -> impl Iterator<Item = (u64, Version)> {
        self.changes().rev().filter(move |(op, _)| *op < index)
    }

    fn changes(&self) -> impl DoubleEndedIterator<Item = (u64, Version)> {
        self.entries.iter().filter(|(op, version)| version.op() == Some(op.index)).map(|(op, v)| (op.index, *v))
    }

    /// The first operation behind `index` that read the block and only compared.
    #[must_use]
    pub fn seen_after(&self, index: u64, before: u64) -> Option<u64> {
        let seen = |op: &&Op| op.index > index && op.index < before && op.action == Action::Verify;
        self.entries.iter().map(|(op, _)| op).find(seen).map(|op| op.index)
    }

    /// The worker's first flush behind `index`.
    #[must_use]
    pub fn flush_after(&self, index: u64, before: u64) -> Option<u64> {
        self.flushes.iter().copied().find(|&flush| flush > index && flush < before)
    }

    /// The operations as text, one a line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (op, version) in &self.entries {
            let (first, last) = (op.block, op.block + u64::from(op.count) - 1);
            let place = self.block - first + 1;
            let what = match op.action {
                Action::Write { fua: true, .. } => format!("write FUA, {:?}", version.held()),
                Action::Write { .. } => format!("write, {:?}", version.held()),
                Action::Discard => format!("discard, {:?}", version.held()),
                action => format!("{action:?}"),
            };
            let _ = writeln!(text, "op {:>8}  {what}; blocks {first} to {last}, this one is number {place}", op.index);
        }
        let flushes = match self.entries.first() {
            Some((first, _)) => self.flushes.iter().filter(|flush| **flush > first.index).copied().collect(),
            None => Vec::new(),
        };
        let _ = writeln!(text, "flushes of this worker since the first of them: {flushes:?}");
        text
    }
}
