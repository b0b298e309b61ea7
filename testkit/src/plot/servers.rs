//! What `cargo xtask bench` measured: servers beside each other under each load.

use std::fs;
use std::path::Path;

use plotters::prelude::DrawingBackend;
use serde::Deserialize;

use super::canvas::{Align, Canvas, Picture, PlotError};
use super::data::DataError;
use super::frame::{Axis, Frame, plain};
use super::heat::title;
use super::style::{INK, NUMBER, SMALL, series, short_number};

/// A result of `cargo xtask bench`.
#[derive(Debug, Clone, Deserialize)]
pub struct Bench {
    /// The commit that was measured, where it is known.
    #[serde(default)]
    pub commit: String,
    machine: Machine,
    rounds: u32,
    seconds: f64,
    loads: Vec<Load>,
}

#[derive(Debug, Clone, Deserialize)]
struct Machine {
    cpus: usize,
    model: String,
    kernel: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Load {
    load: String,
    servers: Vec<Server>,
}

#[derive(Debug, Clone, Deserialize)]
struct Server {
    server: String,
    server_cpu_us: Spread,
    operations_per_second: Spread,
    p99_us: Spread,
}

/// Of the rounds.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// CPU time of the server an operation.
    Cpu,
    /// Operations a second.
    Operations,
    /// 99th percentile of the latency.
    Latency,
}

impl Measure {
    /// All, in the order in which they are drawn.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Operations, Self::Latency];

    /// For file names.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Operations => "ops",
            Self::Latency => "p99",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU time of the server an operation (less is better)",
            Self::Operations => "Operations a second (more is better)",
            Self::Latency => "Latency, 99th percentile (less is better)",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Cpu | Self::Latency => "µs",
            Self::Operations => "operations/s",
        }
    }

    fn of(self, server: &Server) -> Spread {
        match self {
            Self::Cpu => server.server_cpu_us,
            Self::Operations => server.operations_per_second,
            Self::Latency => server.p99_us,
        }
    }
}

impl Bench {
    /// Whether a file's text is one, rather than a run of a speed tool.
    #[must_use]
    pub fn is_in(text: &str) -> bool {
        serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.get("loads").is_some())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| DataError::Io { file: file.clone(), source })?;
        let bench: Self = serde_json::from_str(&text)
            .map_err(|error| DataError::Format { file: file.clone(), why: error.to_string() })?;
        if bench.names().is_empty() {
            return Err(DataError::Format { file, why: "it has no server".to_owned() });
        }
        Ok(bench)
    }

    /// The servers, in the order in which they first appear.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for server in self.loads.iter().flat_map(|load| &load.servers) {
            if !names.contains(&server.server.as_str()) {
                names.push(&server.server);
            }
        }
        names
    }
}

/// The picture of one measure: a group of bars a load, on a scale of powers of ten; thin lines reach from the least to the
/// largest of the rounds.
pub struct Servers<'a> {
    /// What was measured.
    pub bench: &'a Bench,
    /// What is shown of it.
    pub measure: Measure,
}

impl Picture for Servers<'_> {
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError> {
        let Bench { machine, rounds, seconds, commit, loads } = self.bench;
        let commit = if commit.is_empty() { String::new() } else { format!("{commit}, ") };
        let about = format!(
            "{commit}medians of {rounds} rounds of {seconds} s on {} CPUs ({}), Linux {}",
            machine.cpus, machine.model, machine.kernel
        );
        title(canvas, self.measure.title(), &about)?;
        let names = self.bench.names();
        let spreads = || loads.iter().flat_map(|load| &load.servers).map(|server| self.measure.of(server));
        let least = spreads().map(|spread| spread.min).filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
        let most = spreads().map(|spread| spread.max).filter(|value| value.is_finite()).fold(0.0, f64::max);
        let frame = Frame {
            left: 220,
            top: 210,
            right: 1880,
            bottom: 930,
            x: Axis::places("load", vec![String::new(); loads.len()]),
            y: Axis::log(self.measure.label(), least * 0.7, most * 1.2, plain),
        };
        frame.draw(canvas)?;
        let place = 1660 / names.len().max(1) as i32;
        for (index, name) in names.iter().enumerate() {
            let x = 220 + place * index as i32;
            canvas.rectangle((x, 150), (x + 28, 178), series(index))?;
            canvas.text(name, (x + 40, 164), NUMBER, Align::Left, INK)?;
        }
        // Long names of loads side by side have to fit.
        let room = 1660 / loads.len().max(1) as i32;
        for (column, load) in loads.iter().enumerate() {
            let letters = f64::from(room - 8) / (load.load.chars().count().max(1) as f64 * 0.62);
            let (x, _) = frame.at(column as f64, frame.y.min);
            canvas.text(&load.load, (x, frame.bottom + 34), NUMBER.min(letters as u32), Align::Center, INK)?;
            for server in &load.servers {
                let Some(index) = names.iter().position(|name| *name == server.server) else { continue };
                self.bar(canvas, &frame, (column, index, names.len()), self.measure.of(server))?;
            }
        }
        Ok(())
    }
}

impl Servers<'_> {
    fn bar<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        frame: &Frame,
        (column, index, count): (usize, usize, usize),
        spread: Spread,
    ) -> Result<(), PlotError> {
        let width = 0.84 / count as f64;
        let left = column as f64 - 0.42 + width * index as f64;
        let (from, to) = (left + width * 0.06, left + width * 0.94);
        let middle = (from + to) / 2.0;
        let corner = frame.at(from, spread.median);
        let (x, _) = frame.at(to, spread.median);
        canvas.rectangle(corner, (x, frame.bottom), series(index))?;
        let (low, high) = (frame.at(middle, spread.min), frame.at(middle, spread.max));
        if low.1 - high.1 >= 4 {
            canvas.line(&[low, high], INK, 2)?;
        }
        let size = (1660 / (self.bench.loads.len() * count).max(1) as u32 / 3 + 5).clamp(11, SMALL);
        canvas.text(&short_number(spread.median), (low.0, high.1 - 14), size, Align::Center, INK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_are_told_from_runs() {
        assert!(Bench::is_in(r#"{"loads": []}"#));
        assert!(!Bench::is_in(r#"{"cells": []}"#));
        assert!(!Bench::is_in("512 1 1000"));
    }
}
