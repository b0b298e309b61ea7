//! The threads that serve connections, as homes for backends that wait for the network: what such a backend does for the
//! connections that are served on its thread wakes no other one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::WeakUnboundedSender;

/// What lives on a thread beside its connections, until it ends by itself. It is made there.
pub type Resident = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The threads, for as long as they live, which take residents in turn, as they take connections.
#[derive(Debug, Clone, Default)]
pub struct Homes {
    doors: Vec<WeakUnboundedSender<Resident>>,
    turn: Arc<AtomicUsize>,
}

impl Homes {
    /// Of these threads.
    pub fn new(doors: Vec<WeakUnboundedSender<Resident>>) -> Self {
        Self { doors, turn: Arc::default() }
    }

    /// Lets someone live on the thread whose turn it is. False where there is none.
    pub fn take_in(&self, resident: Resident) -> bool {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let door = turn.checked_rem(self.doors.len()).and_then(|at| self.doors.get(at));
        door.and_then(WeakUnboundedSender::upgrade).is_some_and(|door| door.send(resident).is_ok())
    }
}
