//! After a crash: everything that was flushed is there, and what came later is old or new, never torn.

use std::collections::HashMap;
use std::io;

use serde::Serialize;

use super::content::{Place, Stamp, UNIT, bits_that_differ};
use super::finding::{FaultKind, Finding};
use super::history::History;
use super::journal::Record;
use super::model::{Held, Version, writer};
use super::plan::Plan;
use super::stream::{Action, Stream};
use crate::device::Device;
use crate::device::buffer::Buffer;

/// How many blocks are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Looked at.
    pub blocks: u64,
    /// As the last flush or FUA write left them, with nothing written since.
    pub flushed: u64,
    /// Written since, and old.
    pub old: u64,
    /// Written since, and new.
    pub new: u64,
    /// Written since, and part old, part new, at multiples of the atomic size.
    pub mixed: u64,
    /// Nothing is promised: never written, discarded, or first written after the last flush.
    pub free: u64,
}

/// What came of the check.
#[derive(Debug, Clone, Serialize)]
pub struct AfterCrash {
    /// How many blocks are in which state.
    pub census: Census,
    /// All faults, at most as many as asked for.
    pub findings: Vec<Finding>,
}

/// Holds the disk against a journal. A unit of `atomic` bytes, a multiple of 512, must not be torn.
///
/// # Errors
/// What reading the disk met.
pub fn check(record: &Record, device: &dyn Device, atomic: u32, most_faults: usize) -> io::Result<AfterCrash> {
    let plan = &record.plan;
    let mut result = AfterCrash { census: Census::default(), findings: Vec::new() };
    for (worker, reached) in (0..).zip(&record.reached) {
        let possible = Possible::new(plan, worker, reached.flushed, reached.acknowledged);
        let atomic = atomic.clamp(UNIT as u32, plan.block_size) as usize;
        let mut checker = Checker { plan, worker, device, possible, atomic, result: &mut result, most_faults };
        checker.all()?;
    }
    Ok(result)
}

/// What each block of a worker may hold.
struct Possible {
    /// As everything durable left them.
    stream: Stream,
    /// Later versions, any of which may have come through; the last is the newest.
    later: HashMap<u64, Vec<Version>>,
    /// Blocks that a FUA write made durable after the last flush: by which version.
    fua: HashMap<u64, Version>,
    /// Operations that may have been begun.
    begun: u64,
}

impl Possible {
    fn new(plan: &Plan, worker: u32, flushed: u64, acknowledged: u64) -> Self {
        let mut stream = Stream::new(plan, worker);
        while stream.position() < flushed {
            let op = stream.draw();
            stream.apply(&op);
        }
        let mut ahead = Stream::new(plan, worker);
        let (mut later, mut fua) = (HashMap::<_, Vec<_>>::new(), HashMap::new());
        loop {
            let op = ahead.draw();
            let changes = !matches!(op.action, Action::Verify | Action::Flush);
            if op.index >= flushed && changes {
                for (block, version) in (op.block..).zip(ahead.after(&op)) {
                    let versions = later.entry(block).or_default();
                    if op.action.is_durable() && op.index < acknowledged {
                        versions.clear();
                        fua.insert(block, version);
                    } else {
                        versions.push(version);
                    }
                }
            }
            ahead.apply(&op);
            // Behind the last acknowledgement one operation may have been under way: the next that changes something.
            if op.index >= acknowledged && changes {
                return Self { stream, later, fua, begun: op.index + 1 };
            }
        }
    }

    fn durable(&self, block: u64) -> Version {
        self.fua.get(&block).copied().unwrap_or_else(|| self.stream.version(block))
    }

    fn later(&self, block: u64) -> &[Version] {
        self.later.get(&block).map_or(&[], Vec::as_slice)
    }
}

struct Checker<'a> {
    plan: &'a Plan,
    worker: u32,
    device: &'a dyn Device,
    possible: Possible,
    atomic: usize,
    result: &'a mut AfterCrash,
    most_faults: usize,
}

impl Checker<'_> {
    fn all(&mut self) -> io::Result<()> {
        let size = self.plan.block_size as usize;
        let mut data = Buffer::new((256_usize << 10).next_multiple_of(size));
        let stretches: Vec<_> = self.possible.stream.stretches().collect();
        for (first, len) in stretches {
            let mut block = first;
            while block < first + len {
                let count = ((data.len() / size) as u64).min(first + len - block);
                let part = &mut data[..count as usize * size];
                self.device.read(self.plan.offset(block), part)?;
                for (block, found) in (block..).zip(part.chunks_exact(size)) {
                    self.one(block, found);
                    if self.result.findings.len() >= self.most_faults {
                        return Ok(());
                    }
                }
                block += count;
            }
        }
        Ok(())
    }

    fn one(&mut self, block: u64, found: &[u8]) {
        let durable = self.possible.durable(block);
        let later = self.possible.later(block).to_vec();
        let (mut old, mut new) = (false, false);
        for (index, group) in found.chunks(self.atomic).enumerate() {
            let within = index * self.atomic;
            if self.holds(durable, block, within, group) {
                old = true;
            } else if later.iter().any(|version| self.holds(*version, block, within, group)) {
                new = true;
            } else {
                let finding = self.explain(block, durable, &later, within, group);
                self.result.findings.push(finding);
                return;
            }
        }
        let census = &mut self.result.census;
        census.blocks += 1;
        let promised = durable.content(self.worker).is_some();
        *match (promised, later.is_empty(), old, new) {
            (_, false, false, true) => &mut census.new,
            (true, false, true, true) => &mut census.mixed,
            (false, ..) => &mut census.free,
            (true, true, ..) => &mut census.flushed,
            (true, false, ..) => &mut census.old,
        } += 1;
    }

    /// Whether a part of a block is what a version left; any data is, where nothing is promised.
    fn holds(&self, version: Version, block: u64, within: usize, part: &[u8]) -> bool {
        let Some(content) = version.content(self.worker) else {
            // What was there before the first write is not known, but a part of a write to come is none of it.
            return version.held() == Held::Anything || !self.partly_new(block, within, part);
        };
        let offset = self.plan.offset(block);
        part.as_chunks::<UNIT>().0.iter().enumerate().all(|(index, unit)| {
            match content.stamp(self.plan.seed, offset, (within + index * UNIT) as u64) {
                Some(stamp) => stamp.matches(unit),
                None => super::content::is_zero(unit),
            }
        })
    }

    /// Whether some units of an atomic group are of a version that was written after the last flush, and not all.
    fn partly_new(&self, block: u64, within: usize, part: &[u8]) -> bool {
        let units = part.as_chunks::<UNIT>().0;
        self.possible.later(block).iter().any(|version| {
            let unique = version.held() == Held::Unique;
            let is_new = |(index, unit): (usize, &[u8; UNIT])| {
                unique && self.holds(*version, block, within + index * UNIT, unit)
            };
            let new = units.iter().enumerate().filter(|pair| is_new(*pair)).count();
            new > 0 && new < units.len()
        })
    }

    fn explain(&self, block: u64, durable: Version, later: &[Version], within: usize, group: &[u8]) -> Finding {
        let offset = self.plan.offset(block) + within as u64;
        let (kind, what) = self.judge(block, durable, later, within, group);
        let promise = match (durable.held(), durable.op()) {
            (held, Some(op)) => {
                format!("operation {op} of worker {} ({held:?}), which was on stable storage", self.worker)
            }
            (_, None) => "what it held before the run".to_owned(),
        };
        let newer = match later {
            [] => "nothing was written after it".to_owned(),
            _ => format!("{} later operations may have come through instead", later.len()),
        };
        let history = History::new(self.plan, self.worker, self.possible.begun, block);
        Finding {
            kind,
            block: Some(block),
            offset: Some(offset),
            blocks: 1,
            worker: self.worker,
            op: self.possible.begun,
            at_the_end: true,
            explanation: format!("The block should hold {promise}; {newer}. {what}"),
            repeat_ops: None,
            log: format!("block {block}, at offset {offset}\n{}", history.text()),
        }
    }

    fn judge(
        &self,
        block: u64,
        durable: Version,
        later: &[Version],
        within: usize,
        group: &[u8],
    ) -> (FaultKind, String) {
        let units = group.as_chunks::<UNIT>().0;
        let allowed = |index: usize, unit: &[u8; UNIT]| {
            let within = within + index * UNIT;
            durable.content(self.worker).is_none()
                || std::iter::once(&durable).chain(later).any(|version| self.holds(*version, block, within, unit))
        };
        if units.iter().enumerate().all(|(index, unit)| allowed(index, unit)) {
            let text = format!("Part of {} bytes that must be atomic is old and part is new.", self.atomic);
            return (FaultKind::TornWrite, text);
        }
        let home = self.plan.offset(block) + within as u64;
        for (index, unit) in units.iter().enumerate().filter(|(index, unit)| !allowed(*index, unit)) {
            let here = home + (index * UNIT) as u64;
            let nearly = self.bits_from_allowed(block, durable, later, within + index * UNIT, unit);
            if let Some(bits) = nearly {
                return (FaultKind::BitFlip, format!("At offset {here} it is that with {bits} bits flipped."));
            }
            let Some(stamp) = Stamp::parse(unit).filter(|stamp| stamp.matches(unit) && stamp.seed == self.plan.seed)
            else {
                continue;
            };
            let writer = writer(stamp.generation);
            match stamp.place {
                Place::Unique(place) if place != here => {
                    let text = format!("At offset {here} lies data that belongs to offset {place}.");
                    return (FaultKind::MisdirectedWrite, text);
                }
                Place::Unique(_) if writer.is_some_and(|(_, op)| op >= self.possible.begun) => {
                    let text = format!(
                        "It holds the data of operation {}, which the journal does not know: the journal's end is missing.",
                        writer.map_or(0, |(_, op)| op)
                    );
                    return (FaultKind::Corrupt, text);
                }
                Place::Unique(_) => {
                    let op = writer.map_or(0, |(_, op)| op);
                    return (FaultKind::LostFlushedWrite, format!("It holds the older data of operation {op}."));
                }
                Place::Duplicate(_) => {
                    return (FaultKind::LostFlushedWrite, "It holds the duplicate block.".to_owned());
                }
            }
        }
        if units.iter().all(super::content::is_zero) {
            return (FaultKind::LostFlushedWrite, "It holds zeros.".to_owned());
        }
        (FaultKind::LostFlushedWrite, "It holds what it held before the run, or what nobody wrote.".to_owned())
    }

    fn bits_from_allowed(
        &self,
        block: u64,
        durable: Version,
        later: &[Version],
        within: usize,
        unit: &[u8; UNIT],
    ) -> Option<u32> {
        let offset = self.plan.offset(block);
        std::iter::once(&durable).chain(later).find_map(|version| {
            let stamp = version.content(self.worker)?.stamp(self.plan.seed, offset, within as u64)?;
            let mut right = [0; UNIT];
            stamp.fill(&mut right);
            Some(bits_that_differ(unit, &right)).filter(|bits| *bits <= super::diagnose::FEW_BITS)
        })
    }
}
