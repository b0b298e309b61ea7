//! Whether what is written to a disk can be read later.

pub mod content;
pub mod model;
pub mod plan;
pub mod stream;
