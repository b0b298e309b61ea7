//! A SCSI direct-access block device (SAM-5, SPC-4, SBC-3) without any I/O.
//!
//! The crate decides; its driver moves the bytes. A command goes through
//!
//! 1. [`LogicalUnit::begin`]: decode, checks, unit attentions, reservations: gives a [`Task`], then
//! 2. [`Task::step`], again and again: each [`Step`] is an I/O request to the backend, whose [`Outcome`] is handed to the
//!    next call, until [`Step::Done`].
//!
//! No step blocks, none holds a buffer of its own. Overlapping ranges are ordered by the unit's range lock: a command over
//! many blocks holds those of one piece at a time, COMPARE AND WRITE all of its own to its end.
#![no_std]

#[cfg(test)]
extern crate std;

mod absent;
mod capabilities;
mod capacity;
mod cdb;
mod commands;
mod contract;
mod identity;
mod inquiry;
mod lun;
mod mode;
mod ports;
mod range;
mod reply;
mod report;
mod sense;
mod task;
#[cfg(test)]
mod tests;
mod unit;
mod vpd;
mod work;

pub use absent::{absent_unit, awaited_unit};
pub use capabilities::{Capabilities, Unmap};
pub use commands::{LONG_CDB, command_name};
pub use contract::{
    Buffers, Completion, IoError, NexusId, Outcome, REPLY_MAX, Step, StreamError, Streaming, Transfer, status,
};
pub use identity::{Identity, IdentityError, LUN_MAX, NAME_MAX};
pub use lun::lun_number;
pub use sense::SenseBytes;
pub use task::Task;
pub use unit::{LogicalUnit, Path, TransportFailure};
