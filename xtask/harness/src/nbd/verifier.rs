//! `test-blockdevice`, and what it says as JSON.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use xtask_common::process::{Ended, Running, last_lines};

/// A verifier at work.
#[derive(Debug)]
pub struct Verifier {
    process: Running,
    out: PathBuf,
    err: PathBuf,
}

/// What it said.
#[derive(Debug)]
pub struct Verdict {
    /// How it ended: 0 verified, 1 faulty, 2 could not go on.
    pub ended: Ended,
    /// The kinds of its findings.
    pub faults: Vec<String>,
    /// Its last figures.
    pub figures: Figures,
}

/// A part of an event.
#[derive(Debug, Default, Deserialize)]
pub struct Figures {
    /// Operations.
    #[serde(default)]
    pub ops: u64,
    /// Flushes among them.
    #[serde(default)]
    pub flushes: u64,
    /// How much of the disk was written and read back.
    #[serde(default)]
    pub coverage_percent: f64,
    /// Most commands in flight at once, over the session that had the fewest.
    #[serde(default)]
    pub most_in_flight: u64,
}

#[derive(Deserialize)]
struct Event {
    event: String,
    kind: Option<String>,
    #[serde(flatten)]
    figures: Figures,
}

impl Verifier {
    /// Starts it; its words go to files in `dir` that begin with `name`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, arguments: &[&str], dir: &Path, name: &str) -> Result<Self> {
        let (out, err) = (dir.join(format!("{name}.jsonl")), dir.join(format!("{name}.log")));
        let mut command = Command::new(program);
        command.args(arguments).args(["--json", "--yes-destroy-data", "--log-dir"]).arg(dir);
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
        Ok(Verifier { process: Running::start(&mut command)?, out, err })
    }

    /// Asks it to end as Ctrl-C does.
    ///
    /// # Errors
    /// It has ended already: then it says why.
    pub fn interrupt(&mut self) -> Result<()> {
        if let Some(ended) = self.process.ended()? {
            bail!("the verifier ended too soon ({ended}): {}", self.words());
        }
        let id = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).context("a process without id")?;
        Ok(kill_process(id, Signal::INT)?)
    }

    /// Whether it still works.
    ///
    /// # Errors
    /// It does not: then it says why.
    pub fn goes_on(&mut self) -> Result<()> {
        match self.process.ended()? {
            None => Ok(()),
            Some(ended) => bail!("the verifier ended too soon ({ended}): {}", self.words()),
        }
    }

    fn words(&self) -> String {
        [last_lines(&self.err, 2), last_lines(&self.out, 2)].concat().join(" | ")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It hangs.
    pub fn wait(mut self, limit: Duration) -> Result<Verdict> {
        let ended = self.process.wait(limit)?;
        if ended == Ended::TimedOut {
            bail!("the verifier hangs: {}", self.words());
        }
        let text = std::fs::read_to_string(&self.out)?;
        let mut verdict = Verdict { ended, faults: Vec::new(), figures: Figures::default() };
        for event in text.lines().filter_map(|line| serde_json::from_str::<Event>(line).ok()) {
            match event.event.as_str() {
                "fault" => verdict.faults.extend(event.kind),
                "finished" => verdict.figures = event.figures,
                _ => {}
            }
        }
        Ok(verdict)
    }

    /// Waits for its end, which has to be a good one.
    ///
    /// # Errors
    /// What it found.
    pub fn verified(self, limit: Duration) -> Result<Figures> {
        let words = (self.err.clone(), self.out.clone());
        let verdict = self.wait(limit)?;
        if verdict.ended != Ended::Exit(0) {
            let text = [last_lines(&words.0, 2), last_lines(&words.1, 3)].concat().join(" | ");
            bail!("the verifier ended with {}: {text}", verdict.ended);
        }
        Ok(verdict.figures)
    }
}
