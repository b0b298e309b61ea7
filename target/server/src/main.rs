//! `iesp`: an iSCSI target for one person with a PC. See ARCHITECTURE.md for the map.

mod access;
mod authority;
mod backend;
mod buffers;
mod cli;
mod clock;
mod commands;
mod config;
mod connection;
#[cfg_attr(windows, path = "control/absent.rs")]
mod control;
mod disk;
mod failure;
mod host;
mod latency;
mod life;
mod logging;
mod luns;
mod messages;
mod metrics;
mod node;
mod pages;
mod pool;
mod reach;
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64",
            target_arch = "loongarch64",
            target_arch = "powerpc64"
        )
    )),
    path = "no_ring.rs"
)]
mod ring;
mod serve;
mod service;
mod size;
mod snmp;
mod statistics;
mod system;
mod target;
mod threads;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use cli::Cli;
use config::{Config, Given};
use failure::Failure;

fn main() -> ExitCode {
    ExitCode::from(run_with(&std::env::args_os().collect::<Vec<_>>()))
}

/// What the words say, the first of which is the program's own name; answers with the exit code.
fn run_with(words: &[OsString]) -> u8 {
    let matches = Cli::command().get_matches_from(words);
    let result = Cli::from_arg_matches(&matches).map_err(|error| error.exit()).and_then(|cli| act(&cli, matches));
    logging::finish();
    match result {
        Ok(()) => 0,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }
}

fn act(cli: &Cli, matches: clap::ArgMatches) -> Result<(), Failure> {
    match &cli.command {
        Some(command) => command.run(),
        None if cli.daemon && !life::is_daemon() => life::become_daemon(),
        None => {
            let sockets = service::sockets()?;
            // Before anything that others can see, such as a port or a PID file: they may send signals at once.
            let signals = serve::Signals::take()?;
            system::prepare();
            let given = Given::new(matches);
            let config = Config::load(cli, &given)?;
            logging::start(&config.log)?;
            serve::run(cli, &given, config, sockets, signals)
        }
    }
}
