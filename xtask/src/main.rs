//! `cargo xtask …`: the one way to build, check, test and measure iESP.
//!
//! It links no C library and has few dependencies, so that it runs on a fresh machine and can
//! install there what the other crates need. What takes more is done by `xtask/harness` and
//! `xtask/boards`, which it builds when they are asked for. On Windows it has
//! `check` alone: the other tasks are about programs that Unix has.

mod check;
#[cfg(unix)]
mod ci;
#[cfg(unix)]
mod no_std;
#[cfg(unix)]
mod package;
#[cfg(unix)]
mod setup;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use xtask_common::tasks;

#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Build, check, test and measure iESP", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// What this program does itself. The lines of `--help` are those of [`tasks::TASKS`].
#[derive(Subcommand, Debug)]
enum Task {
    #[cfg(unix)]
    Setup(setup::Args),
    #[cfg(unix)]
    NoStd,
    Check(check::Args),
    #[cfg(unix)]
    #[command(subcommand)]
    Package(package::Task),
    #[cfg(unix)]
    Ci(ci::Args),
}

/// Answers whether all was well.
fn run(task: Task) -> anyhow::Result<bool> {
    match task {
        #[cfg(unix)]
        Task::Setup(args) => setup::run(&args).map(|()| true),
        #[cfg(unix)]
        Task::NoStd => no_std::run().map(|()| true),
        Task::Check(args) => check::run(&args).map(|()| true),
        #[cfg(unix)]
        Task::Package(task) => package::run(task).map(|()| true),
        #[cfg(unix)]
        Task::Ci(args) => ci::run(&args),
    }
}

/// The command line, with the commands that other programs have.
fn command() -> clap::Command {
    let others = tasks::TASKS.iter().filter(|task| cfg!(unix) && task.program != tasks::Program::Xtask);
    let command = Cli::command().subcommands(others.map(|task| clap::Command::new(task.name)));
    command.mut_subcommands(tasks::described)
}

/// Becomes the program that has the command which these words are, where that is another one.
#[cfg(unix)]
fn hand_over() -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let Some((program, words)) = tasks::elsewhere(&words) else { return Ok(()) };
    // In place of this one: a signal reaches it, and its end is this one's.
    Err(std::process::Command::new(program.build()?).args(words).exec().into())
}

#[cfg(not(unix))]
fn hand_over() -> anyhow::Result<()> {
    Ok(())
}

fn main() -> ExitCode {
    let done = hand_over().and_then(|()| {
        let matches = command().get_matches();
        run(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).task)
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn help_has_each_command_once_with_its_line() {
        // Built with all other crates, clap has the feature that wraps lines.
        let help = command().term_width(0).render_help().to_string();
        for task in tasks::TASKS {
            let lines = help.lines().filter(|line| line.trim_start().starts_with(&format!("{} ", task.name)));
            assert_eq!(lines.filter(|line| line.contains(task.about)).count(), 1, "{}\n{help}", task.name);
        }
        command().debug_assert();
    }
}
