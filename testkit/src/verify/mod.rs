//! Whether what is written to a disk can be read later.
//!
//! A [`plan::Plan`] decides the operations, one [`stream::Stream`] a worker makes them, [`worker`] carries them out and
//! compares, [`diagnose`] explains what is wrong, [`run`] holds it together. [`journal`] and [`crash`] do the same
//! across a crash, [`race`] for COMPARE AND WRITE.

pub mod cli;
pub mod content;
pub mod crash;
pub mod diagnose;
pub mod finding;
pub mod history;
pub mod journal;
pub mod model;
pub mod options;
pub mod plan;
pub mod race;
pub mod report;
pub mod run;
pub mod stream;
pub mod worker;
