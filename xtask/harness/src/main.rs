//! What of `cargo xtask` runs against targets: the test-tool, programs that people use, a Linux
//! guest, measurements.
//!
//! `cargo xtask` builds and starts it; it is a program of its own so that what it depends on is built only where it is used.
#![cfg(unix)]

mod bench;
mod checksum;
mod clients;
mod commit;
mod conformance;
mod debian;
mod disk;
mod faults;
mod measure;
mod nbd;
mod nbd_server;
mod plants;
mod proxy;
mod transcript;
mod two_portals;
mod vm;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use xtask_common::tasks;

#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Test and measure iESP", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// The lines of `--help` are those of [`tasks::TASKS`].
#[derive(Subcommand, Debug)]
enum Task {
    Conformance(conformance::Args),
    Clients(clients::Args),
    Bench(bench::BenchArgs),
    Disk(disk::DiskArgs),
    Nbd(nbd::Args),
    Plants(plants::Args),
    #[command(subcommand)]
    Transcript(transcript::Task),
    #[command(subcommand)]
    Vm(vm::Task),
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Conformance(args) => conformance::run(&args),
        Task::Clients(args) => clients::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Disk(args) => disk::run(&args),
        Task::Nbd(args) => nbd::run(&args),
        Task::Plants(args) => plants::run(&args),
        Task::Transcript(task) => transcript::run(&task),
        Task::Vm(task) => vm::run(&task),
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
