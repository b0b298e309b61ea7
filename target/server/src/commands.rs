//! What the program does besides serving.

use std::path::PathBuf;

use clap::Subcommand;

use crate::failure::Failure;
use crate::pages;

/// A command in place of flags that say what to serve.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
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
            Self::Pages { folder } => pages::write(folder),
        }
    }
}
