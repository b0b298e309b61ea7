//! The program `plot`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use thiserror::Error;

use super::boxes::Boxes;
use super::canvas::{Picture, PlotError, save};
use super::compare::Compare;
use super::data::{DataError, Quantity, Run};
use super::heat::Heat;
use super::lines::{Latencies, OverBlocks};
use super::servers::{Bench, Measure, Servers};
use crate::speed::results::with_suffix;

/// Makes pictures of what block-speed-randread and bs-read measured, as PNG and SVG, 1920x1080.
///
/// One run: heat maps, 3-D boxes and latency curves. Several runs: one picture that compares them, with the ratios.
/// A result of `cargo xtask bench`: its servers beside each other under each load.
/// Runs are the tools' JSON files, or the .dat files of these and of iESP's tools.
#[derive(Debug, Parser)]
#[command(name = "plot", version, max_term_width = 110)]
pub struct Options {
    /// A run: PREFIX.json, or a .dat file. Of several, the others are held against the first
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,

    /// Names of the pictures begin so
    #[arg(short = 'o', long, value_name = "PREFIX", default_value = "plot")]
    pub output: PathBuf,

    /// A name for a run; given several times, for one after the other
    #[arg(long = "label", value_name = "NAME")]
    pub labels: Vec<String>,

    /// Draw the runs with this many threads, where only one number is shown [default: the most that all have]
    #[arg(long, value_name = "N")]
    pub threads: Option<u32>,

    /// Draw the runs with this queue depth [default: the largest that all have]
    #[arg(long, value_name = "N")]
    pub depth: Option<u32>,

    /// What the numbers in .dat files with three columns are [default: by the file's name]
    #[arg(long, value_enum)]
    pub unit: Option<Unit>,
}

/// What the numbers in a `.dat` file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// Operations a second
    Iops,
    /// MiB a second
    Mib,
}

#[derive(Debug, Error)]
enum CliError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Plot(#[from] PlotError),
    #[error("{0}")]
    Options(String),
}

/// Runs the program.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plot: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<(), CliError> {
    if let [file] = options.runs.as_slice()
        && std::fs::read_to_string(file).is_ok_and(|text| Bench::is_in(&text))
    {
        let bench = Bench::read(file)?;
        for measure in Measure::ALL {
            draw(options, &Servers { bench: &bench, measure }, &format!("-{}", measure.suffix()))?;
        }
        return Ok(());
    }
    let unit = options.unit.map(|unit| match unit {
        Unit::Iops => Quantity::Iops,
        Unit::Mib => Quantity::Bandwidth,
    });
    let mut runs = options.runs.iter().map(|path| Run::read(path, unit)).collect::<Result<Vec<_>, _>>()?;
    if options.labels.len() > runs.len() {
        return Err(CliError::Options(format!("{} names for {} runs", options.labels.len(), runs.len())));
    }
    tell_apart(&mut runs, &options.runs);
    for (run, label) in runs.iter_mut().zip(&options.labels) {
        run.label.clone_from(label);
    }
    let depth = common("queue depth", options.depth, runs.iter().map(Run::depths))?;
    let runs: Vec<Run> = runs.iter().map(|run| run.with_depth(depth)).collect();
    let threads = common("number of threads", options.threads, runs.iter().map(Run::threads))?;
    match runs.as_slice() {
        [run] => one(options, run, threads),
        runs => several(options, runs, threads, depth),
    }
}

/// Runs that are called the same (of one device, or in one folder) are called by their files.
fn tell_apart(runs: &mut [Run], files: &[PathBuf]) {
    let labels: Vec<String> = runs.iter().map(|run| run.label.clone()).collect();
    let is_shared = |names: &[String], name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let stem = |file: &PathBuf| file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stems: Vec<String> = files.iter().map(stem).collect();
    for ((run, file), stem) in runs.iter_mut().zip(files).zip(&stems) {
        if is_shared(&labels, &run.label) {
            run.label = if is_shared(&stems, stem) { file.display().to_string() } else { stem.clone() };
        }
    }
}

/// The wanted value, or the largest, that all runs have.
fn common(what: &str, wanted: Option<u32>, mut all: impl Iterator<Item = Vec<u32>>) -> Result<u32, CliError> {
    let mut shared = all.next().unwrap_or_default();
    all.for_each(|values| shared.retain(|value| values.contains(value)));
    match wanted {
        Some(value) if shared.contains(&value) => Ok(value),
        Some(value) => Err(CliError::Options(format!("not all runs have the {what} {value}: they share {shared:?}"))),
        None => shared.last().copied().ok_or_else(|| CliError::Options(format!("the runs have no {what} in common"))),
    }
}

fn one(options: &Options, run: &Run, threads: u32) -> Result<(), CliError> {
    for quantity in [Quantity::Iops, Quantity::Bandwidth] {
        let name = |kind: &str| format!("-{}{kind}", quantity.suffix());
        if run.sequential || run.threads().len() == 1 {
            draw(options, &OverBlocks { runs: std::slice::from_ref(run), quantity }, &name(""))?;
        } else {
            draw(options, &Boxes { run, quantity }, &name(""))?;
            draw(options, &Heat { run, quantity }, &name("-heat"))?;
        }
    }
    if run.cells.iter().any(|cell| cell.latency.is_some()) {
        draw(options, &Latencies { run, threads }, "-latency")?;
    }
    Ok(())
}

fn several(options: &Options, runs: &[Run], threads: u32, depth: u32) -> Result<(), CliError> {
    let shared = |block: &u64| runs.iter().all(|run| run.cell(*block, threads, depth).is_some());
    if !runs[0].blocks().iter().any(shared) {
        return Err(CliError::Options("the runs have no block size in common".to_owned()));
    }
    for quantity in [Quantity::Iops, Quantity::Bandwidth] {
        draw(options, &Compare { runs, quantity, threads, depth }, &format!("-{}-compare", quantity.suffix()))?;
    }
    Ok(())
}

fn draw(options: &Options, picture: &impl Picture, suffix: &str) -> Result<(), CliError> {
    for file in save(picture, &with_suffix(&options.output, suffix))? {
        println!("{}", file.display());
    }
    Ok(())
}
