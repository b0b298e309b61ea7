//! What is tested and measured: a disk that reads, writes, flushes, discards and zeroes.
//!
//! One trait, several kinds behind it: a file, a block device, a disk over iSCSI, a disk in RAM, and a wrapper that
//! does one of them wrong on purpose. [`open()`] takes the text that a user wrote and gives the device.

pub mod buffer;
pub mod fault_spec;
pub mod faulty;
pub mod file;
pub mod guard;
pub mod iscsi;
mod line;
pub mod memory;
pub mod open;

use std::io;
use std::sync::Arc;

pub use open::{Access, Direct, OpenError, open};

/// What a read returns from a range that was discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Zeros, always.
    Zeros,
    /// Anything: the old data, zeros, or something else (BLKDISCARD; SBC-3 4.7.4.4 with LBPRZ 0).
    Anything,
}

/// How a device discards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discard {
    /// Only ranges that are multiples of this, in bytes, are promised to be discarded; their edges may keep their data.
    pub granularity: u64,
    /// What whole granules read as afterwards.
    pub reads: Promise,
}

/// What a device is and can do. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The size of the disk.
    pub size: u64,
    /// Offsets and lengths of all calls must be multiples of this.
    pub logical_block: u32,
    /// Writes of this size and alignment do not need a read-modify-write in the device.
    pub physical_block: u32,
    /// `None` when the device cannot discard.
    pub discard: Option<Discard>,
    /// Whether [`Device::zero`] does more than an ordinary write would.
    pub zero: bool,
    /// The longest COMPARE AND WRITE, 0 when there is none.
    pub compare_and_write: u32,
}

/// What came of a [`Device::compare_and_write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// The data was as expected and has been replaced.
    Written,
    /// The data differed: nothing was written.
    Miscompare,
}

/// A disk. All calls may come from several threads at once; a call returns when the device has acknowledged it.
///
/// Offsets and lengths are bytes and multiples of [`Geometry::logical_block`].
pub trait Device: Send + Sync {
    /// What the device is and can do; it does not change while the device is open.
    fn geometry(&self) -> Geometry;

    /// Reads exactly `data.len()` bytes.
    ///
    /// # Errors
    /// What the device reports; [`io::ErrorKind::UnexpectedEof`] when the range passes the end.
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data`. With `fua` the data is on stable storage when the call returns.
    ///
    /// # Errors
    /// What the device reports: the range then holds old data, new data, or some of each.
    fn write(&self, offset: u64, data: &[u8], fua: bool) -> io::Result<()>;

    /// Brings every write that was acknowledged before this call to stable storage.
    ///
    /// # Errors
    /// What the device reports: nothing is known to be stable then.
    fn flush(&self) -> io::Result<()>;

    /// Discards a range; [`Discard`] says what it reads as afterwards.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where [`Geometry::discard`] is `None`; else what the device reports.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes a range read as zeros, by a command of its own where there is one.
    ///
    /// # Errors
    /// What the device reports.
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Replaces `expected` by `new` at once if the device holds `expected` (SBC-3 5.2, COMPARE AND WRITE).
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where [`Geometry::compare_and_write`] is 0; else what the device reports.
    fn compare_and_write(&self, _offset: u64, _expected: &[u8], _new: &[u8]) -> io::Result<Compared> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Another connection to the same disk for another thread, where one connection would be the bottleneck.
    ///
    /// `None`: this device serves several threads as it is.
    ///
    /// # Errors
    /// What the new connection met.
    fn another(&self) -> io::Result<Option<Arc<dyn Device>>> {
        Ok(None)
    }

    /// Most commands that were in flight at once, where a connection that several threads share counts them.
    fn most_in_flight(&self) -> Option<usize> {
        None
    }
}

/// Checks that `[offset, offset + len)` lies on the device; used by the kinds of devices that are made here.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when it does not.
pub fn check_range(size: u64, offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{len} bytes at {offset} pass the end of the disk ({size} bytes)"),
        )),
    }
}
