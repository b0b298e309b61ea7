//! What files can do on every system, for those where nothing more is asked of them: the page cache cannot be asked there
//! what it holds, so that every read and write is a disk thread's.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::LazyLock;
use std::time::Instant;

/// Its size in bytes.
pub fn len(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

/// It is not asked.
pub fn is_in_memory(_: &File) -> bool {
    false
}

/// The page cache cannot be asked: [`ErrorKind::Unsupported`].
#[inline]
pub fn read_cached(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    Err(ErrorKind::Unsupported.into())
}

/// As [`read_cached`].
#[inline]
pub fn write_cached(_: &File, _: &[u8], _: u64) -> io::Result<usize> {
    Err(ErrorKind::Unsupported.into())
}

/// Zeros that keep their space are written: [`ErrorKind::Unsupported`].
pub fn zero(_: &File, _: u64, _: u64) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// The system reads ahead by itself.
pub fn prefetch(_: &File, _: u64, _: u64) {}

/// A clock of milliseconds.
#[inline]
pub fn tick() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_millis() as u64
}
