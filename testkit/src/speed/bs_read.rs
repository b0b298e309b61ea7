//! `bs-read`: sequential access over growing block sizes.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::common::{Bench, Common, SpeedError, end, heading, interrupt, milliseconds, write};

use super::results::{Report, with_suffix};
use crate::load::engine::{Extent, Load, Order};
use crate::size::parse_size;

/// Measures sequential access to a disk over growing block sizes.
///
/// Results go to PREFIX-bw-iop.dat (block size, operations, bytes, operations a second, bytes a second), and with
/// latencies and CPU time to PREFIX-bw-iop.json and .csv; `plot` makes pictures of them.
#[allow(rustdoc::broken_intra_doc_links, reason = "these texts are what --help shows")]
#[derive(Debug, Parser)]
#[command(name = "bs-read", version, max_term_width = 110)]
pub struct Options {
    /// A block device, a file, iscsi://[user[%secret]@]host[:port]/target/lun, or ram:SIZE
    pub device: String,

    /// The smallest block size
    #[arg(value_parser = parse_size)]
    pub bs_min: u64,

    /// How many block sizes
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub steps: u32,

    /// How long each is measured
    pub seconds: f64,

    /// How the block sizes grow: by BS_MIN, or to the double
    #[arg(value_enum)]
    pub growth: Growth,

    /// Threads, each in a part of the disk of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it")]
    pub common: Common,
}

/// How the block sizes grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Growth {
    /// By the smallest
    Linear,
    /// To the double
    Exponential,
}

/// Runs the program.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    end(TOOL, run(options))
}

const TOOL: &str = "bs-read";

fn run(options: &Options) -> Result<(), SpeedError> {
    let common = &options.common;
    let blocks = sizes(options);
    let source = common.open(&options.device, &blocks)?;
    let bench = Bench { device: &options.device, source: &source, common, interrupt: interrupt()? };
    println!("{}", heading());
    let mut cells = Vec::new();
    for &depth in &common.depth {
        for &block in &blocks {
            if bench.interrupt.load(Relaxed) {
                break;
            }
            cells.push(bench.cell(&Load {
                block,
                threads: options.threads,
                depth,
                read_percent: common.reads(),
                order: Order::Sequential,
                start: 0,
                len: common.size(&source),
                extent: Extent::Time(Duration::try_from_secs_f64(options.seconds).unwrap_or(Duration::from_secs(1))),
                warm_up: milliseconds(common.warm_up),
                seed: common.seed,
            })?);
        }
    }
    let report = bench.report(TOOL, "sequential", cells);
    let dat = with_suffix(&common.output, "-bw-iop.dat");
    write(&dat, &five_columns(&report))?;
    let files = report
        .write(&with_suffix(&common.output, "-bw-iop"))
        .map_err(|source| SpeedError::Write { file: common.output.display().to_string(), source })?;
    println!("written: {}, {}, {}", dat.display(), files[0].display(), files[1].display());
    Ok(())
}

fn sizes(options: &Options) -> Vec<u64> {
    let size = |step: u32| match options.growth {
        Growth::Linear => options.bs_min.checked_mul(u64::from(step) + 1),
        Growth::Exponential => options.bs_min.checked_mul(1u64.checked_shl(step).unwrap_or(0)),
    };
    // What does not fit 64 bits is more than any disk has, and is refused as that.
    (0..options.steps).map(|step| size(step).unwrap_or(u64::MAX / 512 * 512)).collect()
}

fn five_columns(report: &Report) -> String {
    let mut text = String::new();
    for cell in &report.cells {
        let operations: u64 = cell.runs.iter().map(|run| run.operations).sum();
        let bytes = operations * cell.block_size;
        let _ = writeln!(text, "{} {operations} {bytes} {} {}", cell.block_size, cell.iops(), cell.bytes_per_second());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
        let parse = |growth| Options::try_parse_from(["bs-read", "/dev/x", "4k", "3", "0.5", growth]).unwrap();
        assert_eq!(sizes(&parse("linear")), [4096, 8192, 12288]);
        assert_eq!(sizes(&parse("exponential")), [4096, 8192, 16384]);
    }
}
