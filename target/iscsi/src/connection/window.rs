//! CmdSN, ExpCmdSN and MaxCmdSN (RFC 7143 4.2.2.1) in serial arithmetic (RFC 1982).

/// `a < b` on the circle of 32-bit numbers.
pub(crate) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// CmdSNs from ExpCmdSN on of which is remembered whether an immediate ABORT TASK declared them as received: at least as many as
/// a window has.
const REMEMBERED: usize = 512;

/// Where a command stands in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The next one: it was counted.
    Next,
    /// Within the window, but others are to come first.
    Early,
    /// Outside the window, or a duplicate: "silently ignored".
    Outside,
}

/// The command window of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    expected: u32,
    /// A bit for each CmdSN, modulo [`REMEMBERED`].
    skipped: [u32; REMEMBERED / 32],
}

impl Window {
    pub(crate) const fn new(expected: u32) -> Self {
        Self { expected, skipped: [0; REMEMBERED / 32] }
    }

    pub(crate) const fn expected(&self) -> u32 {
        self.expected
    }

    /// MaxCmdSN, where `free` more commands can be taken.
    #[inline]
    pub(crate) const fn max(&self, free: u32) -> u32 {
        self.expected.wrapping_add(free).wrapping_sub(1)
    }

    /// Where a command that is not immediate stands.
    #[inline]
    pub(crate) fn place(&self, cmd_sn: u32, free: u32) -> Place {
        if cmd_sn == self.expected && free > 0 {
            Place::Next
        } else if before(cmd_sn, self.expected) || before(self.max(free), cmd_sn) || self.is_skipped(cmd_sn) {
            Place::Outside
        } else {
            Place::Early
        }
    }

    /// The word and the bit of a CmdSN of the window.
    const fn place_of(cmd_sn: u32) -> (usize, u32) {
        let at = cmd_sn as usize % REMEMBERED;
        (at / 32, 1 << (at % 32))
    }

    const fn is_skipped(&self, cmd_sn: u32) -> bool {
        let (word, bit) = Self::place_of(cmd_sn);
        self.skipped[word] & bit != 0
    }

    /// The expected command was taken.
    #[inline]
    pub(crate) const fn advance(&mut self) {
        self.expected = self.expected.wrapping_add(1);
        while self.is_skipped(self.expected) {
            let (word, bit) = Self::place_of(self.expected);
            self.skipped[word] &= !bit;
            self.expected = self.expected.wrapping_add(1);
        }
    }

    /// Whether ABORT TASK names a command that has not come yet; it then counts as received (RFC 7143 11.6.1 b).
    pub(crate) fn skip(&mut self, ref_cmd_sn: u32, request_cmd_sn: u32, free: u32) -> bool {
        if self.place(ref_cmd_sn, free) == Place::Outside || !before(ref_cmd_sn, request_cmd_sn) {
            return false;
        }
        if ref_cmd_sn == self.expected {
            self.advance();
            return true;
        }
        let (word, bit) = Self::place_of(ref_cmd_sn);
        self.skipped[word] |= bit;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_wrap_around() {
        let mut window = Window::new(u32::MAX);
        assert_eq!(window.place(u32::MAX, 4), Place::Next);
        assert_eq!(window.place(0, 4), Place::Early);
        assert_eq!(window.place(2, 4), Place::Early);
        assert_eq!(window.place(3, 4), Place::Outside);
        assert_eq!(window.place(u32::MAX - 1, 4), Place::Outside);
        window.advance();
        assert_eq!(window.place(0, 4), Place::Next);
    }

    #[test]
    fn a_full_window_takes_none() {
        assert_eq!(Window::new(7).place(7, 0), Place::Outside);
    }

    #[test]
    fn every_command_of_the_window_may_be_aborted_before_it_comes() {
        let first = u32::MAX - 3;
        let mut window = Window::new(first);
        for skipped in 1..511 {
            assert!(window.skip(first.wrapping_add(skipped), first.wrapping_add(511), 511), "{skipped}");
        }
        window.advance();
        assert_eq!(window.expected(), first.wrapping_add(511));
        assert_eq!(window.skipped, [0; REMEMBERED / 32]);
        assert_eq!(window.place(first.wrapping_add(512), 511), Place::Early, "a number is free again");
    }

    #[test]
    fn aborting_what_has_not_come() {
        let mut window = Window::new(10);
        assert!(window.skip(11, 12, 8));
        assert_eq!(window.place(11, 8), Place::Outside);
        assert!(!window.skip(12, 12, 8));
        assert!(window.skip(10, 12, 8));
        assert_eq!(window.expected(), 12);
    }
}
