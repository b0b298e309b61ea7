//! The log: text for people, JSON, journald, syslog and files, each with its own level; levels by part of the program; all of
//! it can be changed while the program runs.

mod config;
mod event;
mod journald;
mod sink;
mod syslog;

use std::sync::{OnceLock, PoisonError, RwLock};

use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

pub use config::{Config, Trace};

use crate::failure::Failure;
use config::{Levels, Part};
use event::Record;
use sink::Sink;

/// The events of `--trace-pdu`.
pub const PDU: &str = "iesp::pdu";

/// The lines that sum up.
pub const SUMMARY: &str = "iesp::summary";

/// Where it all goes now.
static LOG: OnceLock<RwLock<State>> = OnceLock::new();

#[derive(Debug)]
struct State {
    levels: Levels,
    sinks: Vec<(LevelFilter, Sink)>,
}

impl State {
    fn open(config: &Config) -> Result<Self, Failure> {
        let sinks = config.outputs.iter().map(|output| Ok((output.level, Sink::open(&output.kind)?)));
        Ok(Self { levels: config.levels(), sinks: sinks.collect::<Result<_, Failure>>()? })
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let part = Part::of(metadata.target());
        self.sinks.iter().any(|(level, _)| self.levels.of(part, *level) >= *metadata.level())
    }
}

fn read<T>(with: impl FnOnce(&State) -> T) -> Option<T> {
    let state = LOG.get()?.read().unwrap_or_else(PoisonError::into_inner);
    Some(with(&state))
}

/// Starts the log.
///
/// # Errors
/// What cannot be opened.
pub fn start(config: &Config) -> Result<(), Failure> {
    let state = State::open(config)?;
    if LOG.set(RwLock::new(state)).is_ok() {
        tracing_subscriber::registry().with(Log).init();
    }
    Ok(())
}

/// A log that is open, and not in use yet.
pub struct Opened(State);

/// Opens another log; files that are in use are opened again.
///
/// # Errors
/// What cannot be opened.
pub fn open(config: &Config) -> Result<Opened, Failure> {
    State::open(config).map(Opened)
}

/// Uses it from now on.
pub fn change(opened: Opened) {
    if let Some(log) = LOG.get() {
        // The old one ends when nobody waits for the lock: its syslog may still have something to send.
        let old = std::mem::replace(&mut *log.write().unwrap_or_else(PoisonError::into_inner), opened.0);
        drop(old);
    }
    tracing::callsite::rebuild_interest_cache();
}

/// The end: what waits to be sent is sent, as far as it takes no longer than a second.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.write().unwrap_or_else(PoisonError::into_inner).sinks.clear();
    }
}

/// Hands each event to those that want it.
struct Log;

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match read(|state| state.wants(metadata)) {
            Some(true) => Interest::always(),
            _ => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        read(|state| state.wants(metadata)).unwrap_or(false)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        read(|state| {
            let levels = state.sinks.iter().map(|(level, _)| state.levels.most(*level));
            levels.max().unwrap_or(LevelFilter::OFF)
        })
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (part, level) = (Part::of(event.metadata().target()), *event.metadata().level());
        read(|state| {
            let record = Record::of(event, part);
            for (threshold, sink) in &state.sinks {
                if state.levels.of(part, *threshold) >= level {
                    sink.write(&record, event, &context);
                }
            }
        });
    }
}
