//! What the program does besides serving.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use crate::control::{self, Question};
use crate::failure::Failure;
use crate::{config, pages};

/// A command in place of flags that say what to serve.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Say whether a configuration file is right, and if not, everything that is wrong with it.
    #[command(disable_help_flag = true)]
    Check {
        /// The file.
        file: PathBuf,
        /// Show this help.
        #[arg(short = 'h', long, action = ArgAction::Help)]
        help: Option<bool>,
    },
    /// Ask the iesp that runs what it serves and what it has counted.
    #[command(disable_help_flag = true)]
    Status(Ask),
    /// Ask the iesp that runs who is logged in.
    #[command(disable_help_flag = true)]
    Sessions(Ask),
    /// Give a disk back whose flush failed, once it was checked: until then every flush of it fails.
    #[command(disable_help_flag = true)]
    Restore {
        /// The disk, as `iesp status` names it.
        disk: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// Be a service of Windows.
    #[cfg(windows)]
    #[command(subcommand)]
    Service(Service),
    /// Write the manual pages and the shells' completions to a folder.
    #[command(hide = true)]
    Pages {
        /// An existing folder.
        folder: PathBuf,
    },
}

/// Which process is asked, and how it answers.
#[derive(Debug, Clone, Args)]
pub struct Ask {
    /// Print JSON, one line for each process.
    #[arg(long)]
    json: bool,
    /// Ask the process with this id only; otherwise all that run.
    #[arg(long, value_name = "PID", conflicts_with = "control")]
    pid: Option<u32>,
    /// Ask by this socket.
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
    /// Show this help.
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Ask {
    fn run(&self, question: &Question) -> Result<(), Failure> {
        control::ask(question, self.control.as_deref(), self.pid, self.json)
    }
}

/// What can be done with the service.
#[cfg(windows)]
#[derive(Debug, Clone, Subcommand)]
pub enum Service {
    /// Install it, so that it serves at every start of the machine, and start it: iesp service install -- FLAGS
    Install {
        /// What to serve: iesp's own flags. File names are absolute.
        #[arg(last = true, required = true)]
        flags: Vec<std::ffi::OsString>,
    },
    /// Stop it and take it away.
    Uninstall,
    /// What the service manager starts.
    #[command(hide = true)]
    Run {
        /// iesp's own flags.
        #[arg(last = true)]
        flags: Vec<std::ffi::OsString>,
    },
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// What went wrong, and what to do.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Check { file, .. } => config::check(file),
            Self::Status(ask) => ask.run(&Question::Status),
            Self::Sessions(ask) => ask.run(&Question::Sessions),
            Self::Restore { disk, ask } => ask.run(&Question::Restore(disk.clone())),
            #[cfg(windows)]
            Self::Service(Service::Install { flags }) => crate::service::install(flags),
            #[cfg(windows)]
            Self::Service(Service::Uninstall) => crate::service::uninstall(),
            #[cfg(windows)]
            Self::Service(Service::Run { flags }) => crate::service::run(flags),
            Self::Pages { folder } => pages::write(folder),
        }
    }
}
