//! `cargo xtask bench`: what iesp costs, beside Debian's tgt and beside the least that is possible.
//!
//! CPU time of the server an operation is what can be compared between machines; throughput and latency stand beside
//! it. All serve one file in memory; each round puts every load on each server in turn, in an order that rotates from round
//! to round. A server is started for one load and ends after it: what loads before it left in its memory (tgt's heap, once it
//! served many connections) would decide what this one costs.
//!
//! - `loads`: the table of loads and limits.
//! - `peers`: the servers.
//! - `sample`: one run of the load generator.
//! - `summary`: medians, ratios, verdicts.
//! - `print`: tables.
//! - `against`: two results compared.
//! - `compare`: iesp beside itself at a commit.

mod against;
mod compare;
mod istgt;
mod loads;
mod peers;
mod print;
mod sample;
mod summary;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use xtask_common::requirements;
use xtask_common::workspace::{self, build_binary};

use self::against::Kept;
use self::loads::{LOADS, Load};
use self::peers::{Peer, Server};
use self::sample::{Sample, Times, measure};
use self::summary::{LoadResult, check_proxy, summarise};
use crate::commit::Commit;
use crate::measure::{Interval, Machine, MemoryFolder, full_image};

/// More than so many percent of CPU time used by others make results doubtful.
const BUSY: f64 = 5.0;

/// The options of `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// How long to measure each load on each server in each round [default: 2, against a commit 1]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// How many rounds [default: 5, against a commit 15]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Only the loads whose name contains one of these, such as rr4k-32
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Which servers [default: all that are installed]
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Peer>,
    /// See that everything runs: one short round on a small disk, and missed limits are no failure
    #[arg(long, conflicts_with_all = ["seconds", "rounds"])]
    quick: bool,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the results in ci/bench under the name of the commit
    #[arg(long)]
    keep: bool,
    /// Compare iesp with itself at a commit, in turns, or with a result that was kept; fail when it became slower
    #[arg(long, value_name = "COMMIT|FILE")]
    against: Option<String>,
    /// Draw the results as PNG and SVG; the names of the pictures begin so
    #[arg(long, value_name = "PREFIX")]
    plots: Option<PathBuf>,
}

/// What is written as JSON.
#[derive(Serialize)]
struct Report<'a> {
    commit: &'a str,
    machine: &'a Machine,
    rounds: u32,
    seconds: f64,
    image_bytes: u64,
    loads: &'a [LoadResult],
}

/// How much is measured.
struct Scale {
    rounds: u32,
    times: Times,
    image_bytes: u64,
}

impl Scale {
    /// What the command line says: with `--quick` so many rounds; without, these are the defaults.
    fn of(args: &BenchArgs, quick_rounds: u32, rounds: u32, seconds: f64) -> Result<Self> {
        if args.quick {
            let times = Times { warm_up: 0.1, measure: 0.3 };
            return Ok(Scale { rounds: quick_rounds, times, image_bytes: 128 << 20 });
        }
        let measure = args.seconds.unwrap_or(seconds);
        if !(measure > 0.0 && measure <= 3600.0) {
            bail!("--seconds is {measure}; it has to be more than 0 and at most 3600");
        }
        let times = Times { warm_up: 0.3, measure };
        Ok(Scale { rounds: args.rounds.unwrap_or(rounds), times, image_bytes: 1 << 30 })
    }
}

/// For each server, its samples in the order of the rounds.
type PeerSamples = Vec<(Peer, Vec<Sample>)>;

/// Runs the benchmark and prints the tables.
///
/// # Errors
/// Something does not build or run; or a wanted limit is missed.
pub fn run(args: &BenchArgs) -> Result<()> {
    let loads = chosen(&args.only)?;
    let against = match args.against.as_deref() {
        Some(name) if !Path::new(name).is_file() => return against_commit(args, &Commit::find(name)?, &loads),
        Some(file) => Some(Kept::read(Path::new(file))?),
        None => None,
    };
    let servers = distinct(&if args.servers.is_empty() { installed() } else { args.servers.clone() });
    let scale = Scale::of(args, 1, 5, 2.0)?;
    let programs = servers.iter().map(|peer| Ok((*peer, peer.program()?))).collect::<Result<Vec<_>>>()?;
    let generator = build_binary("iesp-testkit", "iscsi-load", true)?;

    let machine = Machine::look();
    println!("{} CPUs, {}, Linux {}", machine.cpus, machine.model, machine.kernel);
    warn_if_busy(&machine);
    let folder = MemoryFolder::new()?;
    let image = folder.path().join("disk");
    full_image(&image, scale.image_bytes)?;
    let samples = all_rounds(&loads, &programs, &generator, &scale, (&image, &folder))?;
    let mut results: Vec<LoadResult> =
        loads.iter().zip(&samples).map(|(load, samples)| summarise(load, samples)).collect();
    if let Some((name, check)) = check_proxy(&results)
        && let Some(result) = results.iter_mut().find(|result| result.load == name)
    {
        result.checks.push(check);
    }
    println!("{}", print::table(&results));
    println!(
        "Medians of {} rounds of {} s (least..most); ratios are taken within a round.",
        scale.rounds, scale.times.measure
    );
    let (rounds, seconds, commit) = (scale.rounds, scale.times.measure, commit_name());
    let report =
        Report { commit: &commit, machine: &machine, rounds, seconds, image_bytes: scale.image_bytes, loads: &results };
    let text = serde_json::to_string_pretty(&report)? + "\n";
    let kept = args.keep.then(|| workspace::root().join("ci/bench").join(format!("{commit}.json")));
    // Pictures are made of a file.
    let drawn = args.plots.as_ref().map(|_| folder.path().join("results.json"));
    for file in args.json.iter().chain(&kept).chain(&drawn) {
        let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(file, &text));
        written.with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &kept {
        println!("kept: {}", file.display());
    }
    if let (Some(prefix), Some(file)) = (&args.plots, &drawn) {
        draw(file, prefix)?;
    }
    let compared = against.map_or(Ok(()), |kept| kept.compare(&results, &machine, !args.quick));
    verdict(&results, args.quick)?;
    compared
}

/// Measures iesp beside itself at a commit.
fn against_commit(args: &BenchArgs, commit: &Commit, loads: &[&Load]) -> Result<()> {
    if args.keep || args.plots.is_some() || !args.servers.is_empty() {
        bail!("--keep, --plots and --servers are not for --against COMMIT, which measures iesp alone, twice");
    }
    let scale = Scale::of(args, Interval::LEAST_ROUNDS, 15, 1.0)?;
    if scale.rounds < Interval::LEAST_ROUNDS {
        bail!("an interval takes at least {} rounds", Interval::LEAST_ROUNDS);
    }
    let now = Peer::Iesp.program()?;
    let generator = build_binary("iesp-testkit", "iscsi-load", true)?;
    compare::run(commit, loads, &scale, (&generator, &now), args.json.as_deref(), !args.quick)
}

fn warn_if_busy(machine: &Machine) {
    if machine.busy_before > BUSY {
        println!(
            "The machine is not idle: {:.0} % of its CPU time was used before the first load.",
            machine.busy_before
        );
    }
}

/// Every server that there is a program for.
fn installed() -> Vec<Peer> {
    let has = |peer: &Peer| match peer {
        Peer::Istgt => {
            let missing = requirements::missing_for(&[requirements::Part::Istgt]);
            if let Some(what) = missing.first() {
                println!("istgt is left out: {what} is not installed; `cargo xtask setup` installs it");
            }
            missing.is_empty()
        }
        Peer::IespNbd => {
            let there = workspace::find_program("nbdkit").is_some();
            if !there {
                println!("iesp on NBD is left out: nbdkit is not installed; `cargo xtask setup` installs it");
            }
            there
        }
        _ => true,
    };
    Peer::value_variants().iter().copied().filter(has).collect()
}

/// The short name of the commit that is measured; with changes that are not committed it says so.
fn commit_name() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).current_dir(workspace::root()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let name = git(&["rev-parse", "--short", "HEAD"]);
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
    let name = if name.is_empty() { "unknown".to_owned() } else { name };
    if changed { format!("{name}-changed") } else { name }
}

/// Has testkit's `plot` draw the results.
fn draw(results: &Path, prefix: &Path) -> Result<()> {
    let plot = build_binary("iesp-testkit", "plot", true)?;
    if let Some(folder) = prefix.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let status = std::process::Command::new(plot).arg(results).arg("-o").arg(prefix).status();
    if !status.context("plot cannot be started")?.success() {
        bail!("the results could not be drawn");
    }
    Ok(())
}

/// The rounds: for each load, each server's samples. They serve the image, and their logs are in the folder.
fn all_rounds(
    loads: &[&Load],
    programs: &[(Peer, PathBuf)],
    generator: &Path,
    scale: &Scale,
    (image, folder): (&Path, &MemoryFolder),
) -> Result<Vec<PeerSamples>> {
    let none = || programs.iter().map(|(peer, _)| (*peer, Vec::new())).collect::<PeerSamples>();
    let mut samples: Vec<PeerSamples> = loads.iter().map(|_| none()).collect();
    for round in 0..scale.rounds {
        for (index, load) in loads.iter().enumerate() {
            eprintln!("round {} of {}: {}", round + 1, scale.rounds, load.about);
            for turn in 0..programs.len() {
                let place = (turn + round as usize) % programs.len();
                let (peer, program) = &programs[place];
                let server = Server::start(*peer, program, image, &folder.folder(peer.name())?)?;
                let sample = measure(generator, load, &server, scale.times, u64::from(round) + 1, folder.path())
                    .with_context(|| format!("{} under {}", peer.name(), load.about))?;
                server.stop().with_context(|| format!("{} did not end well", peer.name()))?;
                samples[index][place].1.push(sample);
            }
        }
    }
    Ok(samples)
}

/// Prints what is held against the limits, and fails when one is missed.
fn verdict(results: &[LoadResult], quick: bool) -> Result<()> {
    let Some(table) = print::verdicts(results) else {
        println!("No limit could be checked: iesp and one of tgt and yardstick are needed.");
        return Ok(());
    };
    println!("{table}");
    let checks = results.iter().flat_map(|result| &result.checks);
    let (all, missed) = (checks.clone().count(), checks.filter(|check| !check.met).count());
    match missed {
        0 => println!("All {all} limits are met."),
        _ if quick => println!("{missed} of {all} limits are missed; such a short run proves nothing."),
        _ => bail!("{missed} of {all} limits are missed"),
    }
    Ok(())
}

fn chosen(only: &[String]) -> Result<Vec<&'static Load>> {
    let wanted = |load: &&Load| only.is_empty() || only.iter().any(|part| load.name.contains(part.as_str()));
    let loads: Vec<&Load> = LOADS.iter().filter(wanted).collect();
    if loads.is_empty() {
        let names: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
        bail!("no load is called {}; there are {}", only.join(" or "), names.join(", "));
    }
    Ok(loads)
}

fn distinct(peers: &[Peer]) -> Vec<Peer> {
    let mut distinct = Vec::new();
    for peer in peers {
        if !distinct.contains(peer) {
            distinct.push(*peer);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_chosen_by_a_part_of_their_name() {
        let names = |only: &[&str]| -> Vec<&str> {
            let only: Vec<String> = only.iter().map(|part| (*part).to_owned()).collect();
            chosen(&only).map(|loads| loads.iter().map(|load| load.name).collect()).unwrap_or_default()
        };
        assert_eq!(names(&[]).len(), LOADS.len());
        assert_eq!(names(&["256k"]), ["sr256k-8", "sw256k-8"]);
        assert_eq!(names(&["rr4k-128", "c16"]), ["rr4k-128", "rr4k-32-c16"]);
        assert_eq!(names(&["nothing"]), Vec::<&str>::new());
    }

    #[test]
    fn a_server_named_twice_runs_once() {
        assert_eq!(distinct(&[Peer::Tgt, Peer::Iesp, Peer::Tgt]), [Peer::Tgt, Peer::Iesp]);
    }
}
