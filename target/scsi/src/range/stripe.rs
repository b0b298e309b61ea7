//! One stripe of the range lock: sharers or an exclusive holder, and a line of those that wait.
//!
//! The line has two batches. The one that has its turn is served, in the order in which its tasks step; a newcomer joins the
//! other one. When all of the first have been served or have left, the other has its turn. So a task is overtaken at most
//! once by each task that waits at the same time, and by none that comes later: one initiator with a deep queue cannot
//! keep another away. Where no task waits, a task takes the stripe by one compare and exchange, and gives it back by one
//! atomic operation.
//!
//! No wake-up is lost: a task joins the line in the same atomic operation that finds the stripe busy. Whoever makes the stripe
//! free sees the line in the same operation that does so, and reports it.

use super::{Atomic, Word};
use portable_atomic::Ordering;

/// Bits of each of the three counts. One that is full turns newcomers away without a place in line.
const COUNT: u32 = (Word::BITS - 2) / 3;
const SHARER: Word = 1;
const SHARERS: Word = (1 << COUNT) - 1;
/// The counts of both batches.
pub(super) const WAITING: Word = SHARERS << COUNT | SHARERS << (2 * COUNT);
/// Held exclusively.
const EXCLUSIVE: Word = 1 << (Word::BITS - 2);
/// The second batch has its turn. Clear where no task waits.
const TURN: Word = 1 << (Word::BITS - 1);

/// One of the two batches of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    First,
    Second,
}

impl Batch {
    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// A task of it.
    const fn waiter(self) -> Word {
        match self {
            Self::First => 1 << COUNT,
            Self::Second => 1 << (2 * COUNT),
        }
    }

    /// All of its count.
    const fn waiters(self) -> Word {
        SHARERS * self.waiter()
    }
}

/// On a cache line of its own, so that cores don't fight for a line over different stripes.
#[derive(Debug)]
#[cfg_attr(target_pointer_width = "64", repr(align(64)))]
pub(super) struct Stripe<A>(A);

impl<A> Stripe<A> {
    pub(super) const fn new(word: A) -> Self {
        Self(word)
    }
}

impl<A: Atomic> Stripe<A> {
    /// Takes the stripe, or a place in its `line`.
    #[inline]
    pub(super) fn acquire(&self, exclusive: bool, line: &mut Option<Batch>) -> bool {
        let state = self.0.load();
        // The common case: only sharers, if any, and no task waits.
        if !exclusive
            && line.is_none()
            && state < SHARERS
            && self.0.exchange(state, state + SHARER, Ordering::Acquire).is_ok()
        {
            return true;
        }
        self.request(exclusive, line)
    }

    fn request(&self, exclusive: bool, line: &mut Option<Batch>) -> bool {
        let mut state = self.0.load();
        loop {
            let (next, place) = match *line {
                _ if is_granted(state, exclusive, *line) => (granted(state, exclusive, *line), None),
                // What changes that comes with a wake.
                Some(_) => return false,
                None => match joined(state) {
                    Some((next, batch)) => (next, Some(batch)),
                    None => return false,
                },
            };
            match self.0.exchange(state, next, Ordering::Acquire) {
                Ok(_) => {
                    *line = place;
                    return place.is_none();
                }
                Err(now) => state = now,
            }
        }
    }

    /// Gives the stripe back; true when those in line have to step.
    #[inline]
    pub(super) fn release(&self, exclusive: bool) -> bool {
        let share = if exclusive { EXCLUSIVE } else { SHARER };
        let before = self.0.subtract(share);
        before & (EXCLUSIVE | SHARERS) == share && before & WAITING != 0
    }

    /// Gives up the place in line; true when others in line have to step.
    #[cold]
    pub(super) fn leave(&self, batch: Batch) -> bool {
        let mut state = self.0.load();
        loop {
            let next = without(state, batch);
            match self.0.exchange(state, next, Ordering::Relaxed) {
                // The turn of the other batch has begun.
                Ok(_) => return (state ^ next) & TURN != 0 && next & WAITING != 0,
                Err(now) => state = now,
            }
        }
    }
}

/// The batch that is served.
const fn turn(state: Word) -> Batch {
    if state & TURN == 0 { Batch::First } else { Batch::Second }
}

/// The task, at its place in line or new, may take the stripe.
fn is_granted(state: Word, exclusive: bool, line: Option<Batch>) -> bool {
    let is_next = match line {
        None => state & WAITING == 0,
        Some(batch) => batch == turn(state),
    };
    let is_free = match exclusive {
        true => state & (EXCLUSIVE | SHARERS) == 0,
        false => state & EXCLUSIVE == 0 && state & SHARERS != SHARERS,
    };
    is_next && is_free
}

/// The stripe with the task in it and out of the line.
fn granted(state: Word, exclusive: bool, line: Option<Batch>) -> Word {
    let inside = state + if exclusive { EXCLUSIVE } else { SHARER };
    line.map_or(inside, |batch| without(inside, batch))
}

/// The stripe with one more task in line, and where that is; `None` where the line is full.
fn joined(state: Word) -> Option<(Word, Batch)> {
    let first = turn(state);
    // A batch that has its turn and is empty: no task waits.
    let batch = if state & first.waiters() == 0 { first } else { first.other() };
    (state & batch.waiters() != batch.waiters()).then(|| (state + batch.waiter(), batch))
}

/// The stripe with one task of `batch` less in line.
fn without(state: Word, batch: Batch) -> Word {
    let left = state - batch.waiter();
    let served = turn(left);
    if left & served.waiters() != 0 {
        return left;
    }
    match left & WAITING {
        0 => left & !TURN,
        _ => left ^ TURN,
    }
}
