//! Buffers for payloads: made once, handed out again, at most so many bytes at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Sizes that are kept, in bytes.
const CLASSES: [usize; 6] = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// Most bytes of unused buffers that a connection keeps.
const KEPT: usize = 8 << 20;

/// What all connections together may hold.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// `bytes` for everybody.
    pub const fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }
}

/// The unused buffers of one connection.
#[derive(Debug)]
pub struct Buffers<'a> {
    budget: &'a Budget,
    free: [Vec<Vec<u8>>; CLASSES.len()],
    kept: usize,
    /// Bytes of the budget that this connection has, in use or not.
    charged: usize,
}

impl<'a> Buffers<'a> {
    /// None yet.
    pub const fn new(budget: &'a Budget) -> Self {
        Self { budget, free: [const { Vec::new() }; CLASSES.len()], kept: 0, charged: 0 }
    }

    /// A buffer of at least `len` bytes, with any contents; `None` where that is more than there may be.
    pub fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let class = CLASSES.iter().position(|class| *class >= len)?;
        if let Some(buffer) = self.free[class].pop() {
            self.kept -= buffer.len();
            return Some(buffer);
        }
        let size = CLASSES[class];
        self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size)).ok()?;
        self.charged += size;
        Some(vec![0; size])
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Vec<u8>) {
        match CLASSES.iter().position(|class| *class == buffer.len()) {
            Some(class) if self.kept + buffer.len() <= KEPT.min(self.charged) => {
                self.kept += buffer.len();
                self.free[class].push(buffer);
            }
            // One that was made beside the budget has a length that is none of the classes', or nothing is charged for it.
            Some(_) if self.charged >= buffer.len() => {
                self.charged -= buffer.len();
                self.budget.left.fetch_add(buffer.len(), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Drop for Buffers<'_> {
    fn drop(&mut self) {
        // What a task or a unit on its way still had is gone with the connection.
        self.budget.left.fetch_add(self.charged, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_used_again_and_the_budget_holds() {
        let budget = Budget::new(128 << 10);
        let mut buffers = Buffers::new(&budget);
        let first = buffers.take(20_000).expect("room");
        assert_eq!(first.len(), 64 << 10);
        let second = buffers.take(64 << 10).expect("room");
        assert!(buffers.take(1).is_none());
        buffers.give(first);
        assert!(buffers.take(65_000).is_some());
        buffers.give(second);
        drop(buffers);
        assert_eq!(budget.left.load(Ordering::Relaxed), 128 << 10);
    }
}
