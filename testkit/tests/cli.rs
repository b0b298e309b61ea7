//! The programs as users meet them: exit codes, files, refusals, and a Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An empty sparse file.
    fn disk(&self, size: u64) -> String {
        let path = self.path().join("disk");
        fs::File::create(&path).unwrap().set_len(size).unwrap();
        path.display().to_string()
    }

    fn verify(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_test-blockdevice"));
        command.args(line.split(' ')).current_dir(self.path());
        command
    }

    fn verified(&self, line: &str) -> Output {
        self.verify(line).output().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_command_line_of_the_issue_verifies() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(4 << 20);
    let output = sandbox.verified(&format!("-d {disk} -b 4096 -u 75 -n 6 -T 10 -t"));
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(text(&output).contains("100.00 % of 1024 blocks written and read back"), "{}", text(&output));
    // The disk is used in full, and grew by nothing.
    assert_eq!(fs::metadata(&disk).unwrap().len(), 4 << 20);
}

#[test]
fn a_fault_ends_with_1_a_log_and_a_line_that_repeats_it() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(2 << 20);
    let line = format!("-d faulty:drop-write@lba=800#3:{disk} -u 100 -n 3 --seed 5 --ops 900 --no-final-check -q");
    let output = sandbox.verified(&line);
    assert_eq!(code(&output), 1, "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("FAULT lost-write in block"), "{said}");
    assert!(said.contains("test-blockdevice-5-lost-write-"), "{said}");
    let log =
        fs::read_dir(sandbox.path()).unwrap().flatten().find(|f| f.path().extension().is_some_and(|x| x == "log"));
    let log = fs::read_to_string(log.expect("a log").path()).unwrap();
    assert!(log.contains("that touched the block") && log.contains("Bytes that differ"), "{log}");

    let fault = |said: &str| said.lines().find(|line| line.starts_with("FAULT")).map(str::to_owned);
    let repeat = said.lines().find_map(|line| line.trim().strip_prefix("repeat with: test-blockdevice "));
    fs::remove_file(&disk).unwrap();
    sandbox.disk(2 << 20);
    let again = sandbox.verified(repeat.expect("the line that repeats it"));
    assert_eq!(code(&again), 1, "{}", text(&again));
    assert_eq!(fault(&text(&again)), fault(&said));
}

#[test]
fn json_lines_are_json() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(1 << 20);
    let output = sandbox.verified(&format!("-d faulty:flip-bit@40:{disk} --ops 300 --seed 3 --json"));
    assert_eq!(code(&output), 1);
    let events: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of = |name: &str| events.iter().find(|event| event["event"] == name).unwrap_or_else(|| panic!("{events:#?}"));
    assert_eq!(of("started")["plan"]["seed"], 3);
    assert_eq!(of("fault")["kind"], "bit-flip");
    assert!(of("fault")["repeat"].as_str().unwrap().contains("--seed 3"));
    assert_eq!(of("finished")["verified"], false);
    assert_eq!(of("finished")["faults"], 1);
}

#[test]
fn what_cannot_run_ends_with_2_and_one_line() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(1 << 20);
    let lines = [
        "-d /no/such/disk".to_owned(),
        format!("-d {}", sandbox.path().display()),
        format!("-d {disk} -o 4G"),
        format!("-d {disk} -u 80 -T 30"),
        format!("-d {disk} -n 300"),
        format!("-d {disk} -o 1k -b 4096"),
        format!("-d faulty:nonsense@1:{disk}"),
        format!("-d {disk} --caw-race"),
        format!("-d {disk} --second-path ram:2M"),
        format!("-d {disk} --verify-after-crash {disk}"),
        "-d iscsi://127.0.0.1:1/x/0".to_owned(),
        "-d iscsi://127.0.0.1".to_owned(),
    ];
    for line in lines {
        let output = sandbox.verified(&line);
        assert_eq!(code(&output), 2, "{line}: {}", text(&output));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.starts_with("test-blockdevice: ") && error.lines().count() == 1, "{line}: {error}");
    }
    assert_eq!(code(&sandbox.verified("-d x -b 1000")), 2, "clap refuses");
    assert!(fs::read(&disk).unwrap().iter().all(|&byte| byte == 0), "nothing was written");
}

#[test]
fn a_disk_that_holds_something_is_refused() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(1 << 20);
    let mut data = vec![0; 1 << 20];
    data[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    fs::write(&disk, &data).unwrap();
    let output = sandbox.verified(&format!("-d {disk} --ops 100"));
    assert_eq!(code(&output), 2);
    assert!(text(&output).contains("ext4") && text(&output).contains("--yes-destroy-data"), "{}", text(&output));
    assert_eq!(fs::read(&disk).unwrap(), data);
    let wrapped = sandbox.verified(&format!("-d faulty:drop-write@1:{disk} --ops 100"));
    assert_eq!(code(&wrapped), 2, "a wrapper does not open what is refused");
    let speed = Command::new(env!("CARGO_BIN_EXE_block-speed-randread"))
        .args([&disk, "1", "1", "10", "--rw", "write"])
        .current_dir(sandbox.path())
        .output()
        .unwrap();
    assert_eq!(code(&speed), 2);
    assert_eq!(fs::read(&disk).unwrap(), data);
    assert_eq!(code(&sandbox.verified(&format!("-d {disk} --ops 100 --yes-destroy-data"))), 0);
}

#[test]
fn offset_and_limit_bound_the_area() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(4 << 20);
    assert_eq!(code(&sandbox.verified(&format!("-d {disk} -b 512 -o 1M -l 1M -t -u 100"))), 0);
    let data = fs::read(&disk).unwrap();
    let used =
        |range: std::ops::Range<usize>| data[range].chunks(512).filter(|block| block.iter().any(|&b| b != 0)).count();
    assert_eq!((used(0..1 << 20), used(1 << 20..2 << 20), used(2 << 20..4 << 20)), (0, 2048, 0));
}

#[test]
fn a_crash_and_what_is_there_after_it() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(2 << 20);
    let run = |faults: &str, journal: &str| {
        let line = format!(
            "-d faulty:{faults}:{disk} -u 75 -T 10 -n 3 --ops 100000 --journal {journal} -q --yes-destroy-data"
        );
        let output = sandbox.verified(&line);
        assert_eq!(code(&output), 2, "{}", text(&output));
        assert!(text(&output).contains("the journal ends here"), "{}", text(&output));
        sandbox.verified(&format!("-d {disk} --verify-after-crash {journal}"))
    };
    let sound = run("power-cut@500", "sound");
    assert_eq!(code(&sound), 0, "{}", text(&sound));
    let lying = run("lie-flush@2,power-cut@500", "lying");
    assert_eq!(code(&lying), 1, "{}", text(&lying));
    assert!(text(&lying).contains("FAULT lost-flushed-write"), "{}", text(&lying));
    // A journal is never overwritten: it may be all that is left of a run.
    assert_eq!(code(&sandbox.verified(&format!("-d {disk} --journal sound --ops 1 --yes-destroy-data"))), 2);
}

#[test]
fn an_interrupted_run_ends_with_a_summary() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(1 << 20);
    let mut child = KilledOnDrop(sandbox.verify(&format!("-d {disk}")).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("seed"));
    let id = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.starts_with("Interrupted; no fault so far.")), "{rest:?}");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_time_limit_ends_the_run() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(1 << 20);
    let started = Instant::now();
    assert_eq!(code(&sandbox.verified(&format!("-d {disk} --seconds 0.3 -q"))), 0);
    assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&started.elapsed()));
}

#[test]
fn speed_tools_leave_their_files() {
    let sandbox = Sandbox::new();
    let disk = sandbox.disk(4 << 20);
    let read = |name: &str| fs::read_to_string(sandbox.path().join(name)).unwrap();
    let run = |tool: &str, arguments: &str| {
        let mut command = Command::new(tool);
        command.arg(&disk).args(arguments.split(' ')).current_dir(sandbox.path());
        let output = command.output().unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output));
    };
    run(env!("CARGO_BIN_EXE_block-speed-randread"), "3 2 30 --warm-up 5 --repeat 2 --depth 1,4 -o random");
    let dat = read("random-iops.dat");
    let rows: Vec<Vec<f64>> =
        dat.lines().filter(|l| !l.is_empty()).map(|l| l.split('\t').map(|n| n.parse().unwrap()).collect()).collect();
    let keys: Vec<_> = rows.iter().map(|row| (row[0] as u64, row[1] as u32)).collect();
    assert_eq!(keys, [(512, 1), (512, 2), (1024, 1), (1024, 2), (2048, 1), (2048, 2)]);
    assert!(rows.iter().all(|row| row[2] > 0.0));
    assert_eq!(read("random.csv").lines().count(), 1 + 3 * 2 * 2 * 2);
    let report: Value = serde_json::from_str(&read("random.json")).unwrap();
    assert_eq!(report["cells"].as_array().unwrap().len(), 12);
    assert!(report["cells"][0]["runs"][1]["latency"]["p99_99"].as_u64().unwrap() > 0);

    run(env!("CARGO_BIN_EXE_bs-read"), "4k 3 0.03 linear --warm-up 5 -o sequential");
    let blocks: Vec<String> =
        read("sequential-bw-iop.dat").lines().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(blocks, ["4096", "8192", "12288"]);

    run(env!("CARGO_BIN_EXE_block-speed-randread"), "1 1 30 --warm-up 5 --rw mixed -o mixed --depth 2");
    let written = fs::read(&disk).unwrap();
    assert!(written.iter().any(|&byte| byte != 0), "a mixed load writes");
}
