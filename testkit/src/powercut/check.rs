//! Holds the disks of many cuts against the journal.

use std::io;
use std::path::Path;

use thiserror::Error;

use super::block_log::{BlockLog, FLUSH, LogError};
use super::cut::{Cut, Places};
use super::replay::{Made, Replay};
use crate::device::Device;
use crate::verify::content::UNIT;
use crate::verify::crash::{self, AfterCrash};
use crate::verify::journal::{Event, Events, JournalError};

/// The cuts of one block log.
pub struct Trial {
    events: Events,
    replay: Replay,
    cuts: Vec<Cut>,
    /// How many flushes the journal knows.
    flushes: usize,
}

/// Why there are no cuts.
#[derive(Debug, Error)]
pub enum TrialError {
    /// The block log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A journal without the lengths of a block log.
    #[error("the journal was not written beside a block log (test-blockdevice --block-log)")]
    NoLengths,
    /// Nothing was promised.
    #[error("the journal knows of no flush that was acknowledged: no cut has anything to hold")]
    NoFlush,
    /// Anything else.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Trial {
    /// Chooses `count` cuts of a log by a seed. The disk has `size` bytes, or as many as the journal's run wrote to.
    ///
    /// # Errors
    /// [`TrialError`].
    pub fn new(log: &Path, journal: &Path, size: Option<u64>, count: usize, seed: u64) -> Result<Self, TrialError> {
        let (log, events) = (BlockLog::open(log)?, Events::read(journal)?);
        if !events.beside_log {
            return Err(TrialError::NoLengths);
        }
        let places = |event| events.log_lengths(event).map(|length| log.count_at(length)).collect::<Vec<_>>();
        let (flushed, acknowledged) = (places(Event::Flushed), places(Event::Acknowledged));
        let acknowledged_flushes = flushed.len();
        let flushes = log.entries().iter().enumerate().filter(|(_, entry)| entry.is(FLUSH)).map(|(number, _)| number);
        let flushes = flushes.collect();
        let cuts = Places { end: log.entries().len(), flushes, flushed, acknowledged }.choose(count, seed);
        if cuts.is_empty() {
            return Err(TrialError::NoFlush);
        }
        let written = log.entries().iter().map(|entry| entry.offset + entry.length).max().unwrap_or_default();
        let tested = events.plan.offset(events.plan.first_block + events.plan.blocks);
        let size = size.unwrap_or_else(|| written.max(tested));
        Ok(Self { events, replay: Replay::new(log, size, seed), cuts, flushes: acknowledged_flushes })
    }

    /// The cuts, in the order in which they are quickest.
    #[must_use]
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// The log, and the disk of the cut that was made last.
    #[must_use]
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The journal's events.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// How many flushes the journal knows that were acknowledged.
    #[must_use]
    pub fn flushes(&self) -> usize {
        self.flushes
    }

    /// The log's length at a cut: what the journal recorded up to this length has to hold.
    #[must_use]
    pub fn length(&self, cut: &Cut) -> u64 {
        self.replay.log().length_at(cut.entries)
    }

    /// Makes the disk of a cut.
    ///
    /// # Errors
    /// [`Replay::make`].
    pub fn make(&mut self, cut: &Cut) -> io::Result<Made> {
        self.replay.make(cut)
    }

    /// Holds `device`, which is the tested disk as it was after the cut, against the journal.
    ///
    /// # Errors
    /// What reading the device met.
    pub fn check(&self, cut: &Cut, device: &dyn Device) -> io::Result<AfterCrash> {
        crash::check(&self.events.record(Some(self.length(cut))), device, UNIT as u32, 1)
    }
}
