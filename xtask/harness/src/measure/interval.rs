//! How far a ratio of paired measurements can be trusted.

use serde::Serialize;

/// How often the true ratio may lie outside, on each side.
const TAIL: f64 = 0.025;

/// A ratio, and where it lies with a confidence of 95 %.
///
/// The ratio is the Hodges–Lehmann estimate: the median of all means of two rounds. The interval is
/// Wilcoxon's signed-rank test turned round: exact for any noise that is as likely up as down. A
/// single round that others disturbed moves neither.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The estimate.
    pub ratio: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The fewest rounds that such an interval takes.
    pub const LEAST_ROUNDS: u32 = 6;

    /// The interval of the rounds' ratios; `None` of too few, or of what are no ratios.
    pub fn of(ratios: impl IntoIterator<Item = f64>) -> Option<Self> {
        let logarithms: Vec<f64> = ratios.into_iter().map(f64::ln).collect();
        if logarithms.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let outside = outside(logarithms.len())?;
        let mut means: Vec<f64> = Vec::new();
        for (index, one) in logarithms.iter().enumerate() {
            means.extend(logarithms[index..].iter().map(|other| one.midpoint(*other)));
        }
        means.sort_by(f64::total_cmp);
        let middle = means[(means.len() - 1) / 2].midpoint(means[means.len() / 2]);
        let (low, high) = (means[outside], means[means.len() - 1 - outside]);
        Some(Interval { ratio: middle.exp(), low: low.exp(), high: high.exp() })
    }

    /// Whether a ratio lies in it.
    pub fn holds(&self, ratio: f64) -> bool {
        (self.low..=self.high).contains(&ratio)
    }

    /// Whether all of it is that close to 1.
    pub fn is_within(&self, tolerance: f64) -> bool {
        self.low >= 1.0 - tolerance && self.high <= 1.0 + tolerance
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ({:.3}..{:.3})", self.ratio, self.low, self.high)
    }
}

/// How many of the sorted means lie outside on each side: as many as the sum of signed ranks of so
/// many rounds is at most with the tail's probability.
fn outside(rounds: usize) -> Option<usize> {
    // How many of the 2^n choices of signs have each sum of ranks, as a part of all.
    let mut parts = vec![1.0];
    for rank in 1..=rounds {
        let mut next = vec![0.0; parts.len() + rank];
        for (sum, part) in parts.iter().enumerate() {
            next[sum] += part / 2.0;
            next[sum + rank] += part / 2.0;
        }
        parts = next;
    }
    let mut total = 0.0;
    let sums = parts.iter().take_while(|part| {
        total += **part;
        total <= TAIL
    });
    sums.count().checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranks_are_those_of_the_tables() {
        // Critical values of the signed-rank test, two-sided, 5 %.
        for (rounds, critical) in [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (12, 13), (15, 25), (20, 52), (25, 89)] {
            assert_eq!(outside(rounds), Some(critical), "{rounds} rounds");
        }
        assert_eq!(outside(Interval::LEAST_ROUNDS as usize - 1), None);
        assert_eq!(outside(0), None);
    }

    /// Numbers as likely up as down, from a seed.
    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        }
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_true_ratio() {
        for truth in [1.0_f64, 1.07] {
            let held = (0..2000).filter(|seed| {
                let mut noise = noise(*seed + 1);
                let interval = Interval::of((0..15).map(|_| truth * (0.2 * noise()).exp())).unwrap();
                interval.holds(truth)
            });
            let held = held.count();
            assert!((1860..=1960).contains(&held), "{held} of 2000 hold {truth}");
        }
    }

    #[test]
    fn a_difference_larger_than_the_noise_is_seen_though_a_round_was_disturbed() {
        let mut noise = noise(7);
        let mut ratios: Vec<f64> = (0..15).map(|_| 1.10 * (0.02 * noise()).exp()).collect();
        ratios[3] = 3.0;
        let interval = Interval::of(ratios).unwrap();
        assert!(!interval.holds(1.0) && interval.holds(1.10), "{interval}");
        assert!(!interval.is_within(0.03));
        assert!(interval.high < 1.2, "{interval}");
    }

    #[test]
    fn the_same_is_within_any_tolerance_and_nonsense_is_nothing() {
        let same = Interval::of([1.0; 8]).unwrap();
        assert!(same.is_within(0.0) && same.holds(1.0));
        assert_eq!(Interval::of([1.0; 5]), None);
        assert_eq!(Interval::of([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, f64::NAN]), None);
        assert_eq!(Interval::of([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]), None);
    }
}
