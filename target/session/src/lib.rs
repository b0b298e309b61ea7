//! What lies between an iSCSI connection and a logical unit, once for hosts and boards: no socket,
//! no clock, no heap.
//!
//! `iesp-iscsi` knows what belongs to one connection, `iesp-scsi` what belongs to a logical unit.
//! This crate knows the tasks of a session, their order, and who waits for whom. Drivers keep
//! sockets, buffers and the calls of backends.

#![no_std]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod early;
mod management;
mod memory;
mod tasks;
mod turn;

pub use early::{Early, NoRoom};
pub use management::{DATA_LIMIT, Decision, Effect, Management, Quiet, Scope};
pub use memory::Share;
pub use tasks::{Places, Tasks};
pub use turn::Turn;
