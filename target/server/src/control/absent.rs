//! Windows: a running process is not asked there, as the questions come by a Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use std::time::Instant;

use crate::failure::Failure;
use crate::node::Node;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What is served.
    Status,
    /// Who is there.
    Sessions,
    /// To give this disk back.
    Restore(String),
}

/// What the process knows of itself beside its targets.
#[derive(Debug)]
#[expect(dead_code, reason = "nobody asks")]
pub struct About {
    /// When it began to serve.
    pub since: Instant,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Threads that serve connections.
    pub threads: usize,
}

/// Nobody can be asked.
///
/// # Errors
/// Always.
pub fn ask(_: &Question, _: Option<&Path>, _: Option<u32>, _: bool) -> Result<(), Failure> {
    Err(Failure::usage("a running iesp cannot be asked on Windows: its log (-l FILE -L info) tells who is there"))
}

/// In place of a socket.
#[derive(Debug)]
pub struct Control;

impl Control {
    /// There is nothing to listen at.
    ///
    /// # Errors
    /// Where a path was given.
    pub fn bind(path: Option<&Path>) -> io::Result<Self> {
        path.map_or(Ok(Self), |_| Err(io::ErrorKind::Unsupported.into()))
    }

    /// Nobody asks.
    ///
    /// # Errors
    /// None.
    pub fn answer(&mut self, _: Arc<Node>, _: About) -> io::Result<tokio::task::JoinHandle<()>> {
        Ok(tokio::spawn(async {}))
    }
}
