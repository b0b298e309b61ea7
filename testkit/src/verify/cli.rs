//! `test-blockdevice`: from its command line to its exit code.

use std::fmt::Write;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use thiserror::Error;

use super::journal::{Events, Journal, JournalError};
use super::options::{DiscardReads, Options};
use super::plan::{Plan, PlanError};
use super::report::{About, Reporter, Style, describe};
use super::run::{Limits, Outcome, Report, run};
use super::worker::Paths;
use super::{crash, race};
use crate::device::{Access, Device, Direct, Geometry, OpenError, Promise, open};
use crate::size::{SizeError, parse_with_unit, short_size, show_size};

/// Verified.
const VERIFIED: u8 = 0;
/// Found a fault.
const FAULTY: u8 = 1;
/// Could not run.
const FAILED: u8 = 2;

/// Why a run could not begin.
#[derive(Debug, Error)]
pub enum CliError {
    /// The device.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The options do not go together.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The offset.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The journal that is to be checked.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Anything else that the system said.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Options that this device cannot fulfil.
    #[error("{0}")]
    Impossible(String),
}

/// Runs the program; what it says goes to standard output, why it cannot run to standard error.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    let code = match &options.verify_after_crash {
        Some(journal) => after_crash(options, journal),
        None => test(options),
    };
    ExitCode::from(code.unwrap_or_else(|error| {
        eprintln!("test-blockdevice: {error}");
        FAILED
    }))
}

fn test(options: &Options) -> Result<u8, CliError> {
    let device = open(&options.device, access(options, true))?;
    let plan = plan(options, &device.geometry())?;
    let second = match &options.second_path {
        // What the first path holds was looked at, and it is the same disk.
        Some(spec) => Some(open(spec, Access { destroy: true, ..access(options, true) })?),
        None => None,
    };
    if let Some(second) = second.as_ref().filter(|second| second.geometry().size != device.geometry().size) {
        let (one, other) = (device.geometry().size, second.geometry().size);
        return Err(CliError::Impossible(format!("the two paths lead to disks of {one} and {other} bytes")));
    }
    let interrupt = crate::signals::interrupt()
        .map_err(|source| CliError::Io { what: "cannot catch signals".to_owned(), source })?;
    let about = About {
        device: options.device.clone(),
        plan,
        command: command(options, &plan),
        log_folder: options.log_dir.clone(),
    };
    if options.caw_race {
        return caw_race(options, &plan, &device, &interrupt, about);
    }
    let journal = match &options.journal {
        Some(path) => {
            let begun = Journal::create(path, &plan, options.journal_sync, options.block_log.as_deref());
            let what = || format!("cannot begin the journal {}", path.display());
            Some(begun.map_err(|source| CliError::Io { what: what(), source })?)
        }
        None => None,
    };
    let write = for_each(options, &device, plan.workers)?;
    let read = match &second {
        Some(second) => for_each(options, second, plan.workers)?,
        None => write.clone(),
    };
    let connections = [&write[..], &read].concat();
    let paths = write.into_iter().zip(read).map(|(write, read)| Paths { write, read }).collect();
    let mut reporter = Reporter::new(about, style(options));
    let mut outcome = run(&plan, &limits(options), paths, journal.as_ref(), &interrupt, &mut reporter);
    outcome.most_in_flight = connections.iter().filter_map(|device| device.most_in_flight()).min();
    reporter.finished(&outcome);
    Ok(exit_code(&outcome))
}

fn caw_race(
    options: &Options,
    plan: &Plan,
    device: &Arc<dyn Device>,
    interrupt: &AtomicBool,
    about: About,
) -> Result<u8, CliError> {
    if device.geometry().compare_and_write < plan.block_size {
        let most = device.geometry().compare_and_write;
        return Err(CliError::Impossible(format!(
            "{} takes COMPARE AND WRITE of at most {most} bytes: it needs an iSCSI target that has it, and -b {}",
            options.device,
            device.geometry().logical_block
        )));
    }
    let devices = for_each(options, device, plan.workers)?;
    let distance = race::Distance { ops: options.ops, time: limits(options).time };
    let mut reporter = Reporter::new(about, style(options));
    let outcome = race::run(plan, distance, &devices, interrupt)
        .map_err(|source| CliError::Io { what: "cannot prepare the race".to_owned(), source })?;
    outcome.findings.iter().for_each(|finding| reporter.finding(finding));
    reporter.finished(&outcome);
    Ok(exit_code(&outcome))
}

fn after_crash(options: &Options, journal: &Path) -> Result<u8, CliError> {
    let events = Events::read(journal)?;
    if options.until.is_some() && !events.beside_log {
        let text = format!("{} was not written beside a block log: leave --until out", journal.display());
        return Err(CliError::Impossible(text));
    }
    let record = events.record(options.until);
    let plan = record.plan;
    let access = Access { alignment: u64::from(plan.block_size), ..access(options, false) };
    let device = open(&options.device, access)?;
    if device.geometry().size < plan.offset(plan.first_block + plan.blocks) {
        return Err(CliError::Impossible(format!("{} is smaller than the disk of the journal", options.device)));
    }
    let most = usize::try_from(options.max_faults).unwrap_or(usize::MAX);
    let result = crash::check(&record, &*device, options.atomic, most)
        .map_err(|source| CliError::Io { what: format!("cannot read {}", options.device), source })?;
    if options.json {
        println!("{}", serde_json::to_string(&result).unwrap_or_default());
    } else {
        result.findings.iter().for_each(|finding| println!("{}", describe(&plan, finding)));
        let c = result.census;
        println!(
            "{}. {} blocks of {}: {} flushed, {} written later and new, {} old, {} mixed, {} free. The journal has {} lines, seed {}.",
            if result.findings.is_empty() {
                "Verified".to_owned()
            } else {
                format!("FAULTY: {} faults", result.findings.len())
            },
            c.blocks,
            show_size(plan.block_size.into()),
            c.flushed,
            c.new,
            c.old,
            c.mixed,
            c.free,
            record.lines,
            plan.seed
        );
    }
    Ok(if result.findings.is_empty() { VERIFIED } else { FAULTY })
}

fn exit_code(outcome: &Outcome) -> u8 {
    match (&outcome.failure, outcome.findings.is_empty()) {
        (_, false) => FAULTY,
        (Some(_), true) => FAILED,
        (None, true) => VERIFIED,
    }
}

fn access(options: &Options, write: bool) -> Access {
    Access {
        write,
        destroy: options.yes_destroy_data,
        direct: options.direct,
        alignment: u64::from(options.block_size),
        shared: options.sessions.is_some(),
    }
}

/// A device for each worker: where one connection would be the bottleneck, one of its own, or one of as many as were asked for.
fn for_each(options: &Options, device: &Arc<dyn Device>, workers: u32) -> Result<Vec<Arc<dyn Device>>, CliError> {
    let mut devices = vec![Arc::clone(device)];
    for _ in 1..options.sessions.unwrap_or(workers).min(workers) {
        let another = device
            .another()
            .map_err(|source| CliError::Io { what: "cannot open another connection".to_owned(), source })?;
        devices.push(another.unwrap_or_else(|| Arc::clone(device)));
    }
    Ok(devices.iter().cycle().take(workers as usize).cloned().collect())
}

fn plan(options: &Options, geometry: &Geometry) -> Result<Plan, CliError> {
    let block = u64::from(options.block_size);
    let start = parse_with_unit(&options.offset, block)?;
    if !start.is_multiple_of(block) {
        return Err(CliError::Impossible(format!("the offset {} is no multiple of the block size", options.offset)));
    }
    let rest = geometry.size.checked_sub(start).filter(|rest| *rest >= block).ok_or_else(|| {
        let size = show_size(geometry.size);
        CliError::Impossible(format!("the offset {} leaves no block of the disk's {size}", options.offset))
    })?;
    let seed = options.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() & 0xffff_ffff_ffff);
    let plan = Plan {
        seed,
        block_size: options.block_size,
        first_block: start / block,
        blocks: options.limit.map_or(rest, |limit| limit.min(rest)) / block,
        max_blocks: options.max_blocks,
        workers: options.threads,
        unique_percent: options.unique_percent,
        trim_percent: options.trim_percent,
        flush_percent: options.flush_percent,
        fua_percent: options.fua_percent,
        verify_percent: options.verify_percent,
        seek_percent: options.seek_percent,
        discard_granule: granule(options, geometry)?,
    };
    plan.check()?;
    Ok(plan)
}

/// From how many blocks on a discard is promised to read as zeros; 0 when it is not.
fn granule(options: &Options, geometry: &Geometry) -> Result<u64, CliError> {
    let Some(discard) = geometry.discard else {
        return match options.trim_percent {
            0 => Ok(0),
            _ => Err(CliError::Impossible(format!("{} cannot discard: leave -T out", options.device))),
        };
    };
    let zeros = match options.discard_reads {
        DiscardReads::Device => discard.reads == Promise::Zeros,
        DiscardReads::Zeros => true,
        DiscardReads::Anything => false,
    };
    Ok(if zeros { discard.granularity.div_ceil(u64::from(options.block_size)) } else { 0 })
}

fn limits(options: &Options) -> Limits {
    Limits {
        ops: options.ops,
        time: options.seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
        full_coverage: options.till_covered,
        faults: options.max_faults,
        final_check: !options.no_final_check && options.journal.is_none(),
    }
}

fn style(options: &Options) -> Style {
    match (options.json, options.quiet) {
        (true, _) => Style::Json,
        (_, true) => Style::Quiet,
        _ if io::stderr().is_terminal() && io::stdout().is_terminal() => Style::Bar,
        _ => Style::Lines,
    }
}

/// The command line that makes the same operations; `--ops` is added to it.
fn command(options: &Options, plan: &Plan) -> String {
    let mut line = format!("test-blockdevice -d {}", quoted(&options.device));
    let _ = write!(line, " -b {} -m {} -u {}", plan.block_size, plan.max_blocks, plan.unique_percent);
    let _ = write!(line, " -n {} -T {} --seed {}", plan.workers, plan.trim_percent, plan.seed);
    let _ = write!(line, " -o {} -l {}", plan.first_block, size(plan.offset(plan.blocks)));
    let usual = Plan::new(0, 512, 1);
    for (name, value, default) in [
        ("flush-percent", plan.flush_percent, usual.flush_percent),
        ("fua-percent", plan.fua_percent, usual.fua_percent),
        ("verify-percent", plan.verify_percent, usual.verify_percent),
        ("seek-percent", plan.seek_percent, usual.seek_percent),
    ] {
        if value != default {
            let _ = write!(line, " --{name} {value}");
        }
    }
    match options.discard_reads {
        DiscardReads::Device => {}
        DiscardReads::Zeros => line.push_str(" --discard-reads zeros"),
        DiscardReads::Anything => line.push_str(" --discard-reads anything"),
    }
    match options.direct {
        Direct::Auto => {}
        Direct::On => line.push_str(" --direct on"),
        Direct::Off => line.push_str(" --direct off"),
    }
    if let Some(sessions) = options.sessions {
        let _ = write!(line, " --sessions {sessions}");
    }
    if let Some(second) = &options.second_path {
        let _ = write!(line, " --second-path {}", quoted(second));
    }
    if options.yes_destroy_data {
        line.push_str(" --yes-destroy-data");
    }
    line
}

/// A size that does not depend on what a plain number means.
fn size(bytes: u64) -> String {
    let short = short_size(bytes);
    if short.ends_with(|last: char| last.is_ascii_digit()) { short + "b" } else { short }
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    // A # within a word begins no comment.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.:_-=@,+#".contains(c);
    if !word.is_empty() && !word.starts_with('#') && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_command_makes_the_same_plan() {
        let line = "test-blockdevice -d ram:8M -b 1k -m 3 -u 20 -T 30 -n 5 -o 4k -l 1M --seed 99 --fua-percent 50";
        let options = Options::try_parse_from(line.split(' ')).unwrap();
        let geometry = crate::device::memory::Memory::new(8 << 20, 512).geometry();
        let plan = plan(&options, &geometry).unwrap();
        let again = command(&options, &plan);
        let parsed = Options::try_parse_from(again.split(' ')).unwrap();
        assert_eq!(super::plan(&parsed, &geometry).unwrap(), plan, "{again}");
    }

    #[test]
    fn words_for_the_shell() {
        assert_eq!(quoted("/dev/sda"), "/dev/sda");
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
    }
}
