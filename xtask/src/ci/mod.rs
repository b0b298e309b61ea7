//! `cargo xtask ci`: everything that has to hold, in one run, with a verdict.

mod alive;
mod boards;
mod count;
mod nextest;
mod steps;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask_common::process::{Ended, last_lines, run_group_logged, spell, timed};
use xtask_common::report::{Report, StepReport, Tally, page};
use xtask_common::{requirements, workspace};

use self::steps::{CargoCommand, Step};

/// What `cargo xtask ci` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Run only this step; may be repeated
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leave this step out; may be repeated
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// Run the long steps too: a Linux guest as initiator (needs QEMU)
    #[arg(long)]
    full: bool,
    /// List the steps with their commands, and run none
    #[arg(long)]
    list: bool,
}

/// How much of a failed step's log is shown.
const LINES_SHOWN: usize = 40;
/// The report for people.
const PAGE: &str = "report.html";

/// Runs the steps, each whatever became of the others, and writes the reports. Answers whether all was well; the last
/// line that it prints is `N passed, N failed`, alone.
///
/// # Errors
/// When the steps cannot be run, or the reports cannot be written.
pub fn run(args: &Args) -> Result<bool> {
    let dir = workspace::build_dir().join("ci");
    let all = steps::steps(&dir, args.full);
    let chosen = choose(&all, args)?;
    if args.list {
        for step in chosen {
            println!("{}: {}", step.name, step.about);
            step.commands.iter().for_each(|command| println!("    {command}"));
        }
        return Ok(true);
    }
    workspace::fresh_folder(&dir)?;
    std::fs::create_dir_all(dir.join("logs")).with_context(|| format!("cannot make {}", dir.display()))?;

    let mut report = Report { title: "cargo xtask ci".to_owned(), steps: Vec::new() };
    let names: Vec<&str> = chosen.iter().map(|step| step.name).collect();
    for (index, name) in names.iter().enumerate() {
        // Anew each time: the first one may install what others run with.
        let all = steps::steps(&dir, args.full);
        let Some(step) = all.iter().find(|step| step.name == *name) else { continue };
        announce(index + 1, names.len(), step);
        let done = match lacking(step) {
            None => run_step(step, &dir)?,
            Some(what) => without(step, &what, args.full || !args.only.is_empty(), &dir)?,
        };
        show(&done, &dir);
        report.steps.push(done);
    }
    report.write_json(&dir.join("report.json"))?;
    report.write_junit(&dir.join("junit.xml"), &dir)?;
    page::write(&report, &dir.join(PAGE), &dir)?;
    Ok(conclude(&report, &dir))
}

fn choose<'a>(all: &'a [Step], args: &Args) -> Result<Vec<&'a Step>> {
    let Args { only, skip, full, .. } = args;
    if let Some(unknown) = only.iter().chain(skip).find(|name| all.iter().all(|step| step.name != **name)) {
        let known: Vec<&str> = all.iter().map(|step| step.name).collect();
        bail!("no step {unknown}; there are {}", known.join(", "));
    }
    let is_chosen = |step: &&Step| {
        let named = |names: &[String]| names.iter().any(|name| name == step.name);
        let by_default = only.is_empty() && (*full || !step.only_full);
        (by_default || named(only)) && !named(skip)
    };
    Ok(all.iter().filter(is_chosen).collect())
}

/// What this machine lacks for a step.
fn lacking(step: &Step) -> Option<String> {
    let missing = requirements::missing_for(step.needs);
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// A step that this machine cannot run: left out, or failed where it was asked for.
fn without(step: &Step, lacks: &str, asked_for: bool, dir: &Path) -> Result<StepReport> {
    let log = format!("logs/{}.log", step.name);
    let full = if step.needs.iter().any(|part| part.is_for_full()) { " --full" } else { "" };
    let text = format!("{lacks}\n`cargo xtask setup{full}` installs it\n");
    std::fs::write(dir.join(&log), text).with_context(|| format!("cannot write {log}"))?;
    Ok(StepReport {
        failure: asked_for.then(|| format!("it cannot run here, {lacks}")),
        tally: Tally { passed: 0, failed: usize::from(asked_for), skipped: usize::from(!asked_for) },
        skipped: (!asked_for).then(|| lacks.to_owned()),
        ..report_of(step, log)
    })
}

/// The report of a step that has not run, with its log.
fn report_of(step: &Step, log: String) -> StepReport {
    StepReport {
        name: step.name.to_owned(),
        about: step.about.to_owned(),
        commands: step.commands.iter().map(ToString::to_string).collect(),
        failure: None,
        culprits: Vec::new(),
        tally: Tally::default(),
        skipped: None,
        seconds: 0.0,
        log,
        checks: match step.count {
            steps::Count::Clients(file) => Some(file),
            _ => None,
        },
        again: format!("cargo xtask ci --only {}", step.name),
    }
}

fn announce(number: usize, count: usize, step: &Step) {
    println!("[{number}/{count}] {}: {}", step.name, step.about);
    step.commands.iter().for_each(|command| println!("    $ {command}"));
}

fn run_step(step: &Step, dir: &Path) -> Result<StepReport> {
    if step.count == steps::Count::Nextest {
        nextest::forget()?;
    }
    let sign = alive::Sign::of(step.name);
    let (outcome, took) = timed(|| run_commands(step, dir));
    drop(sign);
    let (log, failure) = outcome?;
    let tally = count::tally(step.count, failure.is_none(), &log, dir);
    let culprits = if failure.is_some() { count::failures(step.count, &log, dir) } else { Vec::new() };
    let log = format!("logs/{}.log", step.name);
    Ok(StepReport { failure, culprits, tally, seconds: took.as_secs_f64(), ..report_of(step, log) })
}

/// Runs a step's commands into its log; answers with the log's text and with what failed.
fn run_commands(step: &Step, dir: &Path) -> Result<(String, Option<String>)> {
    let file = dir.join("logs").join(format!("{}.log", step.name));
    let (mut text, mut failure) = (String::new(), None);
    for (index, words) in step.commands.iter().enumerate() {
        let part = dir.join("logs").join(format!("{}.{index}.part", step.name));
        let ended = run_group_logged(&mut command(words), &part, Duration::from_secs(step.minutes * 60))?;
        text += &format!("$ {words}\n{}\n", String::from_utf8_lossy(&std::fs::read(&part)?));
        std::fs::remove_file(&part)?;
        if ended != Ended::Exit(0) {
            failure.get_or_insert(format!("`{words}`: {ended}"));
        }
        std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok((text, failure))
}

fn command(words: &CargoCommand) -> Command {
    let mut command = match words.arguments.split_first() {
        Some((first, rest)) if first == "xtask" => {
            // This very program: cargo may have replaced its file since it was started.
            let this = Path::new("/proc/self/exe");
            let file = if this.exists() { this.to_owned() } else { std::env::current_exe().unwrap_or_default() };
            let mut command = Command::new(file);
            command.current_dir(workspace::root()).args(rest);
            command
        }
        _ => {
            let mut command = workspace::cargo();
            command.args(&words.arguments);
            command
        }
    };
    command.env("CARGO_TERM_COLOR", "never").env("NO_COLOR", "1").envs(words.variables.iter().copied());
    command
}

fn show(step: &StepReport, dir: &Path) {
    let took = spell(Duration::from_secs_f64(step.seconds));
    if let Some(why) = &step.skipped {
        println!("    SKIPPED, {why}; `cargo xtask setup` installs it");
        return;
    }
    let Some(failure) = step.reason(usize::MAX) else {
        println!("    passed in {took}");
        return;
    };
    println!("    FAILED in {took}: {failure}");
    let log = dir.join(&step.log);
    last_lines(&log, LINES_SHOWN).iter().for_each(|line| println!("    | {line}"));
    println!("    again: {}", step.again);
    println!("    log:   {}", log.display());
}

fn conclude(report: &Report, dir: &Path) -> bool {
    let total = report.total();
    println!("\n{}", report.table());
    println!("report: {} (junit.xml and report.json beside it)", dir.join(PAGE).display());
    for step in &report.steps {
        if let Some(why) = &step.skipped {
            println!("skipped: {}: {why}", step.name);
        }
    }
    println!("verdict: {}", report.verdict());
    let Tally { passed, failed: bad, .. } = total;
    println!("{passed} passed, {bad} failed");
    report.failed().next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_chosen_by_name() {
        let all = steps::steps(Path::new("/r"), false);
        let chosen = |full: bool, only: &[&str], skip: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let args = Args { only: owned(only), skip: owned(skip), full, list: false };
            choose(&all, &args).map(|steps| steps.iter().map(|step| step.name).collect::<Vec<_>>())
        };
        let names = |only: &[&str], skip: &[&str]| chosen(false, only, skip);
        assert_eq!(chosen(true, &[], &[]).unwrap().len(), all.len());
        assert!(!names(&[], &[]).unwrap().contains(&"vm-fsx"));
        assert_eq!(names(&["vm-fsx"], &[]).unwrap(), ["vm-fsx"]);
        assert_eq!(names(&["docs", "format"], &[]).unwrap(), ["format", "docs"]);
        assert!(!names(&[], &["docs"]).unwrap().contains(&"docs"));
        assert!(names(&["doc"], &[]).unwrap_err().to_string().contains("there are setup, format"));
    }

    #[test]
    fn an_xtask_command_is_this_program() {
        let command = command(&CargoCommand { arguments: vec!["xtask".into(), "no-std".into()], variables: vec![] });
        assert_ne!(command.get_program(), "cargo");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["no-std"]);
    }
}
