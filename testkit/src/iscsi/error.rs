//! What can go wrong, with a session and with a single command.

use std::fmt;
use std::time::Duration;

use super::command::Transfer;
use super::sense::Sense;

/// Why a session could not be opened, or is over.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The URL is no iSCSI URL.
    #[error("{url}: {reason}; expected iscsi://[user[%secret]@]host[:port]/target/lun")]
    Url {
        /// The URL, without a secret.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The initiator's name is empty, too long, or holds a zero byte.
    #[error("{0:?} is no iSCSI name for an initiator")]
    InitiatorName(String),
    /// No TCP connection.
    #[error("cannot connect to {portal}: {reason}")]
    Connect {
        /// Host and port.
        portal: String,
        /// What the library says.
        reason: String,
    },
    /// The target refused the login.
    #[error("login to {target} at {portal} failed: {reason}")]
    Login {
        /// Host and port.
        portal: String,
        /// The target's name.
        target: String,
        /// What the library says.
        reason: String,
    },
    /// Something was not answered in time; the session is over.
    #[error("no answer to {what} within {after:?}")]
    TimedOut {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The connection is lost; the session is over.
    #[error("the session with {portal} is lost: {reason}")]
    Lost {
        /// Host and port.
        portal: String,
        /// Why.
        reason: String,
    },
    /// A command that had to succeed did not.
    #[error("{what} failed: {failure}")]
    Command {
        /// The command's name.
        what: &'static str,
        /// How it ended.
        failure: Failure,
    },
    /// The answer to a command is too short or makes no sense.
    #[error("the answer to {what} makes no sense: {reason}")]
    Answer {
        /// The command's name.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The command cannot be expressed: more than 2^31 - 1 bytes of data.
    #[error("a transfer of {0} bytes is too large for one command")]
    TooLarge(usize),
    /// The C library could not allocate.
    #[error("libiscsi is out of memory")]
    OutOfMemory,
}

/// How a command ended that did not end with the status GOOD (or CONDITION MET).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// CHECK CONDITION with its sense data.
    CheckCondition(Box<Sense>),
    /// Any other SAM status, such as BUSY (08h) or RESERVATION CONFLICT (18h).
    Status(u8),
    /// It was not answered in time; whether the target did it is not known.
    TimedOut,
    /// The session was lost; whether the target did it is not known.
    Lost,
    /// The target rejected it, or answered against the protocol.
    Protocol(String),
}

/// A command that could not be submitted, with its data.
pub struct SubmitError<B> {
    /// Why.
    pub error: Error,
    /// The buffer, if there is one.
    pub transfer: Transfer<B>,
}

impl Failure {
    /// The sense data, when there is some.
    pub fn sense(&self) -> Option<&Sense> {
        match self {
            Self::CheckCondition(sense) => Some(sense),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CheckCondition(sense) => write!(f, "CHECK CONDITION: {sense}"),
            // SAM-5 5.3.1.
            Self::Status(0x08) => f.write_str("BUSY"),
            Self::Status(0x18) => f.write_str("RESERVATION CONFLICT"),
            Self::Status(0x28) => f.write_str("TASK SET FULL"),
            Self::Status(0x30) => f.write_str("ACA ACTIVE"),
            Self::Status(0x40) => f.write_str("TASK ABORTED"),
            Self::Status(status) => write!(f, "status {status:02x}h"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Lost => f.write_str("the session was lost before the answer"),
            Self::Protocol(reason) => write!(f, "protocol error: {reason}"),
        }
    }
}

impl std::error::Error for Failure {}

impl<B> fmt::Debug for SubmitError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<B> fmt::Display for SubmitError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<B> std::error::Error for SubmitError<B> {}
