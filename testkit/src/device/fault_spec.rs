//! How faults are written: `drop-write@1000,flip-bit@lba=77#2`.

use thiserror::Error;

/// One thing that a [`super::faulty::Faulty`] device does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What it does.
    pub kind: Kind,
    /// To which call.
    pub when: When,
}

/// What a faulty device does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Acknowledges a write and does not write.
    DropWrite,
    /// From then on acknowledges writes and does not write.
    DropAllWrites,
    /// Writes the first half.
    TearWrite,
    /// Writes to another place.
    MisdirectWrite,
    /// Stores a write with one bit flipped.
    FlipBit,
    /// Stores a write, returns it once, then forgets it unless a flush came before.
    ForgetUnflushed,
    /// Returns what was there before the last write.
    StaleRead,
    /// Returns data with one bit flipped; the disk is right.
    FlipRead,
    /// Acknowledges a discard and does nothing.
    IgnoreDiscard,
    /// From then on acknowledges flushes and does nothing. Shows at a power cut.
    LieFlush,
    /// From then on acknowledges flushes a moment before they are done. Shows at a power cut just then.
    EarlyFlush,
    /// Loses power after a write: part of what was not flushed is gone, nothing is answered any more.
    PowerCut,
    /// Answers a read with an error.
    FailRead,
    /// Answers a write with an error.
    FailWrite,
    /// Answers a flush with an error.
    FailFlush,
    /// From then on compares and writes in two steps, between which others may write.
    SplitCompareAndWrite,
}

/// The calls that faults are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`super::Device::read`]
    Read,
    /// [`super::Device::write`]
    Write,
    /// [`super::Device::flush`]
    Flush,
    /// [`super::Device::discard`]
    Discard,
    /// [`super::Device::compare_and_write`]
    CompareAndWrite,
}

/// Every fault with its name and the call that it befalls.
pub const KINDS: [(&str, Kind, Call); 16] = [
    ("drop-write", Kind::DropWrite, Call::Write),
    ("drop-all-writes", Kind::DropAllWrites, Call::Write),
    ("tear-write", Kind::TearWrite, Call::Write),
    ("misdirect-write", Kind::MisdirectWrite, Call::Write),
    ("flip-bit", Kind::FlipBit, Call::Write),
    ("forget-unflushed", Kind::ForgetUnflushed, Call::Write),
    ("stale-read", Kind::StaleRead, Call::Read),
    ("flip-read", Kind::FlipRead, Call::Read),
    ("ignore-discard", Kind::IgnoreDiscard, Call::Discard),
    ("lie-flush", Kind::LieFlush, Call::Flush),
    ("early-flush", Kind::EarlyFlush, Call::Flush),
    ("power-cut", Kind::PowerCut, Call::Write),
    ("fail-read", Kind::FailRead, Call::Read),
    ("fail-write", Kind::FailWrite, Call::Write),
    ("fail-flush", Kind::FailFlush, Call::Flush),
    ("split-compare-and-write", Kind::SplitCompareAndWrite, Call::CompareAndWrite),
];

impl Kind {
    /// The call that this fault befalls.
    #[must_use]
    pub fn call(self) -> Call {
        KINDS.iter().find(|(_, kind, _)| *kind == self).map_or(Call::Write, |(_, _, call)| *call)
    }

    /// A fault of this kind stays once it has come.
    #[must_use]
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::DropAllWrites | Self::LieFlush | Self::EarlyFlush | Self::SplitCompareAndWrite)
    }
}

/// Which of the calls of its kind a fault befalls. Calls are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The n-th, over all threads.
    Count(u64),
    /// The n-th that touches this 512-byte block: the same one however the threads' turns fall.
    Touching {
        /// The 512-byte block.
        lba: u64,
        /// Which of them.
        count: u64,
    },
}

/// A list of faults that cannot be understood.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "'{text}' is not a fault: {why}. A faulty device is faulty:FAULTS:DEVICE, a fault is KIND@N (the N-th such call) or \
     KIND@lba=B#N (the N-th that touches the 512-byte block B), kinds are {}",
    KINDS.map(|(name, _, _)| name).join(", ")
)]
pub struct SpecError {
    text: String,
    why: &'static str,
}

/// Parses `FAULTS:REST`, with the faults separated by commas; gives the faults and the rest.
///
/// # Errors
/// [`SpecError`] with the fault that is wrong.
pub fn parse(spec: &str) -> Result<(Vec<Fault>, &str), SpecError> {
    let Some((faults, rest)) = spec.split_once(':') else {
        return Err(SpecError { text: spec.to_owned(), why: "no device follows" });
    };
    let faults = faults.split(',').map(parse_fault).collect::<Result<_, _>>()?;
    Ok((faults, rest))
}

fn parse_fault(text: &str) -> Result<Fault, SpecError> {
    let wrong = |why| SpecError { text: text.to_owned(), why };
    let (name, when) = text.split_once('@').ok_or(wrong("it has no @"))?;
    let kind = KINDS.iter().find(|(known, _, _)| *known == name).ok_or(wrong("no such kind"))?.1;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong("a number is wrong"));
    let when = match when.strip_prefix("lba=") {
        Some(place) => {
            let (lba, count) = place.split_once('#').unwrap_or((place, "1"));
            When::Touching { lba: number(lba)?, count: number(count)? }
        }
        None => When::Count(number(when)?),
    };
    match when {
        When::Count(0) | When::Touching { count: 0, .. } => Err(wrong("calls are counted from 1")),
        When::Touching { .. } if kind.call() == Call::Flush => Err(wrong("a flush touches no block")),
        when => Ok(Fault { kind, when }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_as_they_are_written() {
        let (faults, rest) = parse("drop-write@1000,flip-bit@lba=77#2:/tmp/a:b").unwrap();
        assert_eq!(rest, "/tmp/a:b");
        assert_eq!(
            faults,
            [
                Fault { kind: Kind::DropWrite, when: When::Count(1000) },
                Fault { kind: Kind::FlipBit, when: When::Touching { lba: 77, count: 2 } },
            ]
        );
        for (name, kind, _) in KINDS {
            assert_eq!(parse(&format!("{name}@3:x")).unwrap().0, [Fault { kind, when: When::Count(3) }]);
        }
    }

    #[test]
    fn what_is_no_fault() {
        for text in
            ["drop-write@1", "drop-write:x", "drop@1:x", "drop-write@0:x", "lie-flush@lba=3:x", "flip-bit@lba=:x"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
