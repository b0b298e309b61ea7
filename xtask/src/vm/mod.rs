//! `cargo xtask vm …`: a real Linux, in a virtual machine, as the initiator.

mod checks;
mod fsx;
mod image;
mod kernel_log;
mod programs;
mod serve;
mod session;

use anyhow::Result;
use clap::Subcommand;

/// What `cargo xtask vm` can do.
#[derive(Subcommand, Debug, Clone)]
pub enum Task {
    /// Make the guest from Debian's packages; it is kept in the user's cache folder
    Image(image::Args),
    /// Two paths by multipath, a file system under two fsx, the verifier on a second LUN
    Fsx(fsx::Args),
}

/// Does it.
///
/// # Errors
/// When the guest cannot be made or started, or what it did is not what it should be.
pub fn run(task: &Task) -> Result<()> {
    match task {
        Task::Image(args) => image::run(args),
        Task::Fsx(args) => fsx::run(args),
    }
}
