//! `cargo xtask transcript`: sessions recorded as PDUs from one build of iesp, replayed against another.

mod tool;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use iesp_initiator::transcript::{Difference, Expected, Program, Transcript};
use xtask_common::workspace::build_binary;

use crate::commit::Commit;

/// What is done with transcripts.
#[derive(Subcommand, Debug)]
pub enum Task {
    /// Record the scenarios: logins, reads and writes by all ways, errors, task management, and more
    Record {
        #[command(flatten)]
        iesp: Iesp,
        /// The file to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Only scenarios whose names contain this
        #[arg(long, value_name = "NAME", default_value = "")]
        only: String,
        /// What libiscsi's test-tool does, instead: each test a scenario
        #[arg(long)]
        test_tool: bool,
    },
    /// Replay a transcript, and tell what differs by PDU, field and value
    Replay {
        /// The transcript
        file: PathBuf,
        #[command(flatten)]
        iesp: Iesp,
        /// Differences that are meant, with their reasons
        #[arg(long, value_name = "FILE")]
        expected: Option<PathBuf>,
        /// Only scenarios whose names contain this
        #[arg(long, value_name = "NAME", default_value = "")]
        only: String,
        /// How often
        #[arg(long, value_name = "N", default_value_t = 1)]
        times: usize,
    },
}

/// Which iesp.
#[derive(clap::Args, Debug)]
pub struct Iesp {
    /// A program, instead of the one of this working copy
    #[arg(long, value_name = "FILE", conflicts_with = "commit")]
    program: Option<PathBuf>,
    /// The program of a commit, which is built
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
}

impl Iesp {
    fn find(&self) -> Result<Program> {
        let path = match (&self.program, &self.commit) {
            (Some(program), _) => program.clone(),
            (None, Some(commit)) => Commit::find(commit)?.iesp()?,
            (None, None) => build_binary("iesp", "iesp", false)?,
        };
        Ok(Program::new(path))
    }
}

/// Records or replays.
///
/// # Errors
/// When iesp does not serve, when a scenario does not come to its end, or when a replay differs.
pub fn run(task: &Task) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match task {
        Task::Record { iesp, output, only, test_tool } => {
            let program = iesp.find()?;
            let transcript = match test_tool {
                true => tool::record(&program, only, &runtime)?,
                false => runtime.block_on(Transcript::record(&program, only))?,
            };
            ensure!(!transcript.recordings.is_empty(), "no scenario is called {only}");
            transcript.write(output)?;
            let events: usize = transcript.recordings.iter().map(|recording| recording.events.len()).sum();
            let scenarios = transcript.recordings.len();
            println!(
                "{}: {scenarios} scenarios of {events} events from {}",
                output.display(),
                program.path().display()
            );
            Ok(())
        }
        Task::Replay { file, iesp, expected, only, times } => {
            let mut transcript = Transcript::read(file)?;
            transcript.recordings.retain(|recording| recording.name.contains(only));
            ensure!(!transcript.recordings.is_empty(), "no scenario is called {only}");
            let expected = expected.as_deref().map(read_expected).transpose()?.unwrap_or_default();
            let program = iesp.find()?;
            for _ in 0..*times {
                replay(&transcript, &program, &expected, &runtime)?;
            }
            Ok(())
        }
    }
}

fn read_expected(file: &Path) -> Result<Expected> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Expected::parse(&text).with_context(|| file.display().to_string())
}

fn replay(
    transcript: &Transcript,
    program: &Program,
    expected: &Expected,
    runtime: &tokio::runtime::Runtime,
) -> Result<()> {
    let all = runtime.block_on(transcript.replay(program))?;
    let count = all.len();
    let (differences, unused) = expected.apply(all);
    differences.iter().for_each(|difference: &Difference| println!("{difference}"));
    for reason in unused {
        println!("expected, but not there: {reason}");
    }
    let (scenarios, path) = (transcript.recordings.len(), program.path().display());
    let meant = count - differences.len();
    match differences.len() {
        0 => println!("{scenarios} scenarios replayed on {path}: no difference but {meant} that were expected"),
        found => bail!("{scenarios} scenarios replayed on {path}: {found} differences that were not expected"),
    }
    Ok(())
}
