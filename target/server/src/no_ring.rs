//! Where there is no io_uring: disk threads wait for devices.

use std::fs::File;
use std::io;

use crate::pool::Job;

/// It is not.
///
/// # Errors
/// Always.
pub fn available() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Does nothing.
///
/// # Errors
/// Always.
pub fn start() -> io::Result<()> {
    available()
}

/// Does nothing.
pub const fn end() {}

/// Gives the job back.
///
/// # Errors
/// The job.
pub const fn submit(job: Job, _: &File, _: bool) -> Result<(), Job> {
    Err(job)
}
