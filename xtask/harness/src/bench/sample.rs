//! One run of `iscsi-load` against one server.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use xtask_common::process::{Ended, Running, last_lines};

use super::loads::Load;
use super::peers::Server;

/// What was measured in one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Operations a second.
    pub operations_per_second: f64,
    /// CPU time of the server's process an operation, in microseconds.
    pub server_cpu_us: f64,
    /// CPU time of the load generator an operation, in microseconds.
    pub load_cpu_us: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub p99_us: f64,
    /// 99.9th percentile of the latency in microseconds.
    pub p99_9_us: f64,
}

/// The part of `iscsi-load --json` that is used here.
#[derive(Deserialize)]
struct Output {
    operations: u64,
    operations_per_second: f64,
    server_cpu_us: Option<f64>,
    load_cpu_us: f64,
    latency_us: LatencyOutput,
}

#[derive(Deserialize)]
struct LatencyOutput {
    p50: f64,
    p99: f64,
    p99_9: f64,
}

/// How long a load runs.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Before the measurement, in seconds.
    pub warm_up: f64,
    /// The measurement, in seconds.
    pub measure: f64,
}

/// Puts a load on a server; `seed` decides the random positions.
///
/// # Errors
/// The load generator fails, or measures nothing.
pub fn measure(program: &Path, load: &Load, server: &Server, times: Times, seed: u64, dir: &Path) -> Result<Sample> {
    let (out, err) = (dir.join("load.json"), dir.join("load.log"));
    let mut command = Command::new(program);
    command.arg(&server.url).args(load.arguments()).args(["--server-pid", &server.id().to_string(), "--json"]);
    command.args(["--seconds", &times.measure.to_string(), "--warm-up", &times.warm_up.to_string()]);
    command.args(["--seed", &seed.to_string()]);
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let limit = Duration::from_secs_f64(times.warm_up + times.measure + 60.0);
    let ended = Running::start(&mut command)?.wait(limit)?;
    if ended != Ended::Exit(0) {
        bail!("iscsi-load ended with {ended}: {}", last_lines(&err, 3).join(" | "));
    }
    let text = std::fs::read_to_string(&out)?;
    let output: Output = serde_json::from_str(&text).context("iscsi-load printed something else than its JSON")?;
    if output.operations == 0 {
        bail!("no operation completed in {} s", times.measure);
    }
    Ok(Sample {
        operations_per_second: output.operations_per_second,
        server_cpu_us: output.server_cpu_us.context("iscsi-load did not measure the server's CPU time")?,
        load_cpu_us: output.load_cpu_us,
        p50_us: output.latency_us.p50,
        p99_us: output.latency_us.p99,
        p99_9_us: output.latency_us.p99_9,
    })
}
