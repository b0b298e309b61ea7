//! `cargo xtask nbd`: disks on NBD under `test-blockdevice`: on each server, over servers that are killed and servers that
//! fail, and by two paths at once.

mod runs;
mod verifier;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask_common::checks::{Checks, chosen};
use xtask_common::target::{Launch, Served};
use xtask_common::workspace;

use crate::nbd_server::{Kind, Server};

/// What `cargo xtask nbd` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Run only the checks whose name contains this
    #[arg(long, value_name = "PART")]
    filter: Option<String>,
    /// The iesp to test, instead of building it from this workspace
    #[arg(long, value_name = "PATH")]
    iesp: Option<PathBuf>,
    /// Build with optimisations: quicker, but without the checks for arithmetic overflow
    #[arg(long)]
    release: bool,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where and when servers are killed and fail, and what is written
    #[arg(long, value_name = "NUMBER", default_value_t = 20_260_101)]
    seed: u64,
    /// How often servers are killed
    #[arg(long, value_name = "N", default_value_t = 50)]
    kills: u32,
    /// How much each server's disk has, in MiB; all of it is written and read back
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    size: u64,
}

/// What the checks work with.
struct Bench<'a> {
    iesp: &'a Path,
    verifier: &'a Path,
    dir: PathBuf,
    seed: u64,
    kills: u32,
    bytes: u64,
}

/// A check: its name, what it does; it says what it saw.
type Check = (&'static str, fn(&Bench<'_>) -> Result<String>);

const CHECKS: &[Check] = &[
    ("nbdkit, verified to the last block", |bench| runs::verify(bench, Kind::Nbdkit)),
    ("qemu-nbd on qcow2, verified to the last block", |bench| runs::verify(bench, Kind::QemuNbd)),
    ("nbd-server, verified to the last block", |bench| runs::verify(bench, Kind::NbdServer)),
    ("two sessions with many in flight, replies out of order", runs::two_paths),
    ("killed under load, then all at once: what was flushed is there", runs::kills),
    ("delays and connections that fail: what was flushed is there", runs::faults),
    ("errors are told, and nothing else goes wrong", runs::errors),
];

/// Runs the checks.
///
/// # Errors
/// When they cannot be run, or when one of them fails.
pub fn run(args: &Args) -> Result<()> {
    let iesp = match &args.iesp {
        Some(iesp) => iesp.canonicalize().with_context(|| format!("no {}", iesp.display()))?,
        None => workspace::build_binary("iesp", "iesp", args.release)?,
    };
    let verifier = workspace::build_binary("iesp-testkit", "test-blockdevice", args.release)?;
    println!("nbd: seed {}", args.seed);
    let mut checks = Checks::new("nbd");
    let logs = workspace::build_dir().join("nbd");
    for (number, (name, check)) in chosen(CHECKS, |check| check.0, args.filter.as_deref())? {
        let dir = logs.join(format!("{number:02}"));
        let bench = Bench {
            iesp: &iesp,
            verifier: &verifier,
            dir: dir.clone(),
            seed: args.seed,
            kills: args.kills,
            bytes: args.size << 20,
        };
        let run = || {
            workspace::fresh_folder(&dir)?;
            let seen = check(&bench)?;
            std::fs::remove_dir_all(&dir)?;
            Ok(seen)
        };
        if !checks.case(name, run) {
            checks.say(&format!("  again: cargo xtask nbd --filter '{name}' --seed {}", args.seed));
        }
    }
    checks.conclude(args.json.as_deref(), &logs)
}

impl Bench<'_> {
    fn image(&self, kind: Kind) -> Result<PathBuf> {
        let image = self.dir.join("disk");
        kind.image(&image, self.bytes)?;
        Ok(image)
    }

    /// iesp in front of a server.
    fn serve(&self, server: &Server) -> Result<Served> {
        let url = server.url();
        let image = Path::new(&url);
        let launch = Launch {
            iesp: self.iesp,
            image,
            address: "127.0.0.1",
            // Nobody else writes to it.
            arguments: &[Server::arguments(), vec!["--nbd-shared=false".to_owned()]].concat(),
            chap: None,
            dir: &self.dir,
        };
        Served::start(&launch)
    }
}
