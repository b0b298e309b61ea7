//! Stopping: in order at the first signal, at once at a second one.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iesp_scsi::IoError;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::backend::Patience;
use crate::failure::Failure;
use crate::luns::Lun;
use crate::node::Node;
use crate::system;

/// How long connections have to end at a stop.
const STOP: Duration = Duration::from_secs(5);

/// Signals within this time of the first one are the same wish: timeout(1) sends two, to the process and to its group.
const SAME_WISH: Duration = Duration::from_millis(100);

/// Disks that are flushed at a time: one that hangs keeps no other one waiting.
const FLUSHES: usize = 16;

/// Watches for SIGINT and SIGTERM on a thread of its own: a second one ends the program whatever the others wait for.
pub struct Watch(UnboundedReceiver<&'static str>);

impl Watch {
    /// Starts the thread; signals that come from now on are not lost.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub fn start() -> std::io::Result<Self> {
        let (first, came) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let mut stop = system::Stop::new()?;
        drop(entered);
        let watch = async move {
            let mut since: Option<Instant> = None;
            loop {
                let (name, code) = stop.recv().await;
                if since.get_or_insert_with(Instant::now).elapsed() < SAME_WISH {
                    // The first is taken from the channel once; the others stay there.
                    let _ = first.send(name);
                    continue;
                }
                // A start that waits for a server has not even taken the first one.
                let _ = writeln!(std::io::stderr(), "iesp: ended at once by a second {name}");
                std::process::exit(code);
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(watch))?;
        Ok(Self(came))
    }

    /// The first signal. From then on the next one ends the program.
    pub async fn first(&mut self) -> &'static str {
        let name = self.0.recv().await.unwrap_or("SIGTERM");
        self.0.close();
        name
    }
}

/// Has all connections end; those that do not in time are dropped with their threads' runtimes.
pub async fn stop_connections(node: &Node) {
    node.shut_down();
    let deadline = Instant::now() + STOP;
    while node.connections() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// No disk is used any more.
pub fn close(node: &Node) {
    for offer in &node.catalog().offers {
        offer.target.luns().iter().for_each(|lun| lun.backend.close());
    }
}

/// Flushes everything. A disk that fails, or hangs, keeps no other one from being flushed.
///
/// # Errors
/// What could not be flushed: each disk is in the log, and the first one in the failure.
pub fn flush(node: &Node) -> Result<(), Failure> {
    let catalog = node.catalog();
    let luns = catalog.offers.iter().flat_map(|offer| {
        let name = offer.target.name.clone();
        offer.target.luns().iter().map(|lun| (name.clone(), Arc::clone(lun))).collect::<Vec<_>>()
    });
    let mut failed = flush_all(luns.collect()).into_iter();
    let Some((target, number, error)) = failed.next() else { return Ok(()) };
    let more = match failed.len() {
        0 => String::new(),
        more => format!(", and so could {more} more"),
    };
    let what = format!("LUN {number} of {target} could not be flushed ({error:?}){more}");
    Err(Failure::runtime(format!("{what}: check the device under it")))
}

/// Flushes these disks, several at a time; those that could not be flushed are in the log.
pub fn flush_all(luns: Vec<(String, Arc<Lun>)>) -> Vec<(String, u16, IoError)> {
    let threads = luns.len().min(FLUSHES);
    let (waiting, failed) = (Mutex::new(luns.into_iter()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((target, lun)) = next else { return };
            if let Err(error) = lun.backend.flush(Patience::Any) {
                tracing::error!(target, lun = lun.number, disk = %lun.config.source, ?error, "a disk could not be flushed");
                failed.lock().unwrap_or_else(PoisonError::into_inner).push((target, lun.number, error));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}
