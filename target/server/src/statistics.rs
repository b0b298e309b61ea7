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
    /// What the protocol had counted before: the totals have it.
    base: Counted,
    /// Bytes of Data-In and Data-Out before: the totals have them.
    carried: [u64; 2],
    /// By logical unit number.
    disks: Box<[DiskCounters]>,
    /// The row of the totals of each.
    rows: Box<[Option<u16>]>,
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
    fn new(rows: Box<[Option<u16>]>, base: Counted) -> Self {
        Self { base, disks: rows.iter().map(|_| DiskCounters::default()).collect(), rows, ..Self::default() }
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
        self.units.set(counted.units - self.base.units);
        self.digest_errors.set(counted.digest_errors - self.base.digest_errors);
        self.format_errors.set(counted.format_errors - self.base.format_errors);
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
}

impl Totals {
    fn add(&mut self, counters: &Counters) {
        self.units += counters.units.get();
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
    rows: Mutex<Vec<Row>>,
}

/// Whom a row of the totals counts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Target name.
    pub target: String,
    /// Logical unit number.
    pub lun: u16,
    /// What it is called.
    pub name: String,
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

    /// A connection came, which has no logical units yet. Its thread counts in what this returns.
    pub fn open(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.book().open.push(Arc::clone(&counters));
        counters
    }

    /// A connection has other logical units from now on, in these rows by their numbers; `counted` is what its protocol
    /// counted so far. Its thread counts in what this returns.
    pub fn renew(&self, old: &Arc<Counters>, rows: Box<[Option<u16>]>, counted: &Counted) -> Arc<Counters> {
        old.publish(counted);
        let before = old.session();
        let carried = [before.data_in, before.data_out];
        let fresh = Arc::new(Counters { carried, ..Counters::new(rows, *counted) });
        let mut book = self.book();
        book.open.retain(|other| !Arc::ptr_eq(other, old));
        book.open.push(Arc::clone(&fresh));
        book.closed.add(old);
        fresh
    }

    fn row_list(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of a logical unit: the one that it had before, or a new one.
    pub fn row(&self, target: &str, lun: u16, name: &str) -> u16 {
        let mut rows = self.row_list();
        let at = rows.iter().position(|row| row.target == target && row.lun == lun).unwrap_or_else(|| {
            rows.push(Row { target: target.to_owned(), lun, name: String::new() });
            rows.len() - 1
        });
        name.clone_into(&mut rows[at].name);
        // A configuration has far fewer logical units.
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.row_list().len()
    }

    /// Whom the rows count for.
    pub fn described_rows(&self) -> Vec<Row> {
        self.row_list().clone()
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
        let none = Counted::default();
        assert_eq!([statistics.row("t", 0, "a"), statistics.row("t", 1, "b"), statistics.row("t", 0, "c")], [0, 1, 0]);
        assert_eq!(statistics.described_rows()[0], Row { target: "t".into(), lun: 0, name: "c".into() });
        let begin = || statistics.renew(&statistics.open(), [Some(0), Some(1)].into(), &none);
        let [one, two] = [begin(), begin()];
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
        // Another set of logical units: nothing is counted twice, and nothing is lost.
        let counted = Counted { units: 7, digest_errors: 1, format_errors: 2 };
        let one = statistics.renew(&one, [None, None, Some(1)].into(), &counted);
        assert_eq!(statistics.totals(), before);
        one.publish(&Counted { units: 9, ..counted });
        one.written(2, 10);
        one.data_in.add(8);
        assert_eq!(one.session(), SessionTotals { units: 9, data_in: 520, data_out: 0 });
        let after = statistics.totals();
        assert_eq!((after.units, after.disks[1]), (9, disk(1, 100, 2, 4106)));
        let before = after;
        statistics.close(&one);
        assert_eq!(statistics.totals(), before);
        statistics.close(&two);
        assert_eq!(statistics.totals(), before);
    }
}
