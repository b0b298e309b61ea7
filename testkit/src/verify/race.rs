//! Threads that race for a few blocks with COMPARE AND WRITE: every success must have replaced what it compared with.
//!
//! Each update carries a number of its own. A success is an edge from the update that it compared with to its own; if
//! the device is atomic, a block's edges form one chain from its first content to its last. Two edges from the same
//! update are a lost update.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::content::{Content, Stamp, UNIT};
use super::finding::{FaultKind, Finding};
use super::model::{generation, writer};
use super::plan::Plan;
use super::run::{Outcome, Progress};
use crate::device::buffer::Buffer;
use crate::device::{Compared, Device};

/// How many blocks are raced for: few, so that the threads meet.
const BLOCKS: u64 = 8;
/// How many operations there are when nothing else ends the race.
const OPS: u64 = 10_000;

/// How long a race goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distance {
    /// So many operations over all threads; a default when there is no time either.
    pub ops: Option<u64>,
    /// So long.
    pub time: Option<Duration>,
}

/// A success: a block's update `from` was replaced by `to`.
#[derive(Debug, Clone, Copy)]
struct Edge {
    block: u64,
    from: u64,
    to: u64,
}

/// Races on the first blocks of the plan's area, with one device for each worker.
///
/// # Errors
/// What the device reports before the race begins. Errors during the race are findings.
pub fn run(
    plan: &Plan,
    distance: Distance,
    devices: &[Arc<dyn Device>],
    interrupt: &AtomicBool,
) -> io::Result<Outcome> {
    let started = Instant::now();
    let blocks = plan.blocks.min(BLOCKS);
    let Some(first) = devices.first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut data = Buffer::new(plan.block_size as usize);
    for block in plan.first_block..plan.first_block + blocks {
        Content::Unique { generation: 0 }.fill(plan.seed, plan.offset(block), &mut data);
        first.write(plan.offset(block), &data, true)?;
    }
    // Some targets state a length for a command that they do not have.
    first.compare_and_write(plan.offset(plan.first_block + blocks - 1), &data, &data)?;
    let ops = distance.ops.unwrap_or(if distance.time.is_some() { u64::MAX } else { OPS });
    let done = AtomicU64::new(0);
    let start_line = Barrier::new(devices.len());
    let racers: Vec<Racer> = thread::scope(|scope| {
        let (done, start_line) = (&done, &start_line);
        let race = |(worker, device): (u32, &Arc<dyn Device>)| {
            let mut racer = Racer::new(plan, worker, blocks, Arc::clone(device));
            scope.spawn(move || {
                start_line.wait();
                let late = || distance.time.is_some_and(|time| started.elapsed() >= time);
                while !interrupt.load(Relaxed)
                    && !late()
                    && done.fetch_add(1, Relaxed) < ops
                    && racer.findings.is_empty()
                {
                    racer.turn();
                }
                racer
            })
        };
        let threads: Vec<_> = (0..).zip(devices).map(race).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Racer>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let mut findings: Vec<Finding> = Vec::new();
    let mut edges = Vec::new();
    let (mut tries, mut bytes) = (0, 0);
    for racer in racers {
        tries += racer.tries;
        bytes += racer.edges.len() as u64 * u64::from(plan.block_size);
        edges.extend(racer.edges);
        findings.extend(racer.findings);
    }
    for block in plan.first_block..plan.first_block + blocks {
        first.read(plan.offset(block), &mut data)?;
        let chain: Vec<Edge> = edges.iter().copied().filter(|edge| edge.block == block).collect();
        findings.extend(judge(plan, block, &chain, &data));
    }
    let progress = Progress {
        seconds: started.elapsed().as_secs_f64(),
        ops: tries,
        written_bytes: bytes,
        read_bytes: tries * u64::from(plan.block_size),
        verified_unique: edges.len() as u64,
        covered_blocks: blocks,
        blocks,
        faults: findings.len() as u64,
        final_check: true,
        ..Progress::default()
    };
    Ok(Outcome { progress, findings, interrupted: interrupt.load(Relaxed), failure: None, most_in_flight: None })
}

struct Racer {
    plan: Plan,
    worker: u32,
    blocks: u64,
    device: Arc<dyn Device>,
    rng: ChaCha8Rng,
    found: Buffer,
    new: Buffer,
    tries: u64,
    edges: Vec<Edge>,
    findings: Vec<Finding>,
}

impl Racer {
    fn new(plan: &Plan, worker: u32, blocks: u64, device: Arc<dyn Device>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(u64::from(worker));
        let size = plan.block_size as usize;
        Self {
            plan: *plan,
            worker,
            blocks,
            device,
            rng,
            found: Buffer::new(size),
            new: Buffer::new(size),
            tries: 0,
            edges: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let block = self.plan.first_block + self.rng.next_u64() % self.blocks;
        let offset = self.plan.offset(block);
        if let Err(error) = self.device.read(offset, &mut self.found) {
            return self.report(FaultKind::ReadError, block, format!("The device reported: {error}."));
        }
        let from = match self.whole(offset) {
            Ok(from) => from,
            Err(text) => return self.report(FaultKind::TornWrite, block, text),
        };
        let to = generation(self.worker, self.tries);
        self.tries += 1;
        Content::Unique { generation: to }.fill(self.plan.seed, offset, &mut self.new);
        match (self.device.compare_and_write(offset, &self.found, &self.new), from) {
            (Ok(Compared::Written), Some(from)) => self.edges.push(Edge { block, from, to }),
            (Ok(Compared::Written), None) => {
                let text = "It compared equal with a mixture of two updates, which the disk never held at once.";
                self.report(FaultKind::LostUpdate, block, text.to_owned());
            }
            (Ok(Compared::Miscompare), _) => {}
            (Err(error), _) => self.report(FaultKind::WriteError, block, format!("The device reported: {error}.")),
        }
    }

    /// The update that the block read holds; `None` when its logical blocks are of several, as a read beside an update
    /// may find them. A logical block that is not whole is torn.
    fn whole(&self, offset: u64) -> Result<Option<u64>, String> {
        let logical = self.device.geometry().logical_block as usize;
        let mut updates = Vec::new();
        for (index, part) in self.found.chunks(logical).enumerate() {
            let at = offset + (index * logical) as u64;
            let stamp = part.first_chunk::<UNIT>().and_then(Stamp::parse);
            match stamp
                .filter(|stamp| Content::Unique { generation: stamp.generation }.matches(self.plan.seed, at, part))
            {
                Some(stamp) => updates.push(stamp.generation),
                None => return Err(format!("The logical block at offset {at} is not one whole update.")),
            }
        }
        updates.dedup();
        Ok(if updates.len() == 1 { updates.pop() } else { None })
    }

    fn report(&mut self, kind: FaultKind, block: u64, explanation: String) {
        let (worker, op) = (self.worker, self.tries);
        self.findings.push(finding(&self.plan, kind, block, worker, op, explanation));
    }
}

fn finding(plan: &Plan, kind: FaultKind, block: u64, worker: u32, op: u64, explanation: String) -> Finding {
    let offset = Some(plan.offset(block));
    let log = String::new();
    Finding {
        kind,
        block: Some(block),
        offset,
        blocks: 1,
        worker,
        op,
        at_the_end: false,
        explanation,
        repeat_ops: None,
        log,
    }
}

fn name(update: u64) -> String {
    writer(update).map_or("the first content".to_owned(), |(worker, op)| format!("update {op} of thread {worker}"))
}

/// Whether a block's edges are one chain that ends in what the block holds.
fn judge(plan: &Plan, block: u64, edges: &[Edge], data: &[u8]) -> Option<Finding> {
    let mut next = HashMap::new();
    for edge in edges {
        if let Some(other) = next.insert(edge.from, edge.to) {
            let (worker, op) = writer(edge.to).unwrap_or_default();
            let text = format!("Both {} and {} replaced {}.", name(other), name(edge.to), name(edge.from));
            return Some(finding(plan, FaultKind::LostUpdate, block, worker, op, text));
        }
    }
    let mut last = 0;
    let mut steps = 0;
    while let Some(to) = next.get(&last) {
        last = *to;
        steps += 1;
    }
    let (worker, op) = writer(last).unwrap_or_default();
    if steps < edges.len() {
        let text = format!("{} successes do not follow from {}.", edges.len() - steps, name(last));
        return Some(finding(plan, FaultKind::LostUpdate, block, worker, op, text));
    }
    if !(Content::Unique { generation: last }).matches(plan.seed, plan.offset(block), data) {
        let text = format!("At the end the block does not hold {}, which was the last to succeed.", name(last));
        return Some(finding(plan, FaultKind::LostWrite, block, worker, op, text));
    }
    None
}
