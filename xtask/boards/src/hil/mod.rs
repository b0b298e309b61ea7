//! `cargo xtask hil BOARD`: hardware in the loop. Flashes a board, listens to its serial line, and tests what it serves:
//! conformance, the verifier, the loss of power, speed.
//!
//! What it goes through is in [`trials`], what it is and how it is reached in [`crate::board`].

mod trials;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask_common::process::{last_lines, spell, timed};
use xtask_common::report::{Report, StepReport, Tally, page};
use xtask_common::workspace;

use self::trials::{TRIALS, Trial};
use crate::board::{Board, Profile, names};

/// What `cargo xtask hil` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// The board: a profile in ci/boards, or the path of one. ITS DISK IS OVERWRITTEN
    #[arg(value_name = "BOARD", required_unless_present = "list")]
    board: Option<String>,
    /// List the boards, and test none
    #[arg(long)]
    list: bool,
    /// The serial port, in place of the profile's
    #[arg(long, value_name = "DEVICE")]
    serial: Option<String>,
    /// Leave out the tests that the board's rules call slow, and verify for a few seconds
    #[arg(long)]
    quick: bool,
    /// Leave this part out; may be repeated
    #[arg(long, value_name = "PART")]
    skip: Vec<String>,
}

/// How long the verifier runs with `--quick`.
const QUICK_SECONDS: f64 = 5.0;

/// Tests a board, and writes the report.
///
/// # Errors
/// When the board is not known, or a part failed.
pub fn run(args: &Args) -> Result<()> {
    let folder = workspace::root().join("ci/boards");
    if args.list {
        for name in names(&folder) {
            println!("{name}: {}", Profile::find(&name, &folder)?.about);
        }
        return Ok(());
    }
    let name = args.board.as_deref().context("no board")?;
    let mut profile = Profile::find(name, &folder)?;
    if let Some(port) = &args.serial {
        profile.serial.port = Some(port.clone());
    }
    if args.quick {
        profile.conformance.quick = profile.conformance.rules.is_some();
        profile.limits.verify_seconds = profile.limits.verify_seconds.min(QUICK_SECONDS);
    }
    if let Some(unknown) = args.skip.iter().find(|skip| TRIALS.iter().all(|trial| trial.name != **skip)) {
        bail!("no part {unknown}; there are {}", TRIALS.iter().map(|trial| trial.name).collect::<Vec<_>>().join(", "));
    }
    let dir = folder_of(name)?;
    println!("{name}: {}", profile.about);
    let mut board = Board::new(profile, &dir)?;
    let mut report = Report { title: format!("cargo xtask hil {name}"), steps: Vec::new() };
    let mut needed_failed = false;
    for trial in &TRIALS {
        let left_out = if args.skip.iter().any(|skip| skip == trial.name) {
            Some("left out by --skip".to_owned())
        } else if needed_failed {
            Some("the board is not there".to_owned())
        } else {
            (trial.unfit)(&board).map(str::to_owned)
        };
        println!("{}: {}", trial.name, trial.about);
        let done = match left_out {
            Some(why) => blank(trial, name, Some(why)),
            None => perform(trial, name, &mut board, &dir)?,
        };
        needed_failed |= trial.needed && done.failure.is_some();
        show(&done, &dir);
        report.steps.push(done);
    }
    drop(board);
    conclude(&report, &dir)
}

/// The folder of a board's run, made anew.
fn folder_of(name: &str) -> Result<PathBuf> {
    let name = Path::new(name).file_stem().unwrap_or_default();
    let dir = workspace::build_dir().join("hil").join(name);
    workspace::fresh_folder(&dir)?;
    for folder in ["logs", "plots"] {
        std::fs::create_dir_all(dir.join(folder)).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    Ok(dir)
}

fn blank(trial: &Trial, board: &str, skipped: Option<String>) -> StepReport {
    StepReport {
        name: trial.name.to_owned(),
        about: trial.about.to_owned(),
        commands: Vec::new(),
        failure: None,
        culprits: Vec::new(),
        tally: Tally { skipped: usize::from(skipped.is_some()), ..Tally::default() },
        skipped,
        seconds: 0.0,
        log: format!("logs/{}.log", trial.name),
        checks: None,
        again: format!("cargo xtask hil {board}"),
    }
}

fn perform(trial: &Trial, name: &str, board: &mut Board, dir: &Path) -> Result<StepReport> {
    let mut step = blank(trial, name, None);
    let log = dir.join(&step.log);
    let (outcome, took) = timed(|| (trial.run)(board, dir, &log));
    step.seconds = took.as_secs_f64();
    let outcome =
        outcome.and_then(
            |(tally, note)| {
                if trial.needed { Ok((tally, note)) } else { board.is_well().map(|()| (tally, note)) }
            },
        );
    match outcome {
        Ok((tally, note)) => {
            println!("    {note}");
            step.about = format!("{}: {note}", trial.about);
            step.tally = tally;
        }
        Err(error) => {
            step.failure = Some(format!("{error:#}"));
            step.tally.failed = 1;
        }
    }
    // The report shows what the board itself said.
    if !log.exists() || trial.needed {
        let said = std::fs::read(dir.join("serial.log")).unwrap_or_default();
        let mut text = std::fs::read(&log).unwrap_or_default();
        text.extend(b"\nthe serial line so far:\n");
        text.extend(said);
        std::fs::write(&log, text).with_context(|| format!("cannot write {}", log.display()))?;
    }
    Ok(step)
}

fn show(step: &StepReport, dir: &Path) {
    let took = spell(Duration::from_secs_f64(step.seconds));
    match (&step.failure, &step.skipped) {
        (Some(why), _) => {
            println!("    FAILED in {took}: {why}");
            last_lines(&dir.join(&step.log), 20).iter().for_each(|line| println!("    | {line}"));
        }
        (None, Some(why)) => println!("    skipped: {why}"),
        (None, None) => println!("    passed in {took}"),
    }
}

fn conclude(report: &Report, dir: &Path) -> Result<()> {
    report.write_json(&dir.join("report.json"))?;
    report.write_junit(&dir.join("junit.xml"), dir)?;
    let file = dir.join("report.html");
    page::write(report, &file, dir)?;
    println!("report: {}", file.display());
    let failed: Vec<&str> = report.failed().map(|step| step.name.as_str()).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
