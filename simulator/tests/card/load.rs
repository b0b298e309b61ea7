//! A load from a seed, and what must be on the card at any moment of it.

use iesp_firmware::card::Card as _;
use iesp_firmware::sd::{BLOCK, Error};
use iesp_simulator::run;
use iesp_simulator::slot::Slot;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::model::{Place, block, tag};
use crate::rig::{Board, LONGEST_US};

/// Blocks that the load writes to.
pub const AREA: u32 = 48;
/// Where they lie.
pub const BASE: u32 = 2;

pub struct Load {
    rng: ChaCha8Rng,
    seed: u64,
    places: Vec<Place>,
    next_tag: u32,
    end: u32,
    /// What failed, request by request.
    pub errors: Vec<Error>,
}

impl Load {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x10ad),
            seed,
            places: vec![Place::settled(0); AREA as usize],
            next_tag: 1,
            end: 0,
            errors: Vec::new(),
        }
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    /// One request. `exact`: nothing has failed so far, so that every read shows what was written last.
    pub fn step(&mut self, slot: &Slot, board: &mut Board, exact: bool) {
        slot.expect_end_in(LONGEST_US);
        let sequential = self.below(3) > 0;
        let first = if sequential && self.end < AREA { self.end } else { self.below(AREA) };
        let count = (1 + self.below(8)).min(AREA - first);
        match self.below(20) {
            0..10 => self.write(board, first, count, exact),
            10..15 => self.read(board, first, count, exact),
            15..18 => self.flush(board),
            18 => self.erase(board, first, count),
            _ => slot.wait(u64::from(self.below(5_000))),
        }
    }

    fn write(&mut self, board: &mut Board, first: u32, count: u32, exact: bool) {
        let tags: Vec<u32> = (self.next_tag..).take(count as usize).collect();
        self.next_tag += count;
        let data: Vec<u8> = tags.iter().flat_map(|tag| block(*tag)).collect();
        let result = run(board.write(BASE + first, &data));
        self.end = first + count;
        for (place, tag) in self.range(first, count).iter_mut().zip(tags) {
            place.since.insert(tag);
            place.latest = result.is_ok().then_some(tag);
            if result.is_err() || !exact {
                // Erased ahead of a write that then failed, or that the card took and did not program.
                place.since.insert(0);
            }
        }
        self.errors.extend(result.err());
    }

    fn erase(&mut self, board: &mut Board, first: u32, count: u32) {
        let result = run(board.erase(BASE + first, count));
        for place in self.range(first, count) {
            match result {
                Ok(()) => *place = Place::settled(0),
                Err(_) => {
                    place.since.insert(0);
                    place.latest = None;
                }
            }
        }
        self.errors.extend(result.err());
    }

    fn flush(&mut self, board: &mut Board) {
        let result = run(board.flush());
        for place in &mut self.places {
            match (result, place.latest) {
                (Ok(()), Some(latest)) => *place = Place::settled(latest),
                (Ok(()), None) => {}
                (Err(_), _) if place.since.is_empty() => {}
                (Err(_), _) => place.latest = None,
            }
        }
        if let Err(error) = result {
            self.errors.push(error);
            assert_eq!(run(board.flush()), Err(error), "seed {}: a failed flush stays an error", self.seed);
            board.forget_loss();
        }
    }

    fn read(&mut self, board: &mut Board, first: u32, count: u32, exact: bool) {
        let mut data = vec![0; count as usize * BLOCK];
        if let Err(error) = run(board.read(BASE + first, &mut data)) {
            self.errors.push(error);
            return;
        }
        self.end = first + count;
        for (i, data) in data.as_chunks::<BLOCK>().0.iter().enumerate() {
            self.check(first + i as u32, tag(data), exact);
        }
    }

    /// Reads everything back, block by block, from a card in which nothing fails any more.
    pub fn verify(&mut self, board: &mut Board) {
        for address in 0..AREA {
            let mut data = [0; BLOCK];
            match run(board.read(BASE + address, &mut data)) {
                Ok(()) => {
                    let tag = self.check(address, tag(&data), false);
                    self.places[address as usize] = Place::settled(tag);
                }
                // Torn while it was written: an error is right, wrong data would not be.
                Err(Error::Read(_)) if !self.places[address as usize].since.is_empty() => {
                    self.places[address as usize].latest = None;
                }
                Err(error) => panic!("seed {}: block {address}, which was flushed: {error}", self.seed),
            }
        }
    }

    fn check(&self, address: u32, tag: Option<u32>, exact: bool) -> u32 {
        let place = &self.places[address as usize];
        let seed = self.seed;
        let tag = tag.unwrap_or_else(|| panic!("seed {seed}: block {address} is torn and was read as good"));
        let (durable, since) = (place.durable, &place.since);
        assert!(place.is_allowed(tag), "seed {seed}: block {address} holds {tag}, not {durable} or {since:?}");
        if exact && let Some(latest) = place.latest {
            assert_eq!(tag, latest, "seed {seed}: block {address} does not hold what was written last");
        }
        tag
    }

    fn range(&mut self, first: u32, count: u32) -> &mut [Place] {
        &mut self.places[first as usize..(first + count) as usize]
    }
}
