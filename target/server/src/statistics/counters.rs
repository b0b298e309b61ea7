//! What one connection counts, which its thread alone writes, and the sums of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iesp_iscsi::connection::Statistics as Counted;

use super::Refusal;
use crate::latency::Latencies;
use crate::pool::Work;

/// A number that one thread counts and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds. Only for the one thread that writes it: two would lose something.
    #[inline]
    pub fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    #[inline]
    fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a connection counts. On cache lines of its own (two of them: CPUs fetch pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    units: Count,
    commands: Count,
    responses: Count,
    nops_received: Count,
    nops_sent: Count,
    digest_errors: Count,
    format_errors: Count,
    timeouts: Count,
    /// Bytes in data segments of SCSI Data-In units.
    pub data_in: Count,
    /// Bytes of immediate data, and in data segments of Data-Out units.
    pub data_out: Count,
    waited_nanos: Count,
    /// What the protocol had counted before: the totals have it.
    base: Counted,
    /// Bytes of Data-In and Data-Out before: the totals have them.
    carried: [u64; 2],
    /// By logical unit number.
    disks: Box<[DiskCounters]>,
    /// The row of the totals of each.
    rows: Box<[Option<u16>]>,
    /// Where its thread measures.
    latencies: Arc<Latencies>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct DiskCounters {
    reads: Count,
    read_bytes: Count,
    writes: Count,
    written_bytes: Count,
    failures: Count,
}

impl Counters {
    pub(super) fn new(rows: Box<[Option<u16>]>, base: Counted, latencies: Arc<Latencies>) -> Self {
        Self { base, disks: rows.iter().map(|_| DiskCounters::default()).collect(), rows, latencies, ..Self::default() }
    }

    /// With what the connection had counted before.
    pub(super) fn carrying(mut self, before: SessionTotals) -> Self {
        self.carried = [before.data_in, before.data_out];
        self
    }

    /// The row of the totals of logical unit `lun`.
    #[inline]
    pub fn row(&self, lun: u16) -> Option<u16> {
        *self.rows.get(usize::from(lun))?
    }

    /// Where the connection's thread measures how long commands take.
    #[inline]
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// What its connection has counted from its beginning.
    pub fn session(&self) -> SessionTotals {
        SessionTotals {
            units: self.base.units + self.units.get(),
            data_in: self.carried[0] + self.data_in.get(),
            data_out: self.carried[1] + self.data_out.get(),
        }
    }

    /// What the protocol has counted so far.
    #[inline]
    pub fn publish(&self, counted: &Counted) {
        let base = &self.base;
        self.units.set(counted.units - base.units);
        self.commands.set(counted.commands - base.commands);
        self.responses.set(counted.responses - base.responses);
        self.nops_received.set(counted.nops_received - base.nops_received);
        self.nops_sent.set(counted.nops_sent - base.nops_sent);
        self.digest_errors.set(counted.digest_errors - base.digest_errors);
        self.format_errors.set(counted.format_errors - base.format_errors);
        self.timeouts.set(counted.timeouts - base.timeouts);
    }

    /// The backend has read so many bytes for logical unit `lun`.
    #[inline]
    pub fn read(&self, lun: u16, bytes: usize) {
        if let Some(disk) = self.disks.get(usize::from(lun)) {
            disk.reads.add(1);
            disk.read_bytes.add(bytes as u64);
        }
    }

    /// The backend has written so many bytes.
    #[inline]
    pub fn written(&self, lun: u16, bytes: usize) {
        if let Some(disk) = self.disks.get(usize::from(lun)) {
            disk.writes.add(1);
            disk.written_bytes.add(bytes as u64);
        }
    }

    /// A command of logical unit `lun` ended with another status than GOOD.
    pub fn failed(&self, lun: u16) {
        if let Some(disk) = self.disks.get(usize::from(lun)) {
            disk.failures.add(1);
        }
    }

    /// The backend has done this: reads and writes count, what moves no data does not.
    pub fn done(&self, lun: u16, work: Work) {
        match work {
            Work::Read { len, .. } => self.read(lun, len),
            Work::Write { len, .. } => self.written(lun, len),
            Work::Flush | Work::Unmap { .. } | Work::Zero { .. } | Work::Extent { .. } => {}
        }
    }

    /// A command waited so long for a device.
    pub fn waited(&self, time: Duration) {
        self.waited_nanos.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// What a connection has counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SessionTotals {
    /// Units received.
    pub units: u64,
    /// Bytes in data segments of SCSI Data-In units.
    pub data_in: u64,
    /// Bytes of immediate data, and in data segments of Data-Out units.
    pub data_out: u64,
}

/// What was counted so far; it never goes back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Units received.
    pub units: u64,
    /// SCSI Command units among them.
    pub commands: u64,
    /// SCSI Response units sent.
    pub responses: u64,
    /// NOP-Out units received.
    pub nops_received: u64,
    /// NOP-In units sent.
    pub nops_sent: u64,
    /// Wrong digests.
    pub digest_errors: u64,
    /// Units with format errors.
    pub format_errors: u64,
    /// Connections that ended because the peer was silent.
    pub timeouts: u64,
    /// Bytes in data segments of SCSI Data-In units.
    pub data_in: u64,
    /// Bytes of immediate data, and in data segments of Data-Out units.
    pub data_out: u64,
    /// Time for which commands waited for devices, in nanoseconds, all of them added up.
    pub waited_nanos: u64,
    /// Sessions that began.
    pub logins: u64,
    /// Sessions that ended by a logout.
    pub logouts: u64,
    /// Logouts by their reason (RFC 7143 11.14.1): close the session, close the connection, remove it.
    pub logout_reasons: [u64; 3],
    /// Sessions that ended otherwise.
    pub failures: u64,
    /// Sessions among them that ended by a wrong digest, by silence, by a unit with a format error.
    pub failed_by: [u64; 3],
    /// Logins that were refused, by [`Refusal`].
    pub refusals: [u64; Refusal::ALL.len()],
    /// By row: a logical unit has the same one for the whole life of the program.
    pub disks: Vec<DiskTotals>,
}

/// What was read from and written to a disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct DiskTotals {
    /// Reads that the backend did.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Writes that the backend did.
    pub writes: u64,
    /// Their bytes.
    pub written_bytes: u64,
    /// Commands that ended with another status than GOOD.
    pub failures: u64,
}

impl Totals {
    pub(super) fn add(&mut self, counters: &Counters) {
        self.units += counters.units.get();
        self.commands += counters.commands.get();
        self.responses += counters.responses.get();
        self.nops_received += counters.nops_received.get();
        self.nops_sent += counters.nops_sent.get();
        self.timeouts += counters.timeouts.get();
        self.digest_errors += counters.digest_errors.get();
        self.format_errors += counters.format_errors.get();
        self.data_in += counters.data_in.get();
        self.data_out += counters.data_out.get();
        self.waited_nanos += counters.waited_nanos.get();
        for (row, disk) in counters.rows.iter().zip(&counters.disks) {
            let Some(row) = row.map(usize::from) else { continue };
            if self.disks.len() <= row {
                self.disks.resize(row + 1, DiskTotals::default());
            }
            let total = &mut self.disks[row];
            total.reads += disk.reads.get();
            total.read_bytes += disk.read_bytes.get();
            total.writes += disk.writes.get();
            total.written_bytes += disk.written_bytes.get();
            total.failures += disk.failures.get();
        }
    }

    /// All disks together.
    pub fn all_disks(&self) -> DiskTotals {
        self.disks.iter().fold(DiskTotals::default(), |sum, disk| DiskTotals {
            reads: sum.reads + disk.reads,
            read_bytes: sum.read_bytes + disk.read_bytes,
            writes: sum.writes + disk.writes,
            written_bytes: sum.written_bytes + disk.written_bytes,
            failures: sum.failures + disk.failures,
        })
    }
}
