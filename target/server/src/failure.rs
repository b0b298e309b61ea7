//! Why the program ends with something other than success: one line for people, and an exit code.

use std::net::SocketAddr;
use std::{fmt, io};

/// What went wrong, with what to do about it.
#[derive(Debug, Clone)]
pub struct Failure {
    message: String,
    /// In one line, where the message has several.
    summary: Option<String>,
    code: u8,
    kind: Kind,
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In one line, with the program's name.
    Line,
    /// As it is: several lines, which begin with a file's name.
    Lines,
    /// Not at all: somebody else has said it.
    Silent,
}

impl Failure {
    /// What was asked for makes no sense: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), summary: None, code: 2, kind: Kind::Line }
    }

    /// What was asked for could not be done: exit code 1.
    pub fn runtime(message: impl Into<String>) -> Self {
        Self { message: message.into(), summary: None, code: 1, kind: Kind::Line }
    }

    /// A socket could not be had: what it is for, and the flags that choose its port and its address. Exit code 1.
    pub fn not_bound(what: &str, address: SocketAddr, error: &io::Error, port: &str, at: &str) -> Self {
        use io::ErrorKind;
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => {
                format!("another program listens there: end it, or choose another port with {port}")
            }
            ErrorKind::AddrNotAvailable => format!("this machine has no such address: name one that it has with {at}"),
            ErrorKind::PermissionDenied => format!("ports below 1024 need privileges: choose another one with {port}"),
            _ => error.to_string(),
        };
        Self::runtime(format!("cannot {what} on {address}: {remedy}"))
    }

    /// A configuration file is wrong, in several ways: exit code 2.
    pub fn several(lines: impl Into<String>, summary: String) -> Self {
        Self { message: lines.into(), summary: Some(summary), code: 2, kind: Kind::Lines }
    }

    /// `iesp check` found this: exit code 1.
    pub fn check(lines: impl Into<String>) -> Self {
        Self { message: lines.into(), summary: None, code: 1, kind: Kind::Lines }
    }

    /// Another process has said why it ended with this exit code.
    pub fn silent(code: u8) -> Self {
        Self { message: String::new(), summary: None, code, kind: Kind::Silent }
    }

    /// Tells it on standard error.
    pub fn print(&self) {
        match self.kind {
            Kind::Line => eprintln!("iesp: {}", self.message),
            Kind::Lines => eprintln!("{}", self.message),
            Kind::Silent => {}
        }
    }

    /// What it says, in one line.
    pub fn summary(&self) -> &str {
        self.summary.as_ref().unwrap_or(&self.message)
    }

    /// The exit code.
    pub const fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
