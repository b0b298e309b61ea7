//! One measurement: a load on a disk for a while, and how it answered.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::queue::{Queue, Request};
use super::results::{Latency, Run};
use super::source::Source;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Bytes of each request.
    pub block: u64,
    /// How many threads.
    pub threads: u32,
    /// How many requests each has in flight.
    pub depth: u32,
    /// Of 100 requests so many are reads, the others writes.
    pub read_percent: u32,
    /// Where.
    pub order: Order,
    /// Where the area begins, in bytes.
    pub start: u64,
    /// How long the area is, in bytes.
    pub len: u64,
    /// How long is measured.
    pub time: Duration,
    /// How long the load runs before.
    pub warm_up: Duration,
    /// Which places are chosen.
    pub seed: u64,
}

/// In which order the blocks are accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Any block.
    Random,
    /// One behind the other, each thread in a part of its own; again from the beginning at the end.
    Sequential,
}

/// What the threads are told.
struct Signals {
    start: Barrier,
    measure: AtomicBool,
    stop: AtomicBool,
}

/// What one thread saw.
struct Seen {
    latency: Histogram<u64>,
    ops: u64,
}

/// Latencies are kept to three digits, from a nanosecond to a minute.
const LONGEST: u64 = 60_000_000_000;

/// Measures. `interrupt` ends it early, with what was measured until then.
///
/// # Errors
/// What the disk reports, from any thread.
pub fn measure(source: &Source, load: &Load, interrupt: &AtomicBool) -> io::Result<Run> {
    let signals = Signals {
        start: Barrier::new(load.threads as usize + 1),
        measure: AtomicBool::new(false),
        stop: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let signals = &signals;
        let start = |thread| scope.spawn(move || run(source, load, thread, signals));
        let threads: Vec<_> = (0..load.threads).map(start).collect();
        signals.start.wait();
        sleep(load.warm_up, interrupt, &threads);
        signals.measure.store(true, Relaxed);
        let (cpu, started) = (cpu_time(), Instant::now());
        sleep(load.time, interrupt, &threads);
        signals.measure.store(false, Relaxed);
        let (cpu, elapsed) = (cpu_time().saturating_sub(cpu), started.elapsed());
        signals.stop.store(true, Relaxed);
        let mut all = histogram();
        let mut ops = 0;
        for thread in threads {
            let seen = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.add(&seen.latency).map_err(io::Error::other)?;
            ops += seen.ops;
        }
        let seconds = elapsed.as_secs_f64();
        Ok(Run {
            seconds,
            operations: ops,
            iops: ops as f64 / seconds,
            bytes_per_second: ops as f64 * load.block as f64 / seconds,
            cpu_seconds: cpu.as_secs_f64(),
            latency: Latency::of(&all),
        })
    })
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds and the number of digits are in range")
}

/// Sleeps, unless it is told to stop or a thread has failed.
fn sleep<T>(time: Duration, interrupt: &AtomicBool, threads: &[thread::ScopedJoinHandle<'_, T>]) {
    let end = Instant::now() + time;
    while !interrupt.load(Relaxed) && !threads.iter().any(thread::ScopedJoinHandle::is_finished) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(20)));
    }
}

/// CPU time of all threads of this process, in user and system mode.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// A thread of the load.
fn run(source: &Source, load: &Load, thread: u32, signals: &Signals) -> io::Result<Seen> {
    let queue = source.queue(load.block as usize, load.depth as usize);
    // Everybody must come here, or nobody gets on.
    signals.start.wait();
    let mut queue = queue?;
    let mut places = Places::new(load, thread);
    let mut begun = vec![Instant::now(); load.depth as usize];
    let mut seen = Seen { latency: histogram(), ops: 0 };
    let mut free: Vec<usize> = (0..load.depth as usize).collect();
    loop {
        if signals.stop.load(Relaxed) {
            return finish(&mut *queue, load.depth as usize - free.len()).map(|()| seen);
        }
        // One look at the clock for all that is sent at once.
        let mut now = Instant::now();
        for slot in free.drain(..) {
            begun[slot] = now;
            let (offset, write) = places.next();
            queue.submit(Request { slot, offset, write })?;
        }
        queue.wait(&mut free)?;
        if signals.measure.load(Relaxed) {
            now = Instant::now();
            for slot in &free {
                let nanoseconds = now.duration_since(begun[*slot]).as_nanos() as u64;
                seen.latency.saturating_record(nanoseconds.max(1));
            }
            seen.ops += free.len() as u64;
        }
    }
}

fn finish(queue: &mut dyn Queue, mut in_flight: usize) -> io::Result<()> {
    let mut done = Vec::new();
    while in_flight > 0 {
        queue.wait(&mut done)?;
        in_flight -= done.drain(..).len();
    }
    Ok(())
}

/// Where the requests go.
struct Places {
    rng: ChaCha8Rng,
    random: bool,
    read_percent: u64,
    block: u64,
    first: u64,
    blocks: u64,
    next: u64,
}

impl Places {
    fn new(load: &Load, thread: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(load.seed);
        rng.set_stream(u64::from(thread));
        let all = load.len / load.block;
        let (first, blocks) = match load.order {
            Order::Random => (0, all),
            Order::Sequential => {
                let part = (all / u64::from(load.threads)).max(1);
                (part * u64::from(thread) % all.max(1), part)
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

    fn next(&mut self) -> (u64, bool) {
        let block = if self.random {
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
    use super::*;
    use crate::device::memory::Memory;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn load(block: u64, threads: u32, order: Order) -> Load {
        Load {
            block,
            threads,
            depth: 1,
            read_percent: 100,
            order,
            start: 4096,
            len: 1 << 20,
            time: Duration::from_millis(50),
            warm_up: Duration::from_millis(10),
            seed: 1,
        }
    }

    #[test]
    fn a_measurement_adds_up() {
        let source = Source::Other(Arc::new(Memory::new(2 << 20, 512)));
        let run = measure(&source, &load(4096, 2, Order::Random), &AtomicBool::new(false)).unwrap();
        assert!(run.operations > 100 && run.seconds >= 0.05 && run.seconds < 5.0, "{run:?}");
        assert!((run.iops * run.seconds - run.operations as f64).abs() < 1.0);
        assert!((run.bytes_per_second / run.iops - 4096.0).abs() < 0.1);
        assert!(run.latency.p50 <= run.latency.p99 && run.latency.p99 <= run.latency.max);
        assert!(run.cpu_seconds > 0.0);
    }

    #[test]
    fn a_failing_disk_ends_it() {
        let disk: Arc<dyn crate::device::Device> = Arc::new(Memory::new(1 << 20, 512));
        let beyond = Load { start: 1 << 20, ..load(4096, 3, Order::Random) };
        assert!(measure(&Source::Other(disk.clone()), &beyond, &AtomicBool::new(false)).is_err());
        let deep = Load { depth: 4, ..load(4096, 3, Order::Random) };
        assert!(measure(&Source::Other(disk), &deep, &AtomicBool::new(false)).is_err());
    }

    proptest! {
        #[test]
        fn places_are_aligned_and_in_the_area(block in 1..65u64, threads in 1..9u32, sequential in any::<bool>(), percent in 0..=100u32) {
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
    }
}
