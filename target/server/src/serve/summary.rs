//! What goes on, in a line every few seconds, while anything does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::logging::SUMMARY;
use crate::node::Node;
use crate::statistics::Totals;
use crate::system;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// One moment.
struct Reading {
    at: Instant,
    totals: Totals,
    cpu: Duration,
}

impl Reading {
    fn now(node: &Node) -> Self {
        Self { at: Instant::now(), totals: node.statistics.totals(), cpu: system::cpu_time() }
    }
}

/// Tells, until the task is aborted.
pub async fn tell(node: Arc<Node>) {
    let mut last = Reading::now(&node);
    loop {
        tokio::time::sleep(EVERY).await;
        if !tracing::enabled!(target: SUMMARY, tracing::Level::INFO) {
            continue;
        }
        let now = Reading::now(&node);
        let sessions: usize = node.catalog().offers.iter().map(|offer| offer.target.sessions().len()).sum();
        if let Some(line) = line(&last, &now, sessions) {
            tracing::info!(target: SUMMARY, "{line}");
        }
        last = now;
    }
}

/// `None` where nothing was read or written.
fn line(last: &Reading, now: &Reading, sessions: usize) -> Option<String> {
    let seconds = now.at.duration_since(last.at).as_secs_f64().max(0.001);
    let (before, after) = (last.totals.all_disks(), now.totals.all_disks());
    let operations = (after.reads + after.writes) - (before.reads + before.writes);
    if operations == 0 {
        return None;
    }
    let rate = |bytes: u64| bytes as f64 / seconds / f64::from(1 << 20);
    let wait = (now.totals.waited_nanos - last.totals.waited_nanos) as f64 / 1e9 / seconds;
    let load = now.cpu.saturating_sub(last.cpu).as_secs_f64() / seconds;
    Some(format!(
        "{:.0} IOPS, read {:.1} MiB/s, written {:.1} MiB/s, I/O wait {:.0} %, load {:.0} %, {sessions} session{}",
        operations as f64 / seconds,
        rate(after.read_bytes - before.read_bytes),
        rate(after.written_bytes - before.written_bytes),
        wait * 100.0,
        load * 100.0,
        if sessions == 1 { "" } else { "s" },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::DiskTotals;

    #[test]
    fn a_line_only_where_there_is_something_to_tell() {
        let at = Instant::now();
        let disk = |reads, read_bytes| DiskTotals { reads, read_bytes, ..DiskTotals::default() };
        let reading = |seconds, disk, waited_nanos, cpu| Reading {
            at: at + Duration::from_secs(seconds),
            totals: Totals { disks: vec![disk], waited_nanos, ..Totals::default() },
            cpu: Duration::from_millis(cpu),
        };
        let first = reading(0, disk(10, 100), 0, 0);
        assert_eq!(line(&first, &reading(5, disk(10, 100), 9, 9), 1), None);
        let then = reading(5, disk(1010, 100 + (10 << 20)), 500_000_000, 1250);
        let expected = "200 IOPS, read 2.0 MiB/s, written 0.0 MiB/s, I/O wait 10 %, load 25 %, 1 session";
        assert_eq!(line(&first, &then, 1).as_deref(), Some(expected));
    }
}
