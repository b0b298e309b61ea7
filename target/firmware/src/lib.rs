//! The board program, free of any one board (`no_std`, no heap).
//!
//! What a board has (an SPI bus, pins, a clock) comes in by `embedded-hal`'s traits and by the traits of this crate, so
//! that the same code runs on a board and in the simulator.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod clock;
pub mod sd;

pub use clock::Clock;
