//! The values: of the target's counters, its disks and the host.

use std::cell::OnceCell;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rasn::types::{Integer, OctetString};
use rasn_smi::v1::{Counter as Counter32, TimeTicks};
use rasn_smi::v2::{ApplicationSyntax, Counter64, SimpleSyntax};
use rasn_snmp::v2::ObjectSyntax;

use super::objects::{Kind, Source, Variable};
use super::pdu::Values;
use crate::luns::Lun;
use crate::node::Node;
use crate::statistics::{DiskTotals, Row, Totals};

/// Over how long, at least, the use of the CPUs is averaged.
const CPU_WINDOW: Duration = Duration::from_secs(1);

/// Most bytes of a DisplayString (RFC 2579).
const TEXT_MAX: usize = 255;

/// What there is to know about the host.
#[derive(Debug)]
pub struct Host {
    started: Instant,
    name: String,
    description: String,
    build_date: String,
    cpus: u32,
    cpu: Mutex<CpuUse>,
}

/// How much of the CPUs' time the program used in the last window.
#[derive(Debug, Clone, Copy)]
struct CpuUse {
    since: Instant,
    used: Duration,
    percent: u32,
}

impl Host {
    /// This one.
    pub fn here() -> Self {
        let system = rustix::system::uname();
        let (kernel, machine) = (system.sysname().to_string_lossy(), system.machine().to_string_lossy());
        let started = Instant::now();
        Self {
            started,
            name: system.nodename().to_string_lossy().into_owned(),
            description: format!("iesp {}, an iSCSI target, on {kernel} {machine}", env!("CARGO_PKG_VERSION")),
            build_date: build_date().unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
            cpu: Mutex::new(CpuUse { since: started, used: cpu_time(), percent: 0 }),
        }
    }

    fn cpu_percent(&self) -> u32 {
        let mut last = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = last.since.elapsed();
        if elapsed < CPU_WINDOW {
            return last.percent;
        }
        let used = cpu_time();
        let share = used.saturating_sub(last.used).as_secs_f64() / (elapsed.as_secs_f64() * f64::from(self.cpus));
        let percent = (share * 100.0).round().clamp(0.0, 100.0) as u32;
        *last = CpuUse { since: last.since + elapsed, used, percent };
        percent
    }
}

/// CPU time of all threads.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The program file's date: no clock is asked while the program is built, so that two builds of a source are the same.
fn build_date() -> Option<String> {
    let modified = std::env::current_exe().ok()?.metadata().ok()?.modified().ok()?;
    let seconds = modified.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let date = chrono::DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0)?;
    Some(date.format("%Y-%m-%d").to_string())
}

/// kB of RAM that programs can have without anything being swapped; 0 where the system does not tell.
fn free_ram() -> u64 {
    let free = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    free.unwrap_or(0)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches("kB").trim_end().parse().ok()
}

/// How much of a disk takes no space, in percent, rounded down.
fn free_percent(lun: &Lun) -> u64 {
    let len = u128::from(lun.backend.facts().len.max(1));
    let Some(allocated) = lun.backend.allocated() else { return 0 };
    (len.saturating_sub(allocated.into()) * 100 / len) as u64
}

/// A number, or text.
enum Reading {
    Number(u64),
    Text(String),
}

/// The values for one request, which all belong to one moment.
pub struct Readings<'a> {
    node: &'a Node,
    host: &'a Host,
    /// The disks, by the rows of the totals.
    rows: OnceCell<Vec<Row>>,
    totals: OnceCell<Totals>,
}

impl<'a> Readings<'a> {
    /// Of this node. Nothing is read before it is asked for.
    pub const fn new(node: &'a Node, host: &'a Host) -> Self {
        Self { node, host, rows: OnceCell::new(), totals: OnceCell::new() }
    }

    fn rows(&self) -> &[Row] {
        self.rows.get_or_init(|| self.node.statistics.described_rows())
    }

    fn totals(&self) -> &Totals {
        self.totals.get_or_init(|| self.node.statistics.totals())
    }

    /// Of one disk, or of all.
    fn disk(&self, disk: Option<usize>) -> DiskTotals {
        match disk {
            // Before the first session there is nothing of it in the totals.
            Some(disk) => self.totals().disks.get(disk).copied().unwrap_or_default(),
            None => self.totals().all_disks(),
        }
    }

    fn read(&self, source: Source, disk: Option<usize>) -> Reading {
        use Reading::{Number, Text};
        match source {
            Source::Description => Text(self.host.description.clone()),
            Source::UpTime => Number(hundredths(self.host.started.elapsed())),
            Source::Contact | Source::Location => Text(String::new()),
            Source::Name => Text(self.host.name.clone()),
            Source::Fixed(number) => Number(number.into()),
            Source::Version => Text(env!("CARGO_PKG_VERSION").to_owned()),
            Source::BuildDate => Text(self.host.build_date.clone()),
            Source::Units => Number(self.totals().units),
            Source::DataIn => Number(self.totals().data_in),
            Source::DataOut => Number(self.totals().data_out),
            Source::SessionFailures => Number(self.totals().failures),
            Source::DigestErrors => Number(self.totals().digest_errors),
            Source::FormatErrors => Number(self.totals().format_errors),
            Source::Logins => Number(self.totals().logins),
            Source::Logouts => Number(self.totals().logouts),
            Source::IoWait => Number(hundredths(Duration::from_nanos(self.totals().waited_nanos))),
            Source::CpuUse => Number(self.host.cpu_percent().into()),
            Source::FreeRam => Number(free_ram()),
            Source::DiskIndex => Number(disk.map_or(0, |disk| disk as u64 + 1)),
            Source::DiskName => {
                Text(self.rows().get(disk.unwrap_or(0)).map(|row| row.name.clone()).unwrap_or_default())
            }
            Source::BytesRead => Number(self.disk(disk).read_bytes),
            Source::BytesWritten => Number(self.disk(disk).written_bytes),
            Source::Reads => Number(self.disk(disk).reads),
            Source::Writes => Number(self.disk(disk).writes),
            Source::DiskFree => {
                Number(self.node.disks().get(disk.unwrap_or(0)).and_then(Option::as_deref).map_or(0, free_percent))
            }
        }
    }
}

impl Values for Readings<'_> {
    fn disks(&self) -> u32 {
        u32::try_from(self.rows().len()).unwrap_or(u32::MAX)
    }

    fn value(&self, variable: &Variable) -> ObjectSyntax {
        let disk = variable.disk.map(|disk| disk as usize);
        encode(variable.object.kind, self.read(variable.object.source, disk))
    }
}

fn hundredths(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 10).unwrap_or(u64::MAX)
}

/// Counters and TimeTicks wrap (RFC 2578 7.1.6, 7.1.8); a number that says how much there is stays at the largest one.
fn encode(kind: Kind, reading: Reading) -> ObjectSyntax {
    let number = match reading {
        Reading::Number(number) => number,
        Reading::Text(mut text) => {
            text.truncate(text.floor_char_boundary(TEXT_MAX));
            return ObjectSyntax::Simple(SimpleSyntax::String(OctetString::from(text.into_bytes())));
        }
    };
    let wrapped = number as u32;
    ObjectSyntax::ApplicationWide(match kind {
        Kind::Integer | Kind::Text => {
            let largest = i32::MAX as u64;
            return ObjectSyntax::Simple(SimpleSyntax::Integer(Integer::from(number.min(largest))));
        }
        Kind::TimeTicks => ApplicationSyntax::Ticks(TimeTicks(wrapped)),
        Kind::Counter32 => ApplicationSyntax::Counter(Counter32(wrapped)),
        Kind::Counter64 => ApplicationSyntax::BigCounter(Counter64(number)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo() {
        assert_eq!(available("MemTotal:  8 kB\nMemAvailable:   12345678 kB\n"), Some(12_345_678));
        assert_eq!(available("MemTotal: 8 kB\n"), None);
        assert_eq!(available("MemAvailable: lots\n"), None);
    }

    #[test]
    fn numbers_in_their_types() {
        let application = |kind, number| match encode(kind, Reading::Number(number)) {
            ObjectSyntax::ApplicationWide(value) => value,
            ObjectSyntax::Simple(value) => panic!("{value:?}"),
        };
        assert_eq!(application(Kind::Counter32, (1 << 32) + 5), ApplicationSyntax::Counter(Counter32(5)));
        assert_eq!(application(Kind::Counter64, u64::MAX), ApplicationSyntax::BigCounter(Counter64(u64::MAX)));
        assert_eq!(application(Kind::TimeTicks, 1 << 32), ApplicationSyntax::Ticks(TimeTicks(0)));
        let largest = SimpleSyntax::Integer(i32::MAX.into());
        assert_eq!(encode(Kind::Integer, Reading::Number(u64::MAX)), ObjectSyntax::Simple(largest));
        let text = encode(Kind::Text, Reading::Text("ä".repeat(200)));
        assert_eq!(text, ObjectSyntax::Simple(SimpleSyntax::String(OctetString::from("ä".repeat(127).into_bytes()))));
    }
}
