//! The load generator: many requests in flight on disks, by the system's calls, io_uring or iSCSI sessions.
//!
//! - `engine`: threads that keep a [`queue::Queue`] each full, and what they see.
//! - `places`: where requests go.
//! - `queue`, `source`: every way to a disk looks the same to the engine.
//! - `cpu`: CPU time of this process and of the server's.
//! - `args`, `report`: the command line and the output of `iscsi-load`. The speed tools (`crate::speed`) have their own.

mod args;
mod cpu;
pub mod engine;
mod places;
pub mod queue;
mod report;
pub mod source;
#[cfg(target_os = "linux")]
mod uring;

pub use args::{Args, Direction, Pattern, Plan};
pub use cpu::CpuClock;
pub use report::{Latency, Report};

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use crate::iscsi::{Access, Capacity, Error, Session};
use engine::{Extent, Load, Order, measure};
use queue::{Iscsi, Queue};

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
    #[error("after {operations} operations: {error}")]
    Failed {
        /// Operations of this thread that had completed.
        operations: u64,
        /// What happened.
        error: io::Error,
    },
    /// A process is gone or its CPU time cannot be read.
    #[error("the CPU time of process {pid} cannot be read: {error}")]
    Cpu {
        /// The process.
        pid: u32,
        /// Why.
        error: io::Error,
    },
}

/// Runs the load of `iscsi-load` to its end: each connection is a session of its own in a thread of its own.
///
/// # Errors
/// See [`LoadError`].
pub fn run(plan: &Plan) -> Result<Report, LoadError> {
    let server = plan.server_pid.map(CpuClock::of_process).transpose()?;
    let open = |_| Session::open(&plan.url, &plan.initiator, &plan.options);
    let mut sessions: Vec<_> = (0..plan.connections).map(open).collect::<Result<_, _>>().map_err(LoadError::Session)?;
    let Some(first) = sessions.first_mut() else { return Err(LoadError::Input("no connection".to_owned())) };
    let capacity = first.capacity().map_err(LoadError::Session)?;
    let load = layout(plan, capacity)?;
    let sessions: Vec<_> = sessions.into_iter().map(|session| Mutex::new(Some(session))).collect();
    let queue = |thread: u32| {
        let session =
            sessions.get(thread as usize).map(|one| one.lock().unwrap_or_else(PoisonError::into_inner).take());
        let session = session.flatten().ok_or_else(|| io::Error::other("each session is one thread's"))?;
        let access = Access { fua: plan.fua, dpo: false };
        let queue = Iscsi::new(session, plan.block as usize, capacity.block_size, plan.depth as usize, access);
        Ok(Box::new(queue) as Box<dyn Queue>)
    };
    let measured = measure(&load, &queue, server.as_ref(), &AtomicBool::new(false))?;
    Ok(Report::new(plan, &measured))
}

/// The load on a disk of this capacity.
fn layout(plan: &Plan, capacity: Capacity) -> Result<Load, LoadError> {
    let (size, block) = (u64::from(capacity.block_size), plan.block);
    if !block.is_multiple_of(size) {
        return Err(LoadError::Input(format!("--block is {block}; the disk's blocks have {size} bytes")));
    }
    let disk = capacity.blocks.saturating_mul(size);
    let positions = plan.span.unwrap_or(disk).min(disk) / block;
    if positions == 0 {
        return Err(LoadError::Input(format!("no operation of {block} bytes fits on {disk} bytes")));
    }
    let connections = plan.connections;
    if plan.pattern == Pattern::Sequential && positions < u64::from(connections) {
        return Err(LoadError::Input(format!("the disk is too small for {connections} connections, one part each")));
    }
    let read_percent = match plan.direction {
        Direction::Read => 100,
        Direction::Write => 0,
        Direction::Mix(percent) => u32::from(percent),
    };
    Ok(Load {
        block,
        threads: connections,
        depth: plan.depth,
        read_percent,
        order: match plan.pattern {
            Pattern::Random => Order::Random,
            Pattern::Sequential => Order::Sequential,
        },
        start: 0,
        len: positions * block,
        extent: match (plan.ops, plan.seconds) {
            (None, Some(time)) => Extent::Time(time),
            (ops, _) => Extent::Requests(ops.unwrap_or_default()),
        },
        warm_up: plan.warm_up,
        seed: plan.seed,
    })
}
