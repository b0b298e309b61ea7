//! What a worker's blocks should hold, and which of them were looked at.

use super::content::Content;

/// Which operation gave a block what it should hold, and what that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(u64);

/// The kinds of a [`Version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// No operation of this run touched the block.
    Untouched,
    /// Data of its own.
    Unique,
    /// The duplicate block.
    Duplicate,
    /// Zeros, after a discard or a command to zero.
    Zeros,
    /// A discard promised nothing.
    Anything,
}

const KINDS: [Held; 5] = [Held::Untouched, Held::Unique, Held::Duplicate, Held::Zeros, Held::Anything];

impl Version {
    /// No operation touched the block.
    pub const UNTOUCHED: Self = Self(0);

    /// What the operation `op` left behind.
    #[must_use]
    pub fn new(held: Held, op: u64) -> Self {
        Self(op << 3 | held as u64)
    }

    /// What the block should hold.
    #[must_use]
    pub fn held(self) -> Held {
        KINDS[(self.0 & 7) as usize]
    }

    /// Which operation of the block's owner made it so; `None` when none did.
    #[must_use]
    pub fn op(self) -> Option<u64> {
        (self.held() != Held::Untouched).then_some(self.0 >> 3)
    }

    /// The content to compare with; `None` when nothing is promised.
    #[must_use]
    pub fn content(self, worker: u32) -> Option<Content> {
        match self.held() {
            Held::Untouched | Held::Anything => None,
            Held::Unique => Some(Content::Unique { generation: generation(worker, self.0 >> 3) }),
            Held::Duplicate => Some(Content::Duplicate),
            Held::Zeros => Some(Content::Zeros),
        }
    }
}

/// The number that a write leaves in its blocks: the worker in the upper 16 bits, below it the operation plus one.
#[must_use]
pub fn generation(worker: u32, op: u64) -> u64 {
    u64::from(worker) << 48 | (op + 1)
}

/// The worker and the operation that a generation names; `None` for one that no write leaves.
#[must_use]
pub fn writer(generation: u64) -> Option<(u32, u64)> {
    let op = (generation & ((1 << 48) - 1)).checked_sub(1)?;
    Some(((generation >> 48) as u32, op))
}

/// A set of numbers below a limit that only grows, and finds the next number that is not in it.
#[derive(Debug, Clone)]
pub struct GrowingSet {
    words: Vec<u64>,
    /// One bit for each word that is full.
    full: Vec<u64>,
    len: u64,
    missing: u64,
}

impl GrowingSet {
    /// An empty set of numbers below `len`.
    #[must_use]
    pub fn new(len: u64) -> Self {
        let words = len.div_ceil(64);
        let mut set = Self {
            words: vec![0; words as usize],
            full: vec![0; words.div_ceil(64) as usize],
            len,
            missing: words * 64,
        };
        // What lies beyond the limit is never missing.
        for number in len..words * 64 {
            set.insert(number);
        }
        set
    }

    /// Adds a number; true when it was not in the set.
    pub fn insert(&mut self, number: u64) -> bool {
        let word = (number / 64) as usize;
        let bit = 1 << (number % 64);
        if self.words[word] & bit != 0 {
            return false;
        }
        self.words[word] |= bit;
        self.missing -= 1;
        if self.words[word] == u64::MAX {
            self.full[word / 64] |= 1 << (word % 64);
        }
        true
    }

    /// Whether a number is in the set.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.words[(number / 64) as usize] & 1 << (number % 64) != 0
    }

    /// How many numbers below the limit are not in the set.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// The first number at or behind `from`, or else from the beginning, that is not in the set.
    #[must_use]
    pub fn next_missing(&self, from: u64) -> Option<u64> {
        if self.missing == 0 {
            return None;
        }
        self.missing_in(from, self.len).or_else(|| self.missing_in(0, from))
    }

    fn missing_in(&self, from: u64, to: u64) -> Option<u64> {
        let mut word = (from / 64) as usize;
        let mut free = !*self.words.get(word)? & u64::MAX << (from % 64);
        while free == 0 {
            word = self.next_not_full(word + 1)?;
            free = !self.words[word];
        }
        let number = word as u64 * 64 + u64::from(free.trailing_zeros());
        (number < to).then_some(number)
    }

    fn next_not_full(&self, from: usize) -> Option<usize> {
        let mut group = from / 64;
        let mut free = !*self.full.get(group)? & u64::MAX << (from % 64);
        while free == 0 {
            group += 1;
            free = !*self.full.get(group)?;
        }
        let word = group * 64 + free.trailing_zeros() as usize;
        (word < self.words.len()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn versions_keep_what_they_are_given() {
        assert_eq!(Version::UNTOUCHED.op(), None);
        assert_eq!(Version::UNTOUCHED.held(), Held::Untouched);
        for held in [Held::Unique, Held::Duplicate, Held::Zeros, Held::Anything] {
            let version = Version::new(held, 12345);
            assert_eq!((version.held(), version.op()), (held, Some(12345)));
        }
        assert_eq!(writer(generation(5, 77)), Some((5, 77)));
        assert_eq!(writer(0), None);
    }

    proptest! {
        #[test]
        fn the_set_agrees_with_a_plain_one(len in 1..9000u64, numbers in prop::collection::vec(any::<u64>(), 0..300),
                                           probes in prop::collection::vec(any::<u64>(), 20), dense in any::<bool>()) {
            let mut set = GrowingSet::new(len);
            let mut missing: BTreeSet<u64> = (0..len).collect();
            let add = |set: &mut GrowingSet, missing: &mut BTreeSet<u64>, number| {
                assert_eq!(set.insert(number), missing.remove(&number));
            };
            if dense {
                for number in 0..len * 9 / 10 {
                    add(&mut set, &mut missing, number);
                }
            }
            for number in numbers {
                add(&mut set, &mut missing, number % len);
            }
            prop_assert_eq!(set.missing(), missing.len() as u64);
            for probe in probes {
                let probe = probe % len;
                let expected = missing.range(probe..).next().or_else(|| missing.iter().next()).copied();
                prop_assert_eq!(set.next_missing(probe), expected);
                prop_assert_eq!(set.contains(probe), !missing.contains(&probe));
            }
        }
    }
}
