//! Power cuts of a host, made afterwards from a log of what reached its disk.
//!
//! QEMU's driver `blklogwrites` records each write, discard and flush of a virtual disk while [`crate::verify`] loads
//! a target on it with a journal. Any number of power cuts follow from the log: what was flushed before a cut is there,
//! of what was not any subset in any order, torn at sector boundaries.
//!
//! - [`block_log`]: the log's format.
//! - [`cut`]: where the cuts are, and what outlives each, from one seed.
//! - [`disk`]: a disk in memory whose last changes can be taken back.
//! - [`replay`]: makes the disk of a cut.
//! - [`check`]: holds the disks of many cuts against the journal.
//! - [`cli`]: the program `power-cuts`.

pub mod block_log;
pub mod check;
pub mod cli;
pub mod cut;
pub mod disk;
pub mod replay;
