//! What a block holds: data that says where it belongs, which write put it there and in which run.
//!
//! A block is a row of 512-byte *units*, each complete in itself, so that a torn block shows which of its parts are
//! new. A unit is 64 little-endian words: a stamp of five (magic, where, generation, seed, check) and 59 that follow
//! from the stamp. The body comes from a multiply-and-fold of a counter, at memory speed: choices need a good
//! generator (ChaCha), filling does not; it needs each unit to differ from every other, and to be made again from its
//! stamp alone.

/// The bytes of a unit: the smallest logical block there is, so that a device can tear nothing smaller unnoticed.
pub const UNIT: usize = 512;

const WORDS: usize = UNIT / 8;
const STAMP_WORDS: usize = 5;
const MAGIC_UNIQUE: u64 = u64::from_le_bytes(*b"iESPuniq");
const MAGIC_DUPLICATE: u64 = u64::from_le_bytes(*b"iESPdupl");
/// Odd constants with well-spread bits: the increment of the counter and the folds of the keys.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const FOLD: u64 = 0xd6e8_feb8_6659_fd93;

/// What a unit that was written by a run says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Where it belongs.
    pub place: Place,
    /// Which write made it; 0 for duplicate blocks, which are the same whenever they are written.
    pub generation: u64,
    /// The seed of the run that wrote it.
    pub seed: u64,
}

/// Where a unit belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// At this offset in bytes on the disk, and nowhere else.
    Unique(u64),
    /// At this offset in bytes inside any block: the duplicate block is the same everywhere.
    Duplicate(u64),
}

impl Stamp {
    fn words(self) -> [u64; STAMP_WORDS] {
        let (magic, place) = match self.place {
            Place::Unique(offset) => (MAGIC_UNIQUE, offset),
            Place::Duplicate(offset) => (MAGIC_DUPLICATE, offset),
        };
        let check = fold(fold(magic ^ self.seed, place), self.generation);
        [magic, place, self.generation, self.seed, check]
    }

    /// Reads the stamp of a unit; `None` when it has none that is whole. The body is not looked at.
    #[must_use]
    pub fn parse(unit: &[u8; UNIT]) -> Option<Self> {
        let mut words = [0; STAMP_WORDS];
        for (word, bytes) in words.iter_mut().zip(unit.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let [magic, place, generation, seed, _] = words;
        let place = match magic {
            MAGIC_UNIQUE => Place::Unique(place),
            MAGIC_DUPLICATE => Place::Duplicate(place),
            _ => return None,
        };
        let stamp = Self { place, generation, seed };
        (stamp.words() == words).then_some(stamp)
    }

    /// Writes the unit that belongs to this stamp.
    pub fn fill(self, unit: &mut [u8; UNIT]) {
        let stamp = self.words();
        let words = unit.as_chunks_mut::<8>().0;
        for (bytes, word) in words.iter_mut().zip(stamp) {
            *bytes = word.to_le_bytes();
        }
        let mut body = Body::new(stamp[STAMP_WORDS - 1]);
        for bytes in &mut words[STAMP_WORDS..] {
            *bytes = body.next().to_le_bytes();
        }
    }

    /// Whether `unit` holds exactly what [`Stamp::fill`] would write.
    #[must_use]
    pub fn matches(self, unit: &[u8; UNIT]) -> bool {
        let stamp = self.words();
        let words = unit.as_chunks::<8>().0;
        let mut difference = 0;
        for (bytes, word) in words.iter().zip(stamp) {
            difference |= u64::from_le_bytes(*bytes) ^ word;
        }
        let mut body = Body::new(stamp[STAMP_WORDS - 1]);
        for bytes in &words[STAMP_WORDS..] {
            difference |= u64::from_le_bytes(*bytes) ^ body.next();
        }
        difference == 0
    }
}

/// The words behind a stamp.
struct Body {
    key: u64,
    counter: u64,
}

impl Body {
    fn new(key: u64) -> Self {
        Self { key, counter: key }
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(STEP);
        fold(self.counter, self.key ^ FOLD)
    }
}

/// Mixes two words into one: the halves of their product, folded.
#[inline]
#[must_use]
pub fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ FOLD) * u128::from(b ^ STEP);
    (product as u64) ^ ((product >> 64) as u64)
}

/// What a whole block should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Data of its own, by the write `generation`.
    Unique {
        /// Which write.
        generation: u64,
    },
    /// The duplicate block of this run.
    Duplicate,
    /// Zeros.
    Zeros,
}

impl Content {
    /// The stamp of the unit that lies `within` bytes inside the block at `offset`; `None` for zeros.
    #[must_use]
    pub fn stamp(self, seed: u64, offset: u64, within: u64) -> Option<Stamp> {
        match self {
            Self::Unique { generation } => Some(Stamp { place: Place::Unique(offset + within), generation, seed }),
            Self::Duplicate => Some(Stamp { place: Place::Duplicate(within), generation: 0, seed }),
            Self::Zeros => None,
        }
    }

    /// Fills the block that lies at `offset` bytes on the disk.
    pub fn fill(self, seed: u64, offset: u64, block: &mut [u8]) {
        let mut within = 0;
        for unit in block.as_chunks_mut::<UNIT>().0 {
            match self.stamp(seed, offset, within) {
                Some(stamp) => stamp.fill(unit),
                None => unit.fill(0),
            }
            within += UNIT as u64;
        }
    }

    /// Whether the block at `offset` holds this content.
    #[must_use]
    pub fn matches(self, seed: u64, offset: u64, block: &[u8]) -> bool {
        let mut within = 0;
        block.as_chunks::<UNIT>().0.iter().all(|unit| {
            let good = match self.stamp(seed, offset, within) {
                Some(stamp) => stamp.matches(unit),
                None => is_zero(unit),
            };
            within += UNIT as u64;
            good
        })
    }
}

/// Whether a unit holds only zeros.
#[must_use]
pub fn is_zero(unit: &[u8; UNIT]) -> bool {
    unit.as_chunks::<8>().0.iter().fold(0, |all, bytes| all | u64::from_le_bytes(*bytes)) == 0
}

/// In how many bits two units differ.
#[must_use]
pub fn bits_that_differ(a: &[u8; UNIT], b: &[u8; UNIT]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

const _: () = assert!(WORDS > STAMP_WORDS);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn stamps() -> impl Strategy<Value = Stamp> {
        (any::<bool>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(unique, place, generation, seed)| Stamp {
            place: if unique { Place::Unique(place) } else { Place::Duplicate(place) },
            generation,
            seed,
        })
    }

    proptest! {
        #[test]
        fn a_unit_tells_its_stamp(stamp in stamps()) {
            let mut unit = [0; UNIT];
            stamp.fill(&mut unit);
            prop_assert_eq!(Stamp::parse(&unit), Some(stamp));
            prop_assert!(stamp.matches(&unit));
        }

        #[test]
        fn one_bit_is_noticed(stamp in stamps(), bit in 0..UNIT * 8) {
            let mut unit = [0; UNIT];
            stamp.fill(&mut unit);
            unit[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!stamp.matches(&unit));
            if bit < STAMP_WORDS * 64 {
                prop_assert_eq!(Stamp::parse(&unit), None);
            }
        }

        #[test]
        fn units_of_different_stamps_have_little_in_common(a in stamps(), b in stamps()) {
            prop_assume!(a != b);
            let (mut left, mut right) = ([0; UNIT], [0; UNIT]);
            a.fill(&mut left);
            b.fill(&mut right);
            // Two random units differ in 2048 bits, give or take 32; the stamps may share half of their words.
            prop_assert!(bits_that_differ(&left, &right) > 1600);
        }
    }

    #[test]
    fn neighbours_share_no_word() {
        let mut seen = HashSet::new();
        for offset in 0..200u64 {
            for generation in 1..20 {
                let mut unit = [0; UNIT];
                Stamp { place: Place::Unique(offset * 512), generation, seed: 1 }.fill(&mut unit);
                for word in &unit.as_chunks::<8>().0[STAMP_WORDS - 1..] {
                    assert!(seen.insert(*word), "offset {offset} generation {generation}");
                }
            }
        }
    }

    #[test]
    fn duplicates_are_the_same_everywhere_and_uniques_are_not() {
        let block = |content: Content, offset| {
            let mut block = vec![0; 4096];
            content.fill(9, offset, &mut block);
            assert!(content.matches(9, offset, &block));
            block
        };
        assert_eq!(block(Content::Duplicate, 0), block(Content::Duplicate, 1 << 40));
        assert_ne!(block(Content::Unique { generation: 1 }, 0), block(Content::Unique { generation: 1 }, 4096));
        assert_ne!(block(Content::Unique { generation: 1 }, 0), block(Content::Unique { generation: 2 }, 0));
        assert!(block(Content::Zeros, 4096).iter().all(|&b| b == 0));
    }

    /// The bytes on a disk must mean the same to every later version: a journal is checked by the program that reads it.
    #[test]
    fn the_format_does_not_change() {
        let mut unit = [0; UNIT];
        Stamp { place: Place::Unique(4096), generation: 7, seed: 42 }.fill(&mut unit);
        assert_eq!(&unit[..8], b"iESPuniq");
        let sum = unit.as_chunks::<8>().0.iter().fold(0, |sum, word| fold(sum, u64::from_le_bytes(*word)));
        assert_eq!(sum, 0x89f4_bfe4_7f2a_c7da, "{sum:#x}");
    }
}
