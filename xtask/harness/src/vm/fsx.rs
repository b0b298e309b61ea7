//! `cargo xtask vm fsx`: two paths, a file system under two fsx, and the verifier.

use std::time::Duration;

use anyhow::{Result, bail};
use xtask_common::checks::Checks;

use super::Common;
use super::programs;
use super::session::{self, Run};
use crate::two_portals::Target;

/// What `cargo xtask vm fsx` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// How long the load runs
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    minutes: f64,
    /// The file system
    #[arg(long, value_enum, default_value_t = FileSystem::Ext4)]
    fs: FileSystem,
    /// Repeat a run's choices; without, they are the same in every run
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u32,
    #[command(flatten)]
    common: Common,
}

/// A file system in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FileSystem {
    /// With journal and discard
    Ext4,
    /// With discard
    Xfs,
}

impl FileSystem {
    /// Its name in the guest.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }
}

/// From the login to the load and from the load to the logout, in software emulation on a busy machine.
const AROUND: Duration = Duration::from_secs(360);

/// Runs it.
///
/// # Errors
/// When the run cannot be made, or shows a fault.
pub fn run(args: &Args) -> Result<()> {
    run_with(args, "")
}

/// Runs it with more options of the verifier's.
fn run_with(args: &Args, verifier_options: &str) -> Result<()> {
    let load = load_time(args.minutes)?;
    let logs = args.common.log_folder("fsx")?;
    let programs = vec![programs::fsx()?, programs::verifier()?];
    let target = Target::start(&args.common.iesp(&logs)?, &logs, &[])?;
    let mut checks = Checks::new("vm fsx");
    let run = Run {
        script: "fsx.sh",
        ports: target.ports(),
        programs,
        variables: vec![
            ("FS", args.fs.name().to_owned()),
            ("SEED", args.seed.to_string()),
            ("SECONDS_OF_LOAD", load.as_secs().to_string()),
            ("VERIFIER_OPTIONS", verifier_options.to_owned()),
        ],
        limit: load + AROUND,
        expected: &[],
        ..Run::default()
    };
    session::run(&run, &mut checks, &logs, |what, _| bail!("nobody here can {what}"))?;
    checks.check("iesp stops as it is asked to", target.stop());
    checks.conclude(args.common.json.as_deref(), &logs)
}

/// Runs it with a short load. The verifier keeps to a small part of its disk: it comes to each block again and again, also on
/// a machine that is too busy for much more.
///
/// # Errors
/// As [`run`].
pub fn briefly(common: Common) -> Result<()> {
    run_with(&Args { minutes: 0.3, fs: FileSystem::Ext4, seed: 1, common }, "--limit 4M")
}

/// The load's time: at least ten seconds, or it shows nothing.
///
/// # Errors
/// When it is less, or no number.
pub fn load_time(minutes: f64) -> Result<Duration> {
    match Duration::try_from_secs_f64(minutes * 60.0) {
        Ok(time) if time >= Duration::from_secs(10) => Ok(time),
        _ => bail!("--minutes takes 0.2 and more"),
    }
}
