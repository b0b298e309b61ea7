//! What a guest's end means.

use crate::Ended;

/// What a guest's end means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It said its last line and ended with exit status 0.
    Passed,
    /// It ended with exit status 0 and without its last line: it was reset or powered off on the way.
    CutShort,
    /// QEMU ended otherwise; with `-action panic=exit-failure`, exit status 1 is a panic of the guest's kernel.
    Died(Ended),
    /// It was still running when its time was up, and was killed.
    TimedOut,
}

impl Verdict {
    /// From how QEMU ended (`None`: it had to be killed) and whether the guest said its last line.
    pub(crate) fn of(ended: Option<Ended>, said_last_line: bool) -> Self {
        match (ended, said_last_line) {
            (None, _) => Verdict::TimedOut,
            (Some(Ended::Exit(0)), true) => Verdict::Passed,
            (Some(Ended::Exit(0)), false) => Verdict::CutShort,
            (Some(other), _) => Verdict::Died(other),
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Passed => f.write_str("passed"),
            Verdict::CutShort => f.write_str("the guest ended before it was done"),
            Verdict::Died(Ended::Exit(1)) => f.write_str("the guest's kernel panicked (exit status 1)"),
            Verdict::Died(ended) => write!(f, "QEMU ended with {ended}"),
            Verdict::TimedOut => f.write_str("the guest was still running when its time was up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_needs_both_the_line_and_the_status() {
        assert_eq!(Verdict::of(Some(Ended::Exit(0)), true), Verdict::Passed);
        assert_eq!(Verdict::of(Some(Ended::Exit(0)), false), Verdict::CutShort);
        assert_eq!(Verdict::of(Some(Ended::Exit(1)), true), Verdict::Died(Ended::Exit(1)));
        assert_eq!(Verdict::of(Some(Ended::Signal(9)), true), Verdict::Died(Ended::Signal(9)));
        assert_eq!(Verdict::of(None, true), Verdict::TimedOut);
    }
}
