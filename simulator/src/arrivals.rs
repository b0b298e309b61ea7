//! What came from outside, as a listening thread hands it over to the simulated world.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// What came and was not taken yet; one task takes it.
pub(crate) struct Arrivals<T>(Mutex<Queue<T>>);

struct Queue<T> {
    waiting: VecDeque<T>,
    waker: Option<Waker>,
}

impl<T> Arrivals<T> {
    /// Nothing has come.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Queue { waiting: VecDeque::new(), waker: None }))
    }

    /// Something has come. Where `most` wait already it is let go.
    pub(crate) fn push(&self, arrival: T, most: usize) {
        let mut queue = lock(&self.0);
        if queue.waiting.len() < most {
            queue.waiting.push_back(arrival);
        }
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    /// What came first; waits for it.
    pub(crate) async fn next(&self) -> T {
        std::future::poll_fn(|cx| {
            let mut queue = lock(&self.0);
            match queue.waiting.pop_front() {
                Some(arrival) => Poll::Ready(arrival),
                None => {
                    queue.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// A thread that panicked while it had the lock leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
