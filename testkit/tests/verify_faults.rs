//! The verifier verified: every planted fault is found and named, a sound device is never accused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use iesp_testkit::device::fault_spec;
use iesp_testkit::device::faulty::Faulty;
use iesp_testkit::device::memory::Memory;
use iesp_testkit::device::{Device, Promise};
use iesp_testkit::verify::finding::{FaultKind, Finding};
use iesp_testkit::verify::plan::Plan;
use iesp_testkit::verify::run::{Limits, Outcome, Progress, Report, run};
use iesp_testkit::verify::worker::Paths;
use proptest::prelude::*;

struct Quiet;

impl Report for Quiet {
    fn progress(&mut self, _: &Progress) {}
    fn finding(&mut self, _: &Finding) {}
}

const LIMITS: Limits = Limits { ops: Some(3000), time: None, full_coverage: false, faults: 10, final_check: true };

fn run_on(device: Arc<dyn Device>, plan: &Plan, limits: &Limits) -> Outcome {
    assert_eq!(plan.check(), Ok(()));
    let paths = Paths { write: device.clone(), read: device };
    run(plan, limits, vec![paths; plan.workers as usize], None, &AtomicBool::new(false), &mut Quiet)
}

fn disk(plan: &Plan) -> Arc<Memory> {
    Arc::new(Memory::new(plan.offset(plan.first_block + plan.blocks), 512))
}

fn faulty(disk: Arc<dyn Device>, faults: &str) -> Arc<Faulty> {
    Arc::new(Faulty::new(disk, fault_spec::parse(&format!("{faults}:")).unwrap().0))
}

fn plan(seed: u64, workers: u32) -> Plan {
    Plan { workers, unique_percent: 75, trim_percent: 10, ..Plan::new(seed, 4096, 400) }
}

/// Runs with one planted fault; gives what was found.
fn planted(faults: &str, plan: &Plan) -> Vec<Finding> {
    run_on(faulty(disk(plan), faults), plan, &LIMITS).findings
}

#[test]
fn each_planted_fault_is_found_and_named() {
    use FaultKind::*;
    // Blocks without duplicates, so that a lost write cannot lie where the same data lay before.
    let plan = Plan { unique_percent: 90, ..plan(11, 3) };
    let cases: &[(&str, &[FaultKind])] = &[
        ("drop-write@1", &[NeverWritten]),
        ("drop-write@lba=808#4", &[LostWrite]),
        ("drop-write@500", &[LostWrite, NeverWritten]),
        ("tear-write@lba=808#3", &[TornWrite]),
        ("tear-write@400", &[TornWrite]),
        // What was put elsewhere may be replaced there before all of its places are looked at.
        ("misdirect-write@lba=808#3", &[MisdirectedWrite, LostWrite]),
        ("misdirect-write@400", &[MisdirectedWrite, LostWrite]),
        ("flip-bit@lba=808#3", &[BitFlip]),
        ("flip-bit@400", &[BitFlip]),
        ("flip-read@600", &[BitFlip]),
        ("stale-read@600", &[StaleRead]),
        ("ignore-discard@lba=808", &[DiscardIgnored]),
        ("ignore-discard@60", &[DiscardIgnored]),
        ("fail-read@600", &[ReadError]),
        ("fail-write@600", &[WriteError]),
        ("fail-flush@20", &[FlushError]),
    ];
    for (faults, names) in cases {
        // Which call is the N-th is certain only when one thread makes them, and so is what a stray write meets.
        let workers = if faults.contains("lba=") && !faults.contains("misdirect") { 3 } else { 1 };
        let findings = planted(faults, &Plan { workers, ..plan });
        assert!(findings.iter().any(|finding| finding.kind == names[0]), "{faults}: {findings:#?}");
        for finding in &findings {
            assert!(names.contains(&finding.kind), "{faults}: {finding:#?}\n{}", finding.log);
        }
    }
}

/// Duplicates are the same everywhere: what was written beside them tells that they do not belong there.
#[test]
fn duplicates_of_a_write_that_went_elsewhere_are_named_so() {
    let plan = Plan { unique_percent: 60, trim_percent: 9, workers: 1, ..Plan::new(528_581_004_175, 4096, 1024) };
    let limits = Limits { faults: 1, final_check: false, ..LIMITS };
    let findings = run_on(faulty(disk(&plan), "misdirect-write@lba=2222#6"), &plan, &limits).findings;
    let duplicates =
        findings.iter().filter(|finding| finding.explanation.contains("holds the duplicate block")).count();
    assert!(duplicates > 2, "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.kind == FaultKind::MisdirectedWrite), "{findings:#?}");
}

#[test]
fn a_forgotten_write_is_told_from_a_lost_one() {
    // Only where the write was read in between, without being replaced, can it be known that it was there.
    let plan = Plan { verify_percent: 60, flush_percent: 0, max_blocks: 1, ..plan(5, 2) };
    let kinds: Vec<_> = (1..20).map(|count| planted(&format!("forget-unflushed@{}", count * 20), &plan)).collect();
    let found: Vec<_> = kinds.iter().flatten().map(|finding| finding.kind).collect();
    assert!(found.contains(&FaultKind::ForgottenWrite), "{found:?}");
    assert!(found.iter().all(|kind| *kind == FaultKind::ForgottenWrite), "{found:?}");
}

#[test]
fn a_sound_device_is_never_accused() {
    for seed in 0..100 {
        let plan = plan(seed, 1 + (seed % 6) as u32);
        let outcome = run_on(disk(&plan), &plan, &Limits { ops: Some(600), ..LIMITS });
        assert!(outcome.findings.is_empty(), "seed {seed}: {:#?}", outcome.findings);
        assert_eq!(outcome.progress.ops, 600);
    }
}

#[test]
fn a_seed_finds_the_same_operation_again() {
    for workers in [1, 3, 6] {
        let plan = plan(77, workers);
        let faults = "drop-write@lba=1600#5,flip-bit@lba=88#4,tear-write@lba=2400#3";
        let limits = Limits { final_check: false, ..LIMITS };
        let find = |limits: &Limits| {
            let outcome = run_on(faulty(disk(&plan), faults), &plan, limits);
            let key = |finding: &Finding| (finding.kind, finding.worker, finding.op, finding.block);
            let mut found: Vec<_> = outcome.findings.iter().map(|f| (key(f), f.repeat_ops.unwrap())).collect();
            found.sort();
            found
        };
        let first = find(&limits);
        assert!(first.len() >= 2, "{first:?}");
        assert_eq!(first, find(&limits), "{workers} workers");
        for (finding, ops) in first {
            let again = find(&Limits { ops: Some(ops), ..limits });
            assert!(again.iter().any(|(found, _)| *found == finding), "{finding:?} with {ops} operations: {again:?}");
        }
    }
}

#[test]
fn a_replay_leaves_the_same_bytes() {
    for workers in [1, 3, 6] {
        let plan = plan(4, workers);
        let image = || {
            let disk = disk(&plan);
            run_on(disk.clone(), &plan, &LIMITS);
            let mut data = vec![0; disk.geometry().size as usize];
            disk.read(0, &mut data).unwrap();
            data
        };
        assert!(image() == image(), "{workers} workers");
    }
}

#[test]
fn full_coverage_ends_the_run() {
    for workers in [1, 4] {
        let plan = plan(9, workers);
        let outcome = run_on(disk(&plan), &plan, &Limits { ops: None, full_coverage: true, ..LIMITS });
        assert_eq!(outcome.progress.covered_blocks, plan.blocks);
        assert_eq!(outcome.progress.coverage_percent(), 100.0);
        assert!(outcome.findings.is_empty());
    }
}

#[test]
fn nothing_outside_the_area_is_touched() {
    let plan = Plan { first_block: 100, blocks: 50, ..plan(3, 3) };
    let disk = Arc::new(Memory::new(300 * 4096, 512));
    disk.write(0, &vec![0x5a; 300 * 4096], false).unwrap();
    run_on(disk.clone(), &plan, &LIMITS);
    let mut data = vec![0; 300 * 4096];
    disk.read(0, &mut data).unwrap();
    let untouched = |range: std::ops::Range<usize>| data[range].iter().all(|&byte| byte == 0x5a);
    assert!(untouched(0..100 * 4096) && untouched(150 * 4096..300 * 4096) && !untouched(100 * 4096..150 * 4096));
}

#[test]
fn a_device_that_promises_nothing_for_discards_is_not_accused() {
    struct NoPromise(Memory);
    impl Device for NoPromise {
        fn geometry(&self) -> iesp_testkit::device::Geometry {
            let mut geometry = self.0.geometry();
            geometry.discard.as_mut().unwrap().reads = Promise::Anything;
            geometry
        }
        fn read(&self, offset: u64, data: &mut [u8]) -> std::io::Result<()> {
            self.0.read(offset, data)
        }
        fn write(&self, offset: u64, data: &[u8], fua: bool) -> std::io::Result<()> {
            self.0.write(offset, data, fua)
        }
        fn flush(&self) -> std::io::Result<()> {
            self.0.flush()
        }
        fn discard(&self, offset: u64, len: u64) -> std::io::Result<()> {
            self.0.write(offset, &vec![0xdd; len as usize], false)
        }
        fn zero(&self, offset: u64, len: u64) -> std::io::Result<()> {
            self.0.zero(offset, len)
        }
    }
    let plan = Plan { discard_granule: 0, ..plan(3, 2) };
    let device = Arc::new(NoPromise(Memory::new(400 * 4096, 512)));
    assert!(run_on(device.clone(), &plan, &LIMITS).findings.is_empty());
    // The same device, if zeros had been promised.
    let findings = run_on(device, &Plan { discard_granule: 1, ..plan }, &LIMITS).findings;
    assert!(findings.iter().all(|f| f.kind == FaultKind::DiscardIgnored) && !findings.is_empty());
}

#[test]
fn two_paths_to_one_disk() {
    let plan = plan(21, 3);
    let disk = disk(&plan);
    let second = |faults: &str| {
        let paths = Paths { write: disk.clone(), read: faulty(disk.clone(), faults) };
        run(&plan, &LIMITS, vec![paths; 3], None, &AtomicBool::new(false), &mut Quiet).findings
    };
    assert!(second("flip-bit@5").is_empty(), "the second path is only read");
    assert_eq!(second("flip-read@300").iter().map(|f| f.kind).collect::<Vec<_>>(), [FaultKind::BitFlip]);
    // A path that leads to another disk.
    let other = Arc::new(Memory::new(disk.geometry().size, 512));
    let paths = Paths { write: disk.clone(), read: other };
    let findings = run(&plan, &LIMITS, vec![paths; 3], None, &AtomicBool::new(false), &mut Quiet).findings;
    let expected = [FaultKind::NeverWritten, FaultKind::LostWrite, FaultKind::UnexpectedZeros];
    assert!(findings.iter().all(|f| expected.contains(&f.kind)) && findings.len() >= 10, "{findings:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_combination_of_options_passes_on_a_sound_device(
        seed in any::<u64>(), block in prop::sample::select(vec![512u32, 1024, 1536, 4096, 8192]), blocks in 8..300u64,
        first_block in 0..20u64, max_blocks in 1..40u32, workers in 1..8u32, unique in 0..=100u32, trim in 0..=100u32,
        flush in 0..30u32, fua in 0..=100u32, verify in 0..60u32, seek in 0..=100u32, granule in 0..9u64,
    ) {
        let plan = Plan {
            seed, block_size: block, first_block, blocks, max_blocks, workers,
            unique_percent: unique, trim_percent: trim.min(100 - unique), flush_percent: flush, fua_percent: fua,
            verify_percent: verify, seek_percent: seek, discard_granule: granule,
        };
        let outcome = run_on(disk(&plan), &plan, &Limits { ops: Some(300), ..LIMITS });
        prop_assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
        prop_assert_eq!(outcome.progress.ops, 300);
    }

    #[test]
    fn a_lost_write_of_unique_blocks_is_always_found(
        seed in any::<u64>(), workers in 1..5u32, max_blocks in 1..20u32, write in 1..150u64,
    ) {
        let plan = Plan { unique_percent: 100, max_blocks, ..Plan::new(seed, 512, 200) };
        let plan = Plan { workers, ..plan };
        let outcome = run_on(faulty(disk(&plan), &format!("drop-write@{write}")), &plan, &Limits { ops: Some(300), ..LIMITS });
        let kinds: BTreeMap<_, _> = outcome.findings.iter().map(|f| (f.kind.name(), f)).collect();
        prop_assert!(!kinds.is_empty() && kinds.keys().all(|k| ["lost-write", "never-written"].contains(k)), "{:#?}", kinds);
    }
}
