//! What goes wrong with a card, decided by a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A command is not understood: it is not carried out and not answered.
    LostCommand,
    /// A command arrives with a wrong checksum.
    CommandCrc,
    /// A block that is read has a wrong bit.
    ReadCrc,
    /// A block cannot be read this time: data error token.
    ReadError,
    /// A read gives no data, for ever.
    ReadTimeout,
    /// A block to be written arrives with a wrong checksum.
    WriteCrc,
    /// A block is not taken: data response "write error".
    WriteError,
    /// A block is taken and not programmed, which the status tells afterwards.
    ProgramFailure,
    /// Busy for three seconds.
    LongBusy,
    /// Busy until CMD0.
    StuckBusy,
    /// The card is pulled out, and put back after up to two seconds.
    Removal,
}

/// All faults, with how much more often than the rarest each comes.
const KINDS: &[(Fault, u32)] = &[
    (Fault::LostCommand, 4),
    (Fault::CommandCrc, 4),
    (Fault::ReadCrc, 4),
    (Fault::ReadError, 2),
    (Fault::ReadTimeout, 2),
    (Fault::WriteCrc, 4),
    (Fault::WriteError, 2),
    (Fault::ProgramFailure, 2),
    (Fault::LongBusy, 2),
    (Fault::StuckBusy, 1),
    (Fault::Removal, 1),
];

/// A source of faults, and of everything else that is random in a card.
pub struct Faults {
    rng: ChaCha8Rng,
    /// Of a million occasions, how many go wrong for a fault of weight 1.
    rate: u32,
    /// What goes wrong at its next occasion, whatever the rate.
    planned: Vec<Fault>,
    log: Vec<(u64, Fault)>,
}

impl Faults {
    /// No faults; the seed decides what a power cut leaves.
    pub fn none(seed: u64) -> Self {
        Self::new(seed, 0)
    }

    /// Of a million occasions (commands, blocks) `rate` go wrong for each of the rarest kinds of fault.
    pub fn new(seed: u64, rate: u32) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), rate, planned: Vec::new(), log: Vec::new() }
    }

    /// What went wrong and when, in microseconds.
    pub fn log(&self) -> &[(u64, Fault)] {
        &self.log
    }

    /// This fault happens at its next occasion.
    pub fn plan(&mut self, fault: Fault) {
        self.planned.push(fault);
    }

    /// No faults from now on.
    pub fn stop(&mut self) {
        self.planned.clear();
        self.rate = 0;
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.rng.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// Whether this fault happens on this occasion.
    pub(super) fn happens(&mut self, fault: Fault, now_us: u64) -> bool {
        if let Some(at) = self.planned.iter().position(|planned| *planned == fault) {
            self.planned.remove(at);
            self.log.push((now_us, fault));
            return true;
        }
        if self.rate == 0 {
            return false;
        }
        let weight = KINDS.iter().find(|(kind, _)| *kind == fault).map_or(0, |(_, weight)| *weight);
        let happens = self.below(1_000_000) < self.rate * weight;
        if happens {
            self.log.push((now_us, fault));
        }
        happens
    }
}
