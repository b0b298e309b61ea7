//! What a board goes through.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use xtask_common::conformance::Report as Conformance;
use xtask_common::process::{Ended, Running, last_lines, run_logged};
use xtask_common::report::{Tally, read_json};
use xtask_common::tasks::Program;
use xtask_common::workspace::{self, build_binary};

use crate::board::{Board, RULES, address};

/// One part of a run.
pub struct Trial {
    /// Its name on the command line and of its log.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Without it nothing after it can be done.
    pub needed: bool,
    /// Why this board cannot do it.
    pub unfit: fn(&Board) -> Option<&'static str>,
    /// Does it, with the run's folder and its log; answers with its results and a note.
    pub run: fn(&mut Board, &Path, &Path) -> Result<(Tally, String)>,
}

const ONE: Tally = Tally { passed: 1, failed: 0, skipped: 0 };

fn fits(_: &Board) -> Option<&'static str> {
    None
}

fn needs_power(board: &Board) -> Option<&'static str> {
    if board.has_power() { None } else { Some("the profile has no [power]") }
}

fn needs_program(board: &Board) -> Option<&'static str> {
    let nothing = board.profile.build.is_empty() && board.profile.flash.is_none();
    nothing.then_some("the profile has nothing to flash")
}

/// All parts, in their order.
pub static TRIALS: [Trial; 6] = [
    Trial { name: "flash", about: "the program gets onto the board", needed: true, unfit: needs_program, run: flash },
    Trial { name: "start", about: "the board comes up and serves", needed: true, unfit: fits, run: start },
    Trial {
        name: "conformance",
        about: "libiscsi's test-tool, but what the profile leaves out",
        needed: false,
        unfit: fits,
        run: conformance,
    },
    Trial { name: "verify", about: "what is written is read again", needed: false, unfit: fits, run: verify },
    Trial {
        name: "power",
        about: "what was flushed outlives the loss of power",
        needed: false,
        unfit: needs_power,
        run: power,
    },
    Trial { name: "speed", about: "it is as fast as the profile says", needed: false, unfit: fits, run: speed },
];

fn flash(board: &mut Board, _: &Path, log: &Path) -> Result<(Tally, String)> {
    Ok((ONE, board.flash(log)?))
}

fn start(board: &mut Board, _: &Path, log: &Path) -> Result<(Tally, String)> {
    let note = board.start(log)?;
    let segment = address::segment_length(board.address()?)?;
    let least = board.profile.limits.segment;
    ensure!(segment >= least, "it declares MaxRecvDataSegmentLength {segment}, the profile expects {least}");
    Ok((ONE, format!("{note}, with segments of {segment} bytes")))
}

fn conformance(board: &mut Board, dir: &Path, log: &Path) -> Result<(Tally, String)> {
    let json = dir.join("conformance.json");
    let mut command = Command::new(Program::Harness.build()?);
    command.current_dir(workspace::root());
    command.args(["conformance", "--against", &board.url()?, "--json"]).arg(&json);
    if let Some(name) = &board.profile.conformance.rules {
        command.args(["--rules", RULES, "--name", name]);
    }
    if board.profile.conformance.quick {
        command.arg("--quick");
    }
    command.args(board.profile.conformance.only.iter().flat_map(|pattern| ["--filter", pattern]));
    let timeout = board.profile.conformance.timeout.map(|seconds| seconds.to_string());
    command.args(timeout.iter().flat_map(|seconds| ["--timeout", seconds]));
    // It fails where a test does; which ones may is said in the profile.
    run_logged(&mut command, log, Duration::from_secs(7200))?;
    let report: Conformance = read_json(&json).with_context(|| last_lines(log, 3).join(" | "))?;
    let skip = &board.profile.conformance.skip;
    let tests = || report.disks.iter().flat_map(|disk| &disk.tests);
    let is_left_out = |name: &str| skip.keys().any(|known| known == name);
    let bad: Vec<String> = tests()
        .filter(|test| !is_left_out(&test.test))
        .filter_map(|test| Some(format!("{}: {}", test.test, test.complaint()?)))
        .collect();
    if let Some(first) = bad.first() {
        bail!("{} tests failed that the profile does not leave out, first {first}", bad.len());
    }
    let stale = tests().find(|test| is_left_out(&test.test) && test.complaint().is_none());
    if let Some(test) = stale {
        bail!("{} passes now: take it out of the profile's list", test.test);
    }
    let counts = report.counts();
    let left_out = tests().filter(|test| is_left_out(&test.test)).count();
    let tally = Tally { passed: counts.passed, failed: 0, skipped: counts.skipped + left_out };
    Ok((tally, format!("{} tests passed, {} skipped, {left_out} left out", counts.passed, counts.skipped)))
}

/// The verifier on the board's disk.
fn verifier(board: &Board) -> Result<Command> {
    let limits = &board.profile.limits;
    let mut command = Command::new(build_binary("iesp-testkit", "test-blockdevice", true)?);
    command.args(["-d", &board.url()?, "-b", "4096", "-u", "75", "--yes-destroy-data", "--quiet"]);
    if limits.trim_percent > 0 {
        command.args(["-T", &limits.trim_percent.to_string()]);
    }
    command.args(["-n", &limits.sessions.to_string(), "-l", &format!("{}M", limits.verify_mib), "--seed", "1"]);
    Ok(command)
}

fn verify(board: &mut Board, dir: &Path, log: &Path) -> Result<(Tally, String)> {
    let seconds = board.profile.limits.verify_seconds;
    let mut command = verifier(board)?;
    command.args(["--seconds", &seconds.to_string()]).arg("--log-dir").arg(dir.join("logs"));
    let ended = run_logged(&mut command, log, Duration::from_secs_f64(seconds * 10.0 + 600.0))?;
    ensure!(ended == Ended::Exit(0), "the verifier ended with {ended}: {}", fault_in(log));
    Ok((ONE, last_lines(log, 1).join("")))
}

/// Takes the power away in the middle of the verifier's writes, and holds the disk against its journal.
fn power(board: &mut Board, dir: &Path, log: &Path) -> Result<(Tally, String)> {
    let journal = dir.join("journal");
    let seconds = board.profile.limits.verify_seconds;
    let mut command = verifier(board)?;
    command.args(["--seconds", "86400", "--journal"]).arg(&journal).arg("--log-dir").arg(dir.join("logs"));
    let out = std::fs::File::create(dir.join("logs/power-load.log"))?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let mut load = Running::start(&mut command)?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    if let Some(ended) = load.ended()? {
        bail!(
            "the verifier ended before the power was taken away ({ended}): {}",
            fault_in(&dir.join("logs/power-load.log"))
        );
    }
    board.power_off(log)?;
    // It cannot go on: what it had acknowledged and flushed is in the journal.
    drop(load);
    let note = board.start(log)?;
    let mut check = Command::new(build_binary("iesp-testkit", "test-blockdevice", true)?);
    check.args(["-d", &board.url()?, "--verify-after-crash"]).arg(&journal);
    let ended = run_logged(&mut check, log, Duration::from_secs(1800))?;
    ensure!(ended == Ended::Exit(0), "after the loss of power: {ended}: {}", fault_in(log));
    Ok((ONE, format!("{note}; {}", last_lines(log, 1).join(""))))
}

/// What a log of the verifier says is wrong.
fn fault_in(log: &Path) -> String {
    let lines = last_lines(log, usize::MAX);
    let fault = lines.iter().find(|line| line.starts_with("FAULT"));
    fault.cloned().unwrap_or_else(|| last_lines(log, 2).join(" | "))
}

/// What bs-read adds to the name of its results.
const SEQUENTIAL: &str = "-bw-iop";

/// The part of a speed tool's JSON that is looked at.
#[derive(Deserialize)]
struct Measured {
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    bytes_per_second: f64,
}

impl Measured {
    /// The most of all block sizes, in MiB a second.
    fn best(&self) -> f64 {
        let runs = self.cells.iter().flat_map(|cell| &cell.runs);
        runs.map(|run| run.bytes_per_second / 1_048_576.0).fold(0.0, f64::max)
    }
}

fn speed(board: &mut Board, dir: &Path, log: &Path) -> Result<(Tally, String)> {
    let (url, limits) = (board.url()?, board.profile.limits.clone());
    // 4 KiB up to the largest block.
    let steps = (limits.largest_block.max(4096) / 4096).ilog2() + 1;
    let depth = limits.depth.to_string();
    let plot = build_binary("iesp-testkit", "plot", true)?;
    let sequential = build_binary("iesp-testkit", "bs-read", true)?;
    let random = build_binary("iesp-testkit", "block-speed-randread", true)?;
    let mut text = Vec::new();
    let mut measure = |name: &str, suffix: &str, command: &mut Command| -> Result<Measured> {
        let prefix = dir.join("plots").join(format!("speed-{name}"));
        command.args(["--depth", &depth, "--label", name, "-o"]).arg(&prefix);
        let json = dir.join("plots").join(format!("speed-{name}{suffix}.json"));
        for command in [command, Command::new(&plot).arg(&json).arg("-o").arg(&prefix)] {
            let part = dir.join("logs/speed.part");
            let ended = run_logged(command, &part, Duration::from_secs(1800))?;
            text.extend(std::fs::read(&part)?);
            std::fs::write(log, &text)?;
            ensure!(ended == Ended::Exit(0), "{name}: {ended}: {}", last_lines(&part, 3).join(" | "));
        }
        read_json(&json)
    };
    let steps = steps.to_string();
    let read =
        measure("read", SEQUENTIAL, Command::new(&sequential).args([&url, "4k", &steps, "1", "exponential"]))?.best();
    let mut writing = Command::new(&sequential);
    writing.args([&url, "4k", &steps, "1", "exponential", "--rw", "write", "--yes-destroy-data"]);
    let write = measure("write", SEQUENTIAL, &mut writing)?.best();
    let sessions = limits.sessions.to_string();
    measure("random", "", Command::new(&random).args([&url, "5", &sessions, "500"]))?;
    let note = format!("reads {read:.1} MiB/s, writes {write:.1} MiB/s");
    for (what, is, least) in
        [("reads", read, limits.read_mib_per_second), ("writes", write, limits.write_mib_per_second)]
    {
        ensure!(is >= least, "it {what} {is:.1} MiB/s, the profile expects {least:.1}; {note}");
    }
    Ok((ONE, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_all_block_sizes_counts() {
        let text = r#"{"tool":"bs-read","cells":[{"runs":[{"bytes_per_second":1048576.0}]},{"runs":[{"bytes_per_second":3145728.0}]}]}"#;
        assert_eq!(serde_json::from_str::<Measured>(text).unwrap().best(), 3.0);
    }

    #[test]
    fn a_fault_is_told_rather_than_the_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "x\nFAULT lost-write in block 7\n  why\nFAULTY: 1 faults\n").unwrap();
        assert_eq!(fault_in(&log), "FAULT lost-write in block 7");
        std::fs::write(&log, "x\ncannot open\n").unwrap();
        assert_eq!(fault_in(&log), "x | cannot open");
    }
}
