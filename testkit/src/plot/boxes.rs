//! Boxes in three dimensions over block sizes and threads, as iESP's gnuplot script drew them.

use plotters::prelude::{DrawingBackend, RGBColor};

use super::canvas::{Align, Canvas, Picture, PlotError, Point};
use super::data::{Quantity, Run};
use super::frame::{Axis, plain};
use super::heat::title;
use super::style::{GRID, INK, LABEL, NUMBER, PAPER, mix, viridis};
use crate::size::show_size;

/// Boxes for one run.
pub struct Boxes<'a> {
    /// The run, of one queue depth.
    pub run: &'a Run,
    /// What is shown.
    pub quantity: Quantity,
}

/// The floor's corner in front at the left, and how the axes run from it over their whole length, in pixels.
const ORIGIN: (f64, f64) = (240.0, 800.0);
const ALONG: (f64, f64) = (1060.0, 150.0);
const BACK: (f64, f64) = (480.0, -210.0);
const UP: f64 = 430.0;
/// A box fills so much of its place.
const FILL: f64 = 0.8;

struct Space {
    columns: f64,
    rows: f64,
    z: Axis,
}

impl Space {
    /// Where a point is: in columns along, rows back, and a value up.
    fn at(&self, column: f64, row: f64, value: f64) -> Point {
        let (along, back, up) = (column / self.columns, row / self.rows, self.z.share(value));
        let x = ORIGIN.0 + ALONG.0 * along + BACK.0 * back;
        let y = ORIGIN.1 + ALONG.1 * along + BACK.1 * back - UP * up;
        (x.round() as i32, y.round() as i32)
    }
}

impl Picture for Boxes<'_> {
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError> {
        let (blocks, threads) = (self.run.blocks(), self.run.threads());
        let most = self.run.cells.iter().map(|cell| cell.value(self.quantity)).fold(0.0, f64::max);
        let z = Axis::from_zero(self.quantity.label(), most, plain);
        let space = Space { columns: blocks.len() as f64, rows: threads.len() as f64, z };
        walls(canvas, &space)?;
        // From the back to the front and from left to right: what is nearer covers what is behind.
        for (row, &thread) in threads.iter().enumerate().rev() {
            for (column, &block) in blocks.iter().enumerate() {
                if let Some(cell) = self.run.cells.iter().find(|cell| (cell.block, cell.threads) == (block, thread)) {
                    let value = cell.value(self.quantity);
                    one(canvas, &space, column as f64, row as f64, value, viridis(space.z.share(value)))?;
                }
            }
        }
        for (column, &block) in blocks.iter().enumerate() {
            let (x, y) = space.at(column as f64 + 0.5, 0.0, 0.0);
            canvas.text(
                &show_size(block),
                (x - 8, y + 30),
                NUMBER.min(1060 / 5 / blocks.len().max(1) as u32 + 12),
                Align::Center,
                INK,
            )?;
        }
        for (row, &thread) in threads.iter().enumerate() {
            let (x, y) = space.at(space.columns, row as f64 + 0.5, 0.0);
            canvas.text(&thread.to_string(), (x + 16, y + 10), NUMBER, Align::Left, INK)?;
        }
        let (x, y) = space.at(space.columns / 2.0, 0.0, 0.0);
        canvas.text("block size (logarithmic)", (x - 60, y + 90), LABEL, Align::Center, INK)?;
        let (x, y) = space.at(space.columns, space.rows / 2.0, 0.0);
        canvas.text("threads", (x + 70, y + 50), LABEL, Align::Left, INK)?;
        title(canvas, &format!("{}: {}", self.quantity.title(), self.run.label), &self.run.subtitle())
    }
}

fn walls<DB: DrawingBackend>(canvas: &Canvas<DB>, space: &Space) -> Result<(), PlotError> {
    let (columns, rows) = (space.columns, space.rows);
    for (value, name) in &space.z.ticks {
        let left = space.at(0.0, 0.0, *value);
        canvas.line(&[left, space.at(0.0, rows, *value), space.at(columns, rows, *value)], GRID, 2)?;
        canvas.text(name, (left.0 - 16, left.1), NUMBER, Align::Right, INK)?;
    }
    let floor =
        [space.at(0.0, 0.0, 0.0), space.at(columns, 0.0, 0.0), space.at(columns, rows, 0.0), space.at(0.0, rows, 0.0)];
    canvas.polygon(&floor, RGBColor(244, 244, 244), INK)?;
    canvas.line(&[space.at(0.0, 0.0, 0.0), space.at(0.0, 0.0, space.z.max)], INK, 3)?;
    let (_, low) = space.at(0.0, 0.0, 0.0);
    let (_, high) = space.at(0.0, 0.0, space.z.max);
    canvas.upwards(&space.z.label, (70, (low + high) / 2), LABEL, INK)
}

fn one<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    space: &Space,
    column: f64,
    row: f64,
    value: f64,
    colour: RGBColor,
) -> Result<(), PlotError> {
    let margin = (1.0 - FILL) / 2.0;
    let (left, right) = (column + margin, column + 1.0 - margin);
    let (front, back) = (row + margin, row + 1.0 - margin);
    let at = |column, row, value| space.at(column, row, value);
    let edge = mix(colour, INK, 0.6);
    let face = [at(left, front, 0.0), at(right, front, 0.0), at(right, front, value), at(left, front, value)];
    let side = [at(right, front, 0.0), at(right, back, 0.0), at(right, back, value), at(right, front, value)];
    let lid = [at(left, front, value), at(right, front, value), at(right, back, value), at(left, back, value)];
    canvas.polygon(&face, colour, edge)?;
    canvas.polygon(&side, mix(colour, INK, 0.35), edge)?;
    canvas.polygon(&lid, mix(colour, PAPER, 0.35), edge)
}
