//! Commands over many blocks are pieces, and a range is held for no longer than the I/O of one.

use super::bench::*;
use crate::*;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

const BLOCK: u64 = 512;
const MIB: u64 = 1 << 20;

/// A task whose driver does no I/O, with its buffers.
struct Actor<'a> {
    unit: &'a LogicalUnit<4>,
    task: Task,
    data_out: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'a> Actor<'a> {
    fn new(unit: &'a LogicalUnit<4>, cdb: [u8; 16], data_out: Vec<u8>, data_in: u32) -> Self {
        let transfer = Transfer { data_out: data_out.len() as u32, data_in };
        let task = unit.begin(HOST, &[], &cdb, transfer);
        Self { unit, task, data_out, scratch: vec![0; 256 << 10] }
    }

    fn step(&mut self, outcome: Outcome) -> Step {
        let (mut reply, scratch) = (vec![0; REPLY_MAX], &mut self.scratch);
        self.task.step(self.unit, outcome, Buffers { data_out: &self.data_out, reply: &mut reply, scratch })
    }

    #[track_caller]
    fn end(&mut self) -> bool {
        let Step::Done(completion) = self.step(Outcome::Done) else { panic!("it goes on") };
        assert_eq!(completion.status, status::GOOD);
        completion.wake
    }
}

fn unit(blocks: u64) -> LogicalUnit<4> {
    let capabilities = Capabilities { blocks, max_transfer_blocks: 1 << 15, ..capabilities() };
    LogicalUnit::new(capabilities, identity())
}

fn compare_and_write(unit: &LogicalUnit<4>, lba: u64) -> Actor<'_> {
    Actor::new(unit, caw(lba, 1), vec![0; 1024], 0)
}

/// Runs a COMPARE AND WRITE to its end, which nothing may hinder.
#[track_caller]
fn swap(actor: &mut Actor<'_>) {
    assert!(matches!(actor.step(Outcome::Start), Step::ReadScratch { .. }), "it has to wait");
    assert!(matches!(actor.step(Outcome::Done), Step::Write { .. }));
    actor.end();
}

#[test]
fn a_verify_of_a_whole_disk_lets_others_in_between_two_pieces() {
    let unit = unit(1 << 31);
    let mut verify = Actor::new(&unit, sixteen(0x8f, 0, 0, 1 << 30), vec![], 0);
    let mut step = verify.step(Outcome::Start);
    for _ in 0..50 {
        let Step::ReadScratch { lba, blocks } = step else { panic!("{step:?}") };
        assert!(u64::from(blocks) * BLOCK <= MIB);
        // Elsewhere all is free; where the piece is read, a COMPARE AND WRITE waits for the end of that piece alone.
        swap(&mut compare_and_write(&unit, lba ^ 1 << 12));
        let mut waiting = compare_and_write(&unit, lba);
        assert_eq!(waiting.step(Outcome::Start), Step::Blocked);
        assert_eq!(verify.step(Outcome::Done), Step::Wake);
        // The next piece is on the same stripe: it stands in line behind the other, even where it steps first.
        if (lba + u64::from(blocks)) % 2048 != 0 {
            assert_eq!(verify.step(Outcome::Done), Step::Blocked);
        }
        swap(&mut waiting);
        step = verify.step(Outcome::Done);
    }
    // It is aborted.
    let _ = verify.task.abandon(&unit);
    swap(&mut compare_and_write(&unit, 0));
}

#[test]
fn an_unmap_of_a_whole_disk_is_in_pieces_of_whole_granules() {
    let granules = Unmap { granularity: 24, alignment: 5 };
    let capabilities = Capabilities { blocks: 1 << 32, unmap: Some(granules), ..capabilities() };
    let unit = LogicalUnit::new(capabilities, identity());
    let list = unmap_list(&[(0, u32::MAX), (u64::from(u32::MAX), 1)]);
    let mut unmap = Actor::new(&unit, cdb(&unmap_cdb(list.len())), list, 0);
    let (mut next, mut steps) = (0, 0);
    let mut step = unmap.step(Outcome::Start);
    while let Step::Unmap { lba, blocks } = step {
        assert_eq!(lba, next);
        assert!(blocks * BLOCK <= 64 * MIB);
        next += blocks;
        steps += 1;
        assert!(next == 1 << 32 || (next - 5) % 24 == 0, "a granule is cut at {next}");
        step = unmap.step(Outcome::Done);
    }
    assert_eq!((next, step), (1 << 32, Step::Done(Completion::GOOD)));
    assert!(steps < 33_000, "{steps}");
}

#[test]
fn a_write_same_that_let_others_in_writes_its_block_all_the_same() {
    let unit = unit(1 << 20);
    let block: Vec<u8> = (0..BLOCK).map(|i| i as u8).collect();
    let mut write = Actor::new(&unit, sixteen(0x93, 0, 0, 2048), block.clone(), 0);
    let (mut step, mut next) = (write.step(Outcome::Start), 0);
    while let Step::WriteScratch { lba, blocks, .. } = step {
        assert_eq!(lba, next);
        next += u64::from(blocks);
        let written = &write.scratch[..blocks as usize * BLOCK as usize];
        assert!(written.chunks(BLOCK as usize).all(|there| there == block));
        let mut waiting = compare_and_write(&unit, lba);
        assert_eq!(waiting.step(Outcome::Start), Step::Blocked);
        step = write.step(Outcome::Done);
        if step == Step::Wake {
            // Others have the buffer meanwhile.
            write.scratch.fill(0xee);
            swap(&mut waiting);
            step = write.step(Outcome::Done);
        }
    }
    assert!(matches!(step, Step::Done(_)));
    assert_eq!(next, 2048);
}

#[test]
fn zeros_are_written_in_pieces() {
    let unit = unit(1 << 20);
    for (flags, most) in [(1, MIB), (9, 64 * MIB)] {
        let mut write = Actor::new(&unit, sixteen(0x93, flags, 7, 1 << 15), vec![], 0);
        let (mut step, mut next) = (write.step(Outcome::Start), 7);
        while let Step::Zero { lba, blocks, unmap } = step {
            assert!(lba == next && blocks * BLOCK <= most && unmap == (flags == 9));
            next += blocks;
            step = write.step(Outcome::Done);
        }
        assert_eq!((next, step), (7 + (1 << 15), Step::Done(Completion::GOOD)));
    }
}

#[test]
fn a_prefetch_is_bounded() {
    let unit = unit(1 << 31);
    let mut fetch = Actor::new(&unit, sixteen(0x90, 0, 10, 0), vec![], 0);
    let (mut step, mut next) = (fetch.step(Outcome::Start), 10);
    while let Step::Prefetch { lba, blocks } = step {
        assert!(lba == next && blocks * BLOCK <= MIB);
        next += blocks;
        step = fetch.step(Outcome::Done);
    }
    // SBC-3 5.10: not CONDITION MET, as the cache has not taken all.
    assert_eq!((next - 10, step), (64 * MIB / BLOCK, Step::Done(Completion::GOOD)));
}

#[test]
fn write_and_verify_is_in_pieces_that_no_other_write_comes_between() {
    let mut disk = Disk::new(Capabilities { max_transfer_blocks: 1 << 13, ..capabilities() });
    disk.scratch_blocks = 600;
    let data: Vec<u8> = (0..5000 * BLOCK).map(|i| (i / 7) as u8).collect();
    disk.run(&sixteen(0x8e, 2, 3, 5000), &data).good();
    assert_eq!(disk.blocks(3, 5000), data);
    let mut next = 3;
    for step in &disk.steps {
        match *step {
            Step::Write { lba, blocks, offset, fua } => {
                assert!(lba == next && fua && u64::from(blocks) * BLOCK <= MIB);
                assert_eq!(u64::from(offset), (lba - 3) * BLOCK);
            }
            Step::ReadScratch { lba, blocks } => {
                assert_eq!(lba, next);
                next += u64::from(blocks);
            }
            _ => panic!("{step:?}"),
        }
    }
    assert_eq!(next, 5003);

    // Between the write of a piece and its comparison it is held.
    let unit = unit(1 << 20);
    let mut write = Actor::new(&unit, sixteen(0x8e, 2, 0, 4), vec![0; 4 * BLOCK as usize], 0);
    let mut other = Actor::new(&unit, sixteen(0x8a, 0, 3, 1), vec![0; BLOCK as usize], 0);
    assert!(matches!(write.step(Outcome::Start), Step::Write { .. }));
    assert_eq!(other.step(Outcome::Start), Step::Blocked);
    assert!(matches!(write.step(Outcome::Done), Step::ReadScratch { .. }));
    assert_eq!(other.step(Outcome::Start), Step::Blocked);
    assert!(write.end());
    assert!(matches!(other.step(Outcome::Start), Step::Write { .. }));
    other.end();
}

#[test]
fn a_paused_read_keeps_no_other_waiting() {
    let unit = unit(1 << 20);
    let mut read = Actor::new(&unit, sixteen(0x88, 0, 0, 4096), vec![], 4096 * BLOCK as u32);
    assert!(matches!(read.step(Outcome::Start), Step::Read { .. }));
    let mut waiting = compare_and_write(&unit, 5);
    assert_eq!(waiting.step(Outcome::Start), Step::Blocked);
    assert!(read.task.pause(&unit));
    assert!(matches!(waiting.step(Outcome::Start), Step::ReadScratch { .. }));
    // The next piece waits for the COMPARE AND WRITE where they meet, and there alone.
    assert!(!read.task.resume(&unit, 0, 512));
    assert!(!read.task.resume(&unit, 0, 512));
    let mut second = Actor::new(&unit, sixteen(0x88, 0, 2048, 512), vec![], 512 * BLOCK as u32);
    assert!(matches!(second.step(Outcome::Start), Step::Read { .. }));
    second.end();
    assert!(matches!(waiting.step(Outcome::Done), Step::Write { .. }));
    assert!(waiting.end());
    assert!(read.task.resume(&unit, 0, 512));
    assert_eq!(compare_and_write(&unit, 5).step(Outcome::Start), Step::Blocked);
}

#[test]
fn a_blocked_task_that_is_paused_lets_those_behind_it_pass() {
    let unit = unit(1 << 20);
    let (mut first, mut second, mut third) =
        (compare_and_write(&unit, 0), compare_and_write(&unit, 0), compare_and_write(&unit, 0));
    assert!(matches!(first.step(Outcome::Start), Step::ReadScratch { .. }));
    assert_eq!(second.step(Outcome::Start), Step::Blocked);
    assert_eq!(third.step(Outcome::Start), Step::Blocked);
    assert!(first.task.abandon(&unit));
    assert!(second.task.pause(&unit));
    swap(&mut third);
    swap(&mut second);
}

/// The driver of a deep queue steps its tasks at once where one ends; the other one is woken, too, and steps after it.
#[test]
fn a_deep_queue_keeps_no_other_initiator_away() {
    const DEPTH: usize = 64;
    let unit = unit(1 << 20);
    let mut queue: VecDeque<_> = (0..DEPTH).map(|_| compare_and_write(&unit, 0)).collect();
    let mut other = compare_and_write(&unit, 0);
    let (mut before, mut most, mut rounds) = (0, 0, 0);
    for _ in 0..10_000 {
        // The first in the queue that gets the block swaps it, and another command follows.
        let holder = queue.iter_mut().position(|task| task.step(Outcome::Start) != Step::Blocked);
        if let Some(mut task) = holder.and_then(|at| queue.remove(at)) {
            assert_eq!(other.step(Outcome::Start), Step::Blocked, "two have the block");
            assert!(matches!(task.step(Outcome::Done), Step::Write { .. }));
            task.end();
            before += 1;
            queue.push_back(compare_and_write(&unit, 0));
        } else {
            swap(&mut other);
            other = compare_and_write(&unit, 0);
            rounds += 1;
            most = most.max(core::mem::take(&mut before));
        }
    }
    assert!(most.max(before) <= 2 * DEPTH, "{} of the deep queue came first", most.max(before));
    assert!(rounds > 20, "{rounds} in all");
}
