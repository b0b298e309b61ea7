//! Runs to be drawn: the JSON of the speed tools, or the `.dat` files of iESP's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::speed::results::{Latency, Report};

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Requests a second.
    Iops,
    /// MiB a second.
    Bandwidth,
}

impl Quantity {
    /// Its name with the unit, for an axis.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Iops => "operations a second (IOPS)",
            Self::Bandwidth => "bandwidth (MiB/s)",
        }
    }

    /// Its name, for a title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Iops => "IOPS",
            Self::Bandwidth => "Bandwidth in MiB/s",
        }
    }

    /// The end of file names.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Iops => "iops",
            Self::Bandwidth => "bw",
        }
    }
}

/// One measured combination.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Bytes of a request.
    pub block: u64,
    /// How many threads.
    pub threads: u32,
    /// How many requests each had in flight.
    pub depth: u32,
    /// Requests a second.
    pub iops: f64,
    /// The slowest and the fastest repetition, in requests a second.
    pub range: (f64, f64),
    /// Latencies, where they were measured.
    pub latency: Option<Latency>,
}

impl Cell {
    /// The value of a quantity.
    #[must_use]
    pub fn value(&self, quantity: Quantity) -> f64 {
        self.iops * self.unit(quantity)
    }

    /// A quantity in the slowest and the fastest repetition.
    #[must_use]
    pub fn extremes(&self, quantity: Quantity) -> (f64, f64) {
        (self.range.0 * self.unit(quantity), self.range.1 * self.unit(quantity))
    }

    fn unit(&self, quantity: Quantity) -> f64 {
        match quantity {
            Quantity::Iops => 1.0,
            Quantity::Bandwidth => self.block as f64 / 1_048_576.0,
        }
    }
}

/// A run of a speed tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name.
    pub label: String,
    /// What was measured, in a few words.
    pub about: String,
    /// Whether the access was sequential.
    pub sequential: bool,
    /// All combinations.
    pub cells: Vec<Cell>,
}

/// A file that is no run.
#[derive(Debug, Error)]
pub enum DataError {
    /// It cannot be read.
    #[error("cannot read {file}: {source}")]
    Io {
        /// Which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is neither kind of file.
    #[error("{file} is no run of a speed tool: {why}")]
    Format {
        /// Which file.
        file: String,
        /// What is wrong.
        why: String,
    },
}

impl Run {
    /// Reads a file: JSON by its suffix, else the columns of a `.dat` file, whose unit follows from `unit` or, when
    /// that is `None`, from its name (`bw` in it means MiB a second).
    ///
    /// # Errors
    /// [`DataError`].
    pub fn read(path: &Path, unit: Option<Quantity>) -> Result<Self, DataError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| DataError::Io { file: file.clone(), source })?;
        let run = if path.extension().is_some_and(|suffix| suffix == "json") {
            from_json(&text)
        } else {
            from_dat(path, &text, unit)
        };
        let run = run.map_err(|why| DataError::Format { file: file.clone(), why })?;
        let wrong = |cell: &Cell| cell.block == 0 || cell.threads == 0 || !cell.iops.is_finite() || cell.iops < 0.0;
        if run.cells.is_empty() || run.cells.iter().any(wrong) {
            return Err(DataError::Format { file, why: "it has no measurements, or impossible ones".to_owned() });
        }
        Ok(run)
    }

    /// The block sizes that were measured, in order.
    #[must_use]
    pub fn blocks(&self) -> Vec<u64> {
        self.cells.iter().map(|cell| cell.block).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The numbers of threads that were measured, in order.
    #[must_use]
    pub fn threads(&self) -> Vec<u32> {
        self.cells.iter().map(|cell| cell.threads).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The queue depths that were measured, in order.
    #[must_use]
    pub fn depths(&self) -> Vec<u32> {
        self.cells.iter().map(|cell| cell.depth).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The combination, if it was measured.
    #[must_use]
    pub fn cell(&self, block: u64, threads: u32, depth: u32) -> Option<&Cell> {
        self.cells.iter().find(|cell| (cell.block, cell.threads, cell.depth) == (block, threads, depth))
    }

    /// The run with one queue depth alone.
    #[must_use]
    pub fn with_depth(&self, depth: u32) -> Self {
        let cells = self.cells.iter().copied().filter(|cell| cell.depth == depth).collect();
        Self { cells, ..self.clone() }
    }

    /// What was measured, for the line below a title. For a run of one queue depth.
    #[must_use]
    pub fn subtitle(&self) -> String {
        match self.depths()[..] {
            [depth] if depth > 1 => format!("{}, {depth} in flight a thread", self.about),
            _ => self.about.clone(),
        }
    }
}

fn from_json(text: &str) -> Result<Run, String> {
    let report: Report = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let what = match report.read_percent {
        100 => "reads".to_owned(),
        0 => "writes".to_owned(),
        percent => format!("accesses, {percent} % of them reads"),
    };
    let cells = report.cells.iter().map(|cell| Cell {
        block: cell.block_size,
        threads: cell.threads,
        depth: cell.depth,
        iops: cell.iops(),
        range: cell.range(),
        latency: Some(cell.latency()),
    });
    Ok(Run {
        label: report.label,
        about: format!("{} {what} ({})", report.order, report.path),
        sequential: report.order == "sequential",
        cells: cells.collect(),
    })
}

fn from_dat(path: &Path, text: &str, unit: Option<Quantity>) -> Result<Run, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unit = unit.unwrap_or(if name.contains("bw") { Quantity::Bandwidth } else { Quantity::Iops });
    let mut cells = Vec::new();
    let mut sequential = false;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let columns: Vec<f64> = line
            .split_whitespace()
            .map(|column| column.parse().map_err(|_| format!("line {}: '{column}' is no number", number + 1)))
            .collect::<Result<_, _>>()?;
        let (block, threads, iops) = match columns[..] {
            [block, threads, value] if unit == Quantity::Iops => (block, threads, value),
            [block, threads, value] => (block, threads, value * 1_048_576.0 / block),
            // bs-read: block size, operations, bytes, operations a second, bytes a second.
            [block, _, _, iops, _] => {
                sequential = true;
                (block, 1.0, iops)
            }
            _ => return Err(format!("line {} has {} columns", number + 1, columns.len())),
        };
        cells.push(Cell {
            block: block as u64,
            threads: threads as u32,
            depth: 1,
            iops,
            range: (iops, iops),
            latency: None,
        });
    }
    let about = if sequential { "sequential reads" } else { "random reads" };
    Ok(Run { label: name_of(path), about: about.to_owned(), sequential, cells })
}

/// A name for a `.dat` file: its folder tells runs apart, its own name does not.
fn name_of(path: &Path) -> String {
    let absolute: PathBuf = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute.parent().and_then(Path::file_name);
    folder.map_or_else(|| path.display().to_string(), |folder| folder.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_python_tools() {
        let path = |name| Path::new("/somewhere/run7").join(name);
        let iops = from_dat(&path("plot-iops.dat"), "512\t1\t1000.5\n512\t2\t2000\n\n1024\t1\t900\n\n", None).unwrap();
        assert_eq!((iops.blocks(), iops.threads(), iops.label.as_str()), (vec![512, 1024], vec![1, 2], "run7"));
        assert_eq!(iops.cell(512, 2, 1).unwrap().iops, 2000.0);
        let bandwidth = from_dat(&path("plot-bw.dat"), "1048576\t1\t250\n", None).unwrap();
        assert_eq!(bandwidth.cells[0].iops, 250.0);
        assert_eq!(bandwidth.cells[0].value(Quantity::Bandwidth), 250.0);
        let sequential = from_dat(&path("plot-bw-iop.dat"), "512 10 5120 5.0 2560.0\n", None).unwrap();
        assert!(sequential.sequential && sequential.cells[0].iops == 5.0);
    }

    #[test]
    fn what_is_no_run() {
        let path = Path::new("x.dat");
        assert!(from_dat(path, "512 1\n", None).is_err());
        assert!(from_dat(path, "512 1 many\n", None).is_err());
        assert!(from_json("{}").is_err());
    }
}
