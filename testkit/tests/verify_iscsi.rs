//! The verifier and the speed tools over iSCSI, against Debian's tgt.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use support::Server;

/// A tgt with an empty disk; `None`, and said so, where tgt is not installed.
fn tgt(folder: &tempfile::TempDir, size: u64) -> Option<(Server, PathBuf)> {
    let disk = folder.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(size).unwrap();
    let server = Server::tgt(&disk);
    if server.is_none() {
        eprintln!("skipped: tgt is not installed (`cargo xtask setup` does that)");
    }
    Some((server?, disk))
}

fn run(tool: &str, folder: &tempfile::TempDir, line: &str) -> (i32, String) {
    let Output { status, stdout, stderr } =
        Command::new(tool).args(line.split(' ')).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().unwrap_or(-1), text)
}

const VERIFY: &str = env!("CARGO_BIN_EXE_test-blockdevice");

#[test]
fn a_target_verifies_by_all_ways_of_testing() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, _)) = tgt(&folder, 8 << 20) else { return };
    let url = server.url(1);
    let (code, text) = run(VERIFY, &folder, &format!("-d {url} -u 75 -n 3 -t"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("100.00 % of 2048 blocks"), "{text}");
    let (code, text) = run(VERIFY, &folder, &format!("-d {url} --second-path {url} -n 2 --ops 500 -q"));
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(VERIFY, &folder, &format!("-d {url} --caw-race -b 512 -n 4 --ops 2000 -q"));
    // tgt states a length for the command, but does not have it.
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("the target has no COMPARE AND WRITE"), "{text}");
}

#[test]
fn threads_share_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, _)) = tgt(&folder, 8 << 20) else { return };
    let url = server.url(1);
    let line = format!("-d {url} --second-path {url} -u 75 -n 40 --sessions 1 -t --json");
    let (code, text) = run(VERIFY, &folder, &line);
    assert_eq!(code, 0, "{text}");
    let finished: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(finished["most_in_flight"].as_u64() >= Some(16), "{finished}");
    let (code, text) = run(VERIFY, &folder, &format!("-d {url} -n 5 --sessions 3 --ops 500"));
    assert!(code == 0 && text.contains("in flight over each session"), "{text}");
}

#[test]
fn what_changes_behind_the_targets_back_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, disk)) = tgt(&folder, 8 << 20) else { return };
    let url = server.url(1);
    let journal = folder.path().join("journal");
    let line = format!("-d {url} -u 100 -n 2 --fua-percent 100 --ops 600 --journal {}", journal.display());
    let (code, text) = run(VERIFY, &folder, &line);
    assert_eq!(code, 0, "{text}");
    let check = format!("-d {url} --verify-after-crash {}", journal.display());
    let (code, text) = run(VERIFY, &folder, &check);
    assert_eq!(code, 0, "{text}");
    // One bit, by hand.
    let mut data = fs::read(&disk).unwrap();
    let place = data.iter().position(|&byte| byte != 0).unwrap() + 300;
    data[place] ^= 1;
    fs::write(&disk, data).unwrap();
    let (code, text) = run(VERIFY, &folder, &check);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FAULT bit-flip"), "{text}");
}

#[test]
fn speed_is_measured_with_several_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, _)) = tgt(&folder, 8 << 20) else { return };
    let line = format!("{} 1 1 100 --block-sizes 4k --threads 2 --depth 1,16 --warm-up 20", server.url(1));
    let (code, text) = run(env!("CARGO_BIN_EXE_block-speed-randread"), &folder, &line);
    assert_eq!(code, 0, "{text}");
    let csv = fs::read_to_string(folder.path().join("plot.csv")).unwrap();
    let operations = |line: &str| line.split(',').nth(5).unwrap().parse::<u64>().unwrap();
    assert_eq!(csv.lines().skip(1).filter(|line| operations(line) > 10).count(), 2, "{csv}");
}
