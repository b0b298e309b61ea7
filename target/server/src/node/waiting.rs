//! Disks that are wanted and not there: who shows them, and who tries them again.

use std::time::Instant;

use crate::config::DiskConfig;

/// A disk that is wanted and not there.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The name of its target.
    pub target: String,
    /// Its number there.
    pub number: u16,
    /// What it is to be made from.
    pub config: DiskConfig,
    /// Which row of the totals is to count for it.
    pub row: u16,
    /// Why it is not there.
    pub reason: String,
    /// Since when.
    pub since: Instant,
}

impl Waiting {
    /// Whether it is this LUN of this target.
    pub fn is_at(&self, target: &str, number: u16) -> bool {
        self.target == target && self.number == number
    }
}
