//! What boards without a HAL crate share: one loop that runs the program and sleeps, and the time for `embassy-time`.
//!
//! No interrupt is ever taken. An enabled interrupt that becomes pending ends the sleep ([`Machine::sleep`]), and then
//! everything is polled. So there is no handler that could race with anything, and a critical section has nothing to do.

#![no_std]

mod emulated;
mod load;
mod register;
mod serial;
mod time;

use core::pin::Pin;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, RawWaker, RawWakerVTable, Waker};

pub use emulated::{EmulatedCard, WeakRandom};
use iesp_firmware::net::services::Health;
pub use register::Register;
pub use serial::Serial;

/// What the loop needs of the machine.
pub trait Machine: Sync {
    /// Microseconds since the start. It is called at least once a second.
    fn now_us(&self) -> u64;

    /// Sleeps until that time, or until a device has something; returns at once when it has it already.
    fn sleep(&self, until_us: u64);
}

/// What a board knows of itself, for SNMP: its heap, in bytes, is the RAM that is not given away for good.
pub fn health(architecture: &'static str, heap: usize, free: usize) -> Health {
    Health {
        cpu_percent: load::busy_percent(),
        ram: Some(heap as u32),
        free_ram: Some(free as u32),
        architecture,
        ..Health::default()
    }
}

/// Whether the network and the program have to be polled before the next sleep. One for each: the program wakes the network
/// whenever it is polled, and would never let the board sleep if that woke the program, too.
static NETWORK: AtomicBool = AtomicBool::new(false);
static PROGRAM: AtomicBool = AtomicBool::new(false);

/// Runs the network and the program on this machine. Both stay where they are: a board has no room for two of them.
pub fn run(machine: &'static dyn Machine, mut network: Pin<&mut impl Future>, mut program: Pin<&mut impl Future>) -> ! {
    time::begin(machine);
    let (network_waker, program_waker) = (waker(&NETWORK), waker(&PROGRAM));
    let mut load = load::Load::default();
    loop {
        // Neither ever ends.
        PROGRAM.store(false, Ordering::Relaxed);
        poll_apart(program.as_mut(), &program_waker);
        NETWORK.store(false, Ordering::Relaxed);
        poll_apart(network.as_mut(), &network_waker);
        let now = machine.now_us();
        let next = time::next(now);
        if !PROGRAM.load(Ordering::Relaxed) && !NETWORK.load(Ordering::Relaxed) {
            machine.sleep(next);
            load.slept(now, machine.now_us());
        }
    }
}

/// Never part of its caller: while one of the two runs, the stack has nothing of the other.
#[inline(never)]
fn poll_apart(future: Pin<&mut impl Future>, waker: &Waker) {
    let _ = future.poll(&mut Context::from_waker(waker));
}

/// The waker that sets this flag.
fn waker(flag: &'static AtomicBool) -> Waker {
    // SAFETY: the table's functions take the pointer for such a flag, which is there for ever, and are safe on any thread.
    unsafe { Waker::new(ptr::from_ref(flag).cast(), &TABLE) }
}

/// One place in memory: wakers are the same where their tables are, and one that replaces another wakes that first.
static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, |_| {});

fn clone(flag: *const ()) -> RawWaker {
    RawWaker::new(flag, &TABLE)
}

fn wake(flag: *const ()) {
    // SAFETY: `waker` made it of a flag.
    unsafe { &*flag.cast::<AtomicBool>() }.store(true, Ordering::Relaxed);
}

/// For boards whose other crates bring no critical section of their own.
#[cfg(feature = "critical-section")]
struct NoInterrupts;
#[cfg(feature = "critical-section")]
critical_section::set_impl!(NoInterrupts);

// SAFETY: one core and no interrupt that is taken: nothing runs beside a critical section.
#[cfg(feature = "critical-section")]
unsafe impl critical_section::Impl for NoInterrupts {
    unsafe fn acquire() -> critical_section::RawRestoreState {}

    unsafe fn release(_: critical_section::RawRestoreState) {}
}
