//! `cargo xtask vm …`: a real Linux, in a virtual machine, as the initiator.

mod boot;
mod checks;
mod failover;
mod fsx;
mod image;
mod kernel_log;
mod programs;
mod proxy;
mod serve;
mod session;
mod sg3;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;

use crate::workspace;

/// What `cargo xtask vm` can do.
#[derive(Subcommand, Debug, Clone)]
pub enum Task {
    /// Make the guest from Debian's packages; it is kept in the user's cache folder
    Image(image::Args),
    /// Two paths by multipath, a file system under two fsx, the verifier on a second LUN
    Fsx(fsx::Args),
    /// sg3-utils, and what the kernel sees: thin, discard, 512e, the write cache
    Sg3(sg3::Args),
    /// The same load as fsx while paths are taken away and come back
    Failover(failover::Args),
    /// A guest without a disk boots from the target: iPXE, GRUB, root on the LUN; BIOS and UEFI
    Boot(boot::Args),
}

/// What all runs can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Common {
    /// Test this program, which takes iesp's arguments, instead of building iesp
    #[arg(long, value_name = "FILE")]
    iesp: Option<PathBuf>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Common {
    /// The target's program.
    ///
    /// # Errors
    /// When it does not build.
    fn iesp(&self) -> Result<PathBuf> {
        match &self.iesp {
            Some(program) => Ok(program.clone()),
            None => workspace::build_binary("iesp", "iesp", true),
        }
    }
}

/// Does it.
///
/// # Errors
/// When the guest cannot be made or started, or what it did is not what it should be.
pub fn run(task: &Task) -> Result<()> {
    let needs_qemu = !matches!(task, Task::Image(_));
    if needs_qemu && workspace::find_program("qemu-system-x86_64").is_none() {
        bail!(
            "qemu-system-x86_64 is not installed (Debian: qemu-system-x86); `cargo xtask vm boot` needs ipxe-qemu and ovmf, too"
        );
    }
    match task {
        Task::Image(args) => image::run(args),
        Task::Fsx(args) => fsx::run(args),
        Task::Sg3(args) => sg3::run(args),
        Task::Failover(args) => failover::run(args),
        Task::Boot(args) => boot::run(args),
    }
}
