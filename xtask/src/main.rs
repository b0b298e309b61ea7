//! `cargo xtask …`: the one way to build, check, test and measure iESP.
//!
//! It links no C library, so that it runs on a fresh machine and can install there what the other crates need.

mod bench;
mod check;
mod ci;
mod clients;
mod conformance;
mod cross;
mod disk;
mod firmware;
mod hil;
mod nbd;
mod no_std;
mod package;
mod plants;
mod process;
mod setup;
mod target;
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

fn main() -> ExitCode {
    let result = match Cli::parse().task {
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
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
