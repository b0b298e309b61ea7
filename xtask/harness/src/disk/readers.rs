//! The programs that read, and what they print.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask_common::process::{Ended, Running, last_lines};
use xtask_common::target::{Launch, Served};
use xtask_common::workspace::{build_binary, find_program};

use super::loads::{Load, TOOL_LIMIT};

/// Seconds that a load runs before it is measured.
const WARM_UP: f64 = 0.3;

/// Where the programs are.
pub struct Programs {
    fio: PathBuf,
    tool: PathBuf,
    iesp: PathBuf,
    load: PathBuf,
}

impl Programs {
    /// Finds and builds them.
    ///
    /// # Errors
    /// One does not build, or fio is not installed.
    pub fn find() -> Result<Self> {
        Ok(Self {
            fio: find_program("fio").context("fio is not installed: run `cargo xtask setup`")?,
            tool: build_binary("iesp-testkit", "block-speed-randread", true)?,
            iesp: build_binary("iesp", "iesp", true)?,
            load: build_binary("iesp-testkit", "iscsi-load", true)?,
        })
    }
}

/// What a program did in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Reads a second.
    pub rate: f64,
    /// CPU time of the program that reads the file, in microseconds a read.
    pub cpu_us: f64,
    /// The same of the initiator that asks for the reads, where there is one.
    pub initiator_cpu_us: f64,
}

/// A program that reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// fio with io_uring.
    Fio,
    /// testkit's tool.
    Tool,
    /// iesp, asked by testkit's load generator.
    Iesp,
}

impl Reader {
    /// All; the first is what the others are held against.
    pub const ALL: &[Self] = &[Self::Fio, Self::Tool, Self::Iesp];

    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fio => "fio",
            Self::Tool => "block-speed-randread",
            Self::Iesp => "iesp",
        }
    }

    /// Whether it is measured under this load.
    pub fn reads(self, load: &Load) -> bool {
        self != Self::Iesp || load.iesp.is_some()
    }

    /// At least so many times fio's rate.
    pub fn limit(self, load: &Load) -> Option<f64> {
        match self {
            Self::Fio => None,
            Self::Tool => Some(TOOL_LIMIT),
            Self::Iesp => load.iesp.flatten(),
        }
    }

    /// Reads for a while.
    ///
    /// # Errors
    /// It does not run, or prints something else than its results.
    pub fn read(self, programs: &Programs, load: &Load, image: &Path, seconds: f64, dir: &Path) -> Result<Reading> {
        match self {
            Self::Fio => fio(programs, load, image, seconds, dir),
            Self::Tool => tool(programs, load, image, seconds, dir),
            Self::Iesp => iesp(programs, load, image, seconds, dir),
        }
    }
}

fn fio(programs: &Programs, load: &Load, image: &Path, seconds: f64, dir: &Path) -> Result<Reading> {
    let mut command = Command::new(&programs.fio);
    // Without a map of what was read, as the others have none.
    command.args(["--name=disk", "--rw=randread", "--ioengine=io_uring", "--norandommap=1", "--thread"]);
    command.args(["--time_based", "--group_reporting", "--output-format=json"]);
    command.arg(format!("--filename={}", image.display())).arg(format!("--direct={}", u8::from(load.direct)));
    command.args([format!("--bs={}", load.block), format!("--iodepth={}", load.depth)]);
    command.args([format!("--numjobs={}", load.threads), format!("--runtime={seconds}")]);
    // It would empty the page cache.
    command.args([format!("--ramp_time={WARM_UP}"), "--invalidate=0".to_owned()]);
    let text = output(&mut command, seconds, dir, "fio")?;
    let value = value(&text)?;
    let job = &value["jobs"][0];
    let number = |value: &Value| value.as_f64().context("fio's JSON has no rate, or no CPU time");
    let rate = number(&job["read"]["iops"])?;
    // Percent of what its threads ran together, in milliseconds.
    let percent = number(&job["usr_cpu"])? + number(&job["sys_cpu"])?;
    let cpu_us = percent / 100.0 * number(&job["job_runtime"])? * 1e3 / number(&job["read"]["total_ios"])?;
    Ok(Reading { rate, cpu_us, initiator_cpu_us: 0.0 })
}

fn tool(programs: &Programs, load: &Load, image: &Path, seconds: f64, dir: &Path) -> Result<Reading> {
    let results = dir.join("tool");
    let mut command = Command::new(&programs.tool);
    command.arg(image).args(["1", "1"]).arg(((seconds * 1000.0) as u64).to_string());
    command.args(["--block-sizes", &load.block.to_string(), "--threads", &load.threads.to_string()]);
    command.args(["--depth", &load.depth.to_string(), "--direct", if load.direct { "on" } else { "off" }]);
    command.args(["--warm-up", &((WARM_UP * 1000.0) as u64).to_string(), "-o"]).arg(&results);
    output(&mut command, seconds, dir, "block-speed-randread")?;
    let value = value(&std::fs::read_to_string(results.with_extension("json"))?)?;
    let run = &value["cells"][0]["runs"][0];
    let number = |name: &str| run[name].as_f64().with_context(|| format!("the tool's JSON has no {name}"));
    let cpu_us = number("cpu_seconds")? * 1e6 / number("operations")?;
    Ok(Reading { rate: number("iops")?, cpu_us, initiator_cpu_us: 0.0 })
}

fn iesp(programs: &Programs, load: &Load, image: &Path, seconds: f64, dir: &Path) -> Result<Reading> {
    let arguments = if load.direct { vec!["--direct".to_owned()] } else { Vec::new() };
    let launch = Launch { iesp: &programs.iesp, image, address: "127.0.0.1", arguments: &arguments, chap: None, dir };
    let served = Served::start(&launch)?;
    let mut command = Command::new(&programs.load);
    command.arg(served.url()).args([
        "--server-pid",
        &served.id().to_string(),
        "--json",
        "--pattern",
        "random",
        "--seed",
        "1",
    ]);
    command.args(["--block", &load.block.to_string(), "--depth", &load.depth.to_string()]);
    command.args(["--connections", &load.threads.to_string()]);
    command.args(["--seconds", &seconds.to_string(), "--warm-up", &WARM_UP.to_string()]);
    let value = value(&output(&mut command, seconds, dir, "iscsi-load")?)?;
    served.stop()?;
    let number = |name: &str| value[name].as_f64().with_context(|| format!("iscsi-load's JSON has no {name}"));
    Ok(Reading {
        rate: number("operations_per_second")?,
        cpu_us: number("server_cpu_us")?,
        initiator_cpu_us: number("load_cpu_us")?,
    })
}

fn value(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("this is no JSON")
}

/// Runs a program to its end; what it printed.
fn output(command: &mut Command, seconds: f64, dir: &Path, name: &str) -> Result<String> {
    let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let ended = Running::start(command)?.wait(Duration::from_secs_f64(seconds + 60.0))?;
    if ended != Ended::Exit(0) {
        bail!("{name} ended with {ended}: {}", last_lines(&err, 3).join(" | "));
    }
    Ok(std::fs::read_to_string(&out)?)
}
