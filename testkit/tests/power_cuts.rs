//! Power cuts made from a block log: a sound disk holds what it acknowledged, and an early acknowledgement is found.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use iesp_testkit::device::fault_spec;
use iesp_testkit::device::faulty::Faulty;
use iesp_testkit::device::memory::Memory;
use iesp_testkit::device::{Device, Geometry};
use iesp_testkit::powercut::block_log::{FLUSH, FUA, Writer};
use iesp_testkit::powercut::check::Trial;
use iesp_testkit::verify::finding::{FaultKind, Finding};
use iesp_testkit::verify::journal::Journal;
use iesp_testkit::verify::plan::Plan;
use iesp_testkit::verify::run::{Limits, Progress, Report, run};
use iesp_testkit::verify::worker::Paths;

struct Quiet;

impl Report for Quiet {
    fn progress(&mut self, _: &Progress) {}
    fn finding(&mut self, _: &Finding) {}
}

/// A disk in memory whose requests are logged, each before it is acknowledged.
struct Logged {
    disk: Memory,
    log: Mutex<Writer>,
}

impl Device for Logged {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, data)
    }

    fn write(&self, offset: u64, data: &[u8], fua: bool) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        log.add(offset, data.len() as u64, if fua { FUA } else { 0 }, data)?;
        self.disk.write(offset, data, fua)
    }

    fn flush(&self) -> io::Result<()> {
        self.log.lock().unwrap().add(0, 0, FLUSH, &[])
    }

    // A discard that the log told of could be dropped, and this disk promises zeros.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write(offset, &vec![0; len as usize], false)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.discard(offset, len)
    }
}

const BLOCKS: u64 = 300;

/// Loads a logged disk behind faults; the log and the journal lie in the folder.
fn load(folder: &Path, seed: u64, faults: &str) {
    let plan = Plan {
        workers: 3,
        unique_percent: 70,
        trim_percent: 10,
        flush_percent: 5,
        fua_percent: 10,
        ..Plan::new(seed, 4096, BLOCKS)
    };
    let log = Writer::create(&folder.join("log"), 512).unwrap();
    let logged = Arc::new(Logged { disk: Memory::new(plan.offset(BLOCKS), 512), log: Mutex::new(log) });
    let faults = if faults.is_empty() { Vec::new() } else { fault_spec::parse(&format!("{faults}:")).unwrap().0 };
    let device: Arc<dyn Device> = Arc::new(Faulty::new(logged, faults));
    let journal = Journal::create(&folder.join("journal"), &plan, false, Some(&folder.join("log"))).unwrap();
    let limits = Limits { ops: Some(900), time: None, full_coverage: false, faults: 10, final_check: false };
    let paths = vec![Paths { write: device.clone(), read: device }; plan.workers as usize];
    let outcome = run(&plan, &limits, paths, Some(&journal), &AtomicBool::new(false), &mut Quiet);
    assert!(outcome.findings.is_empty() && outcome.failure.is_none(), "{outcome:#?}");
}

/// The first fault of these cuts, by the number of the cut.
fn first_fault(folder: &Path, cuts: usize, seed: u64) -> Option<(usize, FaultKind)> {
    let mut trial = Trial::new(&folder.join("log"), &folder.join("journal"), None, cuts, seed).unwrap();
    for (number, cut) in trial.cuts().to_vec().into_iter().enumerate() {
        trial.make(&cut).unwrap();
        let result = trial.check(&cut, &**trial.replay().disk()).unwrap();
        if let Some(finding) = result.findings.first() {
            return Some((number, finding.kind));
        }
        assert_eq!(result.census.blocks, BLOCKS);
    }
    None
}

#[test]
fn a_sound_disk_holds_at_every_cut() {
    for seed in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        load(folder.path(), seed, "");
        assert_eq!(first_fault(folder.path(), 150, seed), None, "seed {seed}");
    }
}

#[test]
fn a_flush_that_was_acknowledged_early_is_found_within_a_hundred_cuts() {
    for (seed, faults) in [(0, "early-flush@3"), (1, "early-flush@1"), (2, "lie-flush@4")] {
        let folder = tempfile::tempdir().unwrap();
        load(folder.path(), seed, faults);
        let (number, kind) = first_fault(folder.path(), 100, seed).unwrap_or_else(|| panic!("seed {seed}: {faults}"));
        assert_eq!(kind, FaultKind::LostFlushedWrite, "seed {seed}: {faults}, cut {number}");
    }
}

fn power_cuts(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_power-cuts"));
    command.arg("--log").arg(folder.join("log")).arg("--journal").arg(folder.join("journal")).args(more);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn the_program_tells_of_its_cuts_and_makes_one_again() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), 7, "");
    let (code, said) = power_cuts(folder.path(), &["--cuts", "50", "--seed", "9"]);
    assert!(code == Some(0) && said.contains("50 cuts held") && said.contains("seed 9"), "{code:?} {said}");

    load_with_a_lie(folder.path());
    let (code, said) = power_cuts(folder.path(), &["--cuts", "100", "--seed", "9"]);
    assert!(code == Some(1) && said.contains("FAULTY: cut ") && said.contains("lost-flushed-write"), "{code:?} {said}");
    let word_after =
        |text: &str| said.split(text).nth(1).and_then(|rest| rest.split([' ', ')']).next()).unwrap().to_owned();
    let (number, until) = (word_after("FAULTY: cut "), word_after("--until "));

    // The disk of this cut alone, as a file, for the verifier itself.
    let disk = folder.path().join("disk.img");
    let write = ["--cuts", "100", "--seed", "9", "--only", &number, "--write", disk.to_str().unwrap()];
    assert_eq!(power_cuts(folder.path(), &write).0, Some(1));
    let mut verifier = Command::new(env!("CARGO_BIN_EXE_test-blockdevice"));
    verifier.arg("-d").arg(&disk).arg("--verify-after-crash").arg(folder.path().join("journal"));
    let output = verifier.args(["--until", &until]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("lost-flushed-write"), "{said}");
}

fn load_with_a_lie(folder: &Path) {
    std::fs::remove_file(folder.join("journal")).unwrap();
    load(folder, 7, "lie-flush@2");
}

#[test]
fn what_makes_no_cuts_is_told() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), 7, "");
    let (log, journal) = (folder.path().join("log"), folder.path().join("journal"));
    let (code, said) = power_cuts(folder.path(), &["--cuts", "5", "--only", "5"]);
    assert!(code == Some(2) && said.contains("no cut 5"), "{said}");
    // The two lines at the top alone: nothing was ever flushed.
    let top: String = std::fs::read_to_string(&journal).unwrap().split_inclusive('\n').take(2).collect();
    std::fs::write(&journal, &top).unwrap();
    let (code, said) = power_cuts(folder.path(), &[]);
    assert!(code == Some(2) && said.contains("no flush that was acknowledged"), "{said}");
    std::fs::write(&journal, top.replace("journal 2", "journal 1")).unwrap();
    let (code, said) = power_cuts(folder.path(), &[]);
    assert!(code == Some(2) && said.contains("--block-log"), "{said}");
    std::fs::write(&log, [1; 4096]).unwrap();
    let (code, said) = power_cuts(folder.path(), &[]);
    assert!(code == Some(2) && said.contains("no block log"), "{said}");
}
