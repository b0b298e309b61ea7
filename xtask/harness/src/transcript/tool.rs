//! What libiscsi's test-tool does, recorded by a proxy.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use iesp_initiator::proxy::Proxy;
use iesp_initiator::transcript::{Program, Recorder, Recording, Setup, Transcript, Watch};
use xtask_common::process::{Ended, run_logged};
use xtask_common::workspace::find_program;

/// How long a test may take; those that need longer wait for the target to give up on something.
const LIMIT: Duration = Duration::from_secs(15);

/// How often a recording has to replay on the program that it is from.
const REPLAYS: usize = 2;

/// Most events of a test that is kept: longer ones repeat themselves.
const LONGEST: usize = 5000;

/// Runs the tests whose names contain `only`, each against a target of its own. One that does not replay on the same
/// program is left out aloud: it depends on time, or on which of several answers is first.
pub fn record(program: &Program, only: &str, runtime: &tokio::runtime::Runtime) -> Result<Transcript> {
    let tool = find_program("iscsi-test-cu").context("no iscsi-test-cu here: `cargo xtask setup` installs it")?;
    let listed = std::process::Command::new(&tool).arg("-l").output().context("the test-tool cannot be started")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let tests = listed.lines().map(str::trim).filter(|name| {
        ["SCSI.", "iSCSI."].iter().any(|family| name.starts_with(family)) && name.split('.').count() == 3
    });
    let mut recordings = Vec::new();
    for test in tests.filter(|name| name.contains(only)) {
        let (recording, ended) = record_one(program, &tool, test)?;
        if let Ended::Signal(_) | Ended::TimedOut = ended {
            println!("left out, as the test-tool did not come to its end ({ended}): {test}");
            continue;
        }
        let fits = recording.events.len() <= LONGEST;
        let mut differences = Vec::new();
        for _ in 0..if fits { REPLAYS } else { 0 } {
            differences.extend(runtime.block_on(recording.replay(program))?);
        }
        match differences.first() {
            None if fits => recordings.push(recording),
            None => println!("left out, with {} events: {test}", recording.events.len()),
            Some(first) => println!("left out, as it is not the same each time: {first}"),
        }
    }
    Ok(Transcript { recordings })
}

fn record_one(program: &Program, tool: &std::path::Path, test: &str) -> Result<(Recording, Ended)> {
    let setup = Setup::new(&["-b", "ram", "-d", "16M", "--uuid", "7d0b1e9a-8f0c-4f43-9d1c-2f2a6f1f4c55"]);
    let server = program.serve(&setup)?;
    let recorder = Arc::new(Recorder::default());
    let of_connections = Arc::clone(&recorder);
    let proxy = Proxy::start(server.address(), move || Watch::new(Arc::clone(&of_connections)))?;
    let url = format!("iscsi://{}/test/0", proxy.address());
    let log = tempfile::NamedTempFile::new()?;
    let mut command = std::process::Command::new(tool);
    command.args(["-d", "-S", "-t", test, &url, &url]);
    let ended = run_logged(&mut command, log.path(), LIMIT)?;
    server.finish()?;
    Ok((Recording { name: test.to_owned(), setup, events: recorder.events() }, ended))
}
