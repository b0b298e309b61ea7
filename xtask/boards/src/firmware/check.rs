//! What `--check` shows of a running board: conformance, the verifier, its services, its card afterwards, its sizes and stack.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask_common::checks::Checks;
use xtask_common::process::{Ended, last_lines, run_logged};
use xtask_common::tasks::Program;
use xtask_common::workspace;

use super::board::Board;
use super::card;
use super::run::{Running, trouble_in};
use super::size::{Budget, kib, used_stack};
use crate::board::RULES;

/// How much of the disk the verifier works on, in MB, also with `--quick`, and with which seed.
const VERIFIED_MB: &str = "16";
const VERIFIED_QUICKLY_MB: &str = "4";
const SEED: &str = "20260101";
const CONFORMANCE_LIMIT: Duration = Duration::from_secs(3000);
const VERIFIER_LIMIT: Duration = Duration::from_secs(300);

/// Runs the checks, each whatever became of the others, and ends the board.
///
/// # Errors
/// When a check failed.
pub fn run(board: &Board, budget: &Budget, mut running: Running, quick: bool, json: Option<&Path>) -> Result<()> {
    let mut checks = Checks::new(board.name);
    let (url, dir) = (running.url.clone(), running.dir.clone());
    checks.case("size", || {
        running.size.check(board.name, budget)?;
        Ok(format!("flash {} KiB, RAM {} KiB", kib(running.size.flash), kib(running.size.ram)))
    });
    checks.case("conformance", || conformance(board, &url, &dir, quick));
    checks.case("verifier", || verifier(board, &url, &dir, quick));
    if let (Some(helpers), Some(snmp)) = (&running.helpers, running.snmp) {
        helpers.check(snmp, &dir, &mut |name, what| {
            checks.case(name, what);
        });
    }
    checks.case("stack", || stack(&mut running, budget));
    let Running { guest, card, .. } = running;
    drop(guest);
    checks.case("file system", || {
        card::check(&card, &dir.join("fsck.log"))?;
        Ok("clean".into())
    });
    checks.case("console", || match trouble_in(&dir.join("console.log")) {
        Some(trouble) => bail!(trouble),
        None => Ok("one start, no panic".into()),
    });

    checks.conclude(json, &dir)
}

/// libiscsi's test-tool, by `cargo xtask conformance`, held against the board's skips.
fn conformance(board: &Board, url: &str, dir: &Path, quick: bool) -> Result<String> {
    let log = dir.join("conformance.log");
    let mut command = Command::new(Program::Harness.build()?);
    command.current_dir(workspace::root()).args(["conformance", "--against", url, "--name", board.name]);
    command.args(["--rules", RULES]).arg("--keep-logs").arg(dir.join("conformance"));
    command.arg("--json").arg(dir.join("conformance.json"));
    if quick {
        command.arg("--quick");
    }
    let ended = run_logged(&mut command, &log, CONFORMANCE_LIMIT)?;
    let lines = last_lines(&log, 60);
    let verdict = lines.iter().rev().find_map(|line| line.strip_prefix("conformance: ")).unwrap_or_default();
    ensure!(ended == Ended::Exit(0), "{ended}: {}", last_lines(&log, 12).join(" | "));
    Ok(verdict.to_owned())
}

/// The verifier over iSCSI.
fn verifier(board: &Board, url: &str, dir: &Path, quick: bool) -> Result<String> {
    let program = workspace::build_binary("iesp-testkit", "test-blockdevice", false)?;
    let log = dir.join("test-blockdevice.log");
    // Each of its threads has a session.
    let threads = board.sessions.min(2).to_string();
    let mut command = Command::new(program);
    command.args(["-d", url, "-b", "4096", "-m", "2", "-u", "75", "-n", &threads]);
    let megabytes = if quick { VERIFIED_QUICKLY_MB } else { VERIFIED_MB };
    command.args(["-l", megabytes, "-t", "--seed", SEED]);
    let ended = run_logged(&mut command, &log, VERIFIER_LIMIT)?;
    ensure!(ended == Ended::Exit(0), "{ended}: {}", last_lines(&log, 5).join(" | "));
    Ok(last_lines(&log, 1).join(" "))
}

/// How much of the stack was used since the start.
fn stack(running: &mut Running, budget: &Budget) -> Result<String> {
    let (end, top) = running.size.stack_area.context("the program does not say where its stack is")?;
    let file = running.dir.join("stack.bin");
    running.guest.save_memory(end, top - end, &file)?;
    let used = used_stack(&std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    let ram = running.size.ram + used;
    ensure!(used < top - end, "all of the stack's {} KiB were used: it may have overflowed", kib(top - end));
    ensure!(used <= budget.stack, "{used} bytes of stack were used, more than its budget in ci/firmware.toml");
    Ok(format!("{} KiB used, RAM in all {} of {} KiB", kib(used), kib(ram), kib(budget.ram_limit)))
}
