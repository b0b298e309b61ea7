//! The board program, free of any one board (`no_std`, no heap but for the feature `snmp`).
//!
//! What a board has (an SPI bus, pins, a clock) comes in by `embedded-hal`'s traits and by the traits of this crate, so
//! that the same code runs on a board and in the simulator.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

#[cfg(feature = "snmp")]
extern crate alloc;

pub mod board;
pub mod card;
mod clock;
pub mod config;
mod cut;
pub mod display;
pub mod extents;
pub mod flash;
pub mod last_words;
pub mod log;
pub mod memory;
pub mod net;
pub mod pins;
mod run;
pub mod sd;
pub mod store;
pub mod target;
pub mod volume;

pub use board::Board;
pub use card::Card;
pub use clock::{Clock, TimeClock};
pub use run::{Extras, PORT, Parts, Stage, run, run_with};
pub use target::Target;
