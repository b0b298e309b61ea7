//! Where the cuts are, and what outlives each: all of it follows from one seed.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// How many entries had reached the disk.
    pub entries: usize,
    /// What else is chosen follows from it.
    pub seed: u64,
}

/// Where a log can be cut: each place is a number of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The log's end.
    pub end: usize,
    /// Where a flush is the next entry.
    pub flushes: Vec<usize>,
    /// Where flushes were acknowledged.
    pub flushed: Vec<usize>,
    /// Where anything else was acknowledged.
    pub acknowledged: Vec<usize>,
}

impl Places {
    /// Chooses `count` cuts in the order of their entries, none before the first flush that was acknowledged.
    ///
    /// Right where something was acknowledged, a target that was too early has least to show for it; right before a flush
    /// most can be lost. So a quarter of the cuts each is where flushes were acknowledged, where writes were (with FUA,
    /// some of them), right before a flush, and anywhere.
    #[must_use]
    pub fn choose(&self, count: usize, seed: u64) -> Vec<Cut> {
        let Some(first) = self.flushed.iter().copied().min() else { return Vec::new() };
        let mut random = Random::new(seed, 0);
        let mut cuts: Vec<Cut> = (0..count)
            .map(|number| {
                let places: &[usize] = match number % 4 {
                    0 => &self.flushed,
                    1 => &self.acknowledged,
                    2 => &self.flushes,
                    _ => &[],
                };
                let anywhere = first + random.below(self.end.saturating_sub(first) + 1);
                let wanted = if places.is_empty() { anywhere } else { places[random.below(places.len())] };
                Cut { entries: if wanted < first { anywhere } else { wanted }, seed: random.number() }
            })
            .collect();
        cuts.sort_unstable();
        cuts
    }
}

/// What becomes of the writes that no flush had covered when the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// Of 256 writes as many as this get to the disk, more or less.
    pub kept: u32,
    /// Of 256 writes that get there as many as this are torn, more or less.
    pub torn: u32,
    /// Whether they get there in another order.
    pub shuffled: bool,
}

impl Fate {
    /// Draws the fate of a cut.
    pub fn draw(random: &mut Random) -> Self {
        const KEPT: [u32; 6] = [0, 32, 128, 128, 224, 256];
        const TORN: [u32; 4] = [0, 128, 256, 256];
        let kept = KEPT[random.below(KEPT.len())];
        Self { kept, torn: TORN[random.below(TORN.len())], shuffled: random.below(2) == 1 }
    }

    /// The order in which the writes of these numbers get to the disk, without those that do not.
    pub fn order(&self, writes: Range<usize>, random: &mut Random) -> Vec<usize> {
        let mut order: Vec<usize> = writes.filter(|_| random.chance(self.kept)).collect();
        if self.shuffled {
            for last in (1..order.len()).rev() {
                order.swap(last, random.below(last + 1));
            }
        }
        order
    }

    /// Which parts of a write of this many sectors get to the disk, each sector by itself or none but a first part.
    pub fn sectors(&self, sectors: usize, random: &mut Random) -> Vec<bool> {
        if !random.chance(self.torn) {
            return vec![true; sectors];
        }
        if random.below(4) == 0 {
            let whole = random.below(sectors + 1);
            return (0..sectors).map(|sector| sector < whole).collect();
        }
        (0..sectors).map(|_| random.chance(128)).collect()
    }
}

/// Choices that follow from a seed.
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The choices of this seed, of one of its streams.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.number()) * limit as u128) >> 64) as usize
    }

    /// True as often as `part` of 256.
    pub fn chance(&mut self, part: u32) -> bool {
        (self.number() >> 56) < u64::from(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_follow_from_the_seed_and_begin_at_the_first_flush() {
        let (flushes, flushed, acknowledged) = (vec![2, 88], vec![40, 17, 90], vec![3, 50]);
        let places = Places { end: 100, flushes, flushed, acknowledged };
        let cuts = places.choose(1000, 5);
        assert_eq!(cuts, places.choose(1000, 5));
        assert_ne!(cuts, places.choose(1000, 6));
        assert!(cuts.is_sorted() && cuts.iter().all(|cut| (17..=100).contains(&cut.entries)));
        let here = |entries: usize| cuts.iter().filter(|cut| cut.entries == entries).count();
        assert!([17, 40, 90].iter().all(|entries| here(*entries) > 60));
        assert!(here(50) > 80 && here(88) > 80);
        assert!((17..=100).filter(|entries| here(*entries) > 0).count() > 70);
        assert!(Places { flushed: Vec::new(), ..places.clone() }.choose(10, 5).is_empty());
        let only = Places { end: 17, flushed: vec![17], ..Places::default() };
        assert!(only.choose(10, 5).iter().all(|cut| cut.entries == 17));
    }

    #[test]
    fn every_fate_comes_up() {
        type Drawn = (Fate, Vec<usize>, Vec<bool>);
        let draw = |seed| {
            let mut random = Random::new(seed, 0);
            let fate = Fate::draw(&mut random);
            let order = fate.order(0..8, &mut random);
            (fate, order, fate.sectors(8, &mut random))
        };
        let fates: Vec<Drawn> = (0..500).map(draw).collect();
        let some = |what: &dyn Fn(&Drawn) -> bool| fates.iter().filter(|one| what(one)).count() > 20;
        assert!(some(&|(_, order, _)| order.is_empty()));
        assert!(some(&|(_, order, _)| *order == [0, 1, 2, 3, 4, 5, 6, 7]));
        assert!(some(&|(_, order, _)| order.len() == 8 && !order.is_sorted()));
        assert!(some(&|(_, order, _)| (1..8).contains(&order.len())));
        assert!(some(&|(_, _, sectors)| sectors.iter().all(|whole| *whole)));
        assert!(some(&|(_, _, sectors)| sectors.contains(&true) && sectors.contains(&false)));
        assert!(fates.iter().all(|(fate, order, _)| fate.kept > 0 || order.is_empty()));
    }
}
