//! What a measurement gave, and its files: JSON with everything, CSV, and the `.dat` files of iESP's tools.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::load::engine::{Load, Measured};

/// Latencies in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// Half of the requests were as fast.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
    /// 99.99 %.
    pub p99_99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// Reads them from a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percentile| histogram.value_at_percentile(percentile);
        Self {
            min: histogram.min(),
            mean: histogram.mean(),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p99_9: at(99.9),
            p99_99: at(99.99),
            max: histogram.max(),
        }
    }

    /// The curve: percentile and nanoseconds.
    #[must_use]
    pub fn curve(&self) -> [(f64, u64); 5] {
        [(50.0, self.p50), (90.0, self.p90), (99.0, self.p99), (99.9, self.p99_9), (99.99, self.p99_99)]
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// How long was measured.
    pub seconds: f64,
    /// How many requests ended in that time.
    pub operations: u64,
    /// Requests a second.
    pub iops: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// CPU time that the tool itself used, user and system, in seconds.
    pub cpu_seconds: f64,
    /// How long the requests took.
    pub latency: Latency,
}

impl Run {
    /// What a measurement comes to.
    #[must_use]
    pub fn of(load: &Load, measured: &Measured) -> Self {
        let (seconds, requests) = (measured.elapsed.as_secs_f64(), measured.requests as f64);
        Self {
            seconds,
            operations: measured.requests,
            iops: requests / seconds,
            bytes_per_second: requests * load.block as f64 / seconds,
            cpu_seconds: measured.own_cpu.as_secs_f64(),
            latency: Latency::of(&measured.latency),
        }
    }
}

/// The measurements of one combination of block size, threads and depth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Bytes of a request.
    pub block_size: u64,
    /// How many threads.
    pub threads: u32,
    /// How many requests each had in flight.
    pub depth: u32,
    /// The repetitions.
    pub runs: Vec<Run>,
}

impl Cell {
    /// The value in the middle of the repetitions: one that something else on the machine disturbed does not count.
    fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        let mut values: Vec<f64> = self.runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        }
    }

    /// Requests a second, the median of the repetitions.
    #[must_use]
    pub fn iops(&self) -> f64 {
        self.median(|run| run.iops)
    }

    /// Bytes a second, the median of the repetitions.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.median(|run| run.bytes_per_second)
    }

    /// CPU time of the tool for a request, in seconds.
    #[must_use]
    pub fn cpu_per_operation(&self) -> f64 {
        let operations: u64 = self.runs.iter().map(|run| run.operations).sum();
        self.runs.iter().map(|run| run.cpu_seconds).sum::<f64>() / operations.max(1) as f64
    }

    /// The rates of the slowest and the fastest repetition, in requests a second.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let rates = || self.runs.iter().map(|run| run.iops);
        (rates().reduce(f64::min).unwrap_or(0.0), rates().reduce(f64::max).unwrap_or(0.0))
    }

    /// How far the repetitions lie apart: the difference of the fastest and the slowest as a part of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let (least, most) = self.range();
        if self.iops() > 0.0 { (most - least) / self.iops() } else { 0.0 }
    }

    /// The latencies, each the median of the repetitions'; the extremes are those of all.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let median = |of: fn(&Latency) -> u64| self.median(|run| of(&run.latency) as f64) as u64;
        Latency {
            min: self.runs.iter().map(|run| run.latency.min).min().unwrap_or(0),
            mean: self.median(|run| run.latency.mean),
            p50: median(|l| l.p50),
            p90: median(|l| l.p90),
            p99: median(|l| l.p99),
            p99_9: median(|l| l.p99_9),
            p99_99: median(|l| l.p99_99),
            max: self.runs.iter().map(|run| run.latency.max).max().unwrap_or(0),
        }
    }
}

/// Everything that one call of a tool measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The tool.
    pub tool: String,
    /// A name for the run in pictures.
    pub label: String,
    /// The disk as the user named it, without a secret.
    pub device: String,
    /// How it was reached.
    pub path: String,
    /// `random` or `sequential`.
    pub order: String,
    /// Of 100 requests so many were reads.
    pub read_percent: u32,
    /// Which places were chosen.
    pub seed: u64,
    /// All combinations.
    pub cells: Vec<Cell>,
}

impl Report {
    /// As CSV: a line a repetition.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = "block_size,threads,depth,run,seconds,operations,iops,bytes_per_second,cpu_seconds,\
                        lat_min_ns,lat_mean_ns,lat_p50_ns,lat_p90_ns,lat_p99_ns,lat_p99_9_ns,lat_p99_99_ns,lat_max_ns\n"
            .to_owned();
        for cell in &self.cells {
            for (number, run) in cell.runs.iter().enumerate() {
                let l = &run.latency;
                let _ = writeln!(
                    text,
                    "{},{},{},{},{:.6},{},{:.3},{:.1},{:.6},{},{:.1},{},{},{},{},{},{}",
                    cell.block_size,
                    cell.threads,
                    cell.depth,
                    number + 1,
                    run.seconds,
                    run.operations,
                    run.iops,
                    run.bytes_per_second,
                    run.cpu_seconds,
                    l.min,
                    l.mean,
                    l.p50,
                    l.p90,
                    l.p99,
                    l.p99_9,
                    l.p99_99,
                    l.max
                );
            }
        }
        text
    }

    /// As iESP's tool wrote it: block size, threads, value; an empty line behind each block size. Where several depths
    /// were measured, only the last is in it.
    #[must_use]
    pub fn dat(&self, value: impl Fn(&Cell) -> f64) -> String {
        let mut text = String::new();
        let last = self.cells.last().map_or(1, |cell| cell.depth);
        let cells: Vec<_> = self.cells.iter().filter(|cell| cell.depth == last).collect();
        for (index, cell) in cells.iter().enumerate() {
            let _ = writeln!(text, "{}\t{}\t{}", cell.block_size, cell.threads, value(cell));
            if cells.get(index + 1).is_none_or(|next| next.block_size != cell.block_size) {
                text.push('\n');
            }
        }
        text
    }

    /// Writes JSON and CSV as `PREFIX.json` and `PREFIX.csv`, and gives their names.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, prefix: &Path) -> io::Result<Vec<PathBuf>> {
        let json = with_suffix(prefix, ".json");
        let csv = with_suffix(prefix, ".csv");
        fs::write(&json, serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(&csv, self.csv())?;
        Ok(vec![json, csv])
    }
}

/// `prefix` with something behind its last name.
#[must_use]
pub fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Nanoseconds for people: `812 ns`, `4.20 µs`, `1.31 ms`.
#[must_use]
pub fn show_time(nanoseconds: f64) -> String {
    let (divisor, unit) = match nanoseconds {
        n if n < 1e3 => return format!("{n:.0} ns"),
        n if n < 1e6 => (1e3, "µs"),
        n if n < 1e9 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{:.2} {unit}", nanoseconds / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let run = |iops: f64| Run {
            seconds: 1.0,
            operations: iops as u64,
            iops,
            bytes_per_second: iops * 512.0,
            cpu_seconds: 0.5,
            latency: Latency { min: 1, mean: 2.5, p50: 2, p90: 3, p99: 4, p99_9: 5, p99_99: 6, max: 7 },
        };
        let cell = |block_size, threads| Cell { block_size, threads, depth: 1, runs: vec![run(90.0), run(110.0)] };
        Report {
            tool: "block-speed-randread".to_owned(),
            label: "x".to_owned(),
            device: "y".to_owned(),
            path: String::new(),
            order: "random".to_owned(),
            read_percent: 100,
            seed: 1,
            cells: vec![cell(512, 1), cell(512, 2), cell(1024, 1)],
        }
    }

    #[test]
    fn repetitions_become_a_median_with_a_spread() {
        let cell = &report().cells[0];
        assert_eq!((cell.iops(), cell.bytes_per_second()), (100.0, 51200.0));
        assert!((cell.spread() - 0.2).abs() < 1e-9);
        let disturbed =
            Cell { runs: [100.0, 7.0, 101.0].map(|iops| Run { iops, ..cell.runs[0] }).to_vec(), ..cell.clone() };
        assert_eq!(disturbed.iops(), 100.0);
        assert!((cell.cpu_per_operation() - 0.005).abs() < 1e-9);
    }

    #[test]
    fn the_files_have_what_the_python_tool_wrote() {
        assert_eq!(report().dat(Cell::iops), "512\t1\t100\n512\t2\t100\n\n1024\t1\t100\n\n");
        assert_eq!(report().csv().lines().count(), 7);
        assert_eq!(report().csv().lines().nth(1).unwrap().split(',').count(), 17);
        let text = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
    }

    #[test]
    fn times_for_people() {
        assert_eq!(show_time(812.0), "812 ns");
        assert_eq!(show_time(4200.0), "4.20 µs");
        assert_eq!(show_time(1.5e9), "1.50 s");
    }
}
