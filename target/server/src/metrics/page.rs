//! What the metrics are: each scrape reads the counters once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::host;
use crate::latency::{BOUNDS, Command, Histogram};
use crate::luns::Lun;
use crate::node::Node;
use crate::statistics::{DiskTotals, Refusal, Row, Seen, Totals};

/// How the page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

impl Format {
    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// The page.
#[derive(Debug)]
pub struct Page {
    registry: Registry,
}

impl Page {
    /// Of this node.
    pub fn new(node: Arc<Node>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Numbers { node, started: (Instant::now(), SystemTime::now()) }));
        Self { registry }
    }

    /// The page at this moment.
    ///
    /// # Errors
    /// Where it cannot be formatted.
    pub fn write(&self, format: Format) -> Result<String, fmt::Error> {
        let mut page = String::new();
        match format {
            Format::OpenMetrics => text::encode(&mut page, &self.registry)?,
            Format::Prometheus => prometheus_text::encode(&mut page, &self.registry)?,
        }
        Ok(page)
    }
}

/// Where the numbers are read.
#[derive(Debug)]
struct Numbers {
    node: Arc<Node>,
    started: (Instant, SystemTime),
}

/// Labels of one metric.
type Labels<const N: usize> = [(&'static str, String); N];

/// Numbers by their labels.
type Series<const N: usize> = Vec<(Labels<N>, u64)>;

impl Collector for Numbers {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Writer(encoder);
        let snapshot = self.node.statistics.snapshot();
        self.program(&mut out)?;
        target(&mut out, &snapshot.totals)?;
        out.gauge("iesp_sessions", "Sessions that there are", None, one(snapshot.sessions.len() as u64))?;
        out.gauge("iesp_connections", "Connections that there are", None, one(self.node.connections() as u64))?;
        let rows = self.node.statistics.described_rows();
        self.disks(&mut out, &rows, &snapshot.totals)?;
        self.sessions(&mut out, &snapshot.sessions)?;
        self.latencies(&mut out, &rows)
    }
}

impl Numbers {
    fn program(&self, out: &mut Writer<'_>) -> fmt::Result {
        let mut metric = out.0.encode_descriptor("iesp_build", "The program", None, MetricType::Info)?;
        metric.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let help = "CPU time of all threads";
        out.seconds("process_cpu", help, crate::system::cpu_time())?;
        let started = self.started.1.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let help = "When the program began to serve metrics";
        out.plain_gauge("process_start_time", help, Some(&Unit::Seconds), started)?;
        if let Some(bytes) = host::resident() {
            let help = "RAM that the program uses";
            out.gauge("process_resident_memory", help, Some(&Unit::Bytes), one(bytes))?;
        }
        Ok(())
    }

    fn disks(&self, out: &mut Writer<'_>, rows: &[Row], totals: &Totals) -> fmt::Result {
        let each = |number: fn(&DiskTotals) -> u64| -> Series<3> {
            let numbers = (0..).map(|row| totals.disks.get(row).map_or(0, number));
            rows.iter().map(disk_labels).zip(numbers).collect()
        };
        let bytes = Some(&Unit::Bytes);
        out.counter("iesp_disk_reads", "Reads that the disk did", None, each(|disk| disk.reads))?;
        out.counter("iesp_disk_read", "What was read from the disk", bytes, each(|disk| disk.read_bytes))?;
        out.counter("iesp_disk_writes", "Writes that the disk did", None, each(|disk| disk.writes))?;
        out.counter("iesp_disk_written", "What was written to the disk", bytes, each(|disk| disk.written_bytes))?;
        let help = "Commands that ended with another status than GOOD";
        out.counter("iesp_command_failures", help, None, each(|disk| disk.failures))?;
        // What is gone has no size any more.
        let luns = self.node.disks();
        let of = |number: fn(&Lun) -> Option<u64>| -> Series<3> {
            let numbers = rows.iter().zip(&luns);
            numbers.filter_map(|(row, lun)| Some((disk_labels(row), number(lun.as_ref()?)?))).collect()
        };
        self.states(out, rows)?;
        out.gauge("iesp_disk_size", "The disk's size", bytes, of(|lun| Some(lun.backend.facts().len)))?;
        out.gauge("iesp_disk_allocated", "What of the disk takes space below", bytes, of(|lun| lun.backend.allocated()))
    }

    /// Each disk has one of the states.
    fn states(&self, out: &mut Writer<'_>, rows: &[Row]) -> fmt::Result {
        let states = self.node.states();
        let mut series: Series<4> = Vec::new();
        for (row, state) in rows.iter().zip(states) {
            // One that is gone has none.
            let Some(condition) = state else { continue };
            for name in ["serving", "waiting", "failed"] {
                let [target, lun, disk] = disk_labels(row);
                let labels = [target, lun, disk, ("state", name.to_owned())];
                series.push((labels, u64::from(name == condition.name())));
            }
        }
        out.gauge("iesp_disk_state", "1 for the state that the disk is in", None, series)
    }

    fn sessions(&self, out: &mut Writer<'_>, sessions: &[Seen]) -> fmt::Result {
        let each = |number: fn(&Seen) -> u64| -> Series<4> {
            sessions.iter().map(|seen| (session_labels(seen), number(seen))).collect()
        };
        let bytes = Some(&Unit::Bytes);
        let help = "SCSI commands that came by the session";
        out.counter("iesp_session_commands", help, None, each(|seen| seen.counted.commands))?;
        let help = "Data that the session sent to its initiator";
        out.counter("iesp_session_data_in", help, bytes, each(|seen| seen.counted.data_in))?;
        let help = "Data that the session received from its initiator";
        out.counter("iesp_session_data_out", help, bytes, each(|seen| seen.counted.data_out))?;
        let help = "Units of the session with a wrong digest";
        out.counter("iesp_session_digest_errors", help, None, each(|seen| seen.counted.digest_errors))?;
        let help = "When the session began";
        let mut metric =
            out.0.encode_descriptor("iesp_session_start_time", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for seen in sessions {
            let after = seen.session.began.saturating_duration_since(self.started.0);
            let began = (self.started.1 + after).duration_since(UNIX_EPOCH).unwrap_or_default();
            metric.encode_family(&session_labels(seen))?.encode_gauge(&began.as_secs_f64())?;
        }
        Ok(())
    }

    fn latencies(&self, out: &mut Writer<'_>, rows: &[Row]) -> fmt::Result {
        let help = "From when a command is taken from the socket to when its answer is handed to it";
        let unit = Some(&Unit::Seconds);
        let mut metric = out.0.encode_descriptor("iesp_command_duration", help, unit, MetricType::Histogram)?;
        let nothing = [Histogram::default(); Command::ALL.len()];
        let measured = self.node.statistics.latencies();
        for (row, described) in rows.iter().enumerate() {
            let by_command = measured.get(row).unwrap_or(&nothing);
            for (command, histogram) in Command::ALL.iter().zip(by_command) {
                // What is seldom used appears with its first use.
                if histogram.count() > 0 || matches!(command, Command::Read | Command::Write) {
                    let [target, lun, _] = disk_labels(described);
                    let labels = [target, lun, ("command", command.name().to_owned())];
                    encode_histogram(metric.encode_family(&labels)?, histogram)?;
                }
            }
        }
        Ok(())
    }
}

/// Of the target as a whole.
fn target(out: &mut Writer<'_>, totals: &Totals) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    out.counter("iesp_units_received", "iSCSI units received", None, one(totals.units))?;
    out.counter("iesp_commands_received", "SCSI commands received", None, one(totals.commands))?;
    let help = "SCSI Response units sent: a status that travels with data is none";
    out.counter("iesp_responses_sent", help, None, one(totals.responses))?;
    out.counter("iesp_nops_received", "NOP-Out units received", None, one(totals.nops_received))?;
    out.counter("iesp_nops_sent", "NOP-In units sent", None, one(totals.nops_sent))?;
    out.counter("iesp_digest_errors", "Units with a wrong digest", None, one(totals.digest_errors))?;
    out.counter("iesp_format_errors", "Units with a format error", None, one(totals.format_errors))?;
    out.counter("iesp_data_in", "Data sent to initiators", bytes, one(totals.data_in))?;
    out.counter("iesp_data_out", "Data received from initiators", bytes, one(totals.data_out))?;
    let help = "Time for which commands waited for devices, all of them added up";
    out.seconds("iesp_io_wait", help, Duration::from_nanos(totals.waited_nanos))?;
    out.counter("iesp_logins", "Logins accepted", None, one(totals.logins))?;
    let refused = Refusal::ALL.map(|why| ([("reason", why.name().to_owned())], totals.refusals[why as usize]));
    out.counter("iesp_logins_refused", "Logins refused", None, refused.into())?;
    out.counter("iesp_logouts", "Sessions that ended by a logout", None, one(totals.logouts))?;
    let [digest, timeout, format] = totals.failed_by;
    let other = totals.failures.saturating_sub(digest + timeout + format);
    let failed = [("digest", digest), ("timeout", timeout), ("format", format), ("other", other)];
    let failed = failed.map(|(why, number)| ([("reason", why.to_owned())], number));
    out.counter("iesp_session_failures", "Sessions that ended otherwise", None, failed.into())
}

fn disk_labels(row: &Row) -> Labels<3> {
    [("target", row.target.clone()), ("lun", row.lun.to_string()), ("disk", row.name.clone())]
}

fn session_labels(seen: &Seen) -> Labels<4> {
    let session = &seen.session;
    [
        ("session", session.number.to_string()),
        ("initiator", session.initiator.clone()),
        ("target", session.target.clone().unwrap_or_default()),
        ("peer", session.peer.to_string()),
    ]
}

fn encode_histogram(mut metric: MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e9).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(histogram.buckets).collect();
    metric.encode_histogram::<NoLabelSet>(histogram.nanos as f64 / 1e9, histogram.count(), &buckets, None)
}

/// A number without labels.
fn one(number: u64) -> Series<0> {
    vec![([], number)]
}

/// Writes metrics.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counter<const N: usize>(&mut self, name: &str, help: &str, unit: Option<&Unit>, series: Series<N>) -> fmt::Result
    where
        Labels<N>: EncodeLabelSet,
    {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, number) in series {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&number, None)?;
        }
        Ok(())
    }

    fn gauge<const N: usize>(&mut self, name: &str, help: &str, unit: Option<&Unit>, series: Series<N>) -> fmt::Result
    where
        Labels<N>: EncodeLabelSet,
    {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, number) in series {
            metric.encode_family(&labels)?.encode_gauge(&(number as f64))?;
        }
        Ok(())
    }

    fn plain_gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, number: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&number)
    }

    /// A counter of time.
    fn seconds(&mut self, name: &str, help: &str, time: Duration) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, f64, f64>(&time.as_secs_f64(), None)
    }
}
