//! The range lock: what a COMPARE AND WRITE holds, nobody else reads or writes.
//!
//! Blocks are hashed onto stripes, each a counting lock of one word. Plain reads and writes share a stripe;
//! COMPARE AND WRITE and WRITE AND VERIFY have it alone. A [`Hold`] takes its stripes in ascending order and, where one
//! is busy, *keeps what it has* and waits. That is free of deadlock (who holds the highest stripe waits for nobody, and
//! so on downwards), and there is no moment at which a stripe is taken and given back without its task ending, so that
//! whoever was turned away is told by exactly the task that stood in the way.
//!
//! No wake-up is lost: who is turned away sets WAITERS in the same atomic operation that finds the stripe busy; who
//! makes the stripe free takes WAITERS away in the same or a later one, and reports it.
//!
//! Nobody starves: an exclusive one that finds sharers closes the door (BARRED) to new ones; once it is in, the door is
//! open again, and after it all that wait compete in the order in which the driver steps them.

use portable_atomic::{AtomicU32, Ordering};

/// Someone was turned away since the stripe was last free.
const WAITERS: u32 = 1 << 31;
/// New sharers are turned away.
const BARRED: u32 = 1 << 30;
/// Held exclusively.
const EXCLUSIVE: u32 = 1 << 29;
/// How many share it.
const SHARERS: u32 = EXCLUSIVE - 1;

/// Blocks in a row that fall on one stripe, as a power of two.
const STRIPE_SHIFT: u32 = 11;

/// A set of stripes, one bit each.
#[cfg(target_pointer_width = "64")]
type Stripes = u128;
/// A set of stripes: a board has little memory and one core.
#[cfg(not(target_pointer_width = "64"))]
type Stripes = u32;

const STRIPES: u32 = Stripes::BITS;

/// On a cache line of its own, so that cores don't fight for a line over different stripes.
#[derive(Debug)]
#[cfg_attr(target_pointer_width = "64", repr(align(64)))]
struct Stripe(AtomicU32);

/// The range lock of a logical unit.
#[derive(Debug)]
pub(crate) struct RangeLock {
    stripes: [Stripe; STRIPES as usize],
}

/// The blocks that a task wants to itself, or to share; and how far it got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    /// All stripes that are wanted.
    wanted: Stripes,
    /// Those of them that are held: always the lowest.
    held: Stripes,
    exclusive: bool,
    /// This one closed the door of the next stripe.
    barring: bool,
}

impl Hold {
    /// Wants nothing.
    pub(crate) const NONE: Self = Self { wanted: 0, held: 0, exclusive: false, barring: false };

    /// Shares `blocks` blocks from `lba` on with others.
    pub(crate) fn shared(lba: u64, blocks: u64) -> Self {
        Self { wanted: stripes(lba, blocks), ..Self::NONE }
    }

    /// Has `blocks` blocks from `lba` on alone.
    pub(crate) fn exclusive(lba: u64, blocks: u64) -> Self {
        Self { exclusive: true, ..Self::shared(lba, blocks) }
    }

    /// Wants these blocks too. Only before the first [`RangeLock::acquire`].
    pub(crate) fn and(&mut self, lba: u64, blocks: u64) {
        self.wanted |= stripes(lba, blocks);
    }

    fn is_complete(&self) -> bool {
        self.held == self.wanted
    }
}

/// The stripes that the blocks fall on.
fn stripes(lba: u64, blocks: u64) -> Stripes {
    if blocks == 0 {
        return 0;
    }
    let first = lba >> STRIPE_SHIFT;
    let count = (lba.saturating_add(blocks - 1) >> STRIPE_SHIFT) - first + 1;
    if count >= u64::from(STRIPES) {
        return Stripes::MAX;
    }
    let run = (1 << count) - 1;
    Stripes::rotate_left(run, (first % u64::from(STRIPES)) as u32)
}

impl RangeLock {
    pub(crate) const fn new() -> Self {
        Self { stripes: [const { Stripe(AtomicU32::new(0)) }; STRIPES as usize] }
    }

    /// Takes what is still missing; false when a stripe is busy: try again after a wake.
    #[inline]
    pub(crate) fn acquire(&self, hold: &mut Hold) -> bool {
        while !hold.is_complete() {
            let missing = hold.wanted & !hold.held;
            let index = missing.trailing_zeros();
            let stripe = self.stripe(index);
            let got =
                if hold.exclusive { stripe.acquire_exclusive(&mut hold.barring) } else { stripe.acquire_shared() };
            if !got {
                return false;
            }
            hold.held |= 1 << index;
        }
        true
    }

    /// Gives everything back; true when someone was turned away meanwhile and must try again.
    #[inline]
    #[must_use]
    pub(crate) fn release(&self, hold: &mut Hold) -> bool {
        let mut wake = false;
        if hold.barring {
            let missing = hold.wanted & !hold.held;
            wake = self.stripe(missing.trailing_zeros()).unbar();
        }
        while hold.held != 0 {
            let stripe = self.stripe(hold.held.trailing_zeros());
            wake |= if hold.exclusive { stripe.release_exclusive() } else { stripe.release_shared() };
            hold.held &= hold.held - 1;
        }
        *hold = Hold::NONE;
        wake
    }

    fn stripe(&self, index: u32) -> &Stripe {
        &self.stripes[(index % STRIPES) as usize]
    }
}

impl Stripe {
    #[inline]
    fn acquire_shared(&self) -> bool {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            let busy = state & (EXCLUSIVE | BARRED) != 0 || state & SHARERS == SHARERS;
            let next = if busy { state | WAITERS } else { state + 1 };
            match self.0.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return !busy,
                Err(now) => state = now,
            }
        }
    }

    /// `barring`: whether this task closed the door before, and whether it did now.
    fn acquire_exclusive(&self, barring: &mut bool) -> bool {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            let busy = state & (EXCLUSIVE | SHARERS) != 0;
            let next = match (busy, state & SHARERS != 0) {
                (false, _) => (state & !BARRED) | EXCLUSIVE,
                (true, true) => state | WAITERS | BARRED,
                (true, false) => state | WAITERS,
            };
            match self.0.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    *barring = busy && (*barring || next & BARRED != 0);
                    return !busy;
                }
                Err(now) => state = now,
            }
        }
    }

    #[inline]
    fn release_shared(&self) -> bool {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        if before & SHARERS == 1 && before & WAITERS != 0 {
            return self.0.fetch_and(!WAITERS, Ordering::AcqRel) & WAITERS != 0;
        }
        false
    }

    fn release_exclusive(&self) -> bool {
        self.0.fetch_and(!(EXCLUSIVE | WAITERS), Ordering::AcqRel) & WAITERS != 0
    }

    /// The one that closed the door goes away without having come in. Others that wait behind it (an exclusive one will
    /// close it again) try anew.
    fn unbar(&self) -> bool {
        self.0.fetch_and(!(BARRED | WAITERS), Ordering::AcqRel) & WAITERS != 0
    }
}
