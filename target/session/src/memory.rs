//! How much of the memory for payloads a session may take: a share that nobody can take from it,
//! the rest by need.

/// What stays free, as a multiple of what one session has beyond its share.
const GREED: usize = 4;

/// What a session has of the memory, and may take. In bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Set aside for it.
    guaranteed: usize,
    /// What it has.
    taken: usize,
}

impl Share {
    /// The share of each of at most `sessions` sessions where there are `memory` bytes in all: half
    /// of these is set aside.
    pub const fn each(memory: usize, sessions: usize) -> usize {
        memory / 2 / if sessions == 0 { 1 } else { sessions }
    }

    /// Nothing taken, and this much set aside.
    pub const fn new(guaranteed: usize) -> Self {
        Self { guaranteed, taken: 0 }
    }

    /// What is set aside for it.
    pub const fn guaranteed(self) -> usize {
        self.guaranteed
    }

    /// What it has.
    pub const fn taken(self) -> usize {
        self.taken
    }

    const fn beyond(self, taken: usize) -> usize {
        taken.saturating_sub(self.guaranteed)
    }

    /// What `bytes` more ask for of that which is set aside for nobody.
    #[inline]
    pub const fn asks_for(self, bytes: usize) -> usize {
        self.beyond(self.taken + bytes) - self.beyond(self.taken)
    }

    /// Whether it may have `bytes` more, where `free` of `memory` are left that are set aside for
    /// nobody.
    ///
    /// Beyond its share it has at most a quarter of what stays free, so that sessions that hold
    /// what they got leave most of it to others. What is large beside all of the memory it may have
    /// once.
    #[inline]
    pub const fn may_take(self, bytes: usize, free: usize, memory: usize) -> bool {
        let (asked, beyond) = (self.asks_for(bytes), self.beyond(self.taken));
        asked == 0 || GREED * (beyond + asked) + asked <= free || beyond == 0 && asked >= memory / 4 && asked <= free
    }

    /// It takes `bytes` more.
    #[inline]
    pub const fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// It gives `bytes` back: how much of these is set aside for nobody.
    #[inline]
    pub const fn give(&mut self, bytes: usize) -> usize {
        let before = self.beyond(self.taken);
        self.taken = self.taken.saturating_sub(bytes);
        before - self.beyond(self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_there_whatever_others_took() {
        let mut share = Share::new(100);
        assert!(share.may_take(100, 0, 1000));
        share.take(100);
        assert!(!share.may_take(1, 0, 1000) && !share.may_take(1, 4, 1000) && share.may_take(1, 5, 1000));
        assert!(share.may_take(250, 250, 1000) && !share.may_take(250, 249, 1000), "the largest command");
        assert_eq!((share.asks_for(7), share.give(50), share.asks_for(57)), (7, 0, 7));
        share.take(100);
        assert_eq!((share.taken(), share.give(120)), (150, 50));
    }

    #[test]
    fn the_greedy_leave_most_of_it() {
        let mut free = 1_000_000;
        let mut left: u64 = free as u64;
        for greedy in 1..=10 {
            let mut share = Share::new(0);
            while share.may_take(10, free, 1_000_000) {
                free -= share.asks_for(10);
                share.take(10);
            }
            left = left * 4 / 5;
            assert!((left..left + 200).contains(&(free as u64)), "{greedy} leave {free}");
        }
        assert!(Share::new(0).may_take(10, free, 1_000_000));
    }
}
