//! The threads that serve connections, as homes for backends that wait for the network: what such a backend does for the
//! connections that are served on its thread wakes no other one.

use std::cell::Cell;
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

thread_local! {
    /// Connections that this thread serves, and backends that live on it.
    static SERVED: Cell<usize> = const { Cell::new(0) };
}

/// A connection that this thread serves, or a backend that lives on it, for as long as it does.
#[derive(Debug)]
pub struct Served(());

impl Served {
    /// One more.
    pub fn begin() -> Self {
        SERVED.set(SERVED.get() + 1);
        Self(())
    }

    /// How many there are on this thread.
    #[inline]
    pub fn count() -> usize {
        SERVED.get()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        SERVED.set(SERVED.get() - 1);
    }
}
