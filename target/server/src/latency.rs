//! How long commands take, by logical unit and command: histograms of fixed size, one set for each thread that serves
//! connections, which alone writes it. A command costs no allocation, no lock and no look at the clock of its own: the
//! driver reads it once a round, before the commands that came are taken and before their answers leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper ends of the buckets, in nanoseconds; one more bucket takes what is longer.
pub const BOUNDS: [u64; 21] = [
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Buckets of a histogram.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// Commands as they are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// READ of any length.
    Read,
    /// WRITE of any length.
    Write,
    /// SYNCHRONIZE CACHE.
    Flush,
    /// UNMAP.
    Unmap,
    /// WRITE SAME.
    WriteSame,
    /// COMPARE AND WRITE.
    CompareAndWrite,
    /// Everything else.
    Other,
}

impl Command {
    /// All of them; the index is the number.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Write, Self::Flush, Self::Unmap, Self::WriteSame, Self::CompareAndWrite, Self::Other];

    /// By the first byte of its CDB (SBC-3 5).
    #[inline]
    pub const fn of(opcode: u8) -> Self {
        match opcode {
            0x08 | 0x28 | 0x88 | 0xa8 => Self::Read,
            0x0a | 0x2a | 0x8a | 0xaa => Self::Write,
            0x35 | 0x91 => Self::Flush,
            0x42 => Self::Unmap,
            0x41 | 0x93 => Self::WriteSame,
            0x89 => Self::CompareAndWrite,
            _ => Self::Other,
        }
    }

    /// What it is called in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Unmap => "unmap",
            Self::WriteSame => "write_same",
            Self::CompareAndWrite => "compare_and_write",
            Self::Other => "other",
        }
    }
}

/// What one thread measures.
#[derive(Debug, Default)]
pub struct Latencies {
    rows: Box<[[Cell; Command::ALL.len()]]>,
}

/// One histogram, on cache lines that no other thread writes.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Latencies {
    /// For so many rows of the totals: a logical unit has one.
    pub fn new(rows: usize) -> Self {
        Self { rows: (0..rows).map(|_| Default::default()).collect() }
    }

    /// How many rows it is for.
    pub const fn rows(&self) -> usize {
        self.rows.len()
    }

    /// A command took so many nanoseconds. Only for the one thread that writes this.
    #[inline]
    pub fn record(&self, row: u16, command: Command, nanos: u64) {
        let Some(cell) = self.rows.get(usize::from(row)).and_then(|row| row.get(command as usize)) else { return };
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        add(&cell.buckets[bucket], 1);
        add(&cell.nanos, nanos);
    }
}

#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// A histogram, read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell in each bucket: not added up.
    pub buckets: [u64; BUCKETS],
    /// All their times together, in nanoseconds.
    pub nanos: u64,
}

impl Histogram {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The histograms of a logical unit, by command.
pub type ByCommand = [Histogram; Command::ALL.len()];

/// All threads' measurements together, by row.
pub fn total<'a>(threads: impl Iterator<Item = &'a Arc<Latencies>>) -> Vec<ByCommand> {
    let mut sums: Vec<ByCommand> = Vec::new();
    for thread in threads {
        if sums.len() < thread.rows.len() {
            sums.resize(thread.rows.len(), ByCommand::default());
        }
        let pairs = sums.iter_mut().zip(&thread.rows).flat_map(|(sum, row)| sum.iter_mut().zip(row));
        for (sum, cell) in pairs {
            for (sum, bucket) in sum.buckets.iter_mut().zip(&cell.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
            sum.nanos += cell.nanos.load(Ordering::Relaxed);
        }
    }
    sums
}

/// The commands that ended in this round: they took as long as it takes until their answers leave.
#[derive(Debug)]
pub struct Ended {
    commands: Vec<(u16, Command, u64)>,
}

/// Commands that are kept before the clock is looked at.
const KEPT: usize = 256;

impl Ended {
    /// None yet.
    pub fn new() -> Self {
        Self { commands: Vec::with_capacity(KEPT) }
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// A command ended that began at `began`; true where no other one can be kept.
    #[inline]
    pub fn push(&mut self, row: u16, command: Command, began: u64) -> bool {
        self.commands.push((row, command, began));
        self.commands.len() == KEPT
    }

    /// It is `now`, in nanoseconds: their answers leave.
    #[inline]
    pub fn record(&mut self, now: u64, latencies: &Latencies) {
        for (row, command, began) in self.commands.drain(..) {
            latencies.record(row, command, now.saturating_sub(began));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_fall_in_their_buckets() {
        let [one, two] = [(); 2].map(|()| Arc::new(Latencies::new(2)));
        let mut ended = Ended::new();
        // At a bound, just above one, and above all.
        for (lun, opcode, began) in [(0, 0x28, 8_000), (0, 0x88, 7_999), (1, 0x2a, 0), (9, 0x2a, 0)] {
            assert!(!ended.push(lun, Command::of(opcode), began));
        }
        ended.record(10_000, &one);
        assert!(ended.is_empty());
        two.record(1, Command::Other, u64::MAX / 2);
        let sums = total([&one, &two].into_iter());
        assert_eq!(sums.len(), 2);
        let read = sums[0][Command::Read as usize];
        assert_eq!((read.buckets[0], read.buckets[1], read.nanos, read.count()), (1, 1, 4_001, 2));
        assert_eq!(sums[1][Command::Write as usize].buckets[2], 1);
        assert_eq!(sums[1][Command::Other as usize].buckets[BUCKETS - 1], 1);
        // No such logical unit: nothing to count, and no harm.
        assert_eq!(sums.iter().flatten().map(Histogram::count).sum::<u64>(), 4);
    }

    #[test]
    fn numbers_are_indices_and_names_differ() {
        for (index, command) in Command::ALL.into_iter().enumerate() {
            assert_eq!(command as usize, index);
            assert!(Command::ALL[index + 1..].iter().all(|other| other.name() != command.name()));
        }
        assert!(BOUNDS.is_sorted_by(|a, b| a < b));
        for opcode in 0..=u8::MAX {
            let known = Command::of(opcode) != Command::Other;
            assert!(
                !known
                    || [0x08, 0x0a, 0x28, 0x2a, 0x88, 0x8a, 0xa8, 0xaa, 0x35, 0x91, 0x42, 0x41, 0x93, 0x89]
                        .contains(&opcode)
            );
        }
    }
}
