//! The real program on loopback, and an initiator that talks to it.
#![allow(dead_code)] // Each test program uses a part of it.

pub mod cdb;
pub mod client;
pub mod process;

pub use client::Client;
pub use iesp_initiator as initiator;
pub use process::Iesp;
