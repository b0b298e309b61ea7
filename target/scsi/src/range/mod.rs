//! The range lock: what a COMPARE AND WRITE holds, no other task reads or writes.
//!
//! Blocks are hashed onto stripes, each a lock of one word ([`stripe`]). Plain reads and writes share a stripe; COMPARE AND
//! WRITE and WRITE AND VERIFY hold it exclusively. A [`Hold`] takes its stripes in ascending order. Where one is busy, it keeps
//! those that it has and waits in the line of the busy one. That is free of deadlock: the holder of the highest stripe waits
//! for no other, and so on downwards.
//!
//! No task starves, whichever connection or thread it belongs to: a stripe serves those in its line before newcomers. The
//! price is that a task in line has to step soon after it was woken. One that cannot leaves the line
//! ([`RangeLock::release`]).

#[cfg(test)]
mod models;
mod stripe;

use portable_atomic::Ordering;
use stripe::{Batch, Stripe};

/// Blocks in a row that fall on one stripe, as a power of two.
const STRIPE_SHIFT: u32 = 11;

/// A set of stripes, one bit each.
#[cfg(target_pointer_width = "64")]
type Stripes = u128;
/// A set of stripes: a board has little memory and one core.
#[cfg(not(target_pointer_width = "64"))]
type Stripes = u32;

const STRIPES: u32 = Stripes::BITS;

/// The value of a stripe.
#[cfg(target_pointer_width = "64")]
type Word = u64;
/// The value of a stripe: as wide as the atomics that the CPU has.
#[cfg(not(target_pointer_width = "64"))]
type Word = u32;

#[cfg(target_pointer_width = "64")]
type AtomicWord = portable_atomic::AtomicU64;
#[cfg(not(target_pointer_width = "64"))]
type AtomicWord = portable_atomic::AtomicU32;

/// What the lock asks of an atomic integer.
pub(crate) trait Atomic {
    fn load(&self) -> Word;
    /// Compare and exchange; may fail spuriously.
    fn exchange(&self, from: Word, to: Word, success: Ordering) -> Result<Word, Word>;
    /// Gives the value before. Ordered as a release.
    fn subtract(&self, value: Word) -> Word;
}

impl Atomic for AtomicWord {
    #[inline]
    fn load(&self) -> Word {
        self.load(Ordering::Relaxed)
    }

    #[inline]
    fn exchange(&self, from: Word, to: Word, success: Ordering) -> Result<Word, Word> {
        self.compare_exchange_weak(from, to, success, Ordering::Relaxed)
    }

    #[inline]
    fn subtract(&self, value: Word) -> Word {
        self.fetch_sub(value, Ordering::Release)
    }
}

/// The range lock of a logical unit. A model checker has atomics of its own, and fewer of them.
#[derive(Debug)]
pub(crate) struct RangeLock<A = AtomicWord, const N: usize = { STRIPES as usize }> {
    stripes: [Stripe<A>; N],
}

/// The blocks that a task wants exclusively, or shared; and how far it got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    /// All stripes that are wanted.
    wanted: Stripes,
    /// Those of them that are held: always the lowest.
    held: Stripes,
    exclusive: bool,
    /// The task stands in the line of the lowest stripe that is missing.
    line: Option<Batch>,
}

impl Hold {
    /// Wants nothing.
    pub(crate) const NONE: Self = Self { wanted: 0, held: 0, exclusive: false, line: None };

    /// Shares `blocks` blocks from `lba` on with others.
    #[inline]
    pub(crate) fn shared(lba: u64, blocks: u64) -> Self {
        Self { wanted: stripes(lba, blocks), ..Self::NONE }
    }

    /// Has `blocks` blocks from `lba` on exclusively.
    pub(crate) fn exclusive(lba: u64, blocks: u64) -> Self {
        Self { exclusive: true, ..Self::shared(lba, blocks) }
    }

    /// Wants these blocks in place of others, unless it holds some or stands in line.
    #[inline]
    pub(crate) fn aim(&mut self, lba: u64, blocks: u64) {
        if self.held == 0 && self.line.is_none() {
            self.wanted = stripes(lba, blocks);
        }
    }

    #[inline]
    fn is_complete(&self) -> bool {
        self.held == self.wanted
    }
}

/// The stripes that the blocks fall on.
#[inline]
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
        Self { stripes: [const { Stripe::new(AtomicWord::new(0)) }; STRIPES as usize] }
    }
}

impl<A: Atomic, const N: usize> RangeLock<A, N> {
    /// Takes what is still missing; false when a stripe is busy: try again after a wake.
    #[inline]
    pub(crate) fn acquire(&self, hold: &mut Hold) -> bool {
        while !hold.is_complete() {
            let missing = hold.wanted & !hold.held;
            let index = missing.trailing_zeros();
            if !self.stripe(index).acquire(hold.exclusive, &mut hold.line) {
                return false;
            }
            hold.held |= 1 << index;
        }
        true
    }

    /// Gives everything back, a place in line too; true when blocked tasks must try again. The hold wants the same as before.
    #[inline]
    #[must_use]
    pub(crate) fn release(&self, hold: &mut Hold) -> bool {
        let mut wake = false;
        if let Some(batch) = hold.line.take() {
            let missing = hold.wanted & !hold.held;
            wake = self.stripe(missing.trailing_zeros()).leave(batch);
        }
        while hold.held != 0 {
            let stripe = self.stripe(hold.held.trailing_zeros());
            wake |= stripe.release(hold.exclusive);
            hold.held &= hold.held - 1;
        }
        wake
    }

    #[inline]
    fn stripe(&self, index: u32) -> &Stripe<A> {
        &self.stripes[index as usize % N]
    }
}
