//! `iesp`: an iSCSI target for one person with a PC. See ARCHITECTURE.md for the map.

mod backend;
mod buffers;
mod cli;
mod clock;
mod commands;
mod config;
mod connection;
mod disk;
mod failure;
mod life;
mod logging;
mod messages;
mod pages;
mod pool;
mod reach;
mod serve;
mod service;
mod size;
mod snmp;
mod statistics;
mod target;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use config::Config;
use failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Some(command) => command.run(),
        None if cli.daemon && !life::is_daemon() => life::become_daemon(),
        None => run(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("iesp: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let given = service::sockets()?;
    let mut config = Config::new(cli)?;
    logging::start(&cli.log_level, cli.log_file.as_deref())?;
    let listeners = match given {
        Some(listeners) => listeners,
        None => serve::listen(&config.listen)?,
    };
    let agent = config.snmp.take().map(snmp::Agent::bind).transpose()?;
    let pid_file = cli.pid_file.as_deref().map(life::PidFile::write).transpose()?;
    let luns = disk::open_all(&config.disks, &config.target_name)?;
    serve::run(config, luns, listeners, agent)?;
    drop(pid_file);
    Ok(())
}
