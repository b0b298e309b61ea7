//! An iSCSI target (RFC 7143) without I/O: no socket, no clock, no random source, no heap.
//!
//! [`connection::Connection`] is the whole of it: bytes go in, events and bytes come out. It knows no SCSI command: a CDB
//! is sixteen opaque bytes for a logical unit. Time and randomness are arguments.
#![no_std]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

#[cfg(test)]
extern crate std;

pub mod chap;
pub mod connection;
pub mod digest;
pub mod discovery;
pub mod keys;
pub mod login;
pub mod outbox;
pub mod params;
pub mod pdu;
pub mod text;

pub use connection::{Close, Collect, Command, CommandFault, Connection, Event, Received, TaskId, Timeouts};
pub use outbox::Outbox;
pub use params::{Limits, Parameters};
