//! What all initiators of a run share: the order of events, the models, what was counted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use crate::history::History;

/// Logical units.
pub const LUNS: u8 = 3;
/// Blocks of each.
pub const BLOCKS: u32 = 4096;
/// Blocks that all want, across the border of two stripes of the range lock.
pub const FIRST: u64 = 2040;
pub const WIDTH: u64 = 16;
/// The block of logical unit 0 that COMPARE AND WRITE alone changes.
pub const PRIZE: u64 = FIRST + WIDTH;
/// How long a command of a well-behaved initiator may take, in microseconds: disks freeze for less.
pub const BOUND_US: u64 = 5_000_000;

/// Of a change of mode parameters that has not ended; and the nexus was told of one since it began.
const UNDER_WAY: u64 = u64::MAX;
const PERHAPS_TOLD: u64 = u64::MAX - 1;

/// A unit attention condition (MODE PARAMETERS CHANGED) of a nexus at a logical unit.
#[derive(Default)]
struct Attention {
    logging_in: bool,
    /// When changes ended that it was not told of, as far as is known.
    changes: VecDeque<u64>,
    /// It is pending for commands that began later.
    must_since: Option<u64>,
}

#[derive(Default)]
pub struct World {
    events: Cell<u64>,
    pub history: RefCell<History>,
    attentions: RefCell<BTreeMap<(u8, u8), Attention>>,
    /// Answered commands of well-behaved initiators, and how long they took.
    pub commands: Cell<u64>,
    pub latencies: RefCell<Vec<u32>>,
    pub sessions: Cell<u64>,
    pub swaps: Cell<u64>,
    pub told: Cell<u64>,
    pub refused: Cell<u64>,
    /// A digest of all that happened, in its order.
    pub digest: Cell<u64>,
}

pub fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl World {
    /// The number of the next event.
    pub fn event(&self) -> u64 {
        count(&self.events);
        self.events.get()
    }

    /// Something happened, at this time.
    pub fn note(&self, what: u64) {
        let mixed = (self.digest.get() ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest.set(mixed.rotate_left(29));
    }

    pub fn login_begins(&self, nexus: u8) {
        for lun in 0..LUNS {
            let mut attentions = self.attentions.borrow_mut();
            let attention = attentions.entry((nexus, lun)).or_default();
            (attention.logging_in, attention.must_since) = (true, None);
            // What is under way may come before the new nexus, or after it.
            attention.changes.retain(|ended| *ended >= PERHAPS_TOLD);
            attention.changes.iter_mut().for_each(|ended| *ended = PERHAPS_TOLD);
        }
    }

    pub fn logged_in(&self, nexus: u8) {
        count(&self.sessions);
        for lun in 0..LUNS {
            let mut attentions = self.attentions.borrow_mut();
            let attention = attentions.entry((nexus, lun)).or_default();
            attention.logging_in = false;
            // The same of those that began since.
            attention.changes.iter_mut().filter(|ended| **ended == UNDER_WAY).for_each(|ended| *ended = PERHAPS_TOLD);
        }
    }

    /// Another nexus changes mode parameters.
    pub fn change_begins(&self, by: u8, lun: u8) {
        for ((nexus, of), attention) in self.attentions.borrow_mut().iter_mut() {
            if *of == lun && *nexus != by {
                attention.changes.push_back(UNDER_WAY);
            }
        }
    }

    pub fn change_ended(&self, by: u8, lun: u8) {
        let now = self.event();
        for ((nexus, of), attention) in self.attentions.borrow_mut().iter_mut() {
            if *of != lun || *nexus == by {
                continue;
            }
            if let Some(change) = attention.changes.iter_mut().find(|ended| **ended >= PERHAPS_TOLD) {
                let before = std::mem::replace(change, now);
                if before == UNDER_WAY && !attention.logging_in {
                    attention.must_since.get_or_insert(now);
                }
            }
        }
    }

    /// The nexus was told that they changed, by the answer to a command that began then.
    pub fn attention(&self, nexus: u8, lun: u8, began: u64) {
        count(&self.told);
        let mut attentions = self.attentions.borrow_mut();
        let attention = attentions.entry((nexus, lun)).or_default();
        // It stands for all that had ended before the command came, or for one that is younger.
        assert!(attention.changes.pop_front().is_some(), "nexus {nexus} was told of a change twice, or of none");
        attention.changes.retain(|ended| *ended > began);
        // It may have stood for those that are left, too.
        attention.must_since = None;
        attention.changes.iter_mut().filter(|ended| **ended == UNDER_WAY).for_each(|ended| *ended = PERHAPS_TOLD);
    }

    /// A command that began then was answered with something else.
    pub fn no_attention(&self, nexus: u8, lun: u8, began: u64) {
        let attentions = self.attentions.borrow();
        let must = attentions.get(&(nexus, lun)).and_then(|attention| attention.must_since);
        assert!(must.is_none_or(|since| began < since), "nexus {nexus} was not told of a change");
    }

    /// Power is cut: sessions are gone.
    pub fn restart(&self) {
        self.attentions.borrow_mut().clear();
    }
}
