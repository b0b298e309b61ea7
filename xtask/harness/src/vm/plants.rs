//! `cargo xtask vm plants`: every run, against a target with a fault that this run is there to find.

use std::path::PathBuf;

use anyhow::{Result, bail};
use xtask_common::checks::{Checks, chosen};

use super::{Common, boot, failover, fsx, powercut, session, sg3};
use crate::faults::Plant;

/// What `cargo xtask vm plants` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Only the cases whose name contains this
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A run with a fault in its target, and what has to come of it.
struct Case {
    name: &'static str,
    plant: Plant,
    run: fn(Common) -> Result<()>,
    /// One of these is in the failure; none: the run passes.
    finds: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "fsx finds that writes were dropped",
        plant: Plant::DropWrite,
        run: fsx::briefly,
        finds: &["FAULT lost-write", "FAULT never-written", "FAULT torn-write", "FAULT unexpected-zeros"],
    },
    Case {
        name: "fsx finds old data on the second path",
        plant: Plant::StaleSecondPath,
        run: fsx::briefly,
        finds: &[
            "FAULT lost-write",
            "FAULT stale-read",
            "FAULT never-written",
            "FAULT torn-write",
            "FAULT forgotten-write",
        ],
    },
    Case {
        name: "failover passes when only unflushed data is lost",
        plant: Plant::VolatileCache,
        run: failover::power_alone,
        finds: &[],
    },
    Case {
        name: "failover finds that a flush was acknowledged early",
        plant: Plant::EarlyFlush,
        run: failover::power_alone,
        finds: &["lost-flushed-write"],
    },
    Case {
        name: "powercut passes when only unflushed data is lost",
        plant: Plant::VolatileCache,
        run: powercut::hundred_cuts,
        finds: &[],
    },
    Case {
        name: "powercut finds within a hundred cuts that a flush was acknowledged early",
        plant: Plant::HastyFlush,
        run: powercut::hundred_cuts,
        finds: &["lost-flushed-write"],
    },
    Case {
        name: "sg3 finds that a reservation was lost",
        plant: Plant::LostReservation,
        run: sg3::with,
        finds: &["the other path was not held off"],
    },
    Case {
        name: "boot finds that nothing was written",
        plant: Plant::DropAllWrites,
        run: boot::bios_alone,
        finds: &["the file of the first boot is gone"],
    },
];

/// Runs them.
///
/// # Errors
/// When a run did not find its fault, or failed for another reason.
pub fn run(args: &Args) -> Result<()> {
    let chosen = chosen(CASES, |case| case.name, args.only.as_deref())?;
    let logs = session::log_folder("plants")?;
    let mut checks = Checks::new("vm plants");
    for (_, case) in chosen {
        checks.case(case.name, || judge(case, (case.run)(Common { plant: Some(case.plant), ..Common::default() })));
    }
    checks.conclude(args.json.as_deref(), &logs)
}

/// Answers with what was found.
fn judge(case: &Case, outcome: Result<()>) -> Result<String> {
    match (outcome, case.finds) {
        (Ok(()), []) => Ok(String::new()),
        (Ok(()), _) => bail!("the run passed, with {} in the target", case.plant.name()),
        (Err(error), []) => bail!("the run failed: {error:#}"),
        (Err(error), finds) => {
            let why = format!("{error:#}");
            if !finds.iter().any(|text| why.contains(text)) {
                bail!("the run failed for another reason: {why}");
            }
            Ok(format!("found: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_is_not_found_or_another_failure_is_a_failure() {
        let case = &CASES[0];
        assert!(judge(case, Ok(())).unwrap_err().to_string().contains("drop-write"));
        assert!(judge(case, Err(anyhow::anyhow!("no QEMU"))).unwrap_err().to_string().contains("another reason"));
        judge(case, Err(anyhow::anyhow!("verifier failed: FAULT lost-write in block 7"))).unwrap();
        let sound = CASES.iter().find(|case| case.finds.is_empty()).unwrap();
        judge(sound, Ok(())).unwrap();
        assert!(judge(sound, Err(anyhow::anyhow!("lost-flushed-write"))).is_err());
    }

    #[test]
    fn every_kind_of_run_has_a_case() {
        for run in ["fsx", "failover", "powercut", "sg3", "boot"] {
            assert!(CASES.iter().any(|case| case.name.starts_with(run) && !case.finds.is_empty()), "{run}");
        }
    }
}
