//! A card in memory: it takes its time, fails where it is told to, and forgets what was not flushed when its power is cut.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use iesp_firmware::Card;
use iesp_firmware::card::{BLOCK, Facts};
use iesp_firmware::sd::{Cid, Erased, Error};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::time::{now_us, sleep_until_us};

/// What is planted into a disk, to see whether a run finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It says that all is durable, and it is not.
    Forget,
    /// Now and then it does not write.
    Lose,
    /// Now and then it reads what a block held before.
    Stale,
}

type Block = [u8; BLOCK];

struct State {
    blocks: Vec<Block>,
    /// What is on the medium, where that differs.
    durable: BTreeMap<u32, Block>,
    /// What each block held before.
    previous: BTreeMap<u32, Block>,
    random: ChaCha8Rng,
    /// How long a request takes, in microseconds.
    takes_us: Range<u64>,
    frozen_until_us: u64,
    unreadable: Range<u32>,
    fault: Option<Fault>,
}

impl State {
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    /// Now and then, where this fault is planted.
    fn fails(&mut self, fault: Fault) -> bool {
        self.fault == Some(fault) && self.below(100) == 0
    }

    fn put(&mut self, at: u32, block: Block) {
        let before = std::mem::replace(&mut self.blocks[at as usize], block);
        self.durable.entry(at).or_insert(before);
        self.previous.insert(at, before);
    }
}

/// A card that others look at.
#[derive(Clone)]
pub struct Disk(Rc<RefCell<State>>);

impl Disk {
    /// One of so many blocks of zeros.
    pub fn new(blocks: u32, seed: u64, fault: Option<Fault>) -> Self {
        Self(Rc::new(RefCell::new(State {
            blocks: vec![[0; BLOCK]; blocks as usize],
            durable: BTreeMap::new(),
            previous: BTreeMap::new(),
            random: ChaCha8Rng::seed_from_u64(seed ^ 0x6469_736b),
            takes_us: 20..400,
            frozen_until_us: 0,
            unreadable: 0..0,
            fault,
        })))
    }

    /// It answers nothing for so long.
    pub fn freeze(&self, us: u64) {
        self.0.borrow_mut().frozen_until_us = now_us() + us;
    }

    /// These blocks cannot be read.
    pub fn fail(&self, blocks: Range<u32>) {
        self.0.borrow_mut().unreadable = blocks;
    }

    /// Any part of what was not flushed is lost.
    pub fn cut_power(&self) {
        let mut state = self.0.borrow_mut();
        state.frozen_until_us = 0;
        state.previous.clear();
        for (at, block) in std::mem::take(&mut state.durable) {
            if state.below(2) == 0 {
                state.blocks[at as usize] = block;
            }
        }
    }

    /// A request takes its time; it is done at its end.
    async fn work(&self) {
        let until = {
            let mut state = self.0.borrow_mut();
            let Range { start, end } = state.takes_us;
            let takes = start + state.below(end - start);
            state.frozen_until_us.max(now_us() + takes)
        };
        sleep_until_us(until).await;
    }
}

impl Card for Disk {
    async fn start(&mut self) -> Result<Facts, Error> {
        let mut register = [0x11; 16];
        register[15] = crc7(&register[..15]) << 1 | 1;
        let blocks = self.0.borrow().blocks.len() as u64;
        let cid = Cid::parse(register).ok_or(Error::Crc)?;
        Ok(Facts { blocks, cid, erased: Erased::Zeros, write_protected: false, clock_hz: 25_000_000 })
    }

    async fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), Error> {
        self.work().await;
        let mut state = self.0.borrow_mut();
        for (at, room) in (first..).zip(data.chunks_exact_mut(BLOCK)) {
            if state.unreadable.contains(&at) {
                return Err(Error::Read(8));
            }
            let stale = state.fails(Fault::Stale);
            let there = state.previous.get(&at).filter(|_| stale);
            room.copy_from_slice(there.unwrap_or(&state.blocks[at as usize]));
        }
        Ok(())
    }

    async fn write(&mut self, first: u32, data: &[u8]) -> Result<(), Error> {
        self.work().await;
        let mut state = self.0.borrow_mut();
        for (at, block) in (first..).zip(data.as_chunks::<BLOCK>().0) {
            if !state.fails(Fault::Lose) {
                state.put(at, *block);
            }
        }
        Ok(())
    }

    async fn erase(&mut self, first: u32, count: u32) -> Result<(), Error> {
        self.work().await;
        let mut state = self.0.borrow_mut();
        for at in first..first + count {
            state.put(at, [0; BLOCK]);
            state.durable.remove(&at);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.work().await;
        let mut state = self.0.borrow_mut();
        if state.fault != Some(Fault::Forget) {
            state.durable.clear();
        }
        Ok(())
    }

    fn forget_loss(&mut self) {}
}

fn crc7(bytes: &[u8]) -> u8 {
    let mut crc = 0u8;
    for byte in bytes {
        for bit in (0..8).rev() {
            let carry = crc >> 6 & 1 ^ byte >> bit & 1;
            crc = crc << 1 & 0x7f;
            crc ^= carry * 0x09;
        }
    }
    crc
}
