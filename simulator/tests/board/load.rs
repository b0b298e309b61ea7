//! A load from a seed, and what must be on the disk at any moment of it.

use std::cell::RefCell;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::client::{Broken, Client, Ended, cdb};
use crate::model::{BLOCK, Place, block, tag};

/// Blocks that the load writes to.
pub const AREA: u32 = 96;

/// A command of the load.
#[derive(Clone, Debug)]
enum Op {
    Write { first: u32, tags: Vec<u32>, fua: bool },
    Read { first: u32, count: u32 },
    Unmap { first: u32, count: u32 },
}

struct State {
    rng: ChaCha8Rng,
    places: Vec<Place>,
    next_tag: u32,
    end: u32,
    errors: Vec<(u8, u8, u8)>,
    commands: u64,
    flushes: u64,
    lost: u64,
}

/// The load; its state outlives the tasks that drive it.
pub struct Load {
    state: RefCell<State>,
    seed: u64,
}

impl State {
    fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    /// The next few commands, none of which touches another's blocks.
    fn plan(&mut self, depth: u32) -> Vec<Op> {
        let wanted = 1 + self.below(depth);
        let mut taken = vec![false; AREA as usize];
        let mut ops = Vec::new();
        for _ in 0..wanted {
            let sequential = self.below(3) > 0 && self.end < AREA;
            let first = if sequential { self.end } else { self.below(AREA) };
            let count = (1 + self.below(20)).min(AREA - first);
            let range = first as usize..(first + count) as usize;
            if taken[range.clone()].iter().any(|taken| *taken) {
                continue;
            }
            taken[range].fill(true);
            self.end = first + count;
            ops.push(match self.below(20) {
                0..12 => {
                    let tags: Vec<u32> = (self.next_tag..).take(count as usize).collect();
                    self.next_tag += count;
                    Op::Write { first, tags, fua: self.below(16) == 0 }
                }
                12..19 => Op::Read { first, count },
                _ => Op::Unmap { first, count },
            });
        }
        ops
    }

    fn range(&mut self, first: u32, count: usize) -> &mut [Place] {
        &mut self.places[first as usize..first as usize + count]
    }

    /// A command is going to be sent.
    fn sent(&mut self, op: &Op) {
        match op {
            Op::Write { first, tags, .. } => {
                for (place, tag) in self.range(*first, tags.len()).iter_mut().zip(tags) {
                    // The card may have erased ahead what it was told to expect.
                    place.since.extend([*tag, 0]);
                    place.latest = None;
                }
            }
            Op::Unmap { first, count } => {
                for place in self.range(*first, *count as usize) {
                    place.since.insert(0);
                    place.latest = None;
                }
            }
            Op::Read { .. } => {}
        }
    }
}

impl Load {
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x10ad),
            places: vec![Place::settled(0); AREA as usize],
            next_tag: 1,
            end: 0,
            errors: Vec::new(),
            commands: 0,
            flushes: 0,
            lost: 0,
        };
        Self { state: RefCell::new(state), seed }
    }

    /// What the load's sessions ask for: half of them send all data of a WRITE unasked.
    pub fn pairs(&self) -> &'static str {
        if (self.seed / 2).is_multiple_of(2) { "" } else { "InitialR2T=No" }
    }

    pub fn below(&self, bound: u32) -> u32 {
        self.state.borrow_mut().below(bound)
    }

    /// Sense keys and codes that came so far.
    pub fn errors(&self) -> Vec<(u8, u8, u8)> {
        self.state.borrow().errors.clone()
    }

    /// Commands and flushes that ended well.
    pub fn done(&self) -> (u64, u64) {
        let state = self.state.borrow();
        (state.commands, state.flushes)
    }

    /// A round: some commands at once, and now and then a flush. `exact`: nothing has failed so far, so that every read
    /// shows what was written last.
    pub async fn round(&self, client: &mut Client<'_>, exact: bool) -> Result<(), Broken> {
        let ops = self.state.borrow_mut().plan(4);
        let mut under_way = Vec::new();
        for op in ops {
            self.state.borrow_mut().sent(&op);
            under_way.push((self.begin(client, &op).await?, op));
        }
        while !under_way.is_empty() {
            let ended = client.next().await?;
            let at = under_way.iter().position(|(itt, _)| *itt == ended.itt).expect("one of these");
            let (_, op) = under_way.remove(at);
            self.ended(&op, &ended, exact);
        }
        if self.below(4) == 0 {
            self.flush(client).await?;
        }
        Ok(())
    }

    async fn begin(&self, client: &mut Client<'_>, op: &Op) -> Result<u32, Broken> {
        match op {
            Op::Write { first, tags, fua } => {
                let data: Vec<u8> = tags.iter().flat_map(|tag| block(*tag)).collect();
                let mut cdb = cdb(0x2a, *first, tags.len());
                cdb[1] = if *fua { 0x08 } else { 0 };
                client.begin(&cdb, Some(&data), 0).await
            }
            Op::Read { first, count } => {
                client.begin(&cdb(0x28, *first, *count as usize), None, count * BLOCK as u32).await
            }
            Op::Unmap { first, count } => {
                let mut list = [0; 24];
                list[..4].copy_from_slice(&[0, 22, 0, 16]);
                list[12..16].copy_from_slice(&first.to_be_bytes());
                list[16..20].copy_from_slice(&count.to_be_bytes());
                client.begin(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], Some(&list), 0).await
            }
        }
    }

    fn ended(&self, op: &Op, ended: &Ended, exact: bool) {
        let mut state = self.state.borrow_mut();
        if ended.status != 0 {
            self.failed(&mut state, ended);
            return;
        }
        state.commands += 1;
        match op {
            Op::Write { first, tags, fua } => {
                for (place, tag) in state.range(*first, tags.len()).iter_mut().zip(tags) {
                    if *fua {
                        *place = Place::settled(*tag);
                    }
                    place.latest = Some(*tag);
                }
            }
            Op::Unmap { first, count } => state.range(*first, *count as usize).fill(Place::settled(0)),
            Op::Read { first, count } => {
                assert_eq!(ended.data.len(), *count as usize * BLOCK, "seed {}", self.seed);
                for (i, data) in ended.data.chunks(BLOCK).enumerate() {
                    self.check(&state, first + i as u32, data, exact);
                }
            }
        }
    }

    /// What the initiator is told must say what happened: not ready, a medium error, or (a card that was locked) data protect.
    fn failed(&self, state: &mut State, ended: &Ended) {
        let key = ended.key();
        let told = matches!(key, (2, 0x04, _) | (3, 0x0c, _) | (3, 0x11, _) | (2, 0x3a, _));
        assert!(ended.status == 2 && told, "seed {}: status {} with sense {key:x?}", self.seed, ended.status);
        state.errors.push(key);
    }

    pub async fn flush(&self, client: &mut Client<'_>) -> Result<(), Broken> {
        let ended = client.flush().await?;
        let mut state = self.state.borrow_mut();
        if ended.status == 0 {
            state.flushes += 1;
            for place in &mut state.places {
                if let Some(latest) = place.latest {
                    *place = Place::settled(latest);
                }
            }
        } else {
            self.failed(&mut state, &ended);
            state.lost += 1;
            for place in &mut state.places {
                if !place.since.is_empty() {
                    place.latest = None;
                }
            }
        }
        Ok(())
    }

    fn check(&self, state: &State, address: u32, data: &[u8], exact: bool) -> u32 {
        let place = &state.places[address as usize];
        let seed = self.seed;
        let tag = tag(data).unwrap_or_else(|| panic!("seed {seed}: block {address} is torn and was read as good"));
        let (durable, since) = (place.durable, &place.since);
        assert!(place.is_allowed(tag), "seed {seed}: block {address} holds {tag}, not {durable} or {since:?}");
        if exact && let Some(latest) = place.latest {
            assert_eq!(tag, latest, "seed {seed}: block {address} does not hold what was written last");
        }
        tag
    }

    /// Reads everything back, block by block, from a card in which nothing fails any more.
    pub async fn verify(&self, client: &mut Client<'_>) -> Result<(), Broken> {
        for address in 0..AREA {
            let ended = client.read(address, 1).await?;
            let mut state = self.state.borrow_mut();
            if ended.status == 0 {
                let tag = self.check(&state, address, &ended.data, false);
                state.places[address as usize] = Place::settled(tag);
            } else {
                // Torn while it was written: an error is right, wrong data would not be.
                let place = &mut state.places[address as usize];
                let key = ended.key();
                assert!(
                    key == (3, 0x11, 0) && !place.since.is_empty(),
                    "seed {}: block {address}, which was flushed: {key:x?}",
                    self.seed
                );
                place.latest = None;
            }
        }
        Ok(())
    }
}
