//! The unit as a whole, over a disk in memory that executes its steps.

mod actors;
mod bench;
mod data;
mod durable;
mod faults;
mod hostile;
mod nexus;
mod parameters;
mod pieces;
mod ranges;
