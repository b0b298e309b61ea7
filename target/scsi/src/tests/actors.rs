//! Many initiators at one unit, whose steps and block transfers come in any order: a model of every block says whether COMPARE
//! AND WRITE is atomic, and whether all come to their end.

use super::bench::*;
use crate::*;
use std::vec;
use std::vec::Vec;

const BLOCKS: u64 = 4096 + 64;
/// Operations go to these blocks, across the border of two stripes.
const FIRST: u64 = 2040;
const WIDTH: u64 = 16;
/// COMPARE AND WRITE alone counts this block up.
const COUNTER: u64 = FIRST + WIDTH - 1;
const ACTORS: usize = 8;
const SIZE: usize = 512;

/// A small generator: a seed gives the same run each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// One word for each block, which is read and written at once; and who is at work on it.
struct Medium {
    values: Vec<u64>,
    /// A COMPARE AND WRITE between its first read and its end.
    swapping: Vec<Option<usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Read,
    Write,
    Verify,
    WriteSame,
    Unmap,
    WriteAndVerify,
    Swap,
}

/// What an actor does next.
#[derive(Clone, Copy)]
enum State {
    Idle,
    Step(Outcome),
    /// I/O of which so many blocks are done.
    Io(Step, u32),
    Blocked(Outcome),
    /// A READ between two pieces, at this block, while the peer takes its time.
    Paused(Step, u32),
    /// It wants its range again.
    Resuming(Step, u32),
}

struct Actor {
    kind: Kind,
    lba: u64,
    blocks: u64,
    task: Task,
    state: State,
    data: Vec<u8>,
    scratch: Vec<u8>,
    reply: Vec<u8>,
    /// What a COMPARE AND WRITE expects, block by block.
    expected: Vec<u64>,
    /// It is so when the comparison begins.
    matches: bool,
    since: u32,
}

struct World {
    unit: LogicalUnit<ACTORS>,
    medium: Medium,
    random: Random,
    swaps: u64,
    ended: u32,
    longest: u32,
    now: u32,
}

fn block(value: u64) -> Vec<u8> {
    value.to_ne_bytes().repeat(SIZE / 8)
}

fn value(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes[..8].try_into().unwrap())
}

impl World {
    fn begin(&mut self, nexus: usize, actor: &mut Actor) {
        let random = &mut self.random;
        actor.kind = match random.below(12) {
            0 => Kind::Verify,
            1 => Kind::WriteSame,
            2 => Kind::Unmap,
            3 => Kind::WriteAndVerify,
            4..7 => Kind::Read,
            7..9 => Kind::Write,
            _ => Kind::Swap,
        };
        let counts = actor.kind == Kind::Swap && random.below(2) == 0;
        let span = if actor.kind == Kind::Swap || actor.kind == Kind::Read { WIDTH } else { WIDTH - 1 };
        actor.lba = if counts { COUNTER } else { FIRST + random.below(span) };
        actor.blocks = if counts { 1 } else { 1 + random.below(FIRST + span - actor.lba) };
        let (lba, blocks) = (actor.lba, actor.blocks as u32);
        let fresh = u64::from(self.now) << 8 | nexus as u64;
        let there: Vec<u64> = (lba..lba + actor.blocks).map(|at| self.medium.values[at as usize]).collect();
        let new: Vec<u64> = (lba..).zip(&there).map(|(at, old)| if at == COUNTER { old + 1 } else { fresh }).collect();
        let bytes = |values: &[u64]| values.iter().flat_map(|value| block(*value)).collect::<Vec<u8>>();
        let cdb = match actor.kind {
            Kind::Read => sixteen(0x88, 0, lba, blocks),
            Kind::Write => sixteen(0x8a, 0, lba, blocks),
            Kind::Verify => sixteen(0x8f, 0, lba, blocks),
            Kind::WriteSame => sixteen(0x93, 0, lba, blocks),
            Kind::Unmap => cdb(&unmap_cdb(24)),
            Kind::WriteAndVerify => sixteen(0x8e, 2, lba, blocks),
            Kind::Swap => caw(lba, blocks as u8),
        };
        actor.data = match actor.kind {
            Kind::Read | Kind::Verify => vec![],
            Kind::Write | Kind::WriteAndVerify => bytes(&new),
            Kind::WriteSame => block(fresh),
            Kind::Unmap => unmap_list(&[(lba, blocks)]),
            Kind::Swap => [bytes(&there), bytes(&new)].concat(),
        };
        actor.expected = there;
        let data_in = if actor.kind == Kind::Read { blocks * SIZE as u32 } else { 0 };
        let transfer = Transfer { data_out: actor.data.len() as u32, data_in };
        actor.task = self.unit.begin(NexusId(nexus as u16), &[], &cdb, transfer);
        actor.state = State::Step(Outcome::Start);
        actor.since = self.now;
    }

    /// An actor does one thing; true where the others are woken.
    fn act(&mut self, nexus: usize, actor: &mut Actor) -> bool {
        match actor.state {
            State::Idle => self.begin(nexus, actor),
            State::Blocked(_) if self.random.below(30) == 0 => return self.abandon(nexus, actor),
            State::Blocked(_) => {}
            State::Step(outcome) => return self.step(nexus, actor, outcome),
            State::Io(step, done) => return self.transfer(nexus, actor, step, done),
            State::Paused(step, done) => {
                if self.random.below(20) == 0 {
                    actor.state = State::Resuming(step, done);
                }
            }
            State::Resuming(step @ Step::Read { lba, blocks }, done) => {
                if actor.task.resume(&self.unit, lba + u64::from(done), blocks - done) {
                    actor.state = State::Io(step, done);
                }
            }
            State::Resuming(..) => unreachable!("only reads are paused"),
        }
        false
    }

    fn step(&mut self, nexus: usize, actor: &mut Actor, outcome: Outcome) -> bool {
        let Actor { data, scratch, reply, .. } = actor;
        let step = actor.task.step(&self.unit, outcome, Buffers { data_out: data, reply, scratch });
        match step {
            Step::Done(completion) => {
                self.end(nexus, actor, completion);
                return completion.wake;
            }
            Step::Blocked => actor.state = State::Blocked(outcome),
            Step::Wake => return true,
            Step::Flush => actor.state = State::Step(Outcome::Done),
            io => actor.state = State::Io(io, 0),
        }
        false
    }

    fn end(&mut self, nexus: usize, actor: &mut Actor, completion: Completion) {
        let swapped = completion.status == status::GOOD;
        if actor.kind == Kind::Swap {
            assert_eq!(swapped, actor.matches, "a swap and its comparison");
            for at in actor.lba..actor.lba + actor.blocks {
                let at = at as usize;
                assert_eq!(self.medium.swapping[at].take(), Some(nexus));
                let new = value(&actor.data[actor.data.len() / 2 + (at - actor.lba as usize) * SIZE..]);
                assert!(!swapped || self.medium.values[at] == new, "a swap is not all there");
            }
            self.swaps += u64::from(swapped && actor.lba + actor.blocks > COUNTER);
        } else {
            assert!(swapped, "{:?} failed: {completion:?}", actor.kind);
        }
        actor.state = State::Idle;
        self.ended += 1;
        self.longest = self.longest.max(self.now - actor.since);
    }

    fn abandon(&mut self, nexus: usize, actor: &mut Actor) -> bool {
        for swapping in &mut self.medium.swapping {
            assert_ne!(*swapping, Some(nexus), "it was blocked");
        }
        actor.state = State::Idle;
        actor.task.abandon(&self.unit)
    }

    /// One block of an I/O request.
    fn transfer(&mut self, nexus: usize, actor: &mut Actor, step: Step, done: u32) -> bool {
        let (first, blocks) = match step {
            Step::Read { lba, blocks }
            | Step::Write { lba, blocks, .. }
            | Step::ReadScratch { lba, blocks }
            | Step::WriteScratch { lba, blocks, .. } => (lba, blocks),
            Step::Unmap { lba, blocks } | Step::Zero { lba, blocks, .. } => (lba, blocks as u32),
            _ => panic!("{step:?}"),
        };
        let at = (first + u64::from(done)) as usize;
        let is_swap = actor.kind == Kind::Swap;
        if is_swap && done == 0 && first == actor.lba && matches!(step, Step::ReadScratch { .. }) {
            let range = actor.lba as usize..(actor.lba + actor.blocks) as usize;
            actor.matches = self.medium.values[range.clone()] == actor.expected;
            for at in range {
                let before = self.medium.swapping[at].replace(nexus);
                assert_eq!(before, None, "two swap the same block");
            }
        }
        let other = self.medium.swapping[at].filter(|other| *other != nexus);
        assert_eq!(other, None, "{:?} comes between a comparison and its write", actor.kind);
        let word = &mut self.medium.values[at];
        let in_scratch = done as usize * SIZE;
        match step {
            Step::Write { offset, .. } => *word = value(&actor.data[offset as usize + done as usize * SIZE..]),
            Step::WriteScratch { .. } => *word = value(&actor.scratch[in_scratch..]),
            Step::Unmap { .. } | Step::Zero { .. } => *word = 0,
            Step::ReadScratch { .. } => actor.scratch[in_scratch..in_scratch + SIZE].copy_from_slice(&block(*word)),
            _ => {}
        }
        let done = done + 1;
        actor.state = if done < blocks { State::Io(step, done) } else { State::Step(Outcome::Done) };
        // A slow peer: the range is given back until it has taken what was read.
        if done < blocks && matches!(step, Step::Read { .. }) && self.random.below(3) == 0 {
            actor.state = State::Paused(step, done);
            return actor.task.pause(&self.unit);
        }
        false
    }
}

fn run(seed: u64) -> World {
    let unit = LogicalUnit::new(Capabilities { blocks: BLOCKS, volatile_cache: true, ..capabilities() }, identity());
    let medium = Medium { values: vec![0; BLOCKS as usize], swapping: vec![None; BLOCKS as usize] };
    let mut world = World { unit, medium, random: Random(seed), swaps: 0, ended: 0, longest: 0, now: 0 };
    let mut actors: Vec<Actor> = (0..ACTORS)
        .map(|nexus| Actor {
            kind: Kind::Read,
            lba: 0,
            blocks: 0,
            task: world.unit.begin(NexusId(nexus as u16), &[], &[0; 16], Transfer::default()),
            state: State::Idle,
            data: vec![],
            scratch: vec![0; (1 + nexus % 3) * SIZE],
            reply: vec![0; REPLY_MAX],
            expected: vec![],
            matches: false,
            since: 0,
        })
        .collect();
    for now in 0..60_000 {
        world.now = now;
        // None begins anything towards the end.
        let at = world.random.below(ACTORS as u64) as usize;
        if now > 50_000 && matches!(actors[at].state, State::Idle) {
            continue;
        }
        if world.act(at, &mut actors[at]) {
            for actor in &mut actors {
                if let State::Blocked(outcome) = actor.state {
                    actor.state = State::Step(outcome);
                }
            }
        }
    }
    for (at, actor) in actors.iter().enumerate() {
        assert!(matches!(actor.state, State::Idle), "actor {at} waits without end: {:?}", actor.kind);
    }
    assert_eq!(world.medium.values[COUNTER as usize], world.swaps, "a swap that was acknowledged is lost");
    world
}

#[test]
fn compare_and_write_is_atomic_among_many_actors_in_any_order() {
    for seed in 1..=20 {
        std::println!("seed {seed}");
        let world = run(seed);
        assert!(world.ended > 500 && world.swaps > 20, "{} ended, {} swapped", world.ended, world.swaps);
        assert!(world.longest < 10_000, "one took {} turns of all", world.longest);
    }
}
