//! Turns: how much one connection does before others that the same thread serves have theirs.

/// Most PDUs of a turn: more than a command window has.
const PDUS: u32 = 256;

/// Longest turn, in nanoseconds, but for what is begun at its end.
const LONGEST: u64 = 500_000;

/// The time is asked for once in so many PDUs.
const LOOK: u32 = 16;

/// A turn of a connection: it goes on until its PDUs or its time are used up.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    began: u64,
    left: u32,
}

impl Turn {
    /// A turn that begins now, in nanoseconds of any clock.
    #[inline]
    pub const fn begin(now: u64) -> Self {
        Self { began: now, left: PDUS }
    }

    /// A PDU was taken. `now` is asked for the time now and then.
    #[inline]
    pub fn took_pdu(&mut self, now: impl FnOnce() -> u64) {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 && self.left.is_multiple_of(LOOK) {
            self.took_time(now());
        }
    }

    /// Something was done that took a while.
    #[inline]
    pub const fn took_time(&mut self, now: u64) {
        if now.saturating_sub(self.began) > LONGEST {
            self.left = 0;
        }
    }

    /// Nothing more is to be done in this turn: a login's PDU costs as much as many commands.
    #[inline]
    pub const fn end(&mut self) {
        self.left = 0;
    }

    /// Whether it is over.
    #[inline]
    pub const fn is_over(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_with_its_pdus() {
        let mut turn = Turn::begin(7);
        for _ in 1..PDUS {
            turn.took_pdu(|| 7);
            assert!(!turn.is_over());
        }
        turn.took_pdu(|| 7);
        assert!(turn.is_over());
    }

    #[test]
    fn a_turn_ends_with_its_time() {
        let mut turn = Turn::begin(7);
        turn.took_time(7 + LONGEST);
        assert!(!turn.is_over());
        turn.took_time(8 + LONGEST);
        assert!(turn.is_over());
        let mut turn = Turn::begin(7);
        let taken = (1..PDUS).take_while(|_| {
            turn.took_pdu(|| 8 + LONGEST);
            !turn.is_over()
        });
        assert!(taken.count() < LOOK as usize);
    }
}
