//! `cargo xtask vm failover`: the load of `vm fsx` while paths are taken away and come back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use qemu_launcher::Guest;
use xtask_common::checks::Checks;

use super::Common;
use super::fsx::FileSystem;
use super::programs;
use super::session::{self, NETWORKS, Run};
use crate::proxy::Proxy;
use crate::two_portals::Target;

/// What `cargo xtask vm failover` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// How often the whole list of faults is gone through
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Which faults
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Fault::value_variants().to_vec())]
    faults: Vec<Fault>,
    /// The file system
    #[arg(long, value_enum, default_value_t = FileSystem::Ext4)]
    fs: FileSystem,
    /// Begin with this older program, which the first restart upgrades
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Repeat a run's choices; without, they are the same in every run
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u32,
    #[command(flatten)]
    common: Common,
}

/// What happens to the paths, and to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Fault {
    /// The cable of a path is pulled
    Link,
    /// A portal takes no connections
    Portal,
    /// Connections are reset
    Reset,
    /// A portal is slow
    Slow,
    /// The target is killed and started again
    Kill,
    /// The target is stopped, as for an upgrade, and started again
    Restart,
    /// The target is killed once more when all is flushed, and nothing of it may be lost
    Power,
}

impl Fault {
    /// Its name in the guest's script.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How long one round of faults may take, on a busy machine.
const ROUND: Duration = Duration::from_secs(480);
/// The same for what is around them.
const AROUND: Duration = Duration::from_secs(420);
/// What a spoilt path's chunks wait.
const SLOW: Duration = Duration::from_millis(150);

/// What the initiator says when its path fails: the map above it has to hide that. Complaints of the map, of the file
/// system and of anything else stay complaints.
const EXPECTED: &[&str] = &[
    "detected conn error",
    "session recovery timed out",
    "ping timeout of",
    "rejecting I/O to offline device",
    "I/O error, dev sd",
    "Sense Key",
    // Linux 6.1's scheduler of a path's disk counts a request that was taken back when the path failed as one that never
    // ended, and says so when the disk goes: "statistics for priority 1: i 148 m 0 d 148 c 147".
    "block/mq-deadline.c",
];

/// Runs it.
///
/// # Errors
/// When the run cannot be made, or shows a fault.
pub fn run(args: &Args) -> Result<()> {
    let logs = args.common.log_folder("failover")?;
    let programs = vec![programs::fsx()?, programs::verifier()?];
    let iesp = args.common.iesp(&logs)?;
    let target = Target::start(args.from.as_ref().unwrap_or(&iesp), &logs, &[])?;
    let [first, second] = target.ports().map(|port| Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))));
    let mut bench = Bench { target, iesp, paths: [first?, second?] };
    let mut checks = Checks::new("vm failover");
    let run = Run {
        script: "failover.sh",
        ports: [bench.paths[0].port(), bench.paths[1].port()],
        programs,
        variables: vec![
            ("FS", args.fs.name().to_owned()),
            ("SEED", args.seed.to_string()),
            ("ROUNDS", args.rounds.to_string()),
            ("FAULTS", args.faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(" ")),
        ],
        limit: ROUND * args.rounds + AROUND,
        expected: EXPECTED,
        ..Run::default()
    };
    session::run(&run, &mut checks, &logs, |what, guest| bench.spoil(what, guest))?;
    checks.check("iesp stops as it is asked to", bench.target.stop());
    checks.conclude(args.common.json.as_deref(), &logs)
}

/// Runs it with the loss of power alone.
///
/// # Errors
/// As [`run`].
pub fn power_alone(common: Common) -> Result<()> {
    run(&Args { rounds: 1, faults: vec![Fault::Power], fs: FileSystem::Ext4, from: None, seed: 1, common })
}

/// What can be spoilt.
struct Bench {
    target: Target,
    /// What runs from the first restart on.
    iesp: PathBuf,
    paths: [Proxy; 2],
}

impl Bench {
    /// Does what the guest's script asks for.
    fn spoil(&mut self, what: &str, guest: &mut Guest) -> Result<()> {
        match what {
            // A dead process's ports refuse: so do the paths to them.
            "kill target" => {
                self.paths.iter_mut().for_each(Proxy::refuse);
                return self.target.kill();
            }
            "stop target" => {
                self.target.end()?;
                self.paths.iter_mut().for_each(Proxy::refuse);
                self.target.replace_program(&self.iesp);
                return Ok(());
            }
            "start target" => {
                self.target.serve()?;
                return self.paths.iter_mut().try_for_each(Proxy::open);
            }
            _ => {
                let (action, number) = what.rsplit_once(' ').with_context(|| what.to_owned())?;
                let index: usize = number.parse().with_context(|| what.to_owned())?;
                let path = self.paths.get_mut(index).with_context(|| format!("no path {number}"))?;
                let (card, _) = NETWORKS.get(index).with_context(|| format!("no network {number}"))?;
                match action {
                    "unplug" => guest.qmp().set_link(card, false)?,
                    "plug" => guest.qmp().set_link(card, true)?,
                    "close" => path.close(),
                    "open" => path.open()?,
                    "reset" => path.reset(),
                    "slow" => path.slow_down(SLOW),
                    "fast" => path.slow_down(Duration::ZERO),
                    _ => bail!("nobody here can {what}"),
                }
            }
        }
        Ok(())
    }
}
