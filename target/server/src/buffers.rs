//! Buffers for payloads: made once, handed out again, at most so many bytes at a time.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use iesp_session::Share;
use tokio::sync::mpsc::UnboundedSender;

use crate::messages::Message;

/// Every [`Buffer`] begins at a multiple of this, in bytes: more than any device asks for that reads past the page cache.
pub const ALIGNMENT: usize = 4096;

/// Memory of a length that does not change, where a device may read from and write to.
pub struct Buffer {
    start: NonNull<u8>,
    len: usize,
    /// Where the allocation begins. It asks for no alignment: the allocator then hands out untouched pages, where it would
    /// fill aligned ones with zeros, and a buffer costs memory only as far as it is used.
    allocated: NonNull<u8>,
}

impl Buffer {
    /// `len` zeros. None at all take no memory.
    ///
    /// # Panics
    /// `len` is more than an address space has.
    pub fn new(len: usize) -> Self {
        Self::try_new(len).unwrap_or_else(|| handle_alloc_error(Self::layout(len)))
    }

    /// As [`Self::new`]; `None` where the system has no memory for it.
    ///
    /// # Panics
    /// `len` is more than an address space has.
    pub fn try_new(len: usize) -> Option<Self> {
        if len == 0 {
            return Some(Self { start: NonNull::dangling(), len, allocated: NonNull::dangling() });
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a size of at least one byte.
        let allocated = unsafe { alloc_zeroed(layout) };
        let allocated = NonNull::new(allocated)?;
        // SAFETY: the layout has room for `len` bytes behind the next multiple of the alignment.
        let start = unsafe { allocated.add(allocated.align_offset(ALIGNMENT)) };
        Some(Self { start, len, allocated })
    }

    /// A copy of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut buffer = Self::new(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    const fn layout(len: usize) -> Layout {
        match Layout::from_size_align(len.saturating_add(ALIGNMENT - 1), 1) {
            Ok(layout) => layout,
            Err(_) => panic!("a buffer of more bytes than there are addresses"),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.len != 0 {
            // SAFETY: `allocated` came from `alloc_zeroed` with this same layout, and is freed once.
            unsafe { dealloc(self.allocated.as_ptr(), Self::layout(self.len)) }
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` initialised bytes for as long as `self` lives; dangling, for none.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A payload is nobody's business.
        write!(f, "{} bytes", self.len)
    }
}

// SAFETY: the buffer owns its memory alone, as a `Box<[u8]>` would.
unsafe impl Send for Buffer {}
// SAFETY: `&Buffer` gives only shared access to plain bytes.
unsafe impl Sync for Buffer {}

/// Sizes that are kept, in bytes.
const CLASSES: [usize; 6] = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// Most bytes of unused buffers that a connection keeps.
const KEPT: usize = 8 << 20;

/// What all connections together may hold.
#[derive(Debug)]
pub struct Budget {
    memory: AtomicUsize,
    /// What is set aside for each session.
    share: AtomicUsize,
    /// What is set aside for nobody. Below 0 where the budget was made smaller than what is in use.
    left: AtomicI64,
    /// How many connections wait for memory; their mailboxes.
    waiting: AtomicUsize,
    mailboxes: Mutex<Vec<UnboundedSender<Message>>>,
}

impl Budget {
    /// `bytes` for everybody, of which `sessions` sessions have their shares.
    pub const fn new(bytes: usize, sessions: usize) -> Self {
        Self {
            memory: AtomicUsize::new(bytes),
            share: AtomicUsize::new(Share::each(bytes, sessions)),
            left: AtomicI64::new(bytes as i64),
            waiting: AtomicUsize::new(0),
            mailboxes: Mutex::new(Vec::new()),
        }
    }

    /// `new` bytes for everybody: what is in use above that is given back in time. Sessions that begin have other shares.
    pub fn resize(&self, new: usize, sessions: usize) {
        let old = self.memory.swap(new, Ordering::Relaxed);
        self.share.store(Share::each(new, sessions), Ordering::Relaxed);
        self.give(new as i64 - old as i64);
    }

    /// Bytes are free; those that wait try again.
    fn give(&self, bytes: i64) {
        self.left.fetch_add(bytes, Ordering::SeqCst);
        if self.is_wanted() {
            let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting.store(0, Ordering::SeqCst);
            for mailbox in mailboxes.drain(..) {
                // One that has ended wants none.
                let _ = mailbox.send(Message::Memory);
            }
        }
    }

    /// Whether anybody waits for memory.
    fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

/// The unused buffers of one connection.
#[derive(Debug)]
pub struct Buffers<'a> {
    budget: &'a Budget,
    free: [Vec<Buffer>; CLASSES.len()],
    kept: usize,
    /// What this connection has of the budget, in use or not.
    share: Share,
}

impl<'a> Buffers<'a> {
    /// None yet.
    pub const fn new(budget: &'a Budget) -> Self {
        Self { budget, free: [const { Vec::new() }; CLASSES.len()], kept: 0, share: Share::new(0) }
    }

    /// A session begins: a share is set aside for it, where that much is left.
    pub fn begin_session(&mut self) {
        let share = self.budget.share.load(Ordering::Relaxed);
        let enough = |left: i64| Some(left - share as i64).filter(|left| *left >= 0);
        if self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough).is_ok() {
            self.share = Share::new(share);
        }
    }

    /// A buffer of at least `len` bytes, with any contents; `None` where that is more than there may be now.
    pub fn take(&mut self, len: usize) -> Option<Buffer> {
        let class = CLASSES.iter().position(|class| *class >= len)?;
        if let Some(buffer) = self.free[class].pop() {
            self.kept -= buffer.len();
            return Some(buffer);
        }
        let size = CLASSES[class];
        if !self.charge(size) {
            // Those of other sizes stand in the way.
            self.release();
            if !self.charge(size) {
                return None;
            }
        }
        let buffer = Buffer::try_new(size);
        if buffer.is_none() {
            self.discharge(size);
        }
        buffer
    }

    fn charge(&mut self, size: usize) -> bool {
        let (share, memory) = (self.share, self.budget.memory.load(Ordering::Relaxed));
        let asked = share.asks_for(size);
        let enough = |left: i64| {
            let may = share.may_take(size, usize::try_from(left).unwrap_or(0), memory);
            may.then_some(left - asked as i64)
        };
        let may = asked == 0 || self.budget.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enough).is_ok();
        if may {
            self.share.take(size);
        }
        may
    }

    fn discharge(&mut self, size: usize) {
        let common = self.share.give(size);
        if common > 0 {
            self.budget.give(common as i64);
        }
    }

    /// Has a message sent to this mailbox when others give memory back. What was free meanwhile is to be asked for once more.
    pub fn wait(&self, mailbox: &UnboundedSender<Message>) {
        let mut mailboxes = self.budget.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if !mailboxes.iter().any(|waiting| waiting.same_channel(mailbox)) {
            mailboxes.push(mailbox.clone());
            self.budget.waiting.store(mailboxes.len(), Ordering::SeqCst);
        }
    }

    /// Gives all unused ones back: others may need them.
    pub fn release(&mut self) {
        if self.kept == 0 {
            return;
        }
        for class in &mut self.free {
            class.clear();
        }
        let kept = std::mem::take(&mut self.kept);
        self.discharge(kept);
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Buffer) {
        match CLASSES.iter().position(|class| *class == buffer.len()) {
            Some(class) if self.kept + buffer.len() <= KEPT.min(self.share.taken()) && !self.budget.is_wanted() => {
                self.kept += buffer.len();
                self.free[class].push(buffer);
            }
            // One that was made beside the budget has a length that is none of the classes', or nothing is charged for it.
            Some(_) if self.share.taken() >= buffer.len() => {
                let len = buffer.len();
                drop(buffer);
                self.discharge(len);
            }
            _ => {}
        }
    }
}

impl Drop for Buffers<'_> {
    fn drop(&mut self) {
        // What a task or a unit on its way still had is gone with the connection.
        let common = self.share.give(self.share.taken());
        self.budget.give((common + self.share.guaranteed()) as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_writable() {
        for len in [0, 1, 512, 65536, 100_001] {
            let mut buffer = Buffer::new(len);
            assert_eq!(buffer.len(), len);
            assert!(len == 0 || buffer.as_ptr().addr().is_multiple_of(ALIGNMENT));
            assert!(buffer.iter().all(|&byte| byte == 0));
            buffer.fill(0xa5);
            assert!(Buffer::of(&buffer).iter().all(|&byte| byte == 0xa5));
        }
        assert!(Buffer::default().is_empty());
    }

    #[test]
    fn what_is_given_back_is_used_again_and_the_budget_holds() {
        let budget = Budget::new(512 << 10, 1000);
        let mut buffers = Buffers::new(&budget);
        let first = buffers.take(20_000).expect("room");
        assert_eq!(first.len(), 64 << 10);
        assert!(buffers.take(64 << 10).is_none(), "most of it is for others");
        buffers.give(first);
        let again = buffers.take(65_000).expect("room");
        assert_eq!(budget.left.load(Ordering::Relaxed), 448 << 10);
        buffers.give(again);
        buffers.release();
        assert_eq!(budget.left.load(Ordering::Relaxed), 512 << 10, "what is unused is not kept from others");
        let _largest = buffers.take(256 << 10).expect("what is large beside all there is");
        drop(buffers);
        assert_eq!(budget.left.load(Ordering::Relaxed), 512 << 10);
    }

    #[test]
    fn who_waits_for_memory_is_told() {
        let budget = Budget::new(512 << 10, 1);
        let (mail, mut mailbox) = tokio::sync::mpsc::unbounded_channel();
        let (mut one, mut other) = (Buffers::new(&budget), Buffers::new(&budget));
        one.begin_session();
        let taken = one.take(256 << 10).expect("its share");
        assert!(other.take(256 << 10).is_some() && other.take(64 << 10).is_none());
        other.wait(&mail);
        other.wait(&mail);
        one.give(taken);
        assert!(mailbox.try_recv().is_err(), "its share is its own");
        drop(one);
        assert!(matches!(mailbox.try_recv(), Ok(Message::Memory)) && mailbox.try_recv().is_err());
    }
}
