//! Pictures of measurements, as PNG and SVG: heat maps, boxes, lines, latency curves, and runs compared.
//!
//! [`data`] reads the runs, [`canvas`] draws text and shapes on either format, [`style`] has the colours, fonts and
//! numbers, [`frame`] the axes; each other module is one kind of picture, [`cli`] the program `plot`.

pub mod boxes;
pub mod canvas;
pub mod cli;
pub mod compare;
pub mod data;
pub mod frame;
pub mod heat;
pub mod lines;
pub mod servers;
pub mod style;
