//! A board's surroundings on a PC, in virtual time: what a seed decides happens again with the same seed.
//!
//! [`card`] is an SD card as its SPI pins show it, [`slot`] the bus, the chip select pin and the clock that a board
//! reaches it by; [`network`] is a wire, [`time`] the time of a thread and the tasks in it, [`board`] a board that runs the
//! firmware as it is; [`node`] is its target by itself, with as many connections as a run wants.

#![deny(unsafe_code)]

mod arrivals;
pub mod board;
pub mod card;
pub mod datagrams;
mod dhcp;
pub mod gateway;
pub mod host;
pub mod image;
pub mod network;
pub mod node;
pub mod parts;
pub mod slot;
pub mod time;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a future of simulated hardware to its end.
///
/// # Panics
/// When the future waits: time is virtual, so nothing that it could wait for would ever come.
pub fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future of simulated hardware waits for something outside"),
    }
}
