//! The places that the log goes to.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::config::{Format, Kind};
use super::event::Record;
use super::journald::Journald;
use super::syslog::Syslog;
use crate::failure::Failure;

/// One of them.
#[derive(Debug)]
pub enum Sink {
    /// Standard error.
    Screen(Format, bool),
    /// A file.
    File(Mutex<File>, Format),
    /// The journal of systemd.
    Journald(Journald),
    /// A syslog server.
    Syslog(Syslog),
}

impl Sink {
    /// Opens it.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(kind: &Kind) -> Result<Self, Failure> {
        Ok(match kind {
            Kind::Screen(format) => Self::Screen(*format, std::io::stderr().is_terminal()),
            Kind::File(path, format) => Self::File(Mutex::new(open(path)?), *format),
            Kind::Journald => Self::Journald(Journald::open()?),
            Kind::Syslog(address) => Self::Syslog(Syslog::start(address)?),
        })
    }

    /// Writes an event. What cannot be written is lost: nobody could be told.
    pub fn write<S>(&self, record: &Record, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        match self {
            Self::Screen(format, colour) => {
                let _ = std::io::stderr().lock().write_all(line(record, *format, *colour).as_bytes());
            }
            Self::File(file, format) => {
                let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let _ = file.write_all(line(record, *format, false).as_bytes());
            }
            Self::Journald(journald) => journald.write(event, context),
            Self::Syslog(syslog) => syslog.write(record),
        }
    }
}

fn line(record: &Record, format: Format, colour: bool) -> String {
    match format {
        Format::Text => record.line(colour),
        Format::Json => record.json(),
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::options()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| Failure::runtime(format!("the log file {} cannot be opened: {error}", path.display())))
}
