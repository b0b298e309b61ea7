//! Runs beside each other: bars above, and below how many times the first run each is.

use plotters::prelude::DrawingBackend;

use super::canvas::{Align, Canvas, Picture, PlotError};
use super::data::{Quantity, Run};
use super::frame::{Axis, Frame, plain};
use super::heat::title;
use super::style::{FAINT, GRID, INK, NUMBER, SMALL, series, short_number};
use crate::size::show_size;

/// Two or more runs with one number of threads and one queue depth.
pub struct Compare<'a> {
    /// The runs; the first is what the others are held against.
    pub runs: &'a [Run],
    /// What is shown.
    pub quantity: Quantity,
    /// Which number of threads.
    pub threads: u32,
    /// Which queue depth.
    pub depth: u32,
}

impl Picture for Compare<'_> {
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError> {
        let blocks = self.blocks();
        title(canvas, &format!("{} compared", self.quantity.title()), &self.about())?;
        let values =
            || (0..self.runs.len()).flat_map(|run| blocks.iter().filter_map(move |block| self.extremes(run, *block)));
        let most = values().map(|(_, fastest)| fastest).fold(0.0, f64::max);
        let names: Vec<String> = blocks.iter().map(|block| show_size(*block)).collect();
        let none = vec![String::new(); names.len()];
        let above = Frame {
            left: 220,
            top: 190,
            right: 1880,
            bottom: 620,
            x: Axis::places("", none),
            y: Axis::from_zero(self.quantity.label(), most, plain),
        };
        let ratios = || blocks.iter().flat_map(|block| (1..self.runs.len()).filter_map(|run| self.ratio(run, *block)));
        // Twice as fast and half as fast are equally far from the same.
        let highest = ratios().fold(1.0, f64::max).max(1.6);
        let lowest = ratios().filter(|ratio| *ratio > 0.0).fold(1.0, f64::min).min(0.85);
        let below = Frame {
            left: 220,
            top: 700,
            right: 1880,
            bottom: 950,
            x: Axis::places("block size", names),
            y: Axis::log("ratio", lowest * 0.6, highest * 1.3, |value| short_number(value) + "×"),
        };
        self.legend(canvas)?;
        above.draw(canvas)?;
        self.bars(canvas, &above, 0, |run, block| self.value(run, block))?;
        self.whiskers(canvas, &above)?;
        below.draw(canvas)?;
        let text = format!("how many times {} (up is faster)", self.runs[0].label);
        canvas.text(&text, (below.left, below.top - 26), SMALL, Align::Left, FAINT)?;
        self.bars(canvas, &below, 1, |run, block| self.ratio(run, block))?;
        let (_, one) = below.at(0.0, 1.0);
        canvas.line(&[(below.left, one), (below.right, one)], INK, 3)?;
        self.numbers(canvas, &below)
    }
}

impl Compare<'_> {
    fn about(&self) -> String {
        let threads = if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        let same = self.runs.iter().all(|run| run.about == self.runs[0].about);
        let what = if same { format!("{}, ", self.runs[0].about) } else { String::new() };
        format!("{what}{threads}, {} in flight a thread", self.depth)
    }

    /// The block sizes that every run has.
    fn blocks(&self) -> Vec<u64> {
        let all = self.runs[0].blocks();
        all.into_iter().filter(|block| (0..self.runs.len()).all(|run| self.value(run, *block).is_some())).collect()
    }

    fn value(&self, run: usize, block: u64) -> Option<f64> {
        Some(self.runs[run].cell(block, self.threads, self.depth)?.value(self.quantity))
    }

    fn extremes(&self, run: usize, block: u64) -> Option<(f64, f64)> {
        Some(self.runs[run].cell(block, self.threads, self.depth)?.extremes(self.quantity))
    }

    /// How many times the first run.
    #[must_use]
    pub fn ratio(&self, run: usize, block: u64) -> Option<f64> {
        let first = self.value(0, block).filter(|first| *first > 0.0)?;
        Some(self.value(run, block)? / first)
    }

    fn legend<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError> {
        let room = 1660 / self.runs.len() as i32;
        for (index, run) in self.runs.iter().enumerate() {
            let x = 220 + room * index as i32;
            canvas.rectangle((x, 136), (x + 28, 164), series(index))?;
            let letters = (room - 60) as f64 / (run.label.chars().count().max(1) as f64 * 0.6);
            canvas.text(&run.label, (x + 40, 150), NUMBER.min(letters as u32), Align::Left, INK)?;
        }
        Ok(())
    }

    /// Where the bar of a run stands, from -0.5 to 0.5 around its block size.
    fn place(&self, run: usize, first: usize) -> (f64, f64) {
        let width = 0.8 / (self.runs.len() - first) as f64;
        let left = -0.4 + width * (run - first) as f64;
        (left + width * 0.05, left + width * 0.95)
    }

    fn bars<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        frame: &Frame,
        first: usize,
        value: impl Fn(usize, u64) -> Option<f64>,
    ) -> Result<(), PlotError> {
        for (column, block) in self.blocks().into_iter().enumerate() {
            for run in first..self.runs.len() {
                let Some(value) = value(run, block) else { continue };
                let (left, right) = self.place(run, first);
                let corner = frame.at(column as f64 + left, value);
                // Ratios stand on the one.
                let (x, foot) = frame.at(column as f64 + right, if frame.y.log { 1.0 } else { 0.0 });
                let (upper, lower) = (corner.1.min(foot), corner.1.max(foot));
                canvas.rectangle((corner.0, upper), (x, lower), series(run))?;
            }
        }
        canvas.line(&[(frame.left, frame.bottom), (frame.right, frame.bottom)], INK, 3)?;
        canvas.line(&[(frame.right, frame.top), (frame.right, frame.bottom)], GRID, 1)
    }

    /// From the slowest to the fastest repetition.
    fn whiskers<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, frame: &Frame) -> Result<(), PlotError> {
        for (column, block) in self.blocks().into_iter().enumerate() {
            for run in 0..self.runs.len() {
                let Some((slowest, fastest)) = self.extremes(run, block) else { continue };
                let (left, right) = self.place(run, 0);
                let middle = column as f64 + (left + right) / 2.0;
                let (low, high) = (frame.at(middle, slowest), frame.at(middle, fastest));
                if low.1 - high.1 < 4 {
                    continue;
                }
                canvas.line(&[low, high], INK, 2)?;
                for (x, y) in [low, high] {
                    canvas.line(&[(x - 7, y), (x + 7, y)], INK, 2)?;
                }
            }
        }
        Ok(())
    }

    fn numbers<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, frame: &Frame) -> Result<(), PlotError> {
        let blocks = self.blocks();
        let bars = (blocks.len() * (self.runs.len() - 1)).max(1) as u32;
        let size = (1660 / bars / 3).clamp(14, SMALL);
        for (column, block) in blocks.into_iter().enumerate() {
            for run in 1..self.runs.len() {
                let Some(ratio) = self.ratio(run, block) else { continue };
                let (left, right) = self.place(run, 1);
                let (x, y) = frame.at(column as f64 + (left + right) / 2.0, ratio);
                let beside = if ratio >= 1.0 { y - 18 } else { y + 18 };
                canvas.text(&short_number(ratio), (x, beside), size, Align::Center, INK)?;
            }
        }
        Ok(())
    }
}
