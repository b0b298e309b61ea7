//! The journal of systemd.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::failure::Failure;

/// A connection to it.
pub struct Journald(tracing_journald::Layer);

impl fmt::Debug for Journald {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journald")
    }
}

impl Journald {
    /// Connects.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open() -> Result<Self, Failure> {
        let layer = tracing_journald::layer().map_err(|error| {
            let remedy = "leave [log.journald] out where systemd does not run";
            Failure::runtime(format!("the journal (/run/systemd/journal/socket) cannot be reached: {error}; {remedy}"))
        })?;
        Ok(Self(layer.with_syslog_identifier("iesp".to_owned()).with_field_prefix(Some("IESP".to_owned()))))
    }

    /// Writes an event.
    pub fn write<S>(&self, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.0.on_event(event, context.clone());
    }
}
