//! An SNMP agent without I/O: no socket, no clock, no random source; it needs a heap, and no `std`.
//!
//! [`objects`] is the one definition of what there is, on hosts and boards: names, types, tables, and what each object
//! shows. Whoever has the numbers implements [`Values`]; [`Agent::answer`] makes the answer to a datagram. Versions 1
//! (RFC 1157), 2c (RFC 1901) and 3 (RFC 3412, with the user-based security model of RFC 3414) differ in the message
//! around the same PDUs.
#![no_std]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod agent;
mod community;
pub mod objects;
mod pdu;
#[cfg(test)]
mod tests;
pub mod usm;
mod value;

pub use agent::{Agent, Config, Engine};
pub use value::{Value, Values};
