//! Standard libraries for other systems, by rustup where it is there.

use std::process::{Command, Stdio};
use std::time::Duration;

use xtask_common::process::{Ended, Running};
use xtask_common::requirements::{Probe, Requirement};
use xtask_common::workspace;

/// How long rustup may take to fetch one.
const LIMIT: Duration = Duration::from_secs(180);

/// Fetches those that are missing. Where rustup is not there, or cannot fetch them, packages of the distribution come next.
pub fn add(missing: &[&Requirement]) {
    for requirement in missing {
        let Probe::Std(target) = requirement.probe else { continue };
        let Some(rustup) = workspace::find_program("rustup") else { return };
        println!("setup: $ rustup target add {}", target.triple());
        let mut command = Command::new(rustup);
        command.args(["target", "add", target.triple()]).current_dir(workspace::root()).stdin(Stdio::null());
        let ended = Running::start(&mut command).and_then(|mut running| running.wait(LIMIT));
        if !matches!(ended, Ok(Ended::Exit(0))) {
            println!("setup: rustup has no standard library for {} here", target.triple());
            return;
        }
    }
}
