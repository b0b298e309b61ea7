//! The unit as a whole, over a disk in memory that executes its steps.

mod bench;
mod data;
mod durable;
mod faults;
mod hostile;
mod nexus;
mod parameters;
mod ranges;
