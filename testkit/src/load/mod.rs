//! A load generator: many commands in flight on one or more iSCSI sessions, each session in a thread of its own.
//!
//! - `args`: the command line, checked into a [`Plan`].
//! - `worker`: one session kept full.
//! - `cpu`: CPU time of this process and of the server's.
//! - `report`: what came out, for people and as JSON.
//!
//! The measurement is a window in time between warm-up and end: operations that complete inside count. The server's CPU
//! time is read at both ends of the same window.

mod args;
mod cpu;
mod report;
mod worker;

pub use args::{Args, Direction, Pattern, Plan};
pub use report::{Latency, Report};

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use crate::iscsi::Error;
use cpu::CpuClock;
use worker::{Tally, Worker};

/// Why a load was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The arguments do not fit each other or the disk.
    #[error("{0}")]
    Input(String),
    /// A session could not be opened.
    #[error(transparent)]
    Session(Error),
    /// An operation failed, or a session was lost, while the load ran.
    #[error("after {operations} operations: {reason}")]
    Failed {
        /// Operations of this connection that had completed.
        operations: u64,
        /// What happened.
        reason: String,
    },
    /// The server's process is gone or its CPU time cannot be read.
    #[error("the CPU time of process {pid} cannot be read: {error}")]
    Cpu {
        /// The process.
        pid: u32,
        /// Why.
        error: std::io::Error,
    },
}

/// What every worker looks at between two turns.
struct Phase(AtomicU8);

impl Phase {
    const WARM_UP: u8 = 0;
    const MEASURE: u8 = 1;
    const STOP: u8 = 2;

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, phase: u8) {
        self.0.store(phase, Ordering::Relaxed);
    }
}

/// Runs a load to its end.
///
/// # Errors
/// See [`LoadError`].
pub fn run(plan: &Plan) -> Result<Report, LoadError> {
    let clock = |pid: u32| CpuClock::of_process(pid).map_err(|error| LoadError::Cpu { pid, error });
    let (own, server) = (clock(std::process::id())?, plan.server_pid.map(clock).transpose()?);
    let workers: Vec<Worker> =
        (0..plan.connections).map(|index| Worker::open(plan, index)).collect::<Result<_, _>>()?;
    let phase = Phase(AtomicU8::new(Phase::WARM_UP));
    let barrier = Barrier::new(workers.len() + 1);
    let (done, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let (phase, barrier, done) = (&phase, &barrier, done.clone());
                scope.spawn(move || {
                    barrier.wait();
                    let result = worker.run(phase);
                    // The receiver lives until the threads are joined.
                    let _ = done.send(result.is_ok());
                    result
                })
            })
            .collect();
        barrier.wait();
        let mut running = threads.len();
        wait(&finished, &mut running, plan.warm_up);
        let read = || Ok::<_, LoadError>((own.read()?, server.as_ref().map(|clock| clock.read()).transpose()?));
        let (before, start) = (read(), Instant::now());
        phase.set(Phase::MEASURE);
        wait(&finished, &mut running, plan.seconds.unwrap_or(Duration::MAX));
        let (after, elapsed) = (read(), start.elapsed());
        phase.set(Phase::STOP);
        let mut tally = Tally::new();
        for thread in threads {
            match thread.join() {
                Ok(result) => tally.add(&result?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        let ((own_before, server_before), (own_after, server_after)) = (before?, after?);
        let server = server_before.zip(server_after).map(|(before, after)| after.saturating_sub(before));
        Ok(Report::new(plan, &tally, elapsed, own_after.saturating_sub(own_before), server))
    })
}

/// Waits until the time is up, all workers are done, or one has failed.
fn wait(finished: &mpsc::Receiver<bool>, running: &mut usize, time: Duration) {
    let start = Instant::now();
    while *running > 0 {
        let left = time.saturating_sub(start.elapsed()).min(Duration::from_secs(3600));
        if left.is_zero() {
            return;
        }
        match finished.recv_timeout(left) {
            Ok(true) => *running -= 1,
            Ok(false) => *running = 0,
            Err(_) => {}
        }
    }
}
