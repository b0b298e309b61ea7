//! With QEMU itself, and without a guest: the firmware finds nothing to boot. Skipped where QEMU is not installed.

use std::path::Path;
use std::time::{Duration, Instant};

use qemu_launcher::{Accelerator, Firmware, LaunchError, Machine, Verdict, Waited};
use serde_json::json;

fn machine() -> Option<Machine> {
    let there = std::process::Command::new("qemu-system-x86_64").arg("--version").output();
    if there.is_err() {
        println!("skipped: qemu-system-x86_64 is not installed");
        return None;
    }
    Some(Machine::new(Accelerator::Tcg, Firmware::Bios).memory_mib(64).cpus(1))
}

#[test]
fn the_firmwares_lines_the_machine_protocol_and_the_end() {
    let Some(machine) = machine() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut guest = machine.start(dir.path()).unwrap();
    let soon = Instant::now() + Duration::from_secs(60);
    let line = guest.console().lines().find("No bootable device", soon);
    assert!(matches!(line, Waited::Line(_)), "{line:?}");
    let status = guest.qmp().command("query-status", &json!({})).unwrap();
    assert_eq!(status["running"], true);
    assert!(guest.qmp().set_link("nowhere", false).is_err());

    guest.qmp().command("quit", &json!({})).unwrap();
    // Exit status 0, and the line was said; a line that was never said is no pass.
    assert_eq!(guest.conclude("No bootable device", soon).unwrap(), Verdict::Passed);
    assert!(std::fs::read_to_string(dir.path().join("console.log")).unwrap().contains("SeaBIOS"));
}

#[test]
fn what_is_cut_short_or_takes_too_long_is_no_pass() {
    let Some(machine) = machine() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut guest = machine.start(dir.path()).unwrap();
    guest.qmp().command("quit", &json!({})).unwrap();
    let soon = Instant::now() + Duration::from_secs(60);
    assert_eq!(guest.conclude("verdict passed", soon).unwrap(), Verdict::CutShort);

    let guest = machine.start(dir.path()).unwrap();
    let pid = guest.id();
    assert_eq!(guest.conclude("x", Instant::now() + Duration::from_millis(50)).unwrap(), Verdict::TimedOut);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn refused_arguments_are_told_in_qemus_words() {
    let Some(machine) = machine() else { return };
    let dir = tempfile::tempdir().unwrap();
    let error = machine.argument("-no-such-option").start(dir.path()).unwrap_err();
    assert!(matches!(&error, LaunchError::Refused { said, .. } if said.contains("no-such-option")), "{error}");
}

#[test]
fn a_missing_program_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Accelerator::Tcg, Firmware::Bios).program(Path::new("no-such-qemu"));
    let error = machine.start(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("no-such-qemu cannot be started"), "{error}");
}
