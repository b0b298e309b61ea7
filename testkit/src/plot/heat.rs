//! A heat map: block sizes by threads, with the numbers in it.

use plotters::prelude::DrawingBackend;

use super::canvas::{Align, Canvas, Picture, PlotError};
use super::data::{Quantity, Run};
use super::frame::{Axis, plain};
use super::style::{FAINT, INK, LABEL, NUMBER, PAPER, SMALL, SUBTITLE, TITLE, short_number, text_on, viridis};
use crate::size::show_size;

/// A heat map of one run.
pub struct Heat<'a> {
    /// The run, of one queue depth.
    pub run: &'a Run,
    /// What is shown.
    pub quantity: Quantity,
}

const LEFT: i32 = 190;
const TOP: i32 = 150;
const RIGHT: i32 = 1650;
const BOTTOM: i32 = 930;
const BAR: (i32, i32) = (1700, 1750);

impl Picture for Heat<'_> {
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError> {
        title(canvas, &format!("{}: {}", self.quantity.title(), self.run.label), &self.run.subtitle())?;
        let (blocks, threads) = (self.run.blocks(), self.run.threads());
        let values = || self.run.cells.iter().map(|cell| cell.value(self.quantity));
        let (least, most) = values().fold((f64::MAX, 0.0_f64), |(least, most), v| (least.min(v), most.max(v)));
        // A wide range would leave all but the largest values dark.
        let axis = if least > 0.0 && most / least > 8.0 {
            Axis::log(self.quantity.label(), least, most, plain)
        } else {
            Axis::from_zero(self.quantity.label(), most, plain)
        };
        let edge = |from: i32, to: i32, index: usize, count: usize| from + (to - from) * index as i32 / count as i32;
        for (row, &thread) in threads.iter().enumerate() {
            let (bottom, top) = (edge(BOTTOM, TOP, row, threads.len()), edge(BOTTOM, TOP, row + 1, threads.len()));
            canvas.text(&thread.to_string(), (LEFT - 18, (top + bottom) / 2), NUMBER, Align::Right, INK)?;
            for (column, &block) in blocks.iter().enumerate() {
                let (left, right) =
                    (edge(LEFT, RIGHT, column, blocks.len()), edge(LEFT, RIGHT, column + 1, blocks.len()));
                let cell = self.run.cells.iter().find(|cell| (cell.block, cell.threads) == (block, thread));
                let Some(cell) = cell else { continue };
                let value = cell.value(self.quantity);
                let colour = viridis(axis.share(value));
                canvas.rectangle((left + 1, top + 1), (right - 1, bottom - 1), colour)?;
                let size = number_size(right - left, bottom - top);
                let middle = ((left + right) / 2, (top + bottom) / 2);
                canvas.text(&short_number(value), middle, size, Align::Center, text_on(colour))?;
            }
        }
        for (column, &block) in blocks.iter().enumerate() {
            let middle = (edge(LEFT, RIGHT, column, blocks.len()) + edge(LEFT, RIGHT, column + 1, blocks.len())) / 2;
            canvas.text(&show_size(block), (middle, BOTTOM + 30), column_size(blocks.len()), Align::Center, INK)?;
        }
        canvas.text("block size", ((LEFT + RIGHT) / 2, BOTTOM + 85), LABEL, Align::Center, INK)?;
        canvas.upwards("threads", (LEFT - 110, (TOP + BOTTOM) / 2), LABEL, INK)?;
        scale(canvas, &axis)
    }
}

/// The bar that tells which colour means what.
fn scale<DB: DrawingBackend>(canvas: &Canvas<DB>, axis: &Axis) -> Result<(), PlotError> {
    let height = BOTTOM - TOP;
    for step in 0..height {
        let y = BOTTOM - step;
        canvas.rectangle((BAR.0, y - 1), (BAR.1, y), viridis(f64::from(step) / f64::from(height)))?;
    }
    for (value, name) in &axis.ticks {
        let y = BOTTOM - (f64::from(height) * axis.share(*value)).round() as i32;
        canvas.line(&[(BAR.1, y), (BAR.1 + 10, y)], INK, 2)?;
        canvas.text(name, (BAR.1 + 18, y), SMALL, Align::Left, INK)?;
    }
    canvas.upwards(&axis.label, (1890, (TOP + BOTTOM) / 2), SMALL, INK)
}

/// The title of a picture and the line below it.
///
/// # Errors
/// [`PlotError`].
pub fn title<DB: DrawingBackend>(canvas: &Canvas<DB>, title: &str, below: &str) -> Result<(), PlotError> {
    // A long name must not leave the picture: a letter is about 0.6 of its height wide.
    let fit = |text: &str, size: u32| size.min((1800.0 / (text.chars().count().max(1) as f64 * 0.6)) as u32);
    canvas.rectangle((0, 0), (1919, 120), PAPER)?;
    canvas.bold(title, (960, 46), fit(title, TITLE), Align::Center, INK)?;
    canvas.text(below, (960, 98), fit(below, SUBTITLE), Align::Center, FAINT)
}

fn number_size(width: i32, height: i32) -> u32 {
    ((width / 4).min(height * 2 / 3)).clamp(12, 36) as u32
}

fn column_size(columns: usize) -> u32 {
    (1460 / columns.max(1) as u32 / 5).clamp(14, NUMBER)
}
