//! What the program does besides serving.

use std::path::PathBuf;

use clap::{ArgAction, Subcommand};

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
    /// Write the manual pages and the shells' completions to a folder.
    #[command(hide = true)]
    Pages {
        /// An existing folder.
        folder: PathBuf,
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
            Self::Pages { folder } => pages::write(folder),
        }
    }
}
