//! `cargo xtask plants`: the programs of this machine that test targets, against a target with a fault that they have to
//! find, and against one without. `cargo xtask vm plants` is the same with a guest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask_common::checks::{Checks, chosen};
use xtask_common::process::{Ended, last_lines, run_logged};
use xtask_common::target::TARGET_NAME;
use xtask_common::workspace::{build_binary, build_dir, fresh_folder};

use crate::faults::Plant;
use crate::two_portals::Target;

/// What `cargo xtask plants` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Only the cases whose name contains this
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A fault in the target, what looks for it, and one of the texts that it then says; none: it finds nothing.
struct Case {
    name: &'static str,
    plant: Option<Plant>,
    look: fn(&mut Bench) -> Result<(), Found>,
    says: &'static [&'static str],
}

/// What a program said of a fault; or why it could not be run.
enum Found {
    Fault(String),
    Trouble(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Found {
    fn from(error: E) -> Self {
        Found::Trouble(error.into())
    }
}

/// A write of the verifier's is one command or several: one of these may be dropped alone.
const LOST: &[&str] = &["FAULT lost-write", "FAULT never-written", "FAULT torn-write", "FAULT unexpected-zeros"];
const OLD: &[&str] =
    &["FAULT stale-read", "FAULT lost-write", "FAULT never-written", "FAULT torn-write", "FAULT forgotten-write"];

const CASES: &[Case] = &[
    Case { name: "the verifier passes a sound target", plant: None, look: write_and_read, says: &[] },
    Case {
        name: "the verifier finds that writes were dropped",
        plant: Some(Plant::DropWrite),
        look: write_and_read,
        says: LOST,
    },
    Case { name: "the verifier passes a sound second path", plant: None, look: two_paths, says: &[] },
    Case {
        name: "the verifier finds old data on the second path",
        plant: Some(Plant::StaleSecondPath),
        look: two_paths,
        says: OLD,
    },
    Case {
        name: "the verifier's journal passes when only unflushed data is lost",
        plant: Some(Plant::VolatileCache),
        look: crash,
        says: &[],
    },
    Case {
        name: "the verifier's journal finds that a flush was acknowledged early",
        plant: Some(Plant::EarlyFlush),
        look: crash,
        says: &["FAULT lost-flushed-write"],
    },
    Case { name: "libiscsi's test-tool passes sound reservations", plant: None, look: reserve, says: &[] },
    Case {
        name: "libiscsi's test-tool finds that a reservation was lost",
        plant: Some(Plant::LostReservation),
        look: reserve,
        says: &["SCSI.Reserve6"],
    },
];

/// A target, and what looks at it.
struct Bench {
    target: Target,
    verifier: PathBuf,
    dir: PathBuf,
}

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs the cases.
///
/// # Errors
/// When a fault was not found, or something was found where there is none.
pub fn run(args: &Args) -> Result<()> {
    let iesp = build_binary("iesp", "iesp", true)?;
    let verifier = build_binary("iesp-testkit", "test-blockdevice", true)?;
    // What the cases need is built before their time is taken.
    build_binary("iesp-testkit", "faulty-target", true)?;
    let mut checks = Checks::new("plants");
    let logs = build_dir().join("plants");
    for (number, case) in chosen(CASES, |case| case.name, args.only.as_deref())? {
        let dir = logs.join(format!("{number:02}"));
        checks.case(case.name, || run_case(case, &iesp, &verifier, &dir));
    }
    checks.conclude(args.json.as_deref(), &logs)
}

/// Answers with what was said of the fault.
fn run_case(case: &Case, iesp: &Path, verifier: &Path, dir: &Path) -> Result<String> {
    fresh_folder(dir)?;
    let program = case.plant.map_or_else(|| Ok(iesp.to_owned()), |plant| plant.program(iesp, dir))?;
    let target = Target::start(&program, dir, &[])?;
    let mut bench = Bench { target, verifier: verifier.to_owned(), dir: dir.to_owned() };
    let found = (case.look)(&mut bench);
    bench.target.stop()?;
    judge(found, case.says)
}

fn judge(found: Result<(), Found>, says: &[&str]) -> Result<String> {
    match (found, says) {
        (Ok(()), []) => Ok(String::new()),
        (Ok(()), _) => bail!("the fault was not found"),
        (Err(Found::Trouble(error)), _) => Err(error),
        (Err(Found::Fault(said)), []) => bail!("there is no fault, and it says: {said}"),
        (Err(Found::Fault(said)), says) if says.iter().any(|text| said.contains(text)) => Ok(said),
        (Err(Found::Fault(said)), _) => bail!("it says something else than expected: {said}"),
    }
}

impl Bench {
    fn url(&self, path: usize) -> String {
        let port = self.target.ports().get(path).copied().unwrap_or_default();
        format!("iscsi://127.0.0.1:{port}/{TARGET_NAME}/1")
    }

    /// Runs the verifier; exit code 1 is a fault that it has found.
    fn verify(&self, name: &str, arguments: &[&str]) -> Result<(), Found> {
        let log = self.dir.join(format!("{name}.log"));
        let mut command = Command::new(&self.verifier);
        command.args(["-d", &self.url(0), "--log-dir"]).arg(&self.dir).args(arguments);
        match run_logged(&mut command, &log, LIMIT)? {
            Ended::Exit(0) => Ok(()),
            Ended::Exit(1) => {
                let lines = last_lines(&log, usize::MAX);
                let fault = lines.iter().find(|line| line.starts_with("FAULT"));
                Err(Found::Fault(fault.cloned().unwrap_or_else(|| lines.join(" | "))))
            }
            other => Err(Found::Trouble(anyhow::anyhow!("the verifier: {other}: {}", last_lines(&log, 2).join(" | ")))),
        }
    }
}

/// What the verifier does in each case: the same in every run.
const LOAD: [&str; 12] =
    ["-b", "4096", "-n", "2", "-u", "75", "--seed", "1", "--ops", "4000", "--yes-destroy-data", "--quiet"];

fn write_and_read(bench: &mut Bench) -> Result<(), Found> {
    bench.verify("verifier", &LOAD)
}

fn two_paths(bench: &mut Bench) -> Result<(), Found> {
    let second = bench.url(1);
    bench.verify("verifier", &[&LOAD[..], &["-l", "8M", "--second-path", &second]].concat())
}

fn crash(bench: &mut Bench) -> Result<(), Found> {
    let journal = bench.dir.join("journal");
    let journal = journal.to_str().context("the folder's name is not UTF-8")?;
    bench.verify("verifier", &[&LOAD[..], &["-l", "8M", "--journal", journal]].concat())?;
    bench.target.kill()?;
    // What listens there dies with its parent, a moment later.
    std::thread::sleep(Duration::from_millis(500));
    bench.target.serve()?;
    bench.verify("after-crash", &["--verify-after-crash", journal])
}

fn reserve(bench: &mut Bench) -> Result<(), Found> {
    let (log, json) = (bench.dir.join("conformance.log"), bench.dir.join("conformance.json"));
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["conformance", "--against", &bench.url(0), "--filter", "SCSI.Reserve6.*", "--json"]).arg(&json);
    run_logged(&mut command, &log, LIMIT)?;
    let report: xtask_common::conformance::Report =
        xtask_common::report::read_json(&json).with_context(|| last_lines(&log, 3).join(" | "))?;
    let tests = || report.disks.iter().flat_map(|disk| &disk.tests);
    if report.counts().passed + report.counts().failed == 0 {
        return Err(Found::Trouble(anyhow::anyhow!("no test was run: see {}", log.display())));
    }
    let bad = tests().find_map(|test| Some(format!("{}: {}", test.test, test.complaint()?)));
    bad.map_or(Ok(()), |bad| Err(Found::Fault(bad)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_expected_is_good() {
        let fault = |text: &str| Err(Found::Fault(text.to_owned()));
        assert_eq!(judge(Ok(()), &[]).unwrap(), "");
        assert!(judge(Ok(()), LOST).is_err());
        assert!(judge(fault("FAULT lost-write in block 7"), LOST).unwrap().contains("block 7"));
        assert!(judge(fault("FAULT lost-write in block 7"), &[]).is_err());
        assert!(judge(fault("FAULT bit-flip"), LOST).is_err());
        assert!(judge(Err(Found::Trouble(anyhow::anyhow!("x"))), LOST).is_err());
    }
}
