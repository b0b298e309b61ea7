//! CmdSN, ExpCmdSN and MaxCmdSN (RFC 7143 4.2.2.1) in serial arithmetic (RFC 1982).

/// `a < b` on the circle of 32-bit numbers.
pub(crate) const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Most numbers beyond ExpCmdSN that an immediate ABORT TASK may declare as received.
const SKIPPED: usize = 8;

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
    skipped: [Option<u32>; SKIPPED],
}

impl Window {
    pub(crate) const fn new(expected: u32) -> Self {
        Self { expected, skipped: [None; SKIPPED] }
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
        } else if before(cmd_sn, self.expected)
            || before(self.max(free), cmd_sn)
            || self.skipped.contains(&Some(cmd_sn))
        {
            Place::Outside
        } else {
            Place::Early
        }
    }

    /// The expected command was taken.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.expected = self.expected.wrapping_add(1);
        while let Some(found) = self.skipped.iter_mut().find(|skipped| **skipped == Some(self.expected)) {
            *found = None;
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
        match self.skipped.iter_mut().find(|skipped| skipped.is_none()) {
            Some(skipped) => {
                *skipped = Some(ref_cmd_sn);
                true
            }
            None => false,
        }
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
    fn aborting_what_has_not_come() {
        let mut window = Window::new(10);
        assert!(window.skip(11, 12, 8));
        assert_eq!(window.place(11, 8), Place::Outside);
        assert!(!window.skip(12, 12, 8));
        assert!(window.skip(10, 12, 8));
        assert_eq!(window.expected(), 12);
    }
}
