//! Sessions recorded as PDUs, replayed against another build of a target.
//!
//! A [`Transcript`] holds one [`Recording`] for each scenario: how the target was started, and each PDU of each
//! connection in the order in which the initiator sent and took them. A replay starts the other program in the same way,
//! sends the same PDUs and waits for the same answers, in that order. What differs is a [`Difference`]: a PDU, its field
//! and both values.
//!
//! What may differ from run to run is made equal first: TSIH, Target Transfer Tags, where StatSN begins, what CHAP
//! chooses at random (the response to it is computed anew), and the ports of TargetAddress.
//!
//! - `scenarios`: what is recorded.
//! - `record`: a tap on the connections of a scenario, and one on those of any other initiator.
//! - `replay`, `compare`: the other way round.
//! - `format`: a transcript as lines of text, compressed by gzip in a file.
//! - `program`: a target as a child process.
//! - `expected`: differences that are meant, with their reasons.

mod compare;
mod expected;
mod format;
mod program;
mod record;
mod replay;
mod scenarios;

use std::fmt;
use std::path::Path;

use iesp_iscsi::outbox::Digests;

use crate::client::{self, Sent};
use crate::pdu::Pdu;

pub use expected::Expected;
pub use program::{Front, Program, ProgramError, Server, Setup};
pub use record::{Recorder, Watch};

/// Recorded scenarios.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transcript {
    /// In the order of their recording.
    pub recordings: Vec<Recording>,
}

/// What travelled in one scenario.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recording {
    /// The scenario.
    pub name: String,
    /// How the target was started.
    pub setup: Setup,
    /// All of it in the initiator's order.
    pub events: Vec<Event>,
}

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The connection, counted from 0 in each scenario.
    pub connection: usize,
    /// What happened.
    pub what: What,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The initiator connected.
    Connected,
    /// The initiator sent a PDU.
    Sent(Box<Sent>),
    /// The initiator took a PDU of the target's.
    Received(Box<Pdu>, Digests),
    /// The target closed the connection.
    Ended,
    /// The initiator closed the connection.
    Closed,
}

/// A value that a replay found and the transcript has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The scenario.
    pub scenario: String,
    /// Which event of the scenario, counted from 1.
    pub event: usize,
    /// The connection.
    pub connection: usize,
    /// The PDU's name as RFC 7143 writes it, or what else was recorded.
    pub pdu: String,
    /// The PDU's Initiator Task Tag.
    pub itt: Option<u32>,
    /// The field's name, or a part of the data.
    pub field: String,
    /// What the transcript has.
    pub recorded: String,
    /// What the replay found.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, event, connection, pdu, itt, field, recorded, found } = self;
        write!(f, "{scenario}, event {event} on connection {connection}: {pdu}")?;
        if let Some(itt) = itt {
            write!(f, " (ITT {itt:#x})")?;
        }
        write!(f, ", {field}: {recorded} in the transcript, {found} here")
    }
}

/// Why there is no transcript, or no replay of it.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A line that no transcript has.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The program does not serve, or ended.
    #[error("{scenario}: {error}")]
    Program {
        /// The scenario.
        scenario: String,
        /// Why.
        error: ProgramError,
    },
    /// The scenario did not come to its end.
    #[error("{scenario}: {error}")]
    Scenario {
        /// The scenario.
        scenario: String,
        /// What came instead.
        error: client::Error,
    },
    /// A connection cannot be opened or used.
    #[error("{scenario}: {error}")]
    Io {
        /// The scenario.
        scenario: String,
        /// Why.
        error: std::io::Error,
    },
    /// The expected differences are not well formed.
    #[error("expected differences: {0}")]
    Expected(#[from] toml::de::Error),
    /// An expected difference that names neither a field nor an event of a scenario.
    #[error("an expected difference covers too much: {0}")]
    Broad(String),
}

impl Transcript {
    /// Runs the scenarios whose names contain `filter` against a program, and records them.
    ///
    /// # Errors
    /// The program does not serve, or a scenario does not come to its end.
    pub async fn record(program: &Program, filter: &str) -> Result<Self, TranscriptError> {
        let mut recordings = Vec::new();
        for scenario in scenarios::ALL.iter().filter(|scenario| scenario.name.contains(filter)) {
            recordings.push(record::record(scenario, program).await?);
        }
        Ok(Self { recordings })
    }

    /// Replays all of it against a program.
    ///
    /// # Errors
    /// The program does not serve, or ended.
    pub async fn replay(&self, program: &Program) -> Result<Vec<Difference>, TranscriptError> {
        let mut differences = Vec::new();
        for recording in &self.recordings {
            differences.extend(recording.replay(program).await?);
        }
        Ok(differences)
    }

    /// Reads a compressed transcript.
    ///
    /// # Errors
    /// The file cannot be read, or is no transcript.
    pub fn read(path: &Path) -> Result<Self, TranscriptError> {
        let file = |error| TranscriptError::File { path: path.display().to_string(), error };
        Self::parse(&format::decompress(&std::fs::read(path).map_err(file)?).map_err(file)?)
    }

    /// Writes it compressed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TranscriptError> {
        let file = |error| TranscriptError::File { path: path.display().to_string(), error };
        std::fs::write(path, format::compress(&self.to_string()).map_err(file)?).map_err(file)
    }
}
