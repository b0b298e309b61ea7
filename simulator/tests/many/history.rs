//! What blocks may hold: every read and write of every block, and whether some order of them explains what was read.

use std::collections::{BTreeMap, BTreeSet};

/// A logical unit and a block of it.
pub type At = (u8, u64);

/// One command's part in one block. Times are counted in events of the run, so that no two are the same.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub write: bool,
    pub value: u64,
    pub began: u64,
    /// FUA: durable by itself.
    pub durable: bool,
    /// `None`: it was not answered, or failed, and may take effect at any time, or never.
    pub ended: Option<u64>,
}

/// The history of all blocks since the start, or since power was cut.
#[derive(Default)]
pub struct History {
    initial: BTreeMap<At, u64>,
    accesses: BTreeMap<At, Vec<Access>>,
    /// Flushes that were answered well: of which logical unit, and when they began.
    flushes: Vec<(u8, u64)>,
    /// Values that a COMPARE AND WRITE has replaced.
    replaced: BTreeSet<(At, u64)>,
    pub checked: u64,
}

impl History {
    pub fn read(&mut self, at: At, value: u64, began: u64, ended: u64) {
        self.push(at, Access { write: false, value, began, durable: false, ended: Some(ended) });
    }

    /// A write that is under way: it may take effect, answered or not.
    pub fn begin_write(&mut self, at: At, value: u64, began: u64, durable: bool) {
        self.push(at, Access { write: true, value, began, durable, ended: None });
    }

    /// It was answered well.
    pub fn end_write(&mut self, at: At, value: u64, ended: u64) {
        let accesses = self.accesses.entry(at).or_default();
        let write = accesses.iter_mut().rev().find(|access| access.write && access.value == value);
        write.expect("it was begun").ended = Some(ended);
    }

    /// It was answered with a status that says that nothing was written.
    pub fn cancel_write(&mut self, at: At, value: u64) {
        let accesses = self.accesses.entry(at).or_default();
        accesses.retain(|access| !(access.write && access.value == value));
    }

    fn push(&mut self, at: At, access: Access) {
        self.accesses.entry(at).or_default().push(access);
    }

    pub fn flushed(&mut self, lun: u8, began: u64) {
        self.flushes.push((lun, began));
    }

    /// A COMPARE AND WRITE found this value and put another one in its place.
    pub fn swapped(&mut self, at: At, old: u64) {
        // Values are written once: two that found the same are two winners.
        assert!(self.replaced.insert((at, old)), "two COMPARE AND WRITE won the same value {old:x} of block {at:?}");
    }

    /// Checks that each block is linearizable (Gibbons and Korach 1997, for values that are written once): the accesses of a
    /// value make a zone, from the first end to the last beginning. Zones that go forward exclude all other ones.
    pub fn check(&mut self) {
        for (at, accesses) in &self.accesses {
            let initial = self.initial.get(at).copied().unwrap_or(0);
            let mut values: BTreeMap<u64, Vec<&Access>> = BTreeMap::new();
            for access in accesses {
                values.entry(access.value).or_default().push(access);
            }
            let mut zones = Vec::new();
            for (value, accesses) in &values {
                let writes: Vec<_> = accesses.iter().filter(|access| access.write).collect();
                let is_read = accesses.iter().any(|access| !access.write);
                let (began, mut first) = match writes[..] {
                    [] if *value == initial => (0, 0),
                    [write] if write.ended.is_some() || is_read => (write.began, write.ended.unwrap_or(u64::MAX)),
                    [_] => continue,
                    [] => panic!("block {at:?} was read as {value:x}, which was never written"),
                    _ => unreachable!("a value is written once"),
                };
                let mut last = began;
                for read in accesses.iter().filter(|access| !access.write) {
                    let ended = read.ended.unwrap_or(u64::MAX);
                    assert!(ended > began, "block {at:?} was read as {value:x} before that was written");
                    first = first.min(ended);
                    last = last.max(read.began);
                }
                zones.push((first, last, *value));
            }
            zones.sort_unstable();
            let forward: Vec<_> = zones.iter().filter(|(first, last, _)| first < last).collect();
            for pair in forward.windows(2) {
                let [(_, last, value), (first, _, other)] = pair else { continue };
                assert!(last <= first, "block {at:?} was read as {value:x}, {other:x} and {value:x}");
            }
            for (end, begin, value) in zones.iter().filter(|(first, last, _)| first >= last) {
                // It begins at `begin` and ends at `end`, within the zone of another value?
                let within = forward.iter().find(|(first, last, _)| first < begin && end < last);
                if let Some((_, _, other)) = within {
                    panic!("block {at:?} holds {other:x} before and after {value:x}");
                }
            }
            self.checked += accesses.len() as u64;
        }
    }

    /// What a block may hold after a power cut: nothing that was replaced for good.
    pub fn may_survive(&self, at: At, value: u64) -> Result<(), String> {
        let accesses = self.accesses.get(&at).map_or(&[][..], Vec::as_slice);
        let of = accesses.iter().find(|access| access.write && access.value == value);
        let initial = self.initial.get(&at).copied().unwrap_or(0);
        let ended = match of {
            Some(write) => write.ended.unwrap_or(u64::MAX),
            None if value == initial => 0,
            None => return Err(format!("block {at:?} holds {value:x}, which was never written")),
        };
        let last_flush = self.flushes.iter().filter(|(lun, _)| *lun == at.0).map(|(_, began)| *began).max();
        let is_durable = |write: &&Access| {
            write.ended.is_some_and(|ended| write.durable || last_flush.is_some_and(|began| began > ended))
        };
        let mut later = accesses.iter().filter(|access| access.write && access.value != value);
        let lost = later.find(|write| write.began > ended && is_durable(write));
        match lost {
            Some(lost) => Err(format!("block {at:?} holds {value:x}: {:x} was flushed and is lost", lost.value)),
            None => Ok(()),
        }
    }

    /// Every command that is under way ended without an answer; the blocks hold these values now.
    pub fn restart(&mut self, values: BTreeMap<At, u64>) {
        let checked = self.checked;
        *self = Self { initial: values, checked, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(accesses: &[(bool, u64, u64, u64)]) -> History {
        let mut history = History::default();
        for &(write, value, began, ended) in accesses {
            history.push((0, 0), Access { write, value, began, durable: false, ended: (ended > 0).then_some(ended) });
        }
        history
    }

    #[test]
    fn orders_that_explain_all_are_found() {
        // Two writes at once, read in either order; one that was not answered and is seen late.
        history(&[(true, 1, 1, 10), (true, 2, 2, 9), (false, 2, 11, 12), (false, 2, 13, 14)]).check();
        history(&[(true, 1, 1, 2), (true, 2, 3, 0), (false, 1, 4, 5), (false, 2, 6, 7)]).check();
        history(&[(false, 0, 1, 2), (true, 1, 1, 4), (false, 0, 3, 5)]).check();
    }

    #[test]
    #[should_panic(expected = "holds")]
    fn an_old_value_after_a_new_one_is_found() {
        history(&[(true, 1, 1, 2), (true, 2, 3, 4), (false, 1, 5, 6)]).check();
    }

    #[test]
    #[should_panic(expected = "was read as")]
    fn values_that_come_and_go_are_found() {
        let reads = [(false, 1, 11, 12), (false, 2, 13, 14), (false, 1, 15, 16), (false, 2, 17, 18)];
        history(&[&[(true, 1, 1, 10), (true, 2, 2, 9)][..], &reads].concat()).check();
    }
}
