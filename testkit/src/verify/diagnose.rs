//! Why a block is wrong: what it holds, where that came from, and what that says about the device.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use super::content::{Content, Place, Stamp, UNIT, bits_that_differ, is_zero};
use super::finding::{FaultKind, Finding};
use super::history::History;
use super::model::{Held, Version, generation, writer};
use super::plan::Plan;
use super::stream::{Action, Op, Stream};
use crate::device::Device;
use crate::device::buffer::Buffer;

/// A block that was read and is not what it should be.
pub struct Suspect<'a> {
    /// The run's plan.
    pub plan: &'a Plan,
    /// The device that it was read from.
    pub device: &'a dyn Device,
    /// The worker that owns the block.
    pub worker: u32,
    /// How many operations that worker has done.
    pub ops: u64,
    /// Whether the check at the end met it.
    pub at_the_end: bool,
    /// The block.
    pub block: u64,
    /// What it should hold.
    pub version: Version,
    /// Blocks that were found to miss a write, each with that write's number.
    pub missed: &'a HashSet<(u64, u64)>,
    /// What was read.
    pub found: &'a [u8],
}

/// What one 512-byte unit of a block turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unit {
    Right,
    Zeros,
    /// A whole unit that some run wrote.
    Written(Stamp),
    /// The right data with so many bits flipped.
    Flipped(u32),
    Unknown,
}

/// Random data differs in half of 4096 bits: up to here it is the right data, damaged.
pub(super) const FEW_BITS: u32 = 256;
/// So far the disk is searched for a write that is missing in its place.
const SEARCHED: u64 = 4 << 30;

impl Suspect<'_> {
    /// Finds out what happened. Reads around on the device: the block again, the rest of its write, and when the write
    /// left no trace the whole area.
    #[must_use]
    pub fn explain(&self) -> Finding {
        let history = History::new(self.plan, self.worker, self.ops, self.block);
        let units = self.look(self.found);
        let again = self.read(self.block).map(|data| self.look(&data));
        let (kind, mut explanation) = self.judge(&units, again.as_deref(), &history);
        match &again {
            None => explanation.push_str(" Reading the block again failed."),
            Some(again) if again.iter().all(|unit| *unit == Unit::Right) => {
                explanation.push_str(" Read again, the block was right.");
            }
            Some(again) if *again != units => explanation.push_str(" Read again, it was wrong in another way."),
            Some(_) => explanation.push_str(" Read again, it was the same."),
        }
        Finding {
            kind,
            block: Some(self.block),
            offset: Some(self.plan.offset(self.block)),
            blocks: 1,
            worker: self.worker,
            op: self.ops,
            at_the_end: self.at_the_end,
            log: self.log(&units, &history),
            explanation,
            repeat_ops: None,
        }
    }

    fn content(&self) -> Content {
        self.version.content(self.worker).unwrap_or(Content::Zeros)
    }

    fn op(&self) -> u64 {
        self.version.op().unwrap_or(0)
    }

    fn look(&self, data: &[u8]) -> Vec<Unit> {
        let offset = self.plan.offset(self.block);
        let expected = |index: usize| self.content().stamp(self.plan.seed, offset, (index * UNIT) as u64);
        data.as_chunks::<UNIT>().0.iter().enumerate().map(|(index, unit)| look_at(unit, expected(index))).collect()
    }

    fn read(&self, block: u64) -> Option<Buffer> {
        let mut data = Buffer::new(self.plan.block_size as usize);
        self.device.read(self.plan.offset(block), &mut data).ok()?;
        Some(data)
    }

    fn judge(&self, units: &[Unit], again: Option<&[Unit]>, history: &History) -> (FaultKind, String) {
        if let Some(verdict) = self.misplaced(units).or_else(|| self.flipped(units)).or_else(|| self.strayed(units)) {
            return verdict;
        }
        let now_right = again.is_some_and(|again| again.iter().all(|unit| *unit == Unit::Right));
        let wrong: Vec<&Unit> = units.iter().filter(|unit| **unit != Unit::Right).collect();
        let what = self.describe(&wrong);
        let (expected, op) = (self.describe_expected(history), self.op());
        if now_right {
            return (FaultKind::StaleRead, format!("The block should hold {expected}. One read returned {what}."));
        }
        let trim = match history.op(op).map(|op| op.action) {
            Some(Action::Discard) => Some(FaultKind::DiscardIgnored),
            Some(Action::Zero) => Some(FaultKind::ZeroIgnored),
            _ => None,
        };
        if let Some(kind) = trim {
            let parts = self.share(wrong.len(), units.len());
            return (kind, format!("The block should hold {expected}, but {parts} {what}."));
        }
        if wrong.len() < units.len() {
            let parts = self.share(wrong.len(), units.len());
            return (FaultKind::TornWrite, format!("The block should hold {expected}, but {parts} {what}."));
        }
        self.missing(&wrong, &what, &expected, history)
    }

    /// Nothing of the last write is in the block: is some of it elsewhere?
    fn missing(&self, wrong: &[&Unit], what: &str, expected: &str, history: &History) -> (FaultKind, String) {
        let op = self.op();
        let mut text = format!("The block should hold {expected}, but it holds {what}.");
        let before: Vec<_> = history.before(op).collect();
        let known = before.is_empty() || self.was_before(wrong, before.iter().map(|(_, version)| *version));
        if let Some((good, all)) = self.rest_of_write(history).filter(|(good, _)| *good > 0) {
            let _ = write!(text, " Of the {all} other blocks of that write {good} have arrived.");
            return (FaultKind::TornWrite, text);
        }
        if let Some(offset) = self.search() {
            let _ = write!(text, " Data of that write lies at offset {offset} instead.");
            return (FaultKind::MisdirectedWrite, text);
        }
        let seen = history.seen_after(op, self.ops);
        if before.is_empty() && seen.is_none() {
            text.push_str(" No operation of this run had touched it before: this is what was there, or worse.");
            return (FaultKind::NeverWritten, text);
        }
        if !known {
            let kind = if wrong.iter().all(|unit| **unit == Unit::Zeros) {
                FaultKind::UnexpectedZeros
            } else {
                FaultKind::Corrupt
            };
            text.push_str(" No operation of this run left that.");
            return (kind, text);
        }
        match history.flush_after(op, self.ops) {
            Some(flush) => _ = write!(text, " A flush (operation {flush}) was acknowledged since."),
            None => text.push_str(" This worker has not flushed since."),
        }
        match seen {
            Some(seen) => {
                let _ = write!(text, " Operation {seen} had read the right data: it is gone since.");
                (FaultKind::ForgottenWrite, text)
            }
            None => (FaultKind::LostWrite, text),
        }
    }

    /// Data that says that it belongs to another place.
    fn misplaced(&self, units: &[Unit]) -> Option<(FaultKind, String)> {
        let offset = self.plan.offset(self.block);
        let (index, stamp) = units.iter().enumerate().find_map(|(index, unit)| {
            let here = (index * UNIT) as u64;
            match unit {
                Unit::Written(stamp) if stamp.seed == self.plan.seed => match stamp.place {
                    Place::Unique(place) if place != offset + here => Some((index, stamp)),
                    Place::Duplicate(place) if place != here => Some((index, stamp)),
                    _ => None,
                },
                _ => None,
            }
        })?;
        let from = match stamp.place {
            Place::Unique(place) => format!("offset {place} (block {})", place / u64::from(self.plan.block_size)),
            Place::Duplicate(place) => format!("{place} bytes into the duplicate block"),
        };
        let text = format!(
            "At offset {} lies data that belongs to {from}{}.",
            offset + (index * UNIT) as u64,
            name_writer(stamp.generation)
        );
        Some((FaultKind::MisdirectedWrite, text))
    }

    /// Duplicates do not say where they belong. But next to them there may be data that does, of a write that went elsewhere
    /// and, where it went, covers this block too.
    fn strayed(&self, units: &[Unit]) -> Option<(FaultKind, String)> {
        let is_duplicate = |unit: &&Unit| {
            let own = |stamp: &Stamp| stamp.seed == self.plan.seed && matches!(stamp.place, Place::Duplicate(_));
            matches!(unit, Unit::Written(stamp) if own(stamp))
        };
        if !units.iter().filter(|unit| **unit != Unit::Right).all(|unit| is_duplicate(&unit)) {
            return None;
        }
        let (here, reach) = (self.plan.offset(self.block), u64::from(self.plan.max_blocks));
        let area = self.plan.first_block..self.plan.first_block + self.plan.blocks;
        let near = self.block.saturating_sub(reach).max(area.start)..(self.block + reach + 1).min(area.end);
        near.filter(|block| *block != self.block).find_map(|block| {
            let data = self.read(block)?;
            let units = (self.plan.offset(block)..).step_by(UNIT).zip(data.as_chunks::<UNIT>().0);
            let (offset, place, (worker, op)) = units.filter_map(|(offset, unit)| stray(self.plan, offset, unit)).next()?;
            let op = operation(self.plan, worker, op)?;
            let (start, len) = (self.plan.offset(op.block), u64::from(op.count) * u64::from(self.plan.block_size));
            // Where the block would lie in that write.
            let inside = (here + place).checked_sub(offset + start)?;
            let text = || {
                format!(
                    "It holds the duplicate block, which lies there by operation {} of worker {worker}: at offset {offset} is \
                     data of that write that belongs to offset {place}.",
                    op.index
                )
            };
            (inside < len).then(|| (FaultKind::MisdirectedWrite, text()))
        })
    }

    fn flipped(&self, units: &[Unit]) -> Option<(FaultKind, String)> {
        let mut bits = 0;
        for unit in units {
            match unit {
                Unit::Right => {}
                Unit::Flipped(count) => bits += count,
                _ => return None,
            }
        }
        if bits == 0 {
            return None;
        }
        let places: Vec<String> = self.flipped_bits().take(8).map(|(byte, bit)| format!("{byte}.{bit}")).collect();
        let more = if bits as usize > places.len() { ", …" } else { "" };
        let list = places.join(", ");
        let text = format!("The right data with {bits} bits flipped (byte of the block . bit: {list}{more}).");
        Some((FaultKind::BitFlip, text))
    }

    fn flipped_bits(&self) -> impl Iterator<Item = (usize, u32)> {
        let expected = self.expected();
        let pairs: Vec<(u8, u8)> = self.found.iter().copied().zip(expected).collect();
        pairs.into_iter().enumerate().flat_map(|(byte, (found, right))| {
            (0..8).filter(move |bit| (found ^ right) >> bit & 1 == 1).map(move |bit| (byte, bit))
        })
    }

    fn expected(&self) -> Vec<u8> {
        let mut block = vec![0; self.plan.block_size as usize];
        self.content().fill(self.plan.seed, self.plan.offset(self.block), &mut block);
        block
    }

    /// Whether the units are what an earlier operation left here, or data of this place from another run.
    fn was_before(&self, wrong: &[&Unit], mut before: impl Iterator<Item = Version>) -> bool {
        let first = wrong.first().copied();
        before.any(|version| match (version.held(), first) {
            (Held::Anything, _) | (Held::Zeros, Some(Unit::Zeros)) => true,
            (Held::Duplicate, Some(Unit::Written(stamp))) => matches!(stamp.place, Place::Duplicate(_)),
            (Held::Unique, Some(Unit::Written(stamp))) => {
                writer(stamp.generation) == version.op().map(|op| (self.worker, op))
            }
            _ => false,
        }) || matches!(first, Some(Unit::Written(stamp)) if stamp.seed != self.plan.seed)
    }

    /// How many other blocks of the same write have arrived, and how many there are.
    ///
    /// A block that was replaced since was compared before: it had arrived, unless it was reported.
    fn rest_of_write(&self, history: &History) -> Option<(u64, u64)> {
        let op = *history.op(self.op())?;
        let mut stream = Stream::new(self.plan, self.worker);
        let mut rest = BTreeMap::new();
        let (mut good, mut all) = (0, 0);
        for _ in 0..self.ops {
            let next = stream.draw();
            for block in next.block..next.block + u64::from(next.count) {
                if rest.remove(&block).is_some() {
                    good += u64::from(!self.missed.contains(&(block, op.index)));
                }
            }
            stream.apply(&next);
            if next.index == op.index {
                // A duplicate may lie there since an earlier write: only unique data proves this one.
                let unique = |block: &u64| stream.version(*block).held() == Held::Unique && *block != self.block;
                let blocks = (op.block..op.block + u64::from(op.count)).filter(unique);
                rest = blocks.map(|block| (block, stream.version(block))).collect();
                all = rest.len() as u64;
            }
        }
        for (block, version) in rest {
            let offset = self.plan.offset(block);
            let content = version.content(self.worker)?;
            good += u64::from(self.read(block).is_some_and(|data| content.matches(self.plan.seed, offset, &data)));
        }
        Some((good, all))
    }

    /// Where some of the missing write's data lies, if the device put it elsewhere.
    fn search(&self) -> Option<u64> {
        let wanted = generation(self.worker, self.op());
        let end = self.device.geometry().size.min(SEARCHED);
        let mut data = Buffer::new(1 << 20);
        let mut at = 0;
        while at < end {
            let len = (data.len() as u64).min(end - at) as usize / UNIT * UNIT;
            let part = &mut data[..len];
            if part.is_empty() || self.device.read(at, part).is_err() {
                return None;
            }
            for (offset, unit) in (at..).step_by(UNIT).zip(part.as_chunks::<UNIT>().0) {
                let strays = |stamp: &Stamp| stamp.generation == wanted && stamp.place != Place::Unique(offset);
                if Stamp::parse(unit).filter(|stamp| stamp.seed == self.plan.seed).is_some_and(|stamp| strays(&stamp)) {
                    return Some(offset);
                }
            }
            at += len as u64;
        }
        None
    }

    fn describe_expected(&self, history: &History) -> String {
        let op = self.op();
        let fua = match history.op(op).map(|op| op.action) {
            Some(Action::Write { fua: true, .. }) => " with FUA",
            _ => "",
        };
        match self.version.held() {
            Held::Unique => format!("the data of operation {op}{fua}"),
            Held::Duplicate => format!("the duplicate block, by operation {op}{fua}"),
            _ => format!("zeros, by operation {op}"),
        }
    }

    fn describe(&self, wrong: &[&Unit]) -> String {
        match wrong.first() {
            None | Some(Unit::Right) => "nothing wrong".to_owned(),
            Some(Unit::Zeros) => "zeros".to_owned(),
            Some(Unit::Flipped(bits)) => format!("the right data with {bits} bits flipped"),
            Some(Unit::Unknown) => "what no run of this program wrote".to_owned(),
            Some(Unit::Written(stamp)) if stamp.seed != self.plan.seed => {
                format!("data of another run, with the seed {}", stamp.seed)
            }
            Some(Unit::Written(stamp)) => match stamp.place {
                Place::Duplicate(_) => "the duplicate block".to_owned(),
                Place::Unique(_) => format!("older data{}", name_writer(stamp.generation)),
            },
        }
    }

    fn share(&self, wrong: usize, all: usize) -> String {
        if wrong == all { "it holds".to_owned() } else { format!("{wrong} of its {all} sectors hold") }
    }

    fn log(&self, units: &[Unit], history: &History) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "block {} of {} bytes, at offset {}",
            self.block,
            self.plan.block_size,
            self.plan.offset(self.block)
        );
        let _ = writeln!(
            text,
            "it should hold {:?} by operation {} of worker {}",
            self.version.held(),
            self.op(),
            self.worker
        );
        let _ =
            writeln!(text, "\nOperations of worker {} that touched the block, up to number {}:", self.worker, self.ops);
        text.push_str(&history.text());
        let _ = writeln!(text, "\nIts sectors:");
        for (index, unit) in units.iter().enumerate() {
            let _ = writeln!(text, "{:>6}  {unit:?}", index * UNIT);
        }
        let expected = self.expected();
        let _ = writeln!(text, "\nBytes that differ (offset in the block, expected, found), the first 64:");
        let differ = expected.iter().zip(self.found).enumerate().filter(|(_, (right, found))| right != found);
        for (at, (right, found)) in differ.take(64) {
            let _ = writeln!(text, "{at:>6}  {right:02x}  {found:02x}");
        }
        text
    }
}

/// Data at `offset` that says that it belongs elsewhere: where, and which worker's operation wrote it.
fn stray(plan: &Plan, offset: u64, unit: &[u8; UNIT]) -> Option<(u64, u64, (u32, u64))> {
    let stamp = Stamp::parse(unit).filter(|stamp| stamp.seed == plan.seed && stamp.matches(unit))?;
    match stamp.place {
        Place::Unique(place) if place != offset => Some((offset, place, writer(stamp.generation)?)),
        _ => None,
    }
}

/// An operation of a worker, made again from the seed.
fn operation(plan: &Plan, worker: u32, index: u64) -> Option<Op> {
    if worker >= plan.workers {
        return None;
    }
    let mut stream = Stream::new(plan, worker);
    for _ in 0..index {
        let op = stream.draw();
        stream.apply(&op);
    }
    Some(stream.draw())
}

fn name_writer(generation: u64) -> String {
    match writer(generation) {
        Some((worker, op)) => format!(", of operation {op} of worker {worker}"),
        None => String::new(),
    }
}

fn look_at(unit: &[u8; UNIT], expected: Option<Stamp>) -> Unit {
    let mut right = [0; UNIT];
    if let Some(stamp) = expected {
        stamp.fill(&mut right);
    }
    if *unit == right {
        return Unit::Right;
    }
    // Zeros that are nearly zeros are damaged, zeros instead of data are something else.
    if is_zero(unit) {
        return Unit::Zeros;
    }
    let bits = bits_that_differ(unit, &right);
    if bits <= FEW_BITS {
        return Unit::Flipped(bits);
    }
    match Stamp::parse(unit) {
        Some(stamp) if stamp.matches(unit) => Unit::Written(stamp),
        _ => Unit::Unknown,
    }
}
