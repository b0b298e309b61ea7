//! A whole run: its threads, its limits and what came of it.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::finding::Finding;
use super::journal::Journal;
use super::plan::Plan;
use super::worker::{Paths, Worker};

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many operations, shared out evenly over the workers.
    pub ops: Option<u64>,
    /// So long.
    pub time: Option<Duration>,
    /// When every block was written and read back.
    pub full_coverage: bool,
    /// After so many faults.
    pub faults: u64,
    /// Whether all that was written is read once more at the end.
    pub final_check: bool,
}

impl Limits {
    /// How many operations one worker makes.
    #[must_use]
    pub fn ops_of(&self, worker: u32, workers: u32) -> u64 {
        let (worker, workers) = (u64::from(worker), u64::from(workers));
        self.ops.map_or(u64::MAX, |ops| ops / workers + u64::from(worker < ops % workers))
    }
}

/// What the threads of a run have in common: counters, no lock.
pub struct Shared {
    /// The run ends.
    pub stop: AtomicBool,
    out_of_time: AtomicBool,
    in_final_check: AtomicBool,
    /// How many blocks were not yet written and read back.
    pub uncovered: AtomicU64,
    /// How many faults there were.
    pub faults: AtomicU64,
    most_faults: u64,
    workers: Vec<Counters>,
    failure: Mutex<Option<String>>,
}

/// What one worker has done. Its own cache lines: nobody else writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Operations.
    pub ops: AtomicU64,
    /// Bytes written.
    pub written: AtomicU64,
    /// Bytes read.
    pub read: AtomicU64,
    /// Discards and zeroings.
    pub trims: AtomicU64,
    /// Flushes.
    pub flushes: AtomicU64,
    /// Blocks compared: with data of their own.
    pub unique: AtomicU64,
    /// Blocks compared: duplicates.
    pub duplicate: AtomicU64,
    /// Blocks compared: zeros.
    pub zeros: AtomicU64,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Since the start, in seconds.
    pub seconds: f64,
    /// Operations done.
    pub ops: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Discards and zeroings.
    pub trims: u64,
    /// Flushes.
    pub flushes: u64,
    /// Blocks read and found right: with data of their own.
    pub verified_unique: u64,
    /// Likewise: duplicates.
    pub verified_duplicate: u64,
    /// Likewise: zeros.
    pub verified_zeros: u64,
    /// Blocks that were written and later read back.
    pub covered_blocks: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Faults found.
    pub faults: u64,
    /// Whether the area is being read once more at the end.
    pub final_check: bool,
}

impl Progress {
    /// The share of the blocks that were written and later read back, in percent; 100 only when it is all of them.
    #[must_use]
    pub fn coverage_percent(&self) -> f64 {
        if self.blocks == 0 { 0.0 } else { self.covered_blocks as f64 * 100.0 / self.blocks as f64 }
    }
}

/// What a run tells while it runs.
pub trait Report {
    /// About once a second.
    fn progress(&mut self, progress: &Progress);
    /// A fault.
    fn finding(&mut self, finding: &Finding);
}

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// How it stood at the end.
    pub progress: Progress,
    /// All faults.
    pub findings: Vec<Finding>,
    /// Whether it ended because it was asked to.
    pub interrupted: bool,
    /// Why it could not go on, when that was not a fault of the device.
    pub failure: Option<String>,
    /// Where sessions were shared: most commands in flight at once, of the session that had the fewest.
    pub most_in_flight: Option<usize>,
}

impl Shared {
    fn new(plan: &Plan, most_faults: u64) -> Self {
        Self {
            stop: AtomicBool::new(false),
            out_of_time: AtomicBool::new(false),
            in_final_check: AtomicBool::new(false),
            uncovered: AtomicU64::new(plan.blocks),
            faults: AtomicU64::new(0),
            most_faults,
            workers: (0..plan.workers).map(|_| Counters::default()).collect(),
            failure: Mutex::new(None),
        }
    }

    /// The counters of a worker.
    #[must_use]
    pub fn counters(&self, worker: u32) -> &Counters {
        &self.workers[worker as usize]
    }

    /// Whether the workers should draw no more operations.
    #[must_use]
    pub fn ends(&self, limits: &Limits) -> bool {
        self.gives_up() || self.out_of_time.load(Relaxed) || (limits.full_coverage && self.uncovered.load(Relaxed) == 0)
    }

    /// Whether nothing more is wanted, not even the check at the end.
    #[must_use]
    pub fn gives_up(&self) -> bool {
        self.stop.load(Relaxed) || self.faults.load(Relaxed) >= self.most_faults
    }

    /// The run cannot go on, and that is not a fault that it was to find. The first reason stays.
    pub fn fail(&self, why: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.store(true, Relaxed);
    }

    fn progress(&self, plan: &Plan, seconds: f64) -> Progress {
        let sum = |counter: fn(&Counters) -> &AtomicU64| self.workers.iter().map(|w| counter(w).load(Relaxed)).sum();
        Progress {
            seconds,
            ops: sum(|w| &w.ops),
            written_bytes: sum(|w| &w.written),
            read_bytes: sum(|w| &w.read),
            trims: sum(|w| &w.trims),
            flushes: sum(|w| &w.flushes),
            verified_unique: sum(|w| &w.unique),
            verified_duplicate: sum(|w| &w.duplicate),
            verified_zeros: sum(|w| &w.zeros),
            covered_blocks: plan.blocks - self.uncovered.load(Relaxed),
            blocks: plan.blocks,
            faults: self.faults.load(Relaxed),
            final_check: self.in_final_check.load(Relaxed),
        }
    }
}

/// Runs the plan, which must have passed [`Plan::check`], with one pair of paths for each worker. `interrupt` ends it.
pub fn run(
    plan: &Plan,
    limits: &Limits,
    paths: Vec<Paths>,
    journal: Option<&Journal>,
    interrupt: &AtomicBool,
    report: &mut dyn Report,
) -> Outcome {
    let shared = Shared::new(plan, limits.faults);
    let (sender, receiver) = mpsc::channel();
    let make = |(worker, paths)| Worker::new(plan, worker, paths, &shared, journal, sender.clone());
    let workers = (0..).zip(paths).map(make).collect();
    let started = Instant::now();
    let mut watch = Watch {
        plan,
        shared: &shared,
        receiver,
        interrupt,
        report,
        started,
        next: started + Duration::from_secs(1),
        findings: Vec::new(),
    };
    let workers = watch.phase(workers, limits.time, |worker| worker.run(limits));
    // The check must see the disk as the last operation of all left it, so it waits for every worker.
    if limits.final_check && !shared.gives_up() {
        shared.in_final_check.store(true, Relaxed);
        watch.phase(workers, None, Worker::sweep);
    }
    let findings = watch.findings;
    let progress = shared.progress(plan, started.elapsed().as_secs_f64());
    let failure = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    Outcome { progress, findings, interrupted: interrupt.load(Relaxed), failure, most_in_flight: None }
}

/// The thread that looks on: passes on what is found, keeps the time.
struct Watch<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    receiver: Receiver<Finding>,
    interrupt: &'a AtomicBool,
    report: &'a mut dyn Report,
    started: Instant,
    next: Instant,
    findings: Vec<Finding>,
}

impl Watch<'_> {
    /// Lets every worker do `work` on a thread of its own, and gives them back when all are done.
    fn phase<'w>(
        &mut self,
        workers: Vec<Worker<'w>>,
        time: Option<Duration>,
        work: impl Fn(&mut Worker<'w>) + Sync,
    ) -> Vec<Worker<'w>> {
        let work = &work;
        thread::scope(|scope| {
            let start = |mut worker: Worker<'w>| {
                scope.spawn(move || {
                    work(&mut worker);
                    worker
                })
            };
            let threads: Vec<_> = workers.into_iter().map(start).collect();
            while !threads.iter().all(ScopedJoinHandle::is_finished) {
                self.look(time);
            }
            self.findings_so_far();
            let join = |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            threads.into_iter().map(join).collect()
        })
    }

    fn look(&mut self, time: Option<Duration>) {
        if let Ok(finding) = self.receiver.recv_timeout(Duration::from_millis(10)) {
            self.found(finding);
        }
        let now = Instant::now();
        if time.is_some_and(|time| now.duration_since(self.started) >= time) {
            self.shared.out_of_time.store(true, Relaxed);
        }
        if self.interrupt.load(Relaxed) {
            self.shared.stop.store(true, Relaxed);
        }
        if now >= self.next {
            let seconds = now.duration_since(self.started).as_secs_f64();
            self.report.progress(&self.shared.progress(self.plan, seconds));
            self.next = now + Duration::from_secs(1);
        }
    }

    fn findings_so_far(&mut self) {
        while let Ok(finding) = self.receiver.try_recv() {
            self.found(finding);
        }
    }

    fn found(&mut self, finding: Finding) {
        self.report.finding(&finding);
        self.findings.push(finding);
    }
}
