//! The range lock under a model checker: all interleavings of a few threads, with the memory orderings that it asks for.
//!
//! Blocks are cells that loom watches for accesses that are not ordered. A lost wake-up is a deadlock, which loom finds. That
//! both would be found is shown by locks with a planted fault.

use super::stripe::{Stripe, WAITING};
use super::{Atomic, Hold, RangeLock, Word};
use core::array;
use core::marker::PhantomData;
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use portable_atomic::Ordering;
use std::sync::Arc;

/// What is wrong with an atomic integer.
trait Fault {
    /// The ordering of an operation that was asked for with this one.
    fn ordering(asked: Ordering) -> Ordering {
        asked
    }

    /// What is stored in place of `to`.
    fn stored(_from: Word, to: Word) -> Word {
        to
    }
}

/// Nothing.
struct Sound;
impl Fault for Sound {}

/// Whoever takes a stripe need not see what its holder before did.
struct TakesRelaxed;
impl Fault for TakesRelaxed {
    fn ordering(asked: Ordering) -> Ordering {
        if asked == Ordering::Acquire { Ordering::Relaxed } else { asked }
    }
}

/// Whoever takes a stripe next need not see what its holder did.
struct ReleasesRelaxed;
impl Fault for ReleasesRelaxed {
    fn ordering(asked: Ordering) -> Ordering {
        if asked == Ordering::Release { Ordering::Relaxed } else { asked }
    }
}

/// A task that was turned away is not in the line that it thinks to stand in.
struct ForgetsWaiters;
impl Fault for ForgetsWaiters {
    fn stored(from: Word, to: Word) -> Word {
        if to & WAITING > from & WAITING { from } else { to }
    }
}

struct Checked<F>(AtomicU64, PhantomData<F>);

impl<F: Fault> Atomic for Checked<F> {
    fn load(&self) -> Word {
        self.0.load(Ordering::Relaxed)
    }

    fn exchange(&self, from: Word, to: Word, success: Ordering) -> Result<Word, Word> {
        let success = F::ordering(success);
        self.0.compare_exchange_weak(from, F::stored(from, to), success, Ordering::Relaxed)
    }

    fn subtract(&self, value: Word) -> Word {
        self.0.fetch_sub(value, F::ordering(Ordering::Release))
    }
}

/// Blocks in a row on one stripe.
const RUN: u64 = 1 << super::STRIPE_SHIFT;

/// A lock, a cell for each of its first two stripes, and the driver's notice of wakes.
struct Disk<F> {
    lock: RangeLock<Checked<F>, 2>,
    runs: [UnsafeCell<u32>; 2],
    wakes: Mutex<u32>,
    woken: Condvar,
}

impl<F: Fault> Disk<F> {
    fn new() -> Self {
        let stripe = |_| Stripe::new(Checked(AtomicU64::new(0), PhantomData));
        Self {
            lock: RangeLock { stripes: array::from_fn(stripe) },
            runs: array::from_fn(|_| UnsafeCell::new(0)),
            wakes: Mutex::new(0),
            woken: Condvar::new(),
        }
    }

    fn release(&self, hold: &mut Hold) {
        if self.lock.release(hold) {
            *self.wakes.lock().unwrap() += 1;
            self.woken.notify_all();
        }
    }

    /// A task over the runs `first..=last`; one that is aborted goes away where it would have to wait.
    fn task(&self, exclusive: bool, first: usize, last: usize, aborted: bool) {
        let (lba, blocks) = (first as u64 * RUN, (last - first + 1) as u64 * RUN);
        let mut hold = if exclusive { Hold::exclusive(lba, blocks) } else { Hold::shared(lba, blocks) };
        loop {
            let seen = *self.wakes.lock().unwrap();
            if self.lock.acquire(&mut hold) {
                break;
            }
            if aborted {
                return self.release(&mut hold);
            }
            let mut wakes = self.wakes.lock().unwrap();
            while *wakes == seen {
                wakes = self.woken.wait(wakes).unwrap();
            }
        }
        for run in &self.runs[first..=last] {
            if exclusive {
                // SAFETY: loom fails the test where another access is not ordered with this one.
                run.with_mut(|value| unsafe { *value += 1 });
            } else {
                // SAFETY: as above.
                run.with(|value| unsafe { *value });
            }
        }
        self.release(&mut hold);
    }
}

/// Runs these tasks (exclusive, first run, last run, aborted), a thread each, in all orders; then all has to be free.
fn check<F: Fault + Send + Sync + 'static>(tasks: &'static [(bool, usize, usize, bool)]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let disk = Arc::new(Disk::<F>::new());
        let threads: std::vec::Vec<_> = tasks[1..]
            .iter()
            .map(|&(exclusive, first, last, aborted)| {
                let disk = Arc::clone(&disk);
                thread::spawn(move || disk.task(exclusive, first, last, aborted))
            })
            .collect();
        let (exclusive, first, last, aborted) = tasks[0];
        disk.task(exclusive, first, last, aborted);
        for thread in threads {
            thread.join().unwrap();
        }
        let mut all = Hold::exclusive(0, 2 * RUN);
        assert!(disk.lock.acquire(&mut all), "something is still held");
    });
}

const EXCLUSIVE: (bool, usize, usize, bool) = (true, 0, 0, false);
const SHARED: (bool, usize, usize, bool) = (false, 0, 0, false);
const ABORTED: (bool, usize, usize, bool) = (true, 0, 0, true);

#[test]
fn exclusive_tasks_exclude_each_other() {
    check::<Sound>(&[EXCLUSIVE, EXCLUSIVE, EXCLUSIVE]);
}

#[test]
fn an_exclusive_task_excludes_sharers() {
    check::<Sound>(&[EXCLUSIVE, SHARED, SHARED]);
    check::<Sound>(&[SHARED, EXCLUSIVE, EXCLUSIVE]);
}

#[test]
fn an_aborted_task_keeps_no_other_waiting() {
    check::<Sound>(&[SHARED, ABORTED, SHARED]);
    check::<Sound>(&[EXCLUSIVE, ABORTED, SHARED]);
    check::<Sound>(&[EXCLUSIVE, ABORTED, ABORTED]);
}

#[test]
fn tasks_over_two_stripes_do_not_lock_each_other_up() {
    check::<Sound>(&[(true, 0, 1, false), (false, 0, 1, false)]);
    check::<Sound>(&[(true, 0, 1, false), (true, 1, 1, false), (false, 0, 0, false)]);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_stripe_that_is_taken_relaxed_is_found() {
    check::<TakesRelaxed>(&[EXCLUSIVE, EXCLUSIVE]);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_stripe_that_is_given_back_relaxed_is_found() {
    check::<ReleasesRelaxed>(&[EXCLUSIVE, SHARED]);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_waiter_that_is_forgotten_is_found() {
    check::<ForgetsWaiters>(&[EXCLUSIVE, EXCLUSIVE]);
}
