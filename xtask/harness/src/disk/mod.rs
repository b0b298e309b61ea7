//! `cargo xtask disk`: how fast files are read through iesp and by testkit's own tool, beside fio with io_uring.
//!
//! All three read the same file at the same depth, one after the other, in an order that rotates from round to round; ratios are
//! taken within a round, as a disk's speed changes with what else is done to it.
//!
//! - `explain`: what a read through iesp takes beside the disk's time.
//! - `loads`: the table of loads and limits.
//! - `readers`: the programs, and what they print.

mod explain;
mod loads;
mod readers;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use xtask_common::workspace::build_dir;

use self::loads::{LOADS, Load};
use self::readers::{Programs, Reader, Reading};
use crate::measure::{Spread, full_image};

/// The options of `cargo xtask disk`.
#[derive(clap::Args, Debug)]
pub struct DiskArgs {
    /// Where the file is made that is read; what lies under this folder is what is measured
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// How large it is, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(16..))]
    size: u64,
    /// How long to measure each load by each program in each round
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only the loads whose name contains one of these, such as d32
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What one program did under one load.
#[derive(Debug, Serialize)]
struct Line {
    load: &'static str,
    reader: &'static str,
    operations_per_second: Spread,
    /// CPU time of the program, in microseconds a read; of fio without what the kernel's workers do for it.
    cpu_us: Spread,
    /// CPU time of the initiator, in microseconds a read; 0 where there is none.
    initiator_cpu_us: Spread,
    /// As a multiple of fio's in the same round.
    to_fio: Spread,
    /// At least this is wanted.
    limit: Option<f64>,
}

/// Runs the comparison and prints a table.
///
/// # Errors
/// A program does not build or run; or a wanted limit is missed.
pub fn run(args: &DiskArgs) -> Result<()> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        bail!("--seconds is {}; it has to be more than 0 and at most 3600", args.seconds);
    }
    let wanted = |load: &&Load| args.only.is_empty() || args.only.iter().any(|part| load.name.contains(part.as_str()));
    let loads: Vec<&Load> = LOADS.iter().filter(wanted).collect();
    if loads.is_empty() {
        let names: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
        bail!("no load is called {}; there are {}", args.only.join(" or "), names.join(", "));
    }
    let programs = Programs::find()?;
    let folder = args.folder.clone().unwrap_or_else(|| build_dir().join("disk"));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let scratch = Scratch(folder.join(format!("iesp-disk-{}", std::process::id())));
    std::fs::create_dir(&scratch.0).with_context(|| format!("cannot make {}", scratch.0.display()))?;
    let image = scratch.0.join("disk.img");
    full_image(&image, args.size << 20)?;
    std::fs::File::open(&image)?.sync_all()?;

    let mut lines = Vec::new();
    for load in loads {
        lines.extend(measure(load, &programs, &image, args, &scratch.0)?);
    }
    println!("{}", table(&lines));
    println!("Medians of {} rounds of {} s (least..most); ratios are taken within a round.", args.rounds, args.seconds);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    for line in lines.iter().filter(|line| line.reader == Reader::Iesp.name()) {
        println!("{}", explain::cpu_time(line, cpus));
    }
    for load in LOADS {
        if let Some(text) = explain::way(load, &lines) {
            println!("{text}");
        }
    }
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&lines)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let missed = lines.iter().filter(|line| line.limit.is_some_and(|limit| line.to_fio.median < limit)).count();
    if missed > 0 {
        bail!("limits that are missed: {missed}");
    }
    Ok(())
}

/// A folder that is removed when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn measure(load: &Load, programs: &Programs, image: &Path, args: &DiskArgs, dir: &Path) -> Result<Vec<Line>> {
    if !load.direct {
        // It is to be in the page cache before anybody is measured.
        std::io::copy(&mut std::fs::File::open(image)?, &mut std::io::sink())?;
    }
    let readers: Vec<Reader> = Reader::ALL.iter().copied().filter(|reader| reader.reads(load)).collect();
    let mut readings: Vec<Vec<Reading>> = vec![Vec::new(); readers.len()];
    for round in 0..args.rounds as usize {
        for turn in 0..readers.len() {
            let index = (round + turn) % readers.len();
            let reading = readers[index]
                .read(programs, load, image, args.seconds, dir)
                .with_context(|| format!("{} cannot be measured", readers[index].name()))?;
            eprintln!(
                "{:<10} round {:<3} {:<21} {:>10.0} op/s",
                load.name,
                round + 1,
                readers[index].name(),
                reading.rate
            );
            readings[index].push(reading);
        }
    }
    let fio = &readings[0];
    let line = |(reader, own): (&Reader, &Vec<Reading>)| Line {
        load: load.name,
        reader: reader.name(),
        operations_per_second: Spread::of(own.iter().map(|own| own.rate)),
        cpu_us: Spread::of(own.iter().map(|own| own.cpu_us)),
        initiator_cpu_us: Spread::of(own.iter().map(|own| own.initiator_cpu_us)),
        to_fio: Spread::of(own.iter().zip(fio).map(|(own, fio)| own.rate / fio.rate)),
        limit: reader.limit(load),
    };
    Ok(readers.iter().zip(&readings).map(line).collect())
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "load",
        "program",
        "op/s",
        "to fio",
        "at least",
        "",
        "CPU µs/op",
        "initiator's CPU µs/op",
    ]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let range = |spread: Spread, digits: usize| {
        format!("{:.digits$} ({:.digits$}..{:.digits$})", spread.median, spread.min, spread.max)
    };
    for line in lines {
        table.add_row([
            line.load.to_owned(),
            line.reader.to_owned(),
            range(line.operations_per_second, 0),
            range(line.to_fio, 2),
            line.limit.map(|limit| format!("{limit:.2}")).unwrap_or_default(),
            match line.limit {
                Some(limit) if line.to_fio.median < limit => "MISSED".to_owned(),
                Some(_) => "met".to_owned(),
                None => String::new(),
            },
            range(line.cpu_us, 1),
            if line.initiator_cpu_us.max > 0.0 { range(line.initiator_cpu_us, 1) } else { String::new() },
        ]);
    }
    table
}
