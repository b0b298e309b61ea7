//! Lines: bandwidth over block sizes, and latency over percentiles.

use plotters::prelude::DrawingBackend;

use super::canvas::{Align, Canvas, Picture, PlotError, Point};
use super::data::{Cell, Quantity, Run};
use super::frame::{Axis, Frame, plain};
use super::heat::title;
use super::style::{INK, SMALL, series};
use crate::size::show_size;
use crate::speed::results::show_time;

/// A quantity over the block size, one line for each number of threads of each run.
pub struct OverBlocks<'a> {
    /// The runs, each of one queue depth.
    pub runs: &'a [Run],
    /// What is shown.
    pub quantity: Quantity,
}

/// So many lines can be told apart.
const LINES: usize = 7;

impl Picture for OverBlocks<'_> {
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError> {
        let Some(first) = self.runs.first() else { return Ok(()) };
        let names: Vec<&str> = self.runs.iter().map(|run| run.label.as_str()).collect();
        title(canvas, &format!("{}: {}", self.quantity.title(), names.join(" and ")), &first.subtitle())?;
        let mut blocks: Vec<u64> = self.runs.iter().flat_map(Run::blocks).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let most =
            self.runs.iter().flat_map(|run| &run.cells).map(|cell| cell.value(self.quantity)).fold(0.0, f64::max);
        let mut frame = frame(block_axis(&blocks), Axis::from_zero(self.quantity.label(), most, plain));
        if self.runs.len() == 1 && first.threads().len() == 1 {
            // No names at the right need room.
            frame.right = 1860;
        }
        frame.draw(canvas)?;
        let mut lines = Vec::new();
        for run in self.runs {
            for threads in run.threads() {
                let name = match (self.runs.len(), run.threads().len()) {
                    (1, 1) => String::new(),
                    (1, _) => count(threads, "thread"),
                    (_, 1) => run.label.clone(),
                    _ => format!("{}, {}", run.label, count(threads, "thread")),
                };
                let cells = run.cells.iter().filter(|cell| cell.threads == threads);
                let points = cells.map(|cell| frame.at(cell.block as f64, cell.value(self.quantity))).collect();
                lines.push((name, points));
            }
        }
        draw_lines(canvas, &lines)
    }
}

/// Latency over percentiles, one line for each block size of a run.
pub struct Latencies<'a> {
    /// The run.
    pub run: &'a Run,
    /// Which number of threads.
    pub threads: u32,
}

impl Picture for Latencies<'_> {
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError> {
        let about = format!("{}, {}", self.run.subtitle(), count(self.threads, "thread"));
        title(canvas, &format!("Latency: {}", self.run.label), &about)?;
        let cells: Vec<&Cell> = self.cells();
        let values =
            || cells.iter().filter_map(|cell| cell.latency).flat_map(|latency| latency.curve()).map(|(_, ns)| ns);
        let least = values().min().unwrap_or(1).max(1) as f64;
        let most = values().max().unwrap_or(1) as f64;
        let names = ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"].map(str::to_owned).to_vec();
        let frame = frame(
            Axis::places("so many of the requests were as fast or faster", names),
            Axis::log("latency (logarithmic)", least, most, short_time),
        );
        frame.draw(canvas)?;
        let mut lines = Vec::new();
        for cell in cells {
            let Some(latency) = cell.latency else { continue };
            let place = |(place, (_, ns)): (usize, (f64, u64))| frame.at(place as f64, ns.max(1) as f64);
            lines.push((show_size(cell.block), latency.curve().into_iter().enumerate().map(place).collect()));
        }
        draw_lines(canvas, &lines)
    }
}

impl Latencies<'_> {
    /// At most as many block sizes as can be told apart, spread over all.
    fn cells(&self) -> Vec<&Cell> {
        let all: Vec<&Cell> = self.run.cells.iter().filter(|cell| cell.threads == self.threads).collect();
        if all.len() <= LINES {
            return all;
        }
        (0..LINES).map(|line| all[line * (all.len() - 1) / (LINES - 1)]).collect()
    }
}

/// A time for an axis, without digits that do not count.
#[must_use]
pub fn short_time(nanoseconds: f64) -> String {
    show_time(nanoseconds).replace(".00", "").replace(".50", ".5")
}

fn frame(x: Axis, y: Axis) -> Frame {
    Frame { left: 220, top: 150, right: 1600, bottom: 930, x, y }
}

fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The axis of the block sizes: logarithmic where they double, else linear. As many have names as have room.
fn block_axis(blocks: &[u64]) -> Axis {
    let log = blocks.len() > 1 && blocks.windows(2).all(|pair| pair[1] >= pair[0] * 2);
    let step = blocks.len().div_ceil(12).max(1);
    let ticks = blocks.iter().step_by(step).map(|block| (*block as f64, show_size(*block))).collect();
    let (first, last) = (blocks.first().map_or(1.0, |b| *b as f64), blocks.last().map_or(2.0, |b| *b as f64));
    let margin = (last - first).max(first) / 20.0;
    let (min, max) = if log { (first / 1.4, last * 1.4) } else { ((first - margin).max(0.0), last + margin) };
    let label = if log { "block size (logarithmic)" } else { "block size" };
    Axis { label: label.to_owned(), min, max, log, ticks }
}

/// Lines with marks, and their names at the right, where the lines end, none over another.
fn draw_lines<DB: DrawingBackend>(canvas: &Canvas<DB>, lines: &[(String, Vec<Point>)]) -> Result<(), PlotError> {
    for (index, (_, points)) in lines.iter().enumerate() {
        canvas.line(points, series(index), 5)?;
        for point in points {
            canvas.mark(*point, index, series(index))?;
        }
    }
    let mut names: Vec<(usize, i32)> =
        lines.iter().enumerate().filter_map(|(index, (_, points))| Some((index, points.last()?.1))).collect();
    names.sort_by_key(|(_, y)| *y);
    let room = 40.min(800 / names.len().max(1) as i32);
    let mut below = 120;
    for (index, y) in names {
        let y = y.max(below + room);
        below = y;
        let (name, _) = &lines[index];
        if !name.is_empty() {
            canvas.mark((1630, y), index, series(index))?;
            canvas.text(name, (1650, y), SMALL.min(room as u32), Align::Left, INK)?;
        }
    }
    Ok(())
}
