//! The real program on loopback, and an initiator that talks to it.
#![allow(dead_code)] // Each test program uses a part of it.

pub mod cdb;
pub mod client;
#[path = "../../../iscsi/tests/initiator/mod.rs"]
pub mod initiator;
pub mod process;

pub use client::Client;
pub use process::Iesp;
