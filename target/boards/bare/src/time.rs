//! The time for `embassy-time`: ticks are microseconds.

use core::cell::{Cell, RefCell};
use core::task::Waker;

use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use crate::Machine;

struct Time {
    machine: Mutex<Cell<Option<&'static dyn Machine>>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static TIME: Time = Time {
    machine: Mutex::new(Cell::new(None)),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for Time {
    fn now(&self) -> u64 {
        critical_section::with(|token| self.machine.borrow(token).get()).map_or(0, Machine::now_us)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|token| {
            self.queue.borrow(token).borrow_mut().schedule_wake(at, waker);
        });
    }
}

/// The time is this machine's from now on.
pub fn begin(machine: &'static dyn Machine) {
    critical_section::with(|token| TIME.machine.borrow(token).set(Some(machine)));
}

/// Wakes whoever waited for a time up to `now`; answers when the next one is due.
pub fn next(now: u64) -> u64 {
    critical_section::with(|token| TIME.queue.borrow(token).borrow_mut().next_expiration(now))
}
