//! Mode pages (SPC-4 7.5, SBC-3 6.4): one table of what they hold, for MODE SENSE, MODE SELECT and the code that obeys
//! them.

mod select;
mod sense;

pub(crate) use select::{ModeSelect, parameter_list_length};
pub(crate) use sense::mode_sense;

use crate::capabilities::Capabilities;
use portable_atomic::{AtomicU8, Ordering};

/// A bit that MODE SELECT may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// Write cache enable: GOOD may come before a write is durable.
    Wce = 1,
    /// Sense data in descriptor format.
    DSense = 2,
    /// Software write protect.
    Swp = 4,
}

/// Where a flag lies in its page.
struct Place {
    flag: Flag,
    byte: usize,
    mask: u8,
}

/// A mode page: its bytes with every flag cleared, and the flags in it.
struct Page {
    fixed: &'static [u8],
    places: &'static [Place],
}

/// In ascending order of page code. There are no subpages.
static PAGES: [Page; 4] = [
    // SBC-3 6.4.7 Read-Write Error Recovery: retries and reassignment are the backend's own business.
    Page { fixed: &[0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], places: &[] },
    // SBC-3 6.4.5 Caching.
    Page {
        fixed: &[0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        places: &[Place { flag: Flag::Wce, byte: 2, mask: 0x04 }],
    },
    // SPC-4 7.5.8 Control: a task set for each I_T nexus (TST 1: ORDERED and CLEAR TASK SET see the commands of their own
    // nexus), unrestricted reordering (QUEUE ALGORITHM MODIFIER 1), only the failed command ends (QERR 0).
    Page {
        fixed: &[0x0a, 0x0a, 0x20, 0x10, 0, 0, 0, 0, 0, 0, 0, 0],
        places: &[Place { flag: Flag::DSense, byte: 2, mask: 0x04 }, Place { flag: Flag::Swp, byte: 4, mask: 0x08 }],
    },
    // SPC-4 7.5.13 Informational Exceptions Control: there are none to report (DEXCPT).
    Page { fixed: &[0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0], places: &[] },
];

/// The longest page, header included.
const PAGE_MAX: usize = 20;

/// The values that MODE SENSE can ask for (SPC-4 table 154, PC field).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    Current,
    Changeable,
    Default,
}

impl Page {
    fn code(&self) -> u8 {
        self.fixed[0] & 0x3f
    }

    fn len(&self) -> usize {
        self.fixed.len()
    }

    /// The page with the flags of `flags` set.
    fn render(&self, flags: u8) -> [u8; PAGE_MAX] {
        let mut bytes = [0; PAGE_MAX];
        bytes[..self.len()].copy_from_slice(self.fixed);
        for place in self.places.iter().filter(|place| flags & place.flag as u8 != 0) {
            bytes[place.byte] |= place.mask;
        }
        bytes
    }

    /// The page with a 1 for each bit that MODE SELECT may change.
    fn changeable(&self, flags: u8) -> [u8; PAGE_MAX] {
        let mut bytes = [0; PAGE_MAX];
        bytes[..2].copy_from_slice(&self.fixed[..2]);
        for place in self.places.iter().filter(|place| flags & place.flag as u8 != 0) {
            bytes[place.byte] |= place.mask;
        }
        bytes
    }

    /// The flags that are set in `bytes`, a page of this code and length.
    fn flags_in(&self, bytes: &[u8]) -> u8 {
        let set = self.places.iter().filter(|place| bytes.get(place.byte).is_some_and(|b| b & place.mask != 0));
        set.fold(0, |flags, place| flags | place.flag as u8)
    }

    /// All flags of the page.
    fn flags(&self) -> u8 {
        self.places.iter().fold(0, |flags, place| flags | place.flag as u8)
    }
}

/// The mode parameters of a unit: shared by all I_T nexuses (MLUS), not saved.
#[derive(Debug)]
pub(crate) struct Modes {
    current: AtomicU8,
    default: u8,
    changeable: u8,
}

impl Modes {
    pub(crate) fn new(capabilities: &Capabilities) -> Self {
        // Without a volatile cache every write is durable at once: WCE is zero and can't be anything else.
        let wce = if capabilities.volatile_cache { Flag::Wce as u8 } else { 0 };
        Self { current: AtomicU8::new(wce), default: wce, changeable: wce | Flag::DSense as u8 | Flag::Swp as u8 }
    }

    #[inline]
    pub(crate) fn is_set(&self, flag: Flag) -> bool {
        self.current.load(Ordering::Relaxed) & flag as u8 != 0
    }

    /// As [`Self::is_set`], in one order with all changes: for who has done something that a change is followed by.
    #[inline]
    pub(crate) fn is_set_for_all(&self, flag: Flag) -> bool {
        self.current.load(Ordering::SeqCst) & flag as u8 != 0
    }

    /// Back to the default values.
    pub(crate) fn reset(&self) {
        self.current.store(self.default, Ordering::SeqCst);
    }

    /// Gives the flags of `mask` the values in `flags`; returns those that changed.
    fn change(&self, mask: u8, flags: u8) -> u8 {
        let mut before = self.current.load(Ordering::Relaxed);
        loop {
            let after = before & !mask | flags & mask;
            match self.current.compare_exchange_weak(before, after, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return before ^ after,
                Err(now) => before = now,
            }
        }
    }

    fn render(&self, page: &Page, values: Values) -> [u8; PAGE_MAX] {
        match values {
            Values::Current => page.render(self.current.load(Ordering::Relaxed)),
            Values::Default => page.render(self.default),
            Values::Changeable => page.changeable(self.changeable),
        }
    }
}
