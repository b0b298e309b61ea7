//! One session that is kept full.

use std::time::Duration;

use hdrhistogram::Histogram;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::iscsi::{Access, Capacity, Cdb, Completion, Session, Transfer};

use super::{Direction, LoadError, Pattern, Phase, Plan};

/// How often a worker that gets no answer looks whether it is time to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// An hour, in nanoseconds.
const LONGEST_LATENCY: u64 = 3_600_000_000_000;

/// What one worker counted in the measurement.
pub(super) struct Tally {
    /// Operations that completed.
    pub(super) operations: u64,
    /// Latency in nanoseconds.
    pub(super) latency: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        // Three digits from 1 ns to the longest latency; what is beyond counts as the longest.
        let latency = Histogram::new_with_bounds(1, LONGEST_LATENCY, 3).expect("bounds that the crate allows");
        Self { operations: 0, latency }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.latency += &other.latency;
    }
}

/// One session with what it needs to choose its operations.
pub(super) struct Worker {
    session: Session,
    rng: ChaCha8Rng,
    direction: Direction,
    pattern: Pattern,
    access: Access,
    /// Bytes of an operation.
    length: usize,
    /// Blocks of an operation.
    blocks: u32,
    /// The positions of this worker, in units of operations.
    positions: std::ops::Range<u64>,
    next: u64,
    depth: u32,
    /// Operations to measure; `None` for as many as time allows.
    quota: Option<u64>,
}

impl Worker {
    /// Opens the session of connection `index` and looks whether the plan fits the disk.
    pub(super) fn open(plan: &Plan, index: u32) -> Result<Self, LoadError> {
        let mut session = Session::open(&plan.url, &plan.initiator, &plan.options).map_err(LoadError::Session)?;
        let capacity = session.capacity().map_err(LoadError::Session)?;
        let (blocks, positions) = layout(plan, capacity)?;
        let part = |index: u32| positions * u64::from(index) / u64::from(plan.connections);
        let positions = match plan.pattern {
            Pattern::Random => 0..positions,
            Pattern::Sequential => part(index)..part(index + 1),
        };
        if positions.is_empty() {
            let connections = plan.connections;
            return Err(LoadError::Input(format!(
                "the disk is too small for {connections} connections, one part each"
            )));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(u64::from(index));
        // The first connections take one more where the number does not divide evenly.
        let quota = plan.ops.map(|ops| {
            let (index, connections) = (u64::from(index), u64::from(plan.connections));
            ops / connections + u64::from(index < ops % connections)
        });
        Ok(Self {
            session,
            rng,
            direction: plan.direction,
            pattern: plan.pattern,
            access: Access { fua: plan.fua, dpo: false },
            length: plan.block as usize,
            blocks,
            next: positions.start,
            positions,
            depth: plan.depth,
            quota,
        })
    }

    /// Runs until the phase says stop or the quota is reached.
    pub(super) fn run(mut self, phase: &Phase) -> Result<Tally, LoadError> {
        let mut tally = Tally::new();
        let mut completions = Vec::with_capacity(self.depth as usize);
        let mut total = 0;
        for _ in 0..self.depth {
            let mut buffer = vec![0; self.length];
            self.rng.fill_bytes(&mut buffer);
            self.submit(buffer, total)?;
        }
        loop {
            self.session.poll(GLANCE, &mut completions).map_err(|error| failed(total, &error))?;
            let now = phase.get();
            if now == Phase::STOP {
                return Ok(tally);
            }
            for done in completions.drain(..) {
                total += 1;
                let buffer = check(done, now == Phase::MEASURE, &mut tally).map_err(|error| failed(total, &error))?;
                if self.quota.is_some_and(|quota| tally.operations >= quota) {
                    return Ok(tally);
                }
                self.submit(buffer, total)?;
            }
        }
    }

    fn submit(&mut self, buffer: Vec<u8>, total: u64) -> Result<(), LoadError> {
        let lba = self.position() * u64::from(self.blocks);
        let read = match self.direction {
            Direction::Read => true,
            Direction::Write => false,
            Direction::Mix(percent) => self.below(100) < u64::from(percent),
        };
        let cdb = cdb(read, lba, self.blocks, self.access);
        let transfer = if read { Transfer::In(buffer) } else { Transfer::Out(buffer) };
        self.session.submit(&cdb, transfer, 0).map_err(|error| failed(total, &error))
    }

    fn position(&mut self) -> u64 {
        match self.pattern {
            Pattern::Random => self.positions.start + self.below(self.positions.end - self.positions.start),
            Pattern::Sequential => {
                let position = self.next;
                self.next = if position + 1 == self.positions.end { self.positions.start } else { position + 1 };
                position
            }
        }
    }

    /// A number from 0 to `limit` - 1; the bias of at most `limit` / 2^64 is of no matter here.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.rng.next_u64()) * u128::from(limit)) >> 64) as u64
    }
}

/// Counts a completion and returns its buffer.
fn check(done: Completion<Vec<u8>>, count: bool, tally: &mut Tally) -> Result<Vec<u8>, String> {
    done.result.map_err(|failure| failure.to_string())?;
    if done.residual != crate::iscsi::Residual::None {
        return Err(format!("an operation moved another amount of data than it should: {:?}", done.residual));
    }
    if count {
        tally.operations += 1;
        tally.latency.saturating_record(u64::try_from(done.latency.as_nanos()).unwrap_or(u64::MAX));
    }
    done.buffer.ok_or_else(|| "an operation lost its buffer".to_owned())
}

/// Blocks of an operation, and how many operations fit on the disk.
fn layout(plan: &Plan, capacity: Capacity) -> Result<(u32, u64), LoadError> {
    let size = u64::from(capacity.block_size);
    if !plan.block.is_multiple_of(size) {
        let block = plan.block;
        return Err(LoadError::Input(format!("--block is {block}; the disk's blocks have {size} bytes")));
    }
    let disk = capacity.blocks.saturating_mul(size);
    let positions = plan.span.unwrap_or(disk).min(disk) / plan.block;
    if positions == 0 {
        return Err(LoadError::Input(format!("no operation of {} bytes fits on {disk} bytes", plan.block)));
    }
    Ok(((plan.block / size) as u32, positions))
}

/// The ten-byte CDB where the address fits, as operating systems choose it.
fn cdb(read: bool, lba: u64, blocks: u32, access: Access) -> Cdb {
    match (u32::try_from(lba), u16::try_from(blocks), read) {
        (Ok(lba), Ok(blocks), true) => Cdb::read10(lba, blocks, access),
        (Ok(lba), Ok(blocks), false) => Cdb::write10(lba, blocks, access),
        (_, _, true) => Cdb::read16(lba, blocks, access),
        (_, _, false) => Cdb::write16(lba, blocks, access),
    }
}

fn failed(operations: u64, reason: &dyn std::fmt::Display) -> LoadError {
    LoadError::Failed { operations, reason: reason.to_string() }
}
