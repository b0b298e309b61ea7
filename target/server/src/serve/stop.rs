//! Stopping: in order at the first signal, at once at the second.

use std::io::Write;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::backend::Patience;
use crate::failure::Failure;
use crate::node::Node;
use crate::system;

/// How long connections have to end at a stop.
const STOP: Duration = Duration::from_secs(5);

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
            loop {
                let (name, code) = stop.recv().await;
                // The first time somebody waits; the second time nobody does any more.
                if first.send(name).is_err() {
                    let _ = writeln!(std::io::stderr(), "iesp: ended at once by a second {name}");
                    std::process::exit(code);
                }
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

/// Flushes everything.
///
/// # Errors
/// What could not be flushed.
pub fn flush(node: &Node) -> Result<(), Failure> {
    for offer in &node.catalog().offers {
        for lun in offer.target.luns().iter() {
            if let Err(error) = lun.backend.flush(Patience::Any) {
                let (number, name) = (lun.number, &offer.target.name);
                return Err(Failure::runtime(format!(
                    "LUN {number} of {name} could not be flushed ({error:?}): check the device under it"
                )));
            }
        }
    }
    Ok(())
}
