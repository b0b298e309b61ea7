//! Crash mode: what was flushed must survive a power cut, what was not may be lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use iesp_testkit::device::Device;
use iesp_testkit::device::fault_spec;
use iesp_testkit::device::faulty::Faulty;
use iesp_testkit::device::memory::Memory;
use iesp_testkit::verify::crash::{AfterCrash, check};
use iesp_testkit::verify::finding::{FaultKind, Finding};
use iesp_testkit::verify::journal::{Journal, Record};
use iesp_testkit::verify::plan::Plan;
use iesp_testkit::verify::run::{Limits, Progress, Report, run};
use iesp_testkit::verify::worker::Paths;

struct Quiet;

impl Report for Quiet {
    fn progress(&mut self, _: &Progress) {}
    fn finding(&mut self, _: &Finding) {}
}

fn plan(seed: u64) -> Plan {
    let workers = 1 + (seed % 4) as u32;
    Plan { workers, unique_percent: 75, trim_percent: 10, flush_percent: 5, ..Plan::new(seed, 4096, 300) }
}

/// Runs on a faulty disk until its power is cut; gives the disk as it is then.
fn crash(plan: &Plan, faults: &str, journal: &Path) -> Arc<Memory> {
    let disk = Arc::new(Memory::new(plan.offset(plan.blocks), 512));
    let faults = fault_spec::parse(&format!("{faults}:")).unwrap().0;
    let device: Arc<dyn Device> = Arc::new(Faulty::new(disk.clone(), faults));
    let journal = Journal::create(journal, plan, false, None).unwrap();
    let limits = Limits { ops: Some(100_000), time: None, full_coverage: false, faults: 10, final_check: false };
    let paths = vec![Paths { write: device.clone(), read: device }; plan.workers as usize];
    let outcome = run(plan, &limits, paths, Some(&journal), &AtomicBool::new(false), &mut Quiet);
    assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
    assert!(outcome.failure.is_some(), "the power was to be cut");
    disk
}

fn after(plan: &Plan, faults: &str, atomic: u32, harm: impl FnOnce(&Memory)) -> AfterCrash {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let disk = crash(plan, faults, &journal);
    harm(&disk);
    check(&Record::read(&journal).unwrap(), &*disk, atomic, 10).unwrap()
}

fn kinds(result: &AfterCrash) -> BTreeSet<FaultKind> {
    result.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_sound_disk_loses_only_what_was_not_flushed() {
    let mut seen = (0, 0, 0);
    for seed in 0..40 {
        let result = after(&plan(seed), &format!("power-cut@{}", 50 + seed * 13), 512, |_| {});
        assert!(result.findings.is_empty(), "seed {seed}: {:#?}", result.findings);
        let census = result.census;
        assert_eq!(census.blocks, 300);
        assert_eq!(census.flushed + census.old + census.new + census.mixed + census.free, 300);
        seen = (seen.0 + census.old, seen.1 + census.new, seen.2 + census.mixed);
    }
    assert!(seen.0 > 20 && seen.1 > 20 && seen.2 > 20, "the cuts were to leave old, new and mixed blocks: {seen:?}");
}

#[test]
fn a_flush_that_was_not_done_is_found() {
    let mut found = 0;
    for seed in 0..10 {
        let result = after(&plan(seed), "lie-flush@4,power-cut@400", 512, |_| {});
        let kinds = kinds(&result);
        assert!(kinds.iter().all(|kind| *kind == FaultKind::LostFlushedWrite), "seed {seed}: {:#?}", result.findings);
        found += usize::from(!kinds.is_empty());
    }
    assert_eq!(found, 10);
}

#[test]
fn what_is_torn_below_the_atomic_size_is_found() {
    // The cut of the faulty disk keeps and drops single sectors of what was not flushed; a flush of one thread just before
    // it would leave nothing to tear.
    for seed in 0..5 {
        let plan = Plan { flush_percent: 0, ..plan(seed) };
        let result = after(&plan, "power-cut@300", 4096, |_| {});
        assert_eq!(kinds(&result), BTreeSet::from([FaultKind::TornWrite]), "seed {seed}: {:#?}", result.findings);
    }
}

#[test]
fn damage_to_flushed_blocks_is_found_and_named() {
    // Everything is written with FUA: nothing may be lost.
    let durable = Plan { fua_percent: 100, trim_percent: 0, unique_percent: 100, workers: 1, ..plan(3) };
    let harmed = |harm: &dyn Fn(&Memory)| kinds(&after(&durable, "power-cut@300", 512, harm));
    assert!(harmed(&|_| {}).is_empty());
    let block = |disk: &Memory, number: u64| {
        let mut data = vec![0; 4096];
        disk.read(number * 4096, &mut data).unwrap();
        data
    };
    assert_eq!(harmed(&|disk| disk.write(8192, &[0; 4096], false).unwrap()), [FaultKind::LostFlushedWrite].into());
    assert_eq!(harmed(&|disk| disk.write(8192, &[9; 512], false).unwrap()), [FaultKind::LostFlushedWrite].into());
    assert_eq!(
        harmed(&|disk| disk.write(8192, &block(disk, 50), false).unwrap()),
        [FaultKind::MisdirectedWrite].into()
    );
    let flip = |disk: &Memory| {
        let mut data = block(disk, 2);
        data[1000] ^= 4;
        disk.write(8192, &data, false).unwrap();
    };
    assert_eq!(harmed(&flip), [FaultKind::BitFlip].into());
}
