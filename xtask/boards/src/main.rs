//! What of `cargo xtask` is about boards: their programs, the machines that emulate them, boards on
//! one's desk.
//!
//! `cargo xtask` builds and starts it; it is a program of its own so that what it depends on is built only where it is used.
#![cfg(unix)]

mod board;
mod firmware;
mod hil;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use xtask_common::tasks;

#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Build the boards' programs, and test boards",
    version
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// The lines of `--help` are those of [`tasks::TASKS`].
#[derive(Subcommand, Debug)]
enum Task {
    Hil(hil::Args),
    #[command(subcommand)]
    Firmware(firmware::Task),
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Hil(args) => hil::run(&args),
        Task::Firmware(task) => firmware::run(&task),
    }
}

fn main() -> ExitCode {
    let matches = Cli::command().mut_subcommands(tasks::described).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(cli.task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
