//! What several connections want, in the order in which they ask for it.

use core::ops::{Deref, DerefMut};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::{Mutex, MutexGuard};
use embassy_sync::semaphore::{FairSemaphore, Semaphore, SemaphoreReleaser};

type Turns<const WAITERS: usize> = FairSemaphore<NoopRawMutex, WAITERS>;

/// A value that one task has at a time, in the order of the requests for it.
///
/// Each task is woken when its turn has come. (`Mutex` alone remembers one waiter: several wake each other in a circle until
/// one of them, whichever, finds it free.) More than `WAITERS` compete for it.
pub struct Queued<T, const WAITERS: usize> {
    turns: Turns<WAITERS>,
    value: Mutex<NoopRawMutex, T>,
}

/// The value, until this is dropped.
pub struct Turn<'a, T, const WAITERS: usize> {
    value: MutexGuard<'a, NoopRawMutex, T>,
    _turn: Option<SemaphoreReleaser<'a, Turns<WAITERS>>>,
}

impl<T, const WAITERS: usize> Queued<T, WAITERS> {
    pub(super) const fn new(value: T) -> Self {
        Self { turns: FairSemaphore::new(1), value: Mutex::new(value) }
    }

    /// Waits for its turn.
    pub async fn lock(&self) -> Turn<'_, T, WAITERS> {
        let turn = self.turns.acquire(1).await.ok();
        Turn { value: self.value.lock().await, _turn: turn }
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T, const WAITERS: usize> Deref for Turn<'_, T, WAITERS> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T, const WAITERS: usize> DerefMut for Turn<'_, T, WAITERS> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
