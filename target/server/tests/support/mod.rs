//! The real program on loopback, and an initiator that talks to it.
#![allow(dead_code, unused_imports)] // Each test program uses a part of it.

pub mod client;
pub mod process;

pub use client::Client;
pub use iesp_initiator::{self as initiator, cdb};
pub use process::Iesp;
