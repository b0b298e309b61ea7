//! Axes with their ticks, and the frame that they make.

use plotters::prelude::DrawingBackend;

use super::canvas::{Align, Canvas, PlotError, Point};
use super::style::{GRID, INK, LABEL, NUMBER, short_number};

/// An axis: a range of values and its ticks.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// The first value.
    pub min: f64,
    /// The last value.
    pub max: f64,
    /// Whether equal ratios, not equal differences, are equally far apart.
    pub log: bool,
    /// Values with what is written there.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to a round number above `most`.
    #[must_use]
    pub fn from_zero(label: &str, most: f64, show: impl Fn(f64) -> String) -> Self {
        let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
        let step = round_step(most / 5.0);
        let count = (most * 1.02 / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|tick| f64::from(tick) * step).map(|value| (value, show(value))).collect();
        Self { label: label.to_owned(), min: 0.0, max: count * step, log: false, ticks }
    }

    /// Over powers of ten around the values, which must be positive.
    #[must_use]
    pub fn log(label: &str, least: f64, most: f64, show: impl Fn(f64) -> String) -> Self {
        let least = if least > 0.0 && least.is_finite() { least } else { 1.0 };
        let most = if most.is_finite() { most.max(least * 1.01) } else { least * 10.0 };
        let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        // Few decades leave room for steps between them.
        let steps: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        let all: Vec<f64> = all.collect();
        let min = all.iter().copied().filter(|value| *value <= least).fold(10f64.powi(first), f64::max);
        let max = all.iter().copied().filter(|value| *value >= most).fold(10f64.powi(last), f64::min);
        let ticks = all.into_iter().filter(|value| (min..=max).contains(value)).map(|v| (v, show(v))).collect();
        Self { label: label.to_owned(), min, max, log: true, ticks }
    }

    /// Names in places 0, 1, 2 and so on, with half a place on both sides.
    #[must_use]
    pub fn places(label: &str, names: Vec<String>) -> Self {
        let max = names.len() as f64 - 0.5;
        let ticks = names.into_iter().enumerate().map(|(place, name)| (place as f64, name)).collect();
        Self { label: label.to_owned(), min: -0.5, max, log: false, ticks }
    }

    /// Where on the axis a value is, from 0 to 1.
    #[must_use]
    pub fn share(&self, value: f64) -> f64 {
        if self.log {
            (value.max(self.min) / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= least * 0.999).unwrap_or(power)
}

/// A rectangle with an axis below and one at the left.
pub struct Frame {
    /// Left edge in pixels.
    pub left: i32,
    /// Upper edge.
    pub top: i32,
    /// Right edge.
    pub right: i32,
    /// Lower edge.
    pub bottom: i32,
    /// The axis below.
    pub x: Axis,
    /// The axis at the left.
    pub y: Axis,
}

impl Frame {
    /// Where a pair of values is.
    #[must_use]
    pub fn at(&self, x: f64, y: f64) -> Point {
        let along = f64::from(self.right - self.left) * self.x.share(x);
        let up = f64::from(self.bottom - self.top) * self.y.share(y).clamp(0.0, 1.0);
        (self.left + along.round() as i32, self.bottom - up.round() as i32)
    }

    /// Draws the grid, the ticks and the names of the axes.
    ///
    /// # Errors
    /// [`PlotError`].
    pub fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError> {
        for (value, name) in &self.y.ticks {
            let (_, y) = self.at(self.x.min, *value);
            canvas.line(&[(self.left, y), (self.right, y)], GRID, 2)?;
            canvas.text(name, (self.left - 14, y), NUMBER, Align::Right, INK)?;
        }
        for (value, name) in &self.x.ticks {
            let (x, _) = self.at(*value, self.y.min);
            canvas.line(&[(x, self.bottom), (x, self.bottom + 10)], INK, 2)?;
            canvas.text(name, (x, self.bottom + 32), NUMBER, Align::Center, INK)?;
        }
        canvas.line(&[(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)], INK, 3)?;
        let middle = (self.left + self.right) / 2;
        canvas.text(&self.x.label, (middle, self.bottom + 80), LABEL, Align::Center, INK)?;
        canvas.upwards(&self.y.label, (self.left - 150, (self.top + self.bottom) / 2), LABEL, INK)
    }
}

/// A plain number for an axis.
#[must_use]
pub fn plain(value: f64) -> String {
    short_number(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round() {
        let axis = Axis::from_zero("", 873.0, plain);
        assert_eq!(
            axis.ticks.iter().map(|(value, _)| *value).collect::<Vec<_>>(),
            [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
        );
        let axis = Axis::log("", 1500.0, 90_000.0, plain);
        assert_eq!((axis.min, axis.max), (1000.0, 100_000.0));
        assert_eq!(axis.ticks.len(), 7);
    }

    proptest! {
        #[test]
        fn every_value_is_inside(values in prop::collection::vec(1e-3..1e12f64, 1..20)) {
            let (least, most) = values.iter().fold((f64::MAX, 0f64), |(l, m), v| (l.min(*v), m.max(*v)));
            for axis in [Axis::from_zero("", most, plain), Axis::log("", least, most, plain)] {
                prop_assert!(axis.ticks.len() >= 2 && axis.ticks.len() <= 20, "{:?}", axis);
                for value in &values {
                    let share = axis.share(*value);
                    prop_assert!((-1e-9..=1.0 + 1e-9).contains(&share), "{value} at {share} of {axis:?}");
                }
            }
        }
    }
}
