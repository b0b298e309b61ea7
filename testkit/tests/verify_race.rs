//! Races with COMPARE AND WRITE: an atomic device passes, one that compares and writes in two steps does not.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use iesp_testkit::device::Device;
use iesp_testkit::device::fault_spec;
use iesp_testkit::device::faulty::Faulty;
use iesp_testkit::device::memory::Memory;
use iesp_testkit::verify::finding::FaultKind;
use iesp_testkit::verify::plan::Plan;
use iesp_testkit::verify::race::{Distance, run};
use iesp_testkit::verify::run::Outcome;

fn race(device: Arc<dyn Device>, block_size: u32, ops: u64) -> Outcome {
    let plan = Plan { workers: 4, ..Plan::new(5, block_size, 8) };
    let distance = Distance { ops: Some(ops), time: None };
    run(&plan, distance, &vec![device; 4], &AtomicBool::new(false)).unwrap()
}

fn faulty(faults: &str) -> Arc<Faulty> {
    let faults = fault_spec::parse(&format!("{faults}:")).unwrap().0;
    Arc::new(Faulty::new(Arc::new(Memory::new(1 << 20, 512)), faults))
}

#[test]
fn an_atomic_device_passes() {
    for block_size in [512, 4096] {
        let outcome = race(Arc::new(Memory::new(1 << 20, 512)), block_size, 4000);
        assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
        // Every thread may lose, but not all at once.
        assert!(outcome.progress.ops >= 3990 && outcome.progress.verified_unique > 500, "{:?}", outcome.progress);
    }
}

#[test]
fn two_steps_lose_updates() {
    let outcome = race(faulty("split-compare-and-write@1"), 512, 200_000);
    assert!(!outcome.findings.is_empty());
    assert!(outcome.findings.iter().all(|finding| finding.kind == FaultKind::LostUpdate), "{:#?}", outcome.findings);
}

#[test]
fn what_else_goes_wrong_is_named() {
    let kinds = |faults: &str| race(faulty(faults), 4096, 2000).findings.iter().map(|f| f.kind).collect::<Vec<_>>();
    assert!(kinds("flip-read@100").contains(&FaultKind::TornWrite));
    assert!(kinds("fail-read@100").contains(&FaultKind::ReadError));
    // A first content that did not arrive is no update at all.
    let lost = kinds("drop-write@3");
    assert!(lost.contains(&FaultKind::TornWrite) && lost.contains(&FaultKind::LostWrite), "{lost:?}");
}
