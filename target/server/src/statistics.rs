//! What the target counts. Each connection has counters of its own, which its thread alone writes: a command costs a few
//! plain additions, and no cache line goes from core to core. What connections counted stays in the totals when they end,
//! so that no total ever goes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iesp_iscsi::connection::Statistics as Counted;

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
    digest_errors: Count,
    format_errors: Count,
    /// Bytes in data segments of SCSI Data-In units.
    pub data_in: Count,
    /// Bytes of immediate data, and in data segments of Data-Out units.
    pub data_out: Count,
    waited_nanos: Count,
    disks: Box<[DiskCounters]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct DiskCounters {
    reads: Count,
    read_bytes: Count,
    writes: Count,
    written_bytes: Count,
}

impl Counters {
    fn new(disks: usize) -> Self {
        Self { disks: (0..disks).map(|_| DiskCounters::default()).collect(), ..Self::default() }
    }

    /// What the protocol has counted so far.
    #[inline]
    pub fn publish(&self, counted: &Counted) {
        self.units.set(counted.units);
        self.digest_errors.set(counted.digest_errors);
        self.format_errors.set(counted.format_errors);
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

/// What was counted so far; it never goes back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Units received.
    pub units: u64,
    /// Wrong digests.
    pub digest_errors: u64,
    /// Units with format errors.
    pub format_errors: u64,
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
    /// Sessions that ended otherwise.
    pub failures: u64,
    /// By logical unit.
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
}

impl Totals {
    fn add(&mut self, counters: &Counters) {
        self.units += counters.units.get();
        self.digest_errors += counters.digest_errors.get();
        self.format_errors += counters.format_errors.get();
        self.data_in += counters.data_in.get();
        self.data_out += counters.data_out.get();
        self.waited_nanos += counters.waited_nanos.get();
        if self.disks.len() < counters.disks.len() {
            self.disks.resize(counters.disks.len(), DiskTotals::default());
        }
        for (total, disk) in self.disks.iter_mut().zip(&counters.disks) {
            total.reads += disk.reads.get();
            total.read_bytes += disk.read_bytes.get();
            total.writes += disk.writes.get();
            total.written_bytes += disk.written_bytes.get();
        }
    }

    /// All disks together.
    pub fn all_disks(&self) -> DiskTotals {
        self.disks.iter().fold(DiskTotals::default(), |sum, disk| DiskTotals {
            reads: sum.reads + disk.reads,
            read_bytes: sum.read_bytes + disk.read_bytes,
            writes: sum.writes + disk.writes,
            written_bytes: sum.written_bytes + disk.written_bytes,
        })
    }
}

/// All that the target counts.
#[derive(Debug, Default)]
pub struct Statistics {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// Of the connections that there are.
    open: Vec<Arc<Counters>>,
    /// Of those that have ended, and what is counted by the session.
    closed: Totals,
}

impl Statistics {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection came, to a target of so many disks. Its thread counts in what this returns.
    pub fn open(&self, disks: usize) -> Arc<Counters> {
        let counters = Arc::new(Counters::new(disks));
        self.book().open.push(Arc::clone(&counters));
        counters
    }

    /// A connection ended: what it counted stays.
    pub fn close(&self, counters: &Arc<Counters>) {
        let mut book = self.book();
        // Under one lock: nobody sees it in both places, or in none.
        book.open.retain(|other| !Arc::ptr_eq(other, counters));
        book.closed.add(counters);
    }

    /// A login was accepted.
    pub fn session_began(&self) {
        self.book().closed.logins += 1;
    }

    /// A session ended, by a logout or otherwise.
    pub fn session_ended(&self, logged_out: bool) {
        let closed = &mut self.book().closed;
        let way = if logged_out { &mut closed.logouts } else { &mut closed.failures };
        *way += 1;
    }

    /// Everything up to now.
    pub fn totals(&self) -> Totals {
        let book = self.book();
        let mut totals = book.closed.clone();
        for counters in &book.open {
            totals.add(counters);
        }
        totals
    }
}

impl std::fmt::Display for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Totals { units, logouts, failures, digest_errors, format_errors, .. } = self.totals();
        write!(
            f,
            "{units} units, {logouts} logouts, {failures} other ends of sessions, {digest_errors} digest errors, \
             {format_errors} format errors"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_keep_what_ended_connections_counted() {
        let statistics = Statistics::default();
        let [one, two] = [statistics.open(2), statistics.open(2)];
        one.publish(&Counted { units: 7, digest_errors: 1, format_errors: 2 });
        one.read(0, 512);
        one.data_in.add(512);
        two.written(1, 4096);
        two.done(1, Work::Read { offset: 0, len: 100 });
        two.done(1, Work::Flush);
        two.waited(Duration::from_millis(20));
        // No such disk: nothing to count, and no harm.
        two.read(2, 1);
        statistics.session_began();
        let before = statistics.totals();
        assert_eq!((before.units, before.digest_errors, before.format_errors), (7, 1, 2));
        let disk = |reads, read_bytes, writes, written_bytes| DiskTotals { reads, read_bytes, writes, written_bytes };
        assert_eq!(before.disks, [disk(1, 512, 0, 0), disk(1, 100, 1, 4096)]);
        assert_eq!(before.all_disks(), disk(2, 612, 1, 4096));
        assert_eq!((before.data_in, before.waited_nanos, before.logins), (512, 20_000_000, 1));
        statistics.close(&one);
        assert_eq!(statistics.totals(), before);
        statistics.close(&two);
        assert_eq!(statistics.totals(), before);
    }
}
