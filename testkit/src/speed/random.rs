//! `block-speed-randread`: random access over block sizes and threads.

use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use clap::Parser;

use super::common::{Bench, Common, SpeedError, end, heading, interrupt, milliseconds, write};

use super::results::{Cell, with_suffix};
use crate::load::engine::{Extent, Load, Order};
use crate::size::parse_size;

/// Measures random access to a disk over block sizes and threads.
///
/// For each block size 512, 1k, 2k … and each number of threads, random blocks are read (or written) for the time
/// given. Results go to PREFIX-iops.dat and PREFIX-bw.dat, and with latencies and CPU time to PREFIX.json and
/// PREFIX.csv; `plot` makes pictures of them.
#[allow(rustdoc::broken_intra_doc_links, reason = "these texts are what --help shows")]
#[derive(Debug, Parser)]
#[command(name = "block-speed-randread", version, max_term_width = 110)]
pub struct Options {
    /// A block device, a file, iscsi://[user[%secret]@]host[:port]/target/lun, or ram:SIZE
    pub device: String,

    /// How many block sizes: 512, 1k, 2k and so on
    #[arg(default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=24))]
    pub bs_steps: u32,

    /// From one thread up to so many
    #[arg(default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_threads: u32,

    /// How long each combination is measured
    #[arg(default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub milliseconds: u64,

    /// Measure these block sizes instead
    #[arg(long, value_name = "SIZE,…", value_delimiter = ',', value_parser = parse_size)]
    pub block_sizes: Vec<u64>,

    /// Measure these numbers of threads instead
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Vec<u32>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it")]
    pub common: Common,
}

/// Runs the program.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    end(TOOL, run(options))
}

const TOOL: &str = "block-speed-randread";

fn run(options: &Options) -> Result<(), SpeedError> {
    let common = &options.common;
    let blocks = match options.block_sizes.as_slice() {
        [] => (0..options.bs_steps).map(|step| 512 << step).collect(),
        sizes => sizes.to_vec(),
    };
    let threads = match options.threads.as_slice() {
        [] => (1..=options.max_threads).collect(),
        threads => threads.to_vec(),
    };
    let source = common.open(&options.device, &blocks)?;
    let bench = Bench { device: &options.device, source: &source, common, interrupt: interrupt()? };
    println!("{}", heading());
    let mut cells = Vec::new();
    for &depth in &common.depth {
        for &block in &blocks {
            for &threads in &threads {
                if bench.interrupt.load(Relaxed) {
                    break;
                }
                cells.push(bench.cell(&Load {
                    block,
                    threads,
                    depth,
                    read_percent: common.reads(),
                    order: Order::Random,
                    start: 0,
                    len: common.size(&source),
                    extent: Extent::Time(milliseconds(options.milliseconds)),
                    warm_up: milliseconds(common.warm_up),
                    seed: common.seed,
                })?);
            }
        }
    }
    let report = bench.report(TOOL, "random", cells);
    let (iops, bandwidth) = (with_suffix(&common.output, "-iops.dat"), with_suffix(&common.output, "-bw.dat"));
    write(&iops, &report.dat(Cell::iops))?;
    // iESP's unit: MiB a second.
    write(&bandwidth, &report.dat(|cell| cell.bytes_per_second() / 1_048_576.0))?;
    let files = report
        .write(&common.output)
        .map_err(|source| SpeedError::Write { file: common.output.display().to_string(), source })?;
    println!("written: {}, {}, {}, {}", iops.display(), bandwidth.display(), files[0].display(), files[1].display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
        let options = Options::try_parse_from(["block-speed-randread", "/dev/x", "5", "3", "200"]).unwrap();
        assert_eq!((options.bs_steps, options.max_threads, options.milliseconds), (5, 3, 200));
    }
}
