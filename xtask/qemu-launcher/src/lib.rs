//! Starts and stops QEMU for tests: a guest's consoles, its machine protocol, its verdict, and an end in every case.
//!
//! - [`Machine`] is what to start, or a [`Board`] of another kind of processor. [`Machine::start`] and [`Board::start`] answer
//!   with a running [`Guest`].
//! - A [`Console`] collects what comes over a serial line, into a log file and for those who wait for a line.
//! - [`Qmp`] speaks QEMU's machine protocol: JSON lines over a Unix socket.
//! - [`Guest::conclude`] waits for the end and gives a [`Verdict`]: a pass is an exit status of 0 *and* the line that the
//!   guest says last, for a guest that resets or is powered off ends with status 0 as well.
//! - KVM is used only where it works ([`Accelerator`]): a `/dev/kvm` that can be opened is no proof.
//!
//! A dropped [`Guest`] is killed by its process id; should the program that started it be killed, the kernel ends it.
#![cfg(unix)]

mod accelerator;
mod board;
mod console;
mod error;
mod guest;
mod machine;
mod qmp;
mod verdict;

pub use accelerator::Accelerator;
pub use board::{Board, Transport};
pub use console::{Console, Lines, Waited};
pub use error::LaunchError;
pub use guest::Guest;
pub use machine::{Firmware, Machine, Network};
pub use qmp::{Qmp, QmpError};
pub use verdict::Verdict;
pub use xtask_process::Ended;
