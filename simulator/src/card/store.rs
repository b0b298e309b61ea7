//! What the card holds: what is programmed, and what it took and may still lose.

use std::collections::{BTreeSet, VecDeque};

use super::faults::Faults;
use super::medium::{BLOCK, Medium};
use super::plant::{CORRUPT_ONE_OF, FORGOTTEN_US, Plant};

/// Blocks of an open CMD25 that the card keeps in its buffer at most; older ones are programmed.
const BUFFER_BLOCKS: usize = 256;

pub struct Store {
    medium: Box<dyn Medium>,
    erased: u8,
    /// Taken, not programmed: in the order in which they came.
    pending: Vec<(u32, [u8; BLOCK])>,
    /// Announced by ACMD23 to be written, from the first on that was not: undefined until it is.
    announced: Option<(u32, u32)>,
    /// An erase that is under way.
    erasing: Option<(u32, u32)>,
    /// When everything that is taken is programmed.
    commit_at: Option<u64>,
    /// Torn by a power cut: reading fails until they are written.
    unreadable: BTreeSet<u32>,
    now: u64,
    /// What is wrong with it by design.
    pub(super) plant: Option<Plant>,
    /// What was there before it was programmed, and when that was: of a card that forgets.
    before: VecDeque<(u64, u32, [u8; BLOCK])>,
}

impl Store {
    pub fn new(medium: Box<dyn Medium>, erased: u8) -> Self {
        Self {
            medium,
            erased,
            pending: Vec::new(),
            announced: None,
            erasing: None,
            commit_at: None,
            unreadable: BTreeSet::new(),
            now: 0,
            plant: None,
            before: VecDeque::new(),
        }
    }

    /// `None` for a block that cannot be read.
    pub fn read(&mut self, address: u32) -> Option<[u8; BLOCK]> {
        if self.unreadable.contains(&address) { None } else { Some(self.medium.read(address, self.erased)) }
    }

    /// The same, as it is sent.
    pub fn send(&mut self, address: u32, faults: &mut Faults) -> Option<[u8; BLOCK]> {
        let mut block = self.read(address)?;
        if self.plant == Some(Plant::Corrupt) && faults.below(CORRUPT_ONE_OF) == 0 {
            block[faults.below(BLOCK as u32) as usize] ^= 1;
        }
        Some(block)
    }

    /// CMD25 begins, with what ACMD23 said.
    pub fn announce(&mut self, first: u32, count: u32) {
        self.announced = (count > 0).then_some((first, count));
    }

    pub fn take(&mut self, address: u32, data: [u8; BLOCK]) {
        self.announced = self.announced.and_then(|(first, count)| {
            if first == address && count > 1 { Some((first.wrapping_add(1), count - 1)) } else { None }
        });
        if self.pending.len() >= BUFFER_BLOCKS {
            let (oldest, data) = self.pending.remove(0);
            self.program(oldest, &data);
        }
        self.pending.push((address, data));
    }

    pub fn erase(&mut self, first: u32, count: u32, done_at: u64) {
        self.erasing = Some((first, count));
        self.commit_at = Some(done_at);
    }

    /// The transfer ended: at `done_at` everything taken is programmed.
    pub fn finish(&mut self, done_at: u64) {
        self.commit_at = Some(done_at);
    }

    pub fn pass(&mut self, now: u64) {
        self.now = now;
        if self.commit_at.is_some_and(|at| at <= now) {
            self.commit_at = None;
            self.keep(usize::MAX);
            // 4.3.4: announced and never written is undefined: erased, here.
            if let Some((first, count)) = self.announced.take() {
                self.erase_now(first, count);
            }
            if let Some((first, count)) = self.erasing.take() {
                self.erase_now(first, count);
            }
        }
    }

    /// Power is gone: of what was not programmed some is there, one block may be torn, the rest is as before.
    pub fn cut(&mut self, faults: &mut Faults) {
        while let Some((at, address, data)) = self.before.pop_back() {
            if at + FORGOTTEN_US > self.now {
                self.medium.write(address, &data, self.erased);
            }
        }
        let kept = faults.below(self.pending.len() as u32 + 1) as usize;
        let torn = self.pending.get(kept).map(|(address, _)| *address);
        self.keep(kept);
        if let Some(address) = torn
            && faults.below(2) == 0
        {
            self.unreadable.insert(address);
        }
        if let Some((first, count)) = self.announced.take()
            && faults.below(2) == 0
        {
            self.erase_now(first, count);
        }
        if let Some((first, count)) = self.erasing.take() {
            let count = faults.below(count.saturating_add(1));
            self.erase_now(first, count);
        }
        self.commit_at = None;
    }

    fn keep(&mut self, count: usize) {
        let pending = std::mem::take(&mut self.pending);
        for (address, data) in pending.iter().take(count) {
            self.program(*address, data);
        }
    }

    fn program(&mut self, address: u32, data: &[u8; BLOCK]) {
        self.unreadable.remove(&address);
        if self.plant == Some(Plant::Forget) {
            self.before.push_back((self.now, address, self.medium.read(address, self.erased)));
        }
        self.medium.write(address, data, self.erased);
    }

    fn erase_now(&mut self, first: u32, count: u32) {
        if let Some(last) = count.checked_sub(1) {
            let gone: Vec<u32> = self.unreadable.range(first..=first.saturating_add(last)).copied().collect();
            for address in gone {
                self.unreadable.remove(&address);
            }
        }
        self.medium.erase(first, count, self.erased);
    }
}
