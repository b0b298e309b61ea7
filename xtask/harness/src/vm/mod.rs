//! `cargo xtask vm …`: a real Linux, in a virtual machine, as the initiator.

mod boot;
mod failover;
mod fsx;
mod image;
mod kernel_log;
mod plants;
mod powercut;
mod programs;
mod session;
mod sg3;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use xtask_common::{requirements, workspace};

use crate::faults::Plant;

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
    /// Power cuts of a host by the thousand, on a raw disk and on file systems: what was flushed is there
    Powercut(powercut::Args),
    /// Each run against a target with a fault, which it has to find
    Plants(plants::Args),
}

/// What all runs can be told.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Common {
    /// Test this program, which takes iesp's arguments, instead of building iesp
    #[arg(long, value_name = "FILE")]
    iesp: Option<PathBuf>,
    /// Put this fault into the target: the run has to fail
    #[arg(long, value_enum, value_name = "FAULT")]
    plant: Option<Plant>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Common {
    /// The target's program; `logs` is the run's folder.
    ///
    /// # Errors
    /// When it does not build.
    fn iesp(&self, logs: &Path) -> Result<PathBuf> {
        let iesp = match &self.iesp {
            Some(program) => program.canonicalize().with_context(|| format!("no {}", program.display()))?,
            None => workspace::build_binary("iesp", "iesp", true)?,
        };
        match self.plant {
            Some(plant) => plant.program(&iesp, logs),
            None => Ok(iesp),
        }
    }

    /// Makes the folder of the logs of the run of this name anew; a run with a fault has one of its own.
    ///
    /// # Errors
    /// When it cannot be made.
    fn log_folder(&self, run: &str) -> Result<PathBuf> {
        match self.plant {
            Some(plant) => session::log_folder(&format!("{run}-{}", plant.name())),
            None => session::log_folder(run),
        }
    }
}

/// Does it.
///
/// # Errors
/// When the guest cannot be made or started, or what it did is not what it should be.
pub fn run(task: &Task) -> Result<()> {
    let missing = requirements::missing_for(match task {
        Task::Image(_) => &[],
        Task::Boot(_) | Task::Plants(_) => &[requirements::Part::Guest, requirements::Part::Boot],
        _ => &[requirements::Part::Guest],
    });
    if !missing.is_empty() {
        bail!("not installed: {}; `cargo xtask setup` installs it", missing.join(", "));
    }
    match task {
        Task::Image(args) => image::run(args),
        Task::Fsx(args) => fsx::run(args),
        Task::Sg3(args) => sg3::run(args),
        Task::Failover(args) => failover::run(args),
        Task::Boot(args) => boot::run(args),
        Task::Powercut(args) => powercut::run(args),
        Task::Plants(args) => plants::run(args),
    }
}
