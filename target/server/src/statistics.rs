//! What the target counted, over all connections that ended.

use std::sync::atomic::{AtomicU64, Ordering};

use iesp_iscsi::connection::Statistics as Counted;

use crate::connection::End;

/// Totals.
#[derive(Debug, Default)]
pub struct Statistics {
    units: AtomicU64,
    digest_errors: AtomicU64,
    format_errors: AtomicU64,
    logouts: AtomicU64,
    failures: AtomicU64,
}

impl Statistics {
    /// A connection ended.
    pub fn add(&self, counted: &Counted, end: &End) {
        self.units.fetch_add(counted.units, Ordering::Relaxed);
        self.digest_errors.fetch_add(counted.digest_errors, Ordering::Relaxed);
        self.format_errors.fetch_add(counted.format_errors, Ordering::Relaxed);
        let way = if matches!(end, End::LoggedOut) { &self.logouts } else { &self.failures };
        way.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} units, {} logouts, {} other ends, {} digest errors, {} format errors",
            load(&self.units),
            load(&self.logouts),
            load(&self.failures),
            load(&self.digest_errors),
            load(&self.format_errors)
        )
    }
}
