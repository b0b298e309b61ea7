//! What came out of a load.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::size::show_size;

use super::engine::Measured;
use super::{Direction, Pattern, Plan};

/// The result of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The logical unit, without a secret.
    pub url: String,
    /// `read`, `write`, or `N % read`.
    pub direction: String,
    /// `random` or `sequential`.
    pub pattern: String,
    /// Bytes of an operation.
    pub block: u64,
    /// Operations in flight on each connection.
    pub depth: u32,
    /// Number of connections.
    pub connections: u32,
    /// Seed of the random positions.
    pub seed: u64,
    /// Length of the measurement in seconds.
    pub seconds: f64,
    /// Operations that completed in it.
    pub operations: u64,
    /// Operations a second.
    pub operations_per_second: f64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// From submission to completion.
    pub latency_us: Latency,
    /// CPU time of the load generator an operation, in microseconds.
    pub load_cpu_us: f64,
    /// CPU time of the server's process an operation, in microseconds.
    pub server_cpu_us: Option<f64>,
}

/// Latency in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p99_9: f64,
    /// Longest.
    pub max: f64,
}

impl Report {
    pub(super) fn new(plan: &Plan, measured: &Measured) -> Self {
        let seconds = measured.elapsed.as_secs_f64();
        let per_second = measured.requests as f64 / seconds;
        let per_operation = |time: Duration| time.as_secs_f64() * 1e6 / measured.requests.max(1) as f64;
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let quantile = |q: f64| us(measured.latency.value_at_quantile(q));
        Self {
            url: plan.url.to_string(),
            direction: match plan.direction {
                Direction::Read => "read".to_owned(),
                Direction::Write => "write".to_owned(),
                Direction::Mix(percent) => format!("{percent} % read"),
            },
            pattern: match plan.pattern {
                Pattern::Random => "random".to_owned(),
                Pattern::Sequential => "sequential".to_owned(),
            },
            block: plan.block,
            depth: plan.depth,
            connections: plan.connections,
            seed: plan.seed,
            seconds,
            operations: measured.requests,
            operations_per_second: per_second,
            bytes_per_second: per_second * plan.block as f64,
            latency_us: Latency {
                mean: measured.latency.mean() / 1e3,
                p50: quantile(0.5),
                p99: quantile(0.99),
                p99_9: quantile(0.999),
                max: us(measured.latency.max()),
            },
            load_cpu_us: per_operation(measured.own_cpu),
            server_cpu_us: measured.server_cpu.map(per_operation),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.connections == 1 { "" } else { "s, each" };
        writeln!(
            f,
            "{} {} {} on {} connection{plural} with {} in flight, seed {}",
            show_size(self.block),
            self.pattern,
            self.direction,
            self.connections,
            self.depth,
            self.seed
        )?;
        writeln!(
            f,
            "{} operations/s   {:.1} MB/s   ({} operations in {:.2} s)",
            thousands(self.operations_per_second.round() as u64),
            self.bytes_per_second / 1e6,
            thousands(self.operations),
            self.seconds
        )?;
        let Latency { mean, p50, p99, p99_9, max } = self.latency_us;
        writeln!(f, "latency in µs    mean {mean:.1}   p50 {p50:.1}   p99 {p99:.1}   p99.9 {p99_9:.1}   max {max:.1}")?;
        write!(f, "CPU time in µs an operation    load generator {:.2}", self.load_cpu_us)?;
        match self.server_cpu_us {
            Some(server) => write!(f, "   server {server:.2}"),
            None => Ok(()),
        }
    }
}

/// 1234567 as `1 234 567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let groups = digits.as_bytes()[head..].chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let first = (head > 0).then(|| digits[..head].to_owned());
    first.into_iter().chain(groups).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn groups_of_three() {
        let cases = [(0, "0"), (999, "999"), (1000, "1 000"), (123_456, "123 456"), (1_234_567, "1 234 567")];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
    }
}
