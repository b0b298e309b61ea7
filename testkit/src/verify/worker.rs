//! One thread of a run: draws its operations and carries them out.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;

use super::diagnose::Suspect;
use super::finding::{FaultKind, Finding};
use super::journal::{Event, Journal};
use super::model::{Held, Version};
use super::plan::Plan;
use super::run::{Limits, Shared};
use super::stream::{Action, Op, Stream};
use crate::device::Device;
use crate::device::buffer::Buffer;

/// The two ways to the disk; mostly the same.
#[derive(Clone)]
pub struct Paths {
    /// Everything that changes the disk, and flushes.
    pub write: Arc<dyn Device>,
    /// Reads.
    pub read: Arc<dyn Device>,
}

/// One thread of a run.
pub struct Worker<'a> {
    stream: Stream,
    paths: Paths,
    data: Buffer,
    read: Buffer,
    /// Blocks of which nothing is known until they are written again: an operation on them failed, or they were
    /// reported already.
    doubtful: HashSet<u64>,
    /// Blocks that were found to miss a write, each with that write's number.
    missed: HashSet<(u64, u64)>,
    shared: &'a Shared,
    journal: Option<&'a Journal>,
    findings: Sender<Finding>,
}

/// The check at the end reads so many bytes at once.
const SWEEP: usize = 256 << 10;

impl<'a> Worker<'a> {
    /// A worker at the beginning of its stream.
    #[must_use]
    pub fn new(
        plan: &Plan,
        worker: u32,
        paths: Paths,
        shared: &'a Shared,
        journal: Option<&'a Journal>,
        findings: Sender<Finding>,
    ) -> Self {
        let most = plan.max_blocks as usize * plan.block_size as usize;
        let sweep = SWEEP.max(plan.block_size as usize);
        Self {
            stream: Stream::new(plan, worker),
            paths,
            data: Buffer::new(most),
            read: Buffer::new(most.max(sweep)),
            doubtful: HashSet::new(),
            missed: HashSet::new(),
            shared,
            journal,
            findings,
        }
    }

    /// Works until the limits or the run's end.
    pub fn run(&mut self, limits: &Limits) {
        let ops = limits.ops_of(self.stream.worker(), self.stream.plan().workers);
        let mut uncovered = self.stream.uncovered();
        while self.stream.position() < ops && !self.shared.ends(limits) {
            let op = self.stream.draw();
            if self.carry_out(&op).is_err() {
                // What cannot be recorded must not be done.
                self.shared.stop.store(true, Relaxed);
                return;
            }
            self.stream.apply(&op);
            let now = self.stream.uncovered();
            self.shared.uncovered.fetch_sub(uncovered - now, Relaxed);
            uncovered = now;
            self.shared.counters(self.stream.worker()).ops.fetch_add(1, Relaxed);
        }
    }

    /// Reads all that the worker has written and compares it.
    pub fn sweep(&mut self) {
        let block_size = self.stream.plan().block_size as usize;
        let most = (self.read.len() / block_size) as u64;
        let stretches: Vec<_> = self.stream.stretches().collect();
        for (first, len) in stretches {
            let mut block = first;
            while block < first + len {
                if self.shared.gives_up() {
                    return;
                }
                let count = most.min(first + len - block);
                let versions: Vec<_> = (block..block + count).map(|block| self.stream.version(block)).collect();
                let found = self.compare(block, &versions, self.stream.position(), true);
                debug_assert!(found.is_ok(), "the check at the end records nothing");
                block += count;
            }
        }
    }

    /// # Errors
    /// The journal cannot be written.
    fn carry_out(&mut self, op: &Op) -> io::Result<()> {
        if op.action == Action::Flush {
            return self.flush(op);
        }
        if self.stream.versions(op).iter().any(|version| version.content(0).is_some()) {
            let versions = self.stream.versions(op).to_vec();
            self.compare(op.block, &versions, op.index, false)?;
        }
        let block_size = self.stream.plan().block_size as usize;
        let offset = self.stream.plan().offset(op.block);
        let len = op.count as usize * block_size;
        let device = Arc::clone(&self.paths.write);
        let counters = self.shared.counters(self.stream.worker());
        let result = match op.action {
            Action::Verify | Action::Flush => return Ok(()),
            Action::Write { fua, .. } => {
                self.fill(op);
                counters.written.fetch_add(len as u64, Relaxed);
                device.write(offset, &self.data[..len], fua).map_err(|error| (FaultKind::WriteError, error))
            }
            Action::Discard => {
                counters.trims.fetch_add(1, Relaxed);
                device.discard(offset, len as u64).map_err(|error| (FaultKind::TrimError, error))
            }
            Action::Zero => {
                counters.trims.fetch_add(1, Relaxed);
                device.zero(offset, len as u64).map_err(|error| (FaultKind::TrimError, error))
            }
        };
        let blocks = op.block..op.block + u64::from(op.count);
        match result {
            Ok(()) => {
                if !self.doubtful.is_empty() {
                    blocks.for_each(|block| _ = self.doubtful.remove(&block));
                }
                self.record(Event::Acknowledged, op)
            }
            Err((kind, error)) => {
                self.doubtful.extend(blocks);
                self.report_error(kind, op.index, Some((op.block, u64::from(op.count))), &error);
                Ok(())
            }
        }
    }

    fn fill(&mut self, op: &Op) {
        let plan = self.stream.plan();
        let blocks = self.data.chunks_exact_mut(plan.block_size as usize);
        let mut offset = plan.offset(op.block);
        for (block, content) in blocks.zip(self.stream.contents(op)) {
            if let Some(content) = content {
                content.fill(plan.seed, offset, block);
            }
            offset += u64::from(plan.block_size);
        }
    }

    fn flush(&mut self, op: &Op) -> io::Result<()> {
        self.record(Event::FlushStarts, op)?;
        self.shared.counters(self.stream.worker()).flushes.fetch_add(1, Relaxed);
        match self.paths.write.flush() {
            Ok(()) => self.record(Event::Flushed, op),
            Err(error) => {
                self.report_error(FaultKind::FlushError, op.index, None, &error);
                Ok(())
            }
        }
    }

    fn record(&self, event: Event, op: &Op) -> io::Result<()> {
        let Some(journal) = self.journal else { return Ok(()) };
        journal.record(event, self.stream.worker(), op.index).inspect_err(|error| {
            self.shared.fail(format!("cannot write the journal: {error}"));
        })
    }

    /// Reads blocks and compares each with what it should hold.
    fn compare(&mut self, first: u64, versions: &[Version], op: u64, at_the_end: bool) -> io::Result<()> {
        let plan = *self.stream.plan();
        let len = versions.len() * plan.block_size as usize;
        if let Err(error) = self.paths.read.read(plan.offset(first), &mut self.read[..len]) {
            self.report_error(FaultKind::ReadError, op, Some((first, versions.len() as u64)), &error);
            return Ok(());
        }
        let worker = self.stream.worker();
        let mut wrong = Vec::new();
        let (mut data, mut duplicates, mut zeros) = (0, 0, 0);
        for (at, (version, found)) in
            versions.iter().zip(self.read[..len].chunks_exact(plan.block_size as usize)).enumerate()
        {
            let block = first + at as u64;
            let Some(content) = version.content(worker) else { continue };
            if !self.doubtful.is_empty() && self.doubtful.contains(&block) {
                continue;
            }
            if content.matches(plan.seed, plan.offset(block), found) {
                match version.held() {
                    Held::Zeros => zeros += 1,
                    Held::Duplicate => duplicates += 1,
                    _ => data += 1,
                }
            } else {
                wrong.push((block, *version, at * plan.block_size as usize));
            }
        }
        let counters = self.shared.counters(worker);
        counters.read.fetch_add(len as u64, Relaxed);
        counters.unique.fetch_add(data, Relaxed);
        counters.duplicate.fetch_add(duplicates, Relaxed);
        counters.zeros.fetch_add(zeros, Relaxed);
        self.explain(&wrong, op, at_the_end);
        Ok(())
    }

    /// Reports blocks that are wrong: one finding for each kind and operation that is missed.
    fn explain(&mut self, wrong: &[(u64, Version, usize)], op: u64, at_the_end: bool) {
        self.missed.extend(wrong.iter().filter_map(|(block, version, _)| Some((*block, version.op()?))));
        let mut told: Vec<Finding> = Vec::new();
        let mut last: Option<(u64, Version)> = None;
        for (block, version, at) in wrong {
            self.doubtful.insert(*block);
            // Neighbours that miss the same write are one finding.
            if let (Some((before, same)), Some(finding)) = (last, told.last_mut())
                && before + 1 == *block
                && same.op() == version.op()
            {
                finding.blocks += 1;
                last = Some((*block, *version));
                continue;
            }
            last = Some((*block, *version));
            let plan = self.stream.plan();
            let suspect = Suspect {
                plan,
                device: &*self.paths.read,
                worker: self.stream.worker(),
                ops: op,
                at_the_end,
                block: *block,
                version: *version,
                missed: &self.missed,
                found: &self.read[*at..][..plan.block_size as usize],
            };
            told.push(suspect.explain());
        }
        for finding in told {
            self.report(finding);
        }
    }

    fn report_error(&self, kind: FaultKind, op: u64, range: Option<(u64, u64)>, error: &io::Error) {
        if self.journal.is_some() {
            self.shared.fail(format!("the device stopped answering ({error}): the journal ends here"));
            return;
        }
        self.report(Finding {
            kind,
            block: range.map(|(block, _)| block),
            offset: range.map(|(block, _)| self.stream.plan().offset(block)),
            blocks: range.map_or(0, |(_, count)| count),
            worker: self.stream.worker(),
            op,
            at_the_end: false,
            explanation: format!("The device reported: {error}."),
            repeat_ops: None,
            log: String::new(),
        });
    }

    fn report(&self, mut finding: Finding) {
        let workers = u64::from(self.stream.plan().workers);
        // Each worker gets as many operations as this one needs; the check at the end comes behind the last.
        let needed = if finding.at_the_end { finding.op } else { finding.op + 1 };
        finding.repeat_ops = Some(needed * workers);
        self.shared.faults.fetch_add(1, Relaxed);
        // The receiver is gone only when the run is over.
        let _ = self.findings.send(finding);
    }
}
