//! The load generator as its users run it.

mod support;

use assert_cmd::Command;
use iesp_testkit::load::Report;
use support::{Server, TARGET, free_port, numbered_file};

fn load() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iscsi-load"));
    command.timeout(std::time::Duration::from_secs(60));
    command
}

fn target() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    (Server::yardstick(&numbered_file(dir.path(), 8192)), dir)
}

fn report(args: &[&str]) -> Report {
    let output = load().args(args).arg("--json").output().expect("runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn a_load_by_time_is_measured() {
    let (server, _dir) = target();
    let url = server.url(0);
    let pid = std::process::id().to_string();
    let report =
        report(&[&url, "--depth", "8", "--seconds", "0.3", "--warm-up", "0.05", "--seed", "7", "--server-pid", &pid]);
    assert!(report.operations > 0 && (0.29..5.0).contains(&report.seconds), "{report:?}");
    let latency = report.latency_us;
    assert!(latency.p50 > 0.0 && latency.p50 <= latency.p99 && latency.p99_9 <= latency.max, "{latency:?}");
    assert!((report.operations_per_second - report.operations as f64 / report.seconds).abs() < 1.0);
    assert_eq!((report.seed, report.depth, report.block, report.direction.as_str()), (7, 8, 4096, "read"));
    assert!(report.load_cpu_us > 0.0 && report.server_cpu_us.is_some());
}

#[test]
fn a_load_by_operations_is_exact() {
    let (server, _dir) = target();
    let url = server.url(0);
    for (direction, connections) in [("--read", "1"), ("--write", "3"), ("--mix=70", "4")] {
        for pattern in ["random", "sequential"] {
            let report = report(&[
                &url,
                direction,
                "--ops",
                "1001",
                "-c",
                connections,
                "-p",
                pattern,
                "-b",
                "8k",
                "--yes-destroy-data",
            ]);
            assert_eq!((report.operations, report.pattern.as_str()), (1001, pattern));
        }
    }
}

/// Sequential writes of every position reach the whole span and nothing behind it.
#[test]
fn a_sequential_write_covers_the_span() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = numbered_file(dir.path(), 4096);
    let server = Server::yardstick(&file);
    let before = std::fs::read(&file).expect("readable");
    report(&[
        &server.url(0),
        "-w",
        "-p",
        "sequential",
        "-b",
        "4k",
        "--span",
        "1M",
        "-o",
        "256",
        "--warm-up",
        "0",
        "-d",
        "1",
        "--yes-destroy-data",
    ]);
    let after = std::fs::read(&file).expect("readable");
    let changed = |block: usize| before[block * 4096..(block + 1) * 4096] != after[block * 4096..(block + 1) * 4096];
    assert!((0..256).all(changed));
    assert!(!(256..512).any(changed));
}

#[test]
fn people_get_lines() {
    let (server, _dir) = target();
    let output = load().args([&server.url(0), "-s", "0.1", "--seed", "42"]).output().expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    for part in ["4.00 KiB random read on 1 connection with 32 in flight, seed 42", "operations/s", "p99.9", "CPU time"]
    {
        assert!(text.contains(part) || text.replace("4 KiB", "4.00 KiB").contains(part), "{part:?} is not in {text}");
    }
}

/// One clear line and exit code 2; nothing else.
#[test]
fn bad_input_is_refused() {
    let (server, _dir) = target();
    let url = server.url(0);
    let nobody = format!("iscsi://127.0.0.1:{}/{TARGET}/0", free_port());
    let wrong_name = url.replace(TARGET, "iqn.2024-01.org.example:nobody");
    let cases: &[(&[&str], &str)] = &[
        (&[], "required"),
        (&["http://host/t/0"], "expected iscsi://"),
        (&["iscsi://me%topsecret@host"], "expected iscsi://"),
        (&[&url, "--block", "4x"], "4x"),
        (&[&url, "--block", "0"], "--block is 0"),
        (&[&url, "--block", "1000"], "the disk's blocks have 512 bytes"),
        (&[&url, "--block", "8M"], "fits"),
        (&[&url, "--depth", "0"], "--depth is 0"),
        (&[&url, "--connections", "0"], "--connections is 0"),
        (&[&url, "--seconds", "0"], "--seconds is 0"),
        (&[&url, "--seconds", "nan"], "--seconds is NaN"),
        (&[&url, "--ops", "0"], "--ops is 0"),
        (&[&url, "--read", "--write"], "cannot be used with"),
        (&[&url, "--mix", "101"], "101"),
        (&[&url, "--write"], "--yes-destroy-data"),
        (&[&url, "--initiator", ""], "no iSCSI name"),
        (&[&url, "--server-pid", "2147483646"], "2147483646"),
        (&[&nobody], "refused"),
        (&[&wrong_name], "not found"),
    ];
    for (args, reason) in cases {
        let output = load().args(*args).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(reason) && !stderr.contains("topsecret"), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty() && !stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}

/// A target that goes away while the load runs: exit code 1, with the reason.
#[test]
fn a_lost_target_is_a_failure() {
    let (server, _dir) = target();
    let url = server.url(0);
    let stop = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(700));
        drop(server);
    });
    let output = load().args([&url, "--seconds", "30", "-c", "2"]).output().expect("runs");
    stop.join().expect("no panic");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("operations: ") && stderr.lines().count() == 1, "{stderr}");
}
