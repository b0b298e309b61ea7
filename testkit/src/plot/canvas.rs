//! Text and shapes in pixels, on PNG and SVG alike.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use thiserror::Error;

use super::style::{PAPER, SIZE};
use crate::speed::results::with_suffix;

/// A picture that could not be drawn.
#[derive(Debug, Error)]
pub enum PlotError {
    /// The drawing itself, or writing the file.
    #[error("cannot draw {file}: {why}")]
    Draw {
        /// Which file.
        file: String,
        /// What went wrong.
        why: String,
    },
    /// A shape.
    #[error("{0}")]
    Shape(String),
}

/// Something to draw, on whichever format.
pub trait Picture {
    /// Draws it on an empty canvas of [`SIZE`].
    ///
    /// # Errors
    /// [`PlotError`].
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Result<(), PlotError>;
}

/// Where a text stands relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Begins there.
    Left,
    /// Its middle is there.
    Center,
    /// Ends there.
    Right,
}

/// A point in pixels, from the upper left corner.
pub type Point = (i32, i32);

/// A canvas.
pub struct Canvas<DB: DrawingBackend> {
    area: DrawingArea<DB, Shift>,
}

/// Draws a picture as `BASE.png` and `BASE.svg`, and gives their names.
///
/// # Errors
/// [`PlotError::Draw`].
pub fn save(picture: &impl Picture, base: &Path) -> Result<[PathBuf; 2], PlotError> {
    let (png, svg) = (with_suffix(base, ".png"), with_suffix(base, ".svg"));
    // Of a file that cannot be written plotters tells in its own types' names.
    for file in [&png, &svg] {
        let cannot = |why: std::io::Error| PlotError::Draw { file: file.display().to_string(), why: why.to_string() };
        File::create(file).map_err(cannot)?;
    }
    paint(BitMapBackend::new(&png, SIZE), picture).map_err(|why| draw_error(&png, &why))?;
    paint(SVGBackend::new(&svg, SIZE), picture).map_err(|why| draw_error(&svg, &why))?;
    Ok([png, svg])
}

fn draw_error(file: &Path, why: &PlotError) -> PlotError {
    PlotError::Draw { file: file.display().to_string(), why: why.to_string() }
}

fn paint<DB: DrawingBackend>(backend: DB, picture: &impl Picture) -> Result<(), PlotError> {
    use_own_font();
    let area = backend.into_drawing_area();
    area.fill(&PAPER).map_err(shape)?;
    let canvas = Canvas { area };
    picture.draw(&canvas)?;
    canvas.area.present().map_err(shape)
}

/// The font comes with the program: a machine without any makes the same pictures.
fn use_own_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let fonts = [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())];
        for (style, bytes) in fonts {
            let registered = register_font("sans-serif", style, bytes).is_ok();
            debug_assert!(registered, "the font is one");
        }
    });
}

fn shape<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> PlotError {
    PlotError::Shape(error.to_string())
}

impl<DB: DrawingBackend> Canvas<DB> {
    /// Writes a line of text; its middle is at the height of `at`.
    ///
    /// # Errors
    /// [`PlotError::Shape`], as for all shapes.
    pub fn text(&self, text: &str, at: Point, size: u32, align: Align, colour: RGBColor) -> Result<(), PlotError> {
        self.write(text, at, ("sans-serif", size).into_font(), align, colour)
    }

    /// The same in bold.
    ///
    /// # Errors
    /// [`PlotError::Shape`].
    pub fn bold(&self, text: &str, at: Point, size: u32, align: Align, colour: RGBColor) -> Result<(), PlotError> {
        self.write(text, at, ("sans-serif", size, FontStyle::Bold).into_font(), align, colour)
    }

    /// The same from below upwards, with its middle at `at`.
    ///
    /// # Errors
    /// [`PlotError::Shape`].
    pub fn upwards(&self, text: &str, at: Point, size: u32, colour: RGBColor) -> Result<(), PlotError> {
        let font = ("sans-serif", size).into_font().transform(FontTransform::Rotate270);
        self.write(text, at, font, Align::Center, colour)
    }

    fn write(
        &self,
        text: &str,
        at: Point,
        font: FontDesc<'_>,
        align: Align,
        colour: RGBColor,
    ) -> Result<(), PlotError> {
        // The middle of the line is above the middle of its digits and capitals.
        let lower =
            if matches!(font.get_transform(), FontTransform::None) { (font.get_size() / 9.0) as i32 } else { 0 };
        let at = (at.0, at.1 + lower);
        let h_pos = match align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        let style = font.color(&colour).pos(Pos::new(h_pos, VPos::Center));
        self.area.draw(&Text::new(text.to_owned(), at, style)).map_err(shape)
    }

    /// A filled rectangle.
    ///
    /// # Errors
    /// [`PlotError::Shape`].
    pub fn rectangle(&self, from: Point, to: Point, colour: RGBColor) -> Result<(), PlotError> {
        self.area.draw(&Rectangle::new([from, to], colour.filled())).map_err(shape)
    }

    /// A filled polygon with a thin edge.
    ///
    /// # Errors
    /// [`PlotError::Shape`].
    pub fn polygon(&self, corners: &[Point], colour: RGBColor, edge: RGBColor) -> Result<(), PlotError> {
        self.area.draw(&Polygon::new(corners.to_vec(), colour.filled())).map_err(shape)?;
        let closed = corners.iter().chain(corners.first()).copied().collect::<Vec<_>>();
        self.line(&closed, edge, 1)
    }

    /// A line through points.
    ///
    /// # Errors
    /// [`PlotError::Shape`].
    pub fn line(&self, points: &[Point], colour: RGBColor, width: u32) -> Result<(), PlotError> {
        self.area.draw(&PathElement::new(points.to_vec(), colour.stroke_width(width))).map_err(shape)
    }

    /// The mark of the n-th series: not only its colour but its shape differs.
    ///
    /// # Errors
    /// [`PlotError::Shape`].
    pub fn mark(&self, at: Point, index: usize, colour: RGBColor) -> Result<(), PlotError> {
        const R: i32 = 9;
        let (x, y) = at;
        match index % 4 {
            0 => self.area.draw(&Circle::new(at, R, colour.filled())).map_err(shape),
            1 => self.rectangle((x - R + 1, y - R + 1), (x + R - 1, y + R - 1), colour),
            2 => self.polygon(&[(x, y - R - 2), (x + R + 2, y + R), (x - R - 2, y + R)], colour, colour),
            _ => self.polygon(&[(x, y - R - 3), (x + R + 3, y), (x, y + R + 3), (x - R - 3, y)], colour, colour),
        }
    }
}
