//! `cargo xtask …`: the one way to build, check, test and measure iESP.
//!
//! It links no C library, so that it runs on a fresh machine and can install there what the other crates need. On Windows it
//! has `check` alone: the other tasks are about programs that Unix has.

#[cfg(unix)]
mod bench;
mod check;
#[cfg(unix)]
mod ci;
#[cfg(unix)]
mod clients;
mod compiler;
#[cfg(unix)]
mod conformance;
mod cross;
#[cfg(unix)]
mod disk;
#[cfg(unix)]
mod firmware;
#[cfg(unix)]
mod hil;
#[cfg(unix)]
mod nbd;
#[cfg(unix)]
mod no_std;
mod outputs;
#[cfg(unix)]
mod package;
#[cfg(unix)]
mod plants;
mod process;
#[cfg(unix)]
mod setup;
mod target;
#[cfg(unix)]
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Build, check, test and measure iESP", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[cfg(unix)]
#[derive(Subcommand, Debug)]
enum Task {
    /// Install what the tests need, with the system's package manager
    Setup(setup::Args),
    /// Run libiscsi's test-tool against iesp, or against any other target
    Conformance(conformance::Args),
    /// Run programs that people use, such as qemu-img, against iesp
    Clients(clients::Args),
    /// Measure what iesp costs, beside tgt and beside the least that is possible
    Bench(bench::BenchArgs),
    /// Measure how fast files are read, beside fio
    Disk(disk::DiskArgs),
    /// Run the verifier on disks that NBD servers have, some of which are killed or fail
    Nbd(nbd::Args),
    /// Link the crates for boards without std
    NoStd,
    /// Run what tests targets against a target with a fault, which it has to find
    Plants(plants::Args),
    /// Run a Linux guest in QEMU as the initiator
    #[command(subcommand)]
    Vm(vm::Task),
    /// Flash a board, and test what it serves: conformance, the verifier, the loss of power, speed
    Hil(hil::Args),
    /// Type check the server for other systems
    Check(check::Args),
    /// Build what people install, and check it
    #[command(subcommand)]
    Package(package::Task),
    /// Build, measure, write and run the program of a board
    #[command(subcommand)]
    Firmware(firmware::Task),
    /// Run everything that has to hold, and give a verdict
    Ci(ci::Args),
}

#[cfg(windows)]
#[derive(Subcommand, Debug)]
enum Task {
    /// Type check the server for other systems, or try it on this one
    Check(check::Args),
}

#[cfg(windows)]
fn run(Task::Check(args): Task) -> anyhow::Result<bool> {
    check::run(&args).map(|()| true)
}

/// Answers whether all was well.
#[cfg(unix)]
fn run(task: Task) -> anyhow::Result<bool> {
    match task {
        Task::Setup(args) => setup::run(&args).map(|()| true),
        Task::Conformance(args) => conformance::run(&args).map(|()| true),
        Task::Clients(args) => clients::run(&args).map(|()| true),
        Task::Bench(args) => bench::run(&args).map(|()| true),
        Task::Disk(args) => disk::run(&args).map(|()| true),
        Task::Nbd(args) => nbd::run(&args).map(|()| true),
        Task::NoStd => no_std::run().map(|()| true),
        Task::Plants(args) => plants::run(&args).map(|()| true),
        Task::Vm(task) => vm::run(&task).map(|()| true),
        Task::Hil(args) => hil::run(&args).map(|()| true),
        Task::Check(args) => check::run(&args).map(|()| true),
        Task::Package(task) => package::run(task).map(|()| true),
        Task::Firmware(task) => firmware::run(&task).map(|()| true),
        Task::Ci(args) => ci::run(&args),
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
