//! `cargo xtask conformance`: libiscsi's test-tool against `iesp`, or against any other target.

mod card;
mod config;
mod digest_proxy;
mod judge;
mod newer;
mod outcome;
mod preload;
mod run;
mod tool;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use xtask_common::conformance::{DiskReport, Outcome, Report, TestReport, Verdict};
use xtask_common::process::{spell, timed};
use xtask_common::workspace;

use self::config::{Config, Glob};
use self::judge::Seen;
use self::preload::Preload;
use self::run::{Backing, Done, Job, Place, Runner};
use self::tool::TestTool;
use crate::nbd_server::Kind;

/// What `cargo xtask conformance` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Run only tests whose name matches, such as 'SCSI.Read1?.*' (without * or ?: contains); may be repeated
    #[arg(long, value_name = "PATTERN")]
    filter: Vec<String>,
    /// Leave out the tests that the file of rules calls slow
    #[arg(long)]
    quick: bool,
    /// Run only on this disk of ci/conformance.toml; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "against")]
    disk: Vec<String>,
    /// Serve disks of an NBD server of this kind instead of files
    #[arg(long, value_enum, value_name = "SERVER", conflicts_with = "against")]
    backend: Option<Kind>,
    /// Test the boards' firmware in the simulator, on cards, by ci/conformance-simulator.toml
    #[arg(long, conflicts_with_all = ["against", "backend", "iesp"])]
    simulator: bool,
    /// Test a target that is already running, at `iscsi://[USER%SECRET@]HOST[:PORT]/NAME/LUN`. ITS DATA IS OVERWRITTEN.
    ///
    /// Any iSCSI target will do. Skips are only reported; failures, crashes and hangs make the run fail. The state that
    /// one test leaves behind stays for the next, so the tests run one after the other. May be repeated.
    #[arg(long, value_name = "URL")]
    against: Vec<String>,
    /// Hold the target of --against to the skips of this file instead of only telling them
    #[arg(long, value_name = "FILE", requires = "name")]
    rules: Option<PathBuf>,
    /// Which disk of --rules the target is
    #[arg(long, value_name = "NAME", requires = "rules", requires = "against")]
    name: Option<String>,
    /// The test-tool: another build of libiscsi's iscsi-test-cu, such as the development version's
    #[arg(long, value_name = "PATH")]
    tool: Option<PathBuf>,
    /// The test-tool of a libiscsi that is newer than Debian's, built from its source
    #[arg(long, conflicts_with = "tool")]
    newer: bool,
    /// The iesp to test, instead of building it from this workspace
    #[arg(long, value_name = "PATH")]
    iesp: Option<PathBuf>,
    /// Build iesp with optimisations: quicker, but without the checks for arithmetic overflow
    #[arg(long)]
    release: bool,
    /// How many tests to run at the same time, each against its own target
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// How long one test may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Keep the logs of all tests here, not only of those that failed
    #[arg(long, value_name = "DIR")]
    keep_logs: Option<PathBuf>,
    /// Say what was skipped on every disk test by test
    #[arg(long, short)]
    verbose: bool,
    /// List the tests that would run, and run none
    #[arg(long)]
    list: bool,
}

/// Runs the tests and holds the results against `ci/conformance.toml`.
///
/// # Errors
/// When the run cannot be made, or when something in it is not as it should be.
pub fn run(args: &Args) -> Result<()> {
    let usual = if args.simulator { "ci/conformance-simulator.toml" } else { "ci/conformance.toml" };
    let file = args.rules.clone().unwrap_or_else(|| workspace::root().join(usual));
    let config = Config::read(&file)?.for_tool(args.newer);
    let tool = find_tool(args, &config)?;
    let all_tests = tool.tests(&config.tool.families)?;
    let mut tests = select(&all_tests, &args.filter)?;
    if args.quick {
        tests.retain(|test| !Glob::any(&config.tool.slow, test));
    }
    if args.list {
        tests.iter().for_each(|test| println!("{test}"));
        return Ok(());
    }
    let dir = args.keep_logs.clone().unwrap_or_else(|| workspace::build_dir().join("conformance"));
    fresh_folder(&dir, args.keep_logs.is_some())?;

    let iesp = match (&args.iesp, args.against.is_empty()) {
        (Some(iesp), _) => iesp.canonicalize().with_context(|| format!("no {}", iesp.display()))?,
        (None, true) if args.simulator => workspace::build_binary("iesp-simulator", "iesp-simulator", args.release)?,
        (None, true) => workspace::build_binary("iesp", "iesp", args.release)?,
        (None, false) => PathBuf::new(),
    };
    let names: Vec<String> = match &args.name {
        Some(name) => vec![name.clone(); args.against.len()],
        None => (1..=args.against.len()).map(|number| format!("against-{number}")).collect(),
    };
    let places = places(&config, args, &iesp, &names)?;
    let jobs = jobs(&tests, &places);
    let needs_preload = |job: &Job<'_>| !run::effects(job.test, &places[job.place], &config.repairs).is_empty();
    let preload = jobs.iter().any(needs_preload).then(|| Preload::build(&dir)).transpose()?;
    let runner = Runner {
        tool: &tool,
        places: &places,
        jobs: &jobs,
        repairs: &config.repairs,
        preload: preload.as_ref(),
        limit: Duration::from_secs(args.timeout.unwrap_or(config.tool.timeout_seconds)),
        dir: &dir,
        keep_logs: args.keep_logs.is_some(),
    };
    let parallel = if args.against.is_empty() { args.jobs.unwrap_or_else(default_jobs) } else { 1 };
    println!(
        "conformance: {} runs ({} tests, {} disks), {parallel} at a time, with {}",
        jobs.len(),
        tests.len(),
        places.len(),
        tool.program.display()
    );
    let rules = (args.against.is_empty() || args.rules.is_some()).then_some(config.skips.as_slice());
    let (results, took) = timed(|| {
        execute(&runner, parallel, |job, outcome| judge::judge(job.test, places[job.place].name(), outcome, rules))
    });

    let mut report = assemble(&tool, &places, &tests, &jobs, results, took);
    let selects = !args.filter.is_empty() || args.quick || !args.disk.is_empty();
    let is_whole_run = !selects && args.against.is_empty() && args.tool.is_none() && args.backend.is_none();
    if is_whole_run {
        judge_whole(&config, &all_tests, &mut report);
    }
    args.json.as_deref().map(|file| report.write_json(file)).transpose()?;
    args.junit.as_deref().map(|file| report.write_junit(file)).transpose()?;
    conclude(&config, &report, args, &dir, is_whole_run)
}

fn find_tool(args: &Args, config: &Config) -> Result<TestTool> {
    if !args.newer {
        return TestTool::find(args.tool.as_deref());
    }
    let newer = config.newer.as_ref().context("the rules name no newer libiscsi: they have no table [newer]")?;
    TestTool::find(Some(&newer::build(newer)?))
}

/// The tests that one of the patterns matches; all without patterns.
fn select(all: &[String], patterns: &[String]) -> Result<Vec<String>> {
    if patterns.is_empty() {
        return Ok(all.to_vec());
    }
    let globs = patterns.iter().map(|pattern| {
        let is_plain = !pattern.contains(['*', '?']);
        let is_name = all.contains(pattern);
        let text = if is_plain && !is_name { format!("*{pattern}*") } else { pattern.clone() };
        Glob::try_from(text).with_context(|| format!("the pattern {pattern} makes no sense"))
    });
    let globs = globs.collect::<Result<Vec<_>>>()?;
    let tests: Vec<String> = all.iter().filter(|test| Glob::any(&globs, test)).cloned().collect();
    if tests.is_empty() {
        bail!("no test matches {}; --list shows them", patterns.join(", "));
    }
    Ok(tests)
}

/// Makes the folder for logs. Ours is emptied first; one that the user named is left as it is.
fn fresh_folder(dir: &Path, is_users: bool) -> Result<()> {
    if !is_users && dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

fn places<'a>(config: &'a Config, args: &'a Args, iesp: &'a Path, names: &'a [String]) -> Result<Vec<Place<'a>>> {
    if !args.against.is_empty() {
        let disk = match &args.name {
            Some(name) => Some(config.disk(name)?),
            None => None,
        };
        let urls = args.against.iter().zip(names);
        return Ok(urls.map(|(url, name)| Place::Existing { name, url, disk }).collect());
    }
    if let Some(unknown) = args.disk.iter().find(|name| config.disks.iter().all(|disk| disk.name != **name)) {
        let known: Vec<&str> = config.disks.iter().map(|disk| disk.name.as_str()).collect();
        bail!("no disk {unknown} in ci/conformance.toml; there are {}", known.join(", "));
    }
    let wanted = config.disks.iter().filter(|disk| args.disk.is_empty() || args.disk.contains(&disk.name));
    let backing = match args.backend {
        _ if args.simulator => Backing::Card,
        Some(kind) => Backing::Nbd(kind),
        None => Backing::File,
    };
    Ok(wanted.map(|disk| Place::Fresh { iesp, disk, backing }).collect())
}

fn jobs<'a>(tests: &'a [String], places: &[Place<'_>]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for (place, at) in places.iter().enumerate() {
        let runs_here = |test: &str| match at {
            Place::Fresh { disk, .. } => judge::left_out(test, disk).is_none(),
            Place::Existing { disk, .. } => disk.is_none_or(|disk| judge::left_out(test, disk).is_none()),
        };
        jobs.extend(tests.iter().filter(|test| runs_here(test)).map(|test| Job { test, place }));
    }
    jobs
}

/// The tests mostly wait: for an answer that must not come, for a reset to be over.
fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| (cores.get() * 2).min(8))
}

/// Runs everything, with a progress line on a terminal and plain lines elsewhere.
fn execute(
    runner: &Runner<'_>,
    parallel: usize,
    judge: impl Fn(Job<'_>, &Outcome) -> Verdict,
) -> Vec<Option<(Done, Verdict)>> {
    let bar = ProgressBar::new(runner.jobs.len() as u64);
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let say = |line: String| if bar.is_hidden() { println!("{line}") } else { bar.println(line) };

    let mut results: Vec<Option<(Done, Verdict)>> = runner.jobs.iter().map(|_| None).collect();
    let (mut count, mut bad) = (0_usize, 0_usize);
    runner.run(parallel, |done| {
        let job = runner.jobs[done.job];
        let verdict = judge(job, &done.outcome);
        if verdict.is_bad() || done.target_fault.is_some() {
            bad += 1;
            say(format!("  {} {} on {}", done.outcome.word(), job.test, runner.places[job.place].name()));
        }
        count += 1;
        bar.set_message(format!("{bad} bad, {}", job.test));
        bar.inc(1);
        if bar.is_hidden() && count.is_multiple_of(200) {
            println!("  {count} of {} done, {bad} bad", runner.jobs.len());
        }
        let index = done.job;
        results[index] = Some((done, verdict));
    });
    bar.finish_and_clear();
    results
}

fn assemble(
    tool: &TestTool,
    places: &[Place<'_>],
    tests: &[String],
    jobs: &[Job<'_>],
    results: Vec<Option<(Done, Verdict)>>,
    took: Duration,
) -> Report {
    let mut disks: Vec<DiskReport> = places.iter().map(|place| empty_disk(place, tests)).collect();
    for (job, (done, verdict)) in jobs.iter().zip(results.into_iter().flatten()) {
        disks[job.place].tests.push(TestReport {
            test: job.test.to_owned(),
            outcome: done.outcome,
            verdict,
            target_fault: done.target_fault,
            seconds: done.took.as_secs_f64(),
        });
    }
    Report {
        tool: tool.program.display().to_string(),
        seconds: took.as_secs_f64(),
        disks,
        missing_features: Default::default(),
        problems: Vec::new(),
    }
}

fn empty_disk(place: &Place<'_>, tests: &[String]) -> DiskReport {
    let (about, left_out) = match place {
        Place::Fresh { disk, .. } => {
            let why = |test: &String| Some((test.clone(), judge::left_out(test, disk)?.to_owned()));
            (disk.about.clone(), tests.iter().filter_map(why).collect())
        }
        Place::Existing { url, disk, .. } => {
            let why = |test: &String| Some((test.clone(), judge::left_out(test, (*disk)?)?.to_owned()));
            (without_credentials(url), tests.iter().filter_map(why).collect())
        }
    };
    DiskReport { name: place.name().to_owned(), about, tests: Vec::new(), left_out }
}

/// A URL as it may be shown: secrets do not belong into reports.
fn without_credentials(url: &str) -> String {
    match (url.strip_prefix("iscsi://"), url.split_once('@')) {
        (Some(_), Some((_, rest))) => format!("iscsi://…@{rest}"),
        _ => url.to_owned(),
    }
}

fn judge_whole(config: &Config, tests: &[String], report: &mut Report) {
    let mut seen = Vec::new();
    for disk in &report.disks {
        seen.extend(disk.tests.iter().map(|one| Seen { test: &one.test, disk: &disk.name, outcome: &one.outcome }));
    }
    let overall = judge::judge_overall(config, tests, &seen);
    report.missing_features = overall.missing;
    report.problems = overall.problems;
}

/// How many complaints are shown in full; the rest is in the JSON.
const COMPLAINTS_SHOWN: usize = 25;

fn conclude(config: &Config, report: &Report, args: &Args, dir: &Path, is_whole_run: bool) -> Result<()> {
    println!("{}", report.table());
    if is_whole_run {
        for (feature, tests) in &report.missing_features {
            let about = config.features.iter().find(|one| one.name == *feature).map_or("", |one| &one.about);
            println!("skipped on every disk for want of {feature} ({about}): {} tests", tests.len());
            if args.verbose {
                tests.iter().for_each(|test| println!("  {test}"));
            }
        }
    } else if args.against.is_empty() {
        println!("a part of the run: what is skipped on every disk, and idle rules, are not looked for");
    }
    let bad: Vec<(&DiskReport, &TestReport, String)> = report
        .disks
        .iter()
        .flat_map(|disk| disk.tests.iter().filter_map(move |test| Some((disk, test, test.complaint()?))))
        .collect();
    for (disk, test, complaint) in bad.iter().take(COMPLAINTS_SHOWN) {
        println!("\n{} on {}: {complaint}", test.test, disk.name);
        if args.against.is_empty() {
            let newer = if args.newer { "--newer " } else { "" };
            let backend = args.backend.and_then(|kind| kind.to_possible_value());
            let backend = backend.map(|value| format!("--backend {} ", value.get_name())).unwrap_or_default();
            let simulator = if args.simulator { "--simulator " } else { "" };
            println!(
                "  again: cargo xtask conformance {newer}{simulator}{backend}--disk {} --filter {}",
                disk.name, test.test
            );
        } else {
            println!("  again: cargo xtask conformance --against URL --filter {}", test.test);
        }
        println!("  logs:  {}", run::log_folder(dir, &disk.name, &test.test).display());
    }
    if bad.len() > COMPLAINTS_SHOWN {
        println!("\n… and {} more", bad.len() - COMPLAINTS_SHOWN);
    }
    report.problems.iter().for_each(|problem| println!("problem: {problem}"));

    let counts = report.counts();
    println!(
        "\nconformance: {} passed, {} skipped as listed, {} failed in {}",
        counts.passed,
        counts.skipped,
        counts.failed,
        spell(Duration::from_secs_f64(report.seconds))
    );
    if counts.failed > 0 {
        bail!("{} results are not as they should be", counts.failed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn filters_are_patterns_names_or_parts() {
        let all = names(&["SCSI.Read6.Simple", "SCSI.Read10.Simple", "SCSI.ReadOnly.Simple"]);
        assert_eq!(select(&all, &[]).unwrap(), all);
        assert_eq!(select(&all, &names(&["SCSI.Read*0.*"])).unwrap(), names(&["SCSI.Read10.Simple"]));
        assert_eq!(select(&all, &names(&["Read6", "ReadO"])).unwrap(), [all[0].clone(), all[2].clone()]);
        assert!(select(&all, &names(&["Write"])).is_err());
    }

    #[test]
    fn a_whole_name_is_that_test_alone() {
        let all = names(&["SCSI.Unmap.Simple", "SCSI.Unmap.SimpleAsync"]);
        assert_eq!(select(&all, &names(&["SCSI.Unmap.Simple"])).unwrap(), names(&["SCSI.Unmap.Simple"]));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(without_credentials("iscsi://u%s3cret@h:1/t/0"), "iscsi://…@h:1/t/0");
        assert_eq!(without_credentials("iscsi://h:1/t/0"), "iscsi://h:1/t/0");
    }
}
