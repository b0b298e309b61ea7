//! The range lock by itself and under COMPARE AND WRITE, with threads.

use super::bench::*;
use crate::range::{Hold, RangeLock};
use crate::*;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::vec::Vec;
use std::{thread, vec};

#[test]
fn sharers_share_and_an_exclusive_one_does_not() {
    let lock = RangeLock::new();
    let (mut a, mut b, mut c) = (Hold::shared(0, 1), Hold::shared(0, 1), Hold::exclusive(0, 1));
    assert!(lock.acquire(&mut a) && lock.acquire(&mut b));
    assert!(!lock.acquire(&mut c));
    // The door is closed to new sharers while it waits.
    let mut d = Hold::shared(0, 1);
    assert!(!lock.acquire(&mut d));
    assert!(!lock.release(&mut a));
    assert!(lock.release(&mut b));
    assert!(!lock.acquire(&mut d));
    assert!(lock.acquire(&mut c));
    assert!(!lock.acquire(&mut d));
    assert!(lock.release(&mut c));
    assert!(lock.acquire(&mut d));
    assert!(!lock.release(&mut d));
}

#[test]
fn an_exclusive_one_that_goes_away_opens_the_door() {
    let lock = RangeLock::new();
    let (mut a, mut b, mut c) = (Hold::shared(5, 1), Hold::exclusive(5, 1), Hold::shared(5, 1));
    assert!(lock.acquire(&mut a));
    assert!(!lock.acquire(&mut b));
    assert!(!lock.acquire(&mut c));
    assert!(lock.release(&mut b));
    assert!(lock.acquire(&mut c));
    assert!(!lock.release(&mut a));
    assert!(!lock.release(&mut c));
    let mut all = Hold::exclusive(0, u64::MAX);
    assert!(lock.acquire(&mut all));
    assert!(!lock.release(&mut all));
}

#[test]
fn distant_ranges_do_not_meet() {
    let lock = RangeLock::new();
    let (mut a, mut b) = (Hold::exclusive(0, 2048), Hold::exclusive(2048, 2048));
    assert!(lock.acquire(&mut a) && lock.acquire(&mut b));
    let mut c = Hold::shared(2047, 2);
    assert!(!lock.acquire(&mut c));
    assert!(lock.release(&mut a));
    // It has the first stripe now, and keeps it.
    assert!(!lock.acquire(&mut c));
    assert!(!lock.acquire(&mut Hold::exclusive(0, 1)));
    assert!(lock.release(&mut b));
    assert!(lock.acquire(&mut c));
    assert!(lock.release(&mut c));
    // Nothing wants nothing.
    let mut none = Hold::shared(u64::MAX, 0);
    assert!(lock.acquire(&mut none));
    assert!(!lock.release(&mut none));
}

/// Lets threads wait for the end of a task: the driver's side of a wake.
#[derive(Default)]
struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    fn count(&self) -> u64 {
        *self.rings.lock().unwrap()
    }

    fn ring(&self) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_all();
    }

    /// Waits for a ring after `seen`; a lost wake-up shows as a wait without end, which the limit turns into a failure.
    fn wait(&self, seen: u64) {
        let rings = self.rings.lock().unwrap();
        let limit = std::time::Duration::from_secs(30);
        let (_rings, timeout) = self.rung.wait_timeout_while(rings, limit, |rings| *rings == seen).unwrap();
        assert!(!timeout.timed_out(), "a wake-up was lost");
    }
}

/// A small generator, so that each thread's run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

#[test]
fn no_wake_up_is_lost_and_nobody_meets_an_exclusive_holder() {
    const THREADS: u64 = 6;
    const ROUNDS: u64 = 4_000;
    let lock = RangeLock::new();
    let bell = Bell::default();
    // Who is in each run of 2048 blocks: sharers count one, an exclusive one counts 1000.
    let inside: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (lock, bell, inside) = (&lock, &bell, &inside);
            scope.spawn(move || {
                let mut random = Random(seed * 0x9e37_79b9);
                for _ in 0..ROUNDS {
                    let first = random.below(8);
                    let runs = 1 + random.below(8 - first);
                    let exclusive = random.below(3) == 0;
                    let (lba, blocks) = (first * 2048, runs * 2048);
                    let mut hold = if exclusive { Hold::exclusive(lba, blocks) } else { Hold::shared(lba, blocks) };
                    let mut got = true;
                    loop {
                        let seen = bell.count();
                        if lock.acquire(&mut hold) {
                            break;
                        }
                        // Now and then a blocked one is aborted.
                        if random.below(20) == 0 {
                            got = false;
                            break;
                        }
                        bell.wait(seen);
                    }
                    if got {
                        let weight = if exclusive { 1000 } else { 1 };
                        for run in &inside[first as usize..(first + runs) as usize] {
                            let before = run.fetch_add(weight, Ordering::SeqCst);
                            assert!(before < 1000 && (!exclusive || before == 0), "{before} are inside");
                        }
                        if random.below(4) == 0 {
                            thread::yield_now();
                        }
                        for run in &inside[first as usize..(first + runs) as usize] {
                            run.fetch_sub(weight, Ordering::SeqCst);
                        }
                    }
                    if lock.release(&mut hold) {
                        bell.ring();
                    }
                }
            });
        }
    });
    let mut all = Hold::exclusive(0, u64::MAX);
    assert!(lock.acquire(&mut all), "something is still held");
}

/// Sixteen blocks whose words only COMPARE AND WRITE counts up, and that plain writes of all of them must never split.
#[test]
fn fault_10_compare_and_write_is_atomic_against_reads_and_writes() {
    const BLOCKS: usize = 16;
    const ROUNDS: u32 = 300;
    let unit = LogicalUnit::<8>::new(capabilities(), identity());
    let bell = Bell::default();
    let medium: Vec<AtomicU64> = (0..BLOCKS * 64).map(|_| AtomicU64::new(0)).collect();
    let (unit, bell, medium) = (&unit, &bell, &medium);

    // Word by word with pauses: what isn't ordered by the lock is torn.
    let load = |lba: u64, into: &mut [u8]| {
        for (i, bytes) in into.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&medium[lba as usize * 64 + i].load(Ordering::Relaxed).to_ne_bytes());
            if i % 64 == 63 {
                thread::yield_now();
            }
        }
    };
    let store = |lba: u64, from: &[u8]| {
        for (i, bytes) in from.chunks_exact(8).enumerate() {
            medium[lba as usize * 64 + i].store(u64::from_ne_bytes(bytes.try_into().unwrap()), Ordering::Relaxed);
            if i % 64 == 63 {
                thread::yield_now();
            }
        }
    };
    let run = move |nexus: u16, cdb: [u8; 16], out: &[u8], data_in: &mut [u8]| -> u8 {
        let transfer = Transfer { data_out: out.len() as u32, data_in: data_in.len() as u32 };
        let mut task = unit.begin(NexusId(nexus), &[], &cdb, transfer);
        let (mut reply, mut scratch) = (vec![0; REPLY_MAX], vec![0; 3 * 512]);
        let mut outcome = Outcome::Start;
        loop {
            let seen = bell.count();
            match task.step(unit, outcome, Buffers { data_out: out, reply: &mut reply, scratch: &mut scratch }) {
                Step::Blocked => {
                    bell.wait(seen);
                    continue;
                }
                Step::Read { lba, blocks } => load(lba, &mut data_in[..blocks as usize * 512]),
                Step::ReadScratch { lba, blocks } => load(lba, &mut scratch[..blocks as usize * 512]),
                Step::Write { lba, blocks, offset, .. } => {
                    store(lba, &out[offset as usize..offset as usize + blocks as usize * 512]);
                }
                Step::Done(completion) => {
                    if completion.wake {
                        bell.ring();
                    }
                    return completion.status;
                }
                step => panic!("{step:?}"),
            }
            outcome = Outcome::Done;
        }
    };
    let whole = |value: u64| -> Vec<u8> { value.to_ne_bytes().repeat(BLOCKS * 64) };
    let value = |data: &[u8]| u64::from_ne_bytes(data[..8].try_into().unwrap());

    let swaps = AtomicU32::new(0);
    thread::scope(|scope| {
        for nexus in 0..2 {
            let swaps = &swaps;
            scope.spawn(move || {
                let mut data = vec![0; BLOCKS * 512];
                for _ in 0..ROUNDS {
                    run(nexus, sixteen(0x88, 0, 0, BLOCKS as u32), &[], &mut data);
                    let old = value(&data);
                    let out = [whole(old), whole(old + 1)].concat();
                    if run(nexus, caw(0, BLOCKS as u8), &out, &mut []) == status::GOOD {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        scope.spawn(move || {
            for round in 0..ROUNDS / 4 {
                let out = whole(u64::from(round + 1) << 32);
                assert_eq!(run(2, sixteen(0x8a, 0, 0, BLOCKS as u32), &out, &mut []), status::GOOD);
                thread::yield_now();
                // Nobody else writes the upper half: a swap that began before this write must not end after it.
                let mut data = vec![0; BLOCKS * 512];
                run(2, sixteen(0x88, 0, 0, BLOCKS as u32), &[], &mut data);
                assert_eq!(value(&data) >> 32, u64::from(round + 1), "a write was lost");
                assert_eq!(data, whole(value(&data)), "half a swap was read");
            }
        });
    });
    // Plain writes aren't ordered among each other, so a single one was at work; no COMPARE AND WRITE saw half of it.
    let mut data = vec![0; BLOCKS * 512];
    run(3, sixteen(0x88, 0, 0, BLOCKS as u32), &[], &mut data);
    assert_eq!(data, whole(value(&data)));
    assert!(swaps.load(Ordering::Relaxed) > 0);
}

#[test]
fn an_abandoned_task_gives_its_range_back() {
    let unit = LogicalUnit::<4>::new(capabilities(), identity());
    let (mut reply, mut scratch) = ([0; REPLY_MAX], [0; 512]);
    let mut step = |task: &mut Task| {
        let buffers = Buffers { data_out: &[0; 1024], reply: &mut reply, scratch: &mut scratch };
        task.step(&unit, Outcome::Start, buffers)
    };
    let begin = |cdb: [u8; 16]| unit.begin(HOST, &[], &cdb, Transfer { data_out: 1024, data_in: 0 });
    let (mut first, mut second) = (begin(caw(0, 1)), begin(caw(0, 1)));
    let mut third = begin(sixteen(0x8a, 0, 0, 2));
    assert!(matches!(step(&mut first), Step::ReadScratch { .. }));
    assert_eq!(step(&mut second), Step::Blocked);
    assert_eq!(step(&mut third), Step::Blocked);
    assert!(first.abandon(&unit));
    // The second one was there first; it goes away, too.
    assert_eq!(step(&mut third), Step::Blocked);
    assert!(second.abandon(&unit));
    assert!(matches!(step(&mut third), Step::Write { .. }));
    assert!(!third.abandon(&unit));
    let mut fourth = begin(caw(0, 1));
    assert!(matches!(step(&mut fourth), Step::ReadScratch { .. }));
}

#[test]
fn a_task_is_small() {
    assert!(size_of::<Task>() <= 128, "{}", size_of::<Task>());
    assert!(size_of::<Step>() <= 64, "{}", size_of::<Step>());
}
