//! Faults that no driver can see, planted into a card: a run that is to be believed has to find them.

/// What is wrong with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// With its power it loses what it said was programmed, of the last half second.
    Forget,
    /// Now and then a block is not what was written, and its checksum is right.
    Corrupt,
}

/// How far back a card forgets, in microseconds.
pub(super) const FORGOTTEN_US: u64 = 500_000;

/// Of so many blocks that are read one is wrong.
pub(super) const CORRUPT_ONE_OF: u32 = 400;
