//! Keeps queues full for a while, or for a number of requests, and sees how they are answered.
//!
//! The measurement is a window in time between warm-up and end: requests that complete inside count. CPU time is read at
//! both ends of the same window.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::LoadError;
use super::cpu::CpuClock;
use super::places::Places;
use super::queue::{Done, Queue, Request};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Bytes of each request.
    pub block: u64,
    /// How many threads.
    pub threads: u32,
    /// How many requests each has in flight.
    pub depth: u32,
    /// Of 100 requests this many are reads, the others writes.
    pub read_percent: u32,
    /// Where.
    pub order: Order,
    /// Where the area begins, in bytes.
    pub start: u64,
    /// How long the area is, in bytes.
    pub len: u64,
    /// How much is measured.
    pub extent: Extent,
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

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What completes in this time.
    Time(Duration),
    /// This many requests, of all threads together.
    Requests(u64),
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Measured {
    /// How long the window was.
    pub elapsed: Duration,
    /// Requests that completed in it.
    pub requests: u64,
    /// From submission to completion, in nanoseconds.
    pub latency: Histogram<u64>,
    /// CPU time of this process.
    pub own_cpu: Duration,
    /// CPU time of the server's process, if it was asked for.
    pub server_cpu: Option<Duration>,
}

/// Latencies are kept to three digits, from a nanosecond to an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// How often the wait for the end looks whether it is interrupted.
const GLANCE: Duration = Duration::from_millis(20);

/// What the threads are told.
struct Signals {
    start: Barrier,
    phase: AtomicU8,
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// What one thread saw in the measurement.
struct Seen {
    latency: Histogram<u64>,
    requests: u64,
}

/// Measures. Each thread makes its own queue by `queue`; `interrupt` ends it early, with what was measured until then.
///
/// # Errors
/// What a queue reports, from any thread; CPU time that cannot be read.
pub fn measure(
    load: &Load,
    queue: &(dyn Fn(u32) -> io::Result<Box<dyn Queue>> + Sync),
    server: Option<&CpuClock>,
    interrupt: &AtomicBool,
) -> Result<Measured, LoadError> {
    let own = CpuClock::of_process(std::process::id())?;
    let signals = Signals { start: Barrier::new(load.threads as usize + 1), phase: AtomicU8::new(WARM_UP) };
    let (done, finished) = mpsc::channel();
    thread::scope(|scope| {
        let signals = &signals;
        let start = |thread| {
            let done = done.clone();
            scope.spawn(move || {
                let seen = run(load, queue, thread, signals);
                // The receiver lives until the threads are joined.
                let _ = done.send(seen.is_ok());
                seen
            })
        };
        let threads: Vec<_> = (0..load.threads).map(start).collect();
        signals.start.wait();
        let mut running = threads.len();
        wait(&finished, &mut running, Some(load.warm_up), interrupt);
        let cpu = || Ok::<_, LoadError>((own.read()?, server.map(CpuClock::read).transpose()?));
        let (before, started) = (cpu(), Instant::now());
        signals.phase.store(MEASURE, Relaxed);
        let time = match load.extent {
            Extent::Time(time) => Some(time),
            Extent::Requests(_) => None,
        };
        wait(&finished, &mut running, time, interrupt);
        let (after, elapsed) = (cpu(), started.elapsed());
        signals.phase.store(STOP, Relaxed);
        let (mut latency, mut requests) = (histogram(), 0);
        for thread in threads {
            let seen = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            latency += &seen.latency;
            requests += seen.requests;
        }
        let ((own_before, server_before), (own_after, server_after)) = (before?, after?);
        let server_cpu = server_before.zip(server_after).map(|(before, after)| after.saturating_sub(before));
        Ok(Measured { elapsed, requests, latency, own_cpu: own_after.saturating_sub(own_before), server_cpu })
    })
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds and the number of digits are in range")
}

/// Waits until the time is up, all threads are done, one has failed, or it is interrupted.
fn wait(finished: &mpsc::Receiver<bool>, running: &mut usize, time: Option<Duration>, interrupt: &AtomicBool) {
    let start = Instant::now();
    while *running > 0 && !interrupt.load(Relaxed) {
        let left = time.map_or(GLANCE, |time| time.saturating_sub(start.elapsed()));
        if left.is_zero() {
            return;
        }
        match finished.recv_timeout(left.min(GLANCE)) {
            Ok(true) => *running -= 1,
            Ok(false) => *running = 0,
            Err(_) => {}
        }
    }
}

/// A thread of the load.
fn run(
    load: &Load,
    queue: &(dyn Fn(u32) -> io::Result<Box<dyn Queue>> + Sync),
    thread: u32,
    signals: &Signals,
) -> Result<Seen, LoadError> {
    let queue = queue(thread);
    // All threads must come here, or none gets on.
    signals.start.wait();
    let mut total = 0;
    let mut seen = Seen { latency: histogram(), requests: 0 };
    let mut queue = queue.map_err(|error| LoadError::Failed { operations: total, error })?;
    drive(load, &mut *queue, thread, signals, &mut seen, &mut total)
        .map_err(|error| LoadError::Failed { operations: total, error })?;
    Ok(seen)
}

fn drive(
    load: &Load,
    queue: &mut dyn Queue,
    thread: u32,
    signals: &Signals,
    seen: &mut Seen,
    total: &mut u64,
) -> io::Result<()> {
    let depth = load.depth as usize;
    let quota = match load.extent {
        Extent::Time(_) => u64::MAX,
        // The first threads take one more where the number does not divide evenly.
        Extent::Requests(all) => {
            let (thread, threads) = (u64::from(thread), u64::from(load.threads));
            all / threads + u64::from(thread < all % threads)
        }
    };
    let mut places = Places::new(load, thread);
    let mut begun = vec![Instant::now(); depth];
    let mut done: Vec<Done> = (0..depth).map(|slot| Done { slot, latency: None }).collect();
    loop {
        if signals.phase.load(Relaxed) == STOP || seen.requests == quota {
            return finish(queue, depth - done.len());
        }
        // One look at the clock for all that is sent at once.
        let now = Instant::now();
        for Done { slot, .. } in done.drain(..) {
            begun[slot] = now;
            let (offset, write) = places.next();
            queue.submit(Request { slot, offset, write })?;
        }
        queue.wait(&mut done)?;
        *total += done.len() as u64;
        if signals.phase.load(Relaxed) == MEASURE {
            let now = Instant::now();
            let counted = done.len().min(usize::try_from(quota - seen.requests).unwrap_or(usize::MAX));
            for done in &done[..counted] {
                let latency = done.latency.unwrap_or_else(|| now.duration_since(begun[done.slot]));
                let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
                seen.latency.saturating_record(nanoseconds.max(1));
            }
            seen.requests += counted as u64;
        }
    }
}

/// Waits for what is in flight.
fn finish(queue: &mut dyn Queue, mut in_flight: usize) -> io::Result<()> {
    let mut done = Vec::new();
    while in_flight > 0 {
        queue.wait(&mut done)?;
        in_flight -= done.drain(..).len();
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::super::source::Source;
    use super::*;
    use crate::device::memory::Memory;

    pub(in super::super) fn load(block: u64, threads: u32, order: Order) -> Load {
        Load {
            block,
            threads,
            depth: 1,
            read_percent: 100,
            order,
            start: 4096,
            len: 1 << 20,
            extent: Extent::Time(Duration::from_millis(50)),
            warm_up: Duration::from_millis(10),
            seed: 1,
        }
    }

    fn measured(source: &Source, load: &Load) -> Result<Measured, LoadError> {
        measure(load, &|_| source.queue(load.block as usize, load.depth as usize), None, &AtomicBool::new(false))
    }

    fn memory(size: u64) -> Source {
        Source::Other(Arc::new(Memory::new(size, 512)))
    }

    #[test]
    fn a_measurement_by_time_adds_up() {
        let run = measured(&memory(2 << 20), &load(4096, 2, Order::Random)).unwrap();
        assert!(run.requests > 100 && run.elapsed >= Duration::from_millis(50), "{run:?}");
        assert_eq!(run.latency.len(), run.requests);
        assert!(run.own_cpu > Duration::ZERO);
    }

    #[test]
    fn a_measurement_by_requests_is_exact() {
        for (threads, requests) in [(1, 1), (3, 1000), (4, 3)] {
            let load = Load { extent: Extent::Requests(requests), ..load(4096, threads, Order::Sequential) };
            let run = measured(&memory(2 << 20), &load).unwrap();
            assert_eq!((run.requests, run.latency.len()), (requests, requests));
        }
    }

    #[test]
    fn a_failing_disk_ends_it() {
        let beyond = Load { start: 1 << 20, ..load(4096, 3, Order::Random) };
        assert!(measured(&memory(1 << 20), &beyond).is_err());
        let deep = Load { depth: 4, ..load(4096, 3, Order::Random) };
        assert!(measured(&memory(1 << 20), &deep).is_err());
    }

    #[test]
    fn an_interruption_ends_it_early() {
        let load = Load { extent: Extent::Time(Duration::from_secs(600)), ..load(4096, 1, Order::Random) };
        let source = memory(2 << 20);
        let queue = |_| source.queue(4096, 1);
        assert!(measure(&load, &queue, None, &AtomicBool::new(true)).is_ok());
    }
}
