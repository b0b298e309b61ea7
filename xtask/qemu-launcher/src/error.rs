//! Why a guest cannot be started.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::{Ended, QmpError};

/// Why a guest cannot be started.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// QEMU is not installed.
    #[error("{program} cannot be started: {source}")]
    Program {
        /// The program's name.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file, socket or thread that belongs to the guest could not be made.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// QEMU refused its arguments, or died while it was starting.
    #[error("QEMU does not run ({ended}): {said}")]
    Refused {
        /// How it ended.
        ended: Ended,
        /// What it printed on its standard error.
        said: String,
    },
    /// QEMU did not open a channel in time.
    #[error("QEMU did not open its {channel} within {limit:?}")]
    Silent {
        /// Which channel.
        channel: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// QEMU's machine protocol.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

impl LaunchError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| LaunchError::Io { what: what.into(), source }
    }
}
