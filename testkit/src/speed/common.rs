//! What the command lines of the speed tools have in common.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use thiserror::Error;

use super::results::{Cell, Report, Run, show_time};
use crate::device::{Access, Direct, OpenError};
use crate::load::LoadError;
use crate::load::engine::{Load, measure};
use crate::load::source::{Engine, Source, forget_cache};
use crate::size::{parse_size, show_size};

/// Options of all speed tools.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Requests that each thread has in flight; several depths are measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub depth: Vec<u32>,

    /// What the requests are; all but read overwrite the disk
    #[arg(long, value_enum, default_value_t = Requests::Read)]
    pub rw: Requests,

    /// Of a mixed load so many percent are reads
    #[arg(long, value_name = "PERCENT", default_value_t = 70, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub read_percent: u32,

    /// Milliseconds that the load runs before it is measured
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 100)]
    pub warm_up: u64,

    /// Measure everything so many times, and show how far the results lie apart
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,

    /// How requests to files and block devices are carried out
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    pub engine: Engine,

    /// Bypass the page cache
    #[arg(long, value_enum, default_value_t = Direct::Auto)]
    pub direct: Direct,

    /// Let the kernel forget what it has cached of the file before each measurement
    #[arg(long)]
    pub forget_cache: bool,

    /// Use only so much of the disk, from its beginning
    #[arg(short = 'l', long, value_name = "SIZE", value_parser = parse_size)]
    pub limit: Option<u64>,

    /// Which places are chosen
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Results are written to files that begin so
    #[arg(short = 'o', long, value_name = "PREFIX", default_value = "plot")]
    pub output: PathBuf,

    /// A name for this run in pictures [default: the device]
    #[arg(long)]
    pub label: Option<String>,

    /// Overwrite a disk that is in use or holds something
    #[arg(long)]
    pub yes_destroy_data: bool,
}

/// What the requests are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Requests {
    /// Reads
    Read,
    /// Writes
    Write,
    /// Both
    Mixed,
}

/// Why nothing could be measured.
#[derive(Debug, Error)]
pub enum SpeedError {
    /// The device.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A block size that does not fit.
    #[error("blocks of {0} bytes do not fit the disk: {1}")]
    Block(u64, &'static str),
    /// The device, while it was measured.
    #[error("{device}, with blocks of {block} bytes: {source}")]
    Measure {
        /// Which device.
        device: String,
        /// With which blocks.
        block: u64,
        /// What was reported.
        source: LoadError,
    },
    /// A results file.
    #[error("cannot write {file}: {source}")]
    Write {
        /// Which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Signals.
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
}

impl Common {
    /// How many of 100 requests are reads.
    #[must_use]
    pub fn reads(&self) -> u32 {
        match self.rw {
            Requests::Read => 100,
            Requests::Write => 0,
            Requests::Mixed => self.read_percent,
        }
    }

    /// Opens the disk for blocks of these sizes.
    ///
    /// # Errors
    /// [`SpeedError::Open`], and [`SpeedError::Block`] for a size that is no multiple of the disk's or exceeds it.
    pub fn open(&self, device: &str, blocks: &[u64]) -> Result<Source, SpeedError> {
        let alignment = blocks.iter().map(|block| 1u64 << block.trailing_zeros().min(63)).min().unwrap_or(512);
        let access = Access {
            write: self.rw != Requests::Read,
            destroy: self.yes_destroy_data,
            direct: self.direct,
            alignment,
            shared: false,
        };
        let source = Source::open(device, access, self.engine)?;
        let size = self.size(&source);
        for &block in blocks {
            if block == 0 || !block.is_multiple_of(512) {
                return Err(SpeedError::Block(block, "they must be multiples of 512"));
            }
            if block > size {
                return Err(SpeedError::Block(block, "it is smaller"));
            }
        }
        Ok(source)
    }

    /// How much of the disk is used.
    #[must_use]
    pub fn size(&self, source: &Source) -> u64 {
        self.limit.unwrap_or(u64::MAX).min(source.geometry().size)
    }
}

/// A measuring tool at work.
pub struct Bench<'a> {
    /// The device as the user named it.
    pub device: &'a str,
    /// The open device.
    pub source: &'a Source,
    /// The options.
    pub common: &'a Common,
    /// Set by Ctrl-C.
    pub interrupt: Arc<AtomicBool>,
}

impl Bench<'_> {
    /// Measures one combination as often as asked for, and prints a line.
    ///
    /// # Errors
    /// [`SpeedError::Measure`].
    pub fn cell(&self, load: &Load) -> Result<Cell, SpeedError> {
        let mut cell = Cell { block_size: load.block, threads: load.threads, depth: load.depth, runs: Vec::new() };
        for _ in 0..self.common.repeat {
            if self.common.forget_cache {
                forget_cache(Path::new(self.device));
            }
            let queue = |_| self.source.queue(load.block as usize, load.depth as usize);
            let measured = measure(load, &queue, None, &self.interrupt).map_err(|source| {
                let device = without_secret(self.device);
                SpeedError::Measure { device, block: load.block, source }
            })?;
            cell.runs.push(Run::of(load, &measured));
        }
        println!("{}", line(&cell));
        Ok(cell)
    }

    /// The report around the cells.
    #[must_use]
    pub fn report(&self, tool: &str, order: &str, cells: Vec<Cell>) -> Report {
        let device = without_secret(self.device);
        let depth = self.common.depth.iter().copied().max().unwrap_or(1);
        Report {
            tool: tool.to_owned(),
            label: self.common.label.clone().unwrap_or_else(|| device.clone()),
            device,
            path: self.source.path(depth as usize),
            order: order.to_owned(),
            read_percent: self.common.reads(),
            seed: self.common.seed,
            cells,
        }
    }
}

/// The head of the table that [`line`] fills.
#[must_use]
pub fn heading() -> String {
    format!(
        "{:>9} {:>7} {:>5} {:>12} {:>14} {:>7} {:>10} {:>10} {:>10} {:>10} {:>9}",
        "block", "threads", "depth", "IOPS", "bandwidth", "spread", "p50", "p99", "p99.9", "p99.99", "CPU/op"
    )
}

fn line(cell: &Cell) -> String {
    let latency = cell.latency();
    let time = |nanoseconds: u64| show_time(nanoseconds as f64);
    format!(
        "{:>9} {:>7} {:>5} {:>12.0} {:>14} {:>6.1}% {:>10} {:>10} {:>10} {:>10} {:>9}",
        show_size(cell.block_size),
        cell.threads,
        cell.depth,
        cell.iops(),
        show_size(cell.bytes_per_second() as u64) + "/s",
        cell.spread() * 100.0,
        time(latency.p50),
        time(latency.p99),
        time(latency.p99_9),
        time(latency.p99_99),
        show_time(cell.cpu_per_operation() * 1e9),
    )
}

/// A duration from milliseconds.
#[must_use]
pub fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Writes a file of results and says so.
///
/// # Errors
/// [`SpeedError::Write`].
pub fn write(path: &Path, text: &str) -> Result<(), SpeedError> {
    std::fs::write(path, text).map_err(|source| SpeedError::Write { file: path.display().to_string(), source })
}

/// Ends a tool: prints why it could not run.
#[must_use]
pub fn end(tool: &str, result: Result<(), SpeedError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{tool}: {error}");
            ExitCode::from(2)
        }
    }
}

/// A flag that Ctrl-C sets.
///
/// # Errors
/// [`SpeedError::Signals`].
pub fn interrupt() -> Result<Arc<AtomicBool>, SpeedError> {
    crate::signals::interrupt().map_err(SpeedError::Signals)
}

/// The URL of a disk without its user and secret: results are shown around.
fn without_secret(device: &str) -> String {
    match device.strip_prefix("iscsi://").and_then(|rest| rest.split_once('@')) {
        Some((user, rest)) if !user.contains('/') => format!("iscsi://{rest}"),
        _ => device.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_results() {
        assert_eq!(without_secret("iscsi://me%secret@host/iqn.x:y/0"), "iscsi://host/iqn.x:y/0");
        assert_eq!(without_secret("iscsi://host/iqn.x:a@b/0"), "iscsi://host/iqn.x:a@b/0");
        assert_eq!(without_secret("/dev/sd@a"), "/dev/sd@a");
    }
}
