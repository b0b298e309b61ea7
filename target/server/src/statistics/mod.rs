//! What the target counts. Each connection has counters of its own, which its thread alone writes: a command costs a few
//! plain additions, and no cache line goes from core to core. What connections counted stays in the totals when they end,
//! so that no total ever goes back.

mod counters;
mod session;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use iesp_iscsi::connection::Statistics as Counted;
use iesp_iscsi::pdu::LogoutReason;

use crate::latency::{self, ByCommand, Latencies};
pub use counters::{Counters, DiskTotals, SessionTotals, Totals};
pub use session::{Failure, Refusal, Refused, Session};

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
    open: Vec<Open>,
    /// Of those that have ended, and what is counted by the session.
    closed: Totals,
    /// The number of the last session that began.
    sessions: u32,
    last_failure: Option<LastFailure>,
    /// By the number of the target, less 1.
    targets: Vec<TargetTotals>,
    /// Of the threads that serve connections.
    latencies: Vec<(ThreadId, Arc<Latencies>)>,
}

/// A connection that is there.
#[derive(Debug)]
struct Open {
    counters: Arc<Counters>,
    /// What the connection counted elsewhere before.
    before: Totals,
    /// Once the login was complete.
    session: Option<Arc<Session>>,
}

/// What is counted by the target.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TargetTotals {
    /// Its name.
    pub name: String,
    /// Sessions that began.
    pub logins: u64,
    /// Logouts by their reason, as in [`Totals`].
    pub logout_reasons: [u64; 3],
    /// Logins that were refused, by [`Refusal`].
    pub refusals: [u64; Refusal::ALL.len()],
    /// The last one.
    pub last_refusal: Option<Refused>,
}

/// The last session that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// Why.
    pub why: Failure,
    /// InitiatorName.
    pub initiator: String,
}

/// A session that is there, and what its connection counted.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Who and where.
    pub session: Arc<Session>,
    /// Of its connection alone.
    pub counted: Totals,
}

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Of all connections that there are or were.
    pub totals: Totals,
    /// By number.
    pub sessions: Vec<Seen>,
    /// The last session that failed.
    pub last_failure: Option<LastFailure>,
    /// By the number of the target, less 1: a target has the same one for the whole life of the program.
    pub targets: Vec<TargetTotals>,
}

impl Statistics {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection came, which has no logical units yet. Its thread counts in what this returns.
    pub fn open(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        let open = Open { counters: Arc::clone(&counters), before: Totals::default(), session: None };
        self.book().open.push(open);
        counters
    }

    /// A connection has other logical units from now on, in these rows by their numbers; `counted` is what its protocol
    /// counted so far. Its thread, which is the one that calls, counts in what this returns.
    pub fn renew(&self, old: &Arc<Counters>, rows: Box<[Option<u16>]>, counted: &Counted) -> Arc<Counters> {
        let needed = rows.iter().flatten().map(|row| usize::from(*row) + 1).max().unwrap_or(0);
        old.publish(counted);
        let carried = old.session();
        let mut book = self.book();
        let latencies = book.latencies_of(thread::current().id(), needed);
        let fresh = Arc::new(Counters::new(rows, *counted, latencies).carrying(carried));
        book.closed.add(old);
        if let Some(open) = book.open.iter_mut().find(|open| Arc::ptr_eq(&open.counters, old)) {
            open.before.add(old);
            open.counters = Arc::clone(&fresh);
        }
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

    /// The number of a target, from 1: the one that it had before, or a new one.
    pub fn target(&self, name: &str) -> u32 {
        let index = self.book().target_index(name);
        u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// A connection ended: what it counted stays.
    pub fn close(&self, counters: &Arc<Counters>) {
        let mut book = self.book();
        // Under one lock: nobody sees it in both places, or in none.
        book.open.retain(|other| !Arc::ptr_eq(&other.counters, counters));
        book.closed.add(counters);
    }

    /// A login was accepted.
    pub fn session_began(&self, counters: &Arc<Counters>, mut session: Session) {
        let mut book = self.book();
        book.closed.logins += 1;
        if let Some(target) = &session.target {
            let index = book.target_index(target);
            book.targets[index].logins += 1;
        }
        // RFC 7147: an index is never 0.
        book.sessions = book.sessions.checked_add(1).unwrap_or(1);
        session.number = book.sessions;
        if let Some(open) = book.open.iter_mut().find(|open| Arc::ptr_eq(&open.counters, counters)) {
            open.session = Some(Arc::new(session));
        }
    }

    /// A session with a target, or one for discovery, ended by a logout.
    pub fn logged_out(&self, target: Option<&str>, reason: LogoutReason) {
        let mut book = self.book();
        let kind = match reason {
            LogoutReason::CloseSession | LogoutReason::Unknown(_) => 0,
            LogoutReason::CloseConnection => 1,
            LogoutReason::RemoveForRecovery => 2,
        };
        book.closed.logouts += 1;
        book.closed.logout_reasons[kind] += 1;
        if let Some(target) = target {
            let index = book.target_index(target);
            book.targets[index].logout_reasons[kind] += 1;
        }
    }

    /// A session ended otherwise.
    pub fn session_failed(&self, why: Failure, initiator: &str) {
        let mut book = self.book();
        book.closed.failures += 1;
        match why {
            Failure::Digest => book.closed.failed_by[0] += 1,
            Failure::Timeout => book.closed.failed_by[1] += 1,
            Failure::Format => book.closed.failed_by[2] += 1,
            Failure::Other => {}
        }
        book.last_failure = Some(LastFailure { why, initiator: initiator.to_owned() });
    }

    /// A login was refused. One that names none of the targets is counted at the first, where people look.
    pub fn login_refused(&self, target: Option<&str>, why: Refusal, initiator: &str, peer: SocketAddr) {
        let mut book = self.book();
        book.closed.refusals[why as usize] += 1;
        let last = Refused { at: Instant::now(), why, initiator: initiator.to_owned(), peer };
        let index = target.and_then(|name| book.targets.iter().position(|known| known.name == name)).unwrap_or(0);
        if let Some(target) = book.targets.get_mut(index) {
            target.refusals[why as usize] += 1;
            target.last_refusal = Some(last);
        }
    }

    /// Everything up to now.
    pub fn totals(&self) -> Totals {
        self.book().totals()
    }

    /// Everything up to now, with the sessions that there are.
    pub fn snapshot(&self) -> Snapshot {
        let book = self.book();
        let mut sessions: Vec<Seen> = book.open.iter().filter_map(Open::seen).collect();
        sessions.sort_by_key(|seen| seen.session.number);
        Snapshot {
            totals: book.totals(),
            sessions,
            last_failure: book.last_failure.clone(),
            targets: book.targets.clone(),
        }
    }

    /// How long commands took, by row.
    pub fn latencies(&self) -> Vec<ByCommand> {
        latency::total(self.book().latencies.iter().map(|(_, latencies)| latencies))
    }
}

impl Book {
    /// Where a thread measures, for so many rows.
    fn latencies_of(&mut self, thread: ThreadId, rows: usize) -> Arc<Latencies> {
        let mine = self.latencies.iter().find(|(owner, kept)| *owner == thread && kept.rows() >= rows);
        if let Some((_, latencies)) = mine {
            return Arc::clone(latencies);
        }
        let fresh = Arc::new(Latencies::new(rows));
        self.latencies.push((thread, Arc::clone(&fresh)));
        fresh
    }

    fn target_index(&mut self, name: &str) -> usize {
        let known = self.targets.iter().position(|target| target.name == name);
        known.unwrap_or_else(|| {
            self.targets.push(TargetTotals { name: name.to_owned(), ..TargetTotals::default() });
            self.targets.len() - 1
        })
    }

    fn totals(&self) -> Totals {
        let mut totals = self.closed.clone();
        for open in &self.open {
            totals.add(&open.counters);
        }
        totals
    }
}

impl Open {
    fn seen(&self) -> Option<Seen> {
        let mut counted = self.before.clone();
        counted.add(&self.counters);
        Some(Seen { session: Arc::clone(self.session.as_ref()?), counted })
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
    use std::time::Duration;

    use super::*;
    use crate::pool::Work;

    fn session(tsih: u16) -> Session {
        let address = SocketAddr::from(([127, 0, 0, 1], 3260));
        Session {
            number: 0,
            tsih,
            initiator: "iqn.x:y".to_owned(),
            alias: String::new(),
            target: Some("t".to_owned()),
            isid: [0; 6],
            cid: 1,
            local: address,
            peer: address,
            parameters: iesp_iscsi::Parameters::default(),
            began: Instant::now(),
        }
    }

    #[test]
    fn sessions_have_numbers_of_their_own() {
        let statistics = Statistics::default();
        assert_eq!([statistics.target("t"), statistics.target("u"), statistics.target("t")], [1, 2, 1]);
        let [one, two] = [statistics.open(), statistics.open()];
        statistics.session_began(&two, session(7));
        statistics.session_began(&one, session(5));
        two.data_in.add(9);
        let seen = statistics.snapshot().sessions;
        let told = seen.iter().map(|seen| (seen.session.number, seen.session.tsih, seen.counted.data_in));
        assert_eq!(told.collect::<Vec<_>>(), [(1, 7, 9), (2, 5, 0)]);
        // Other logical units: what the session counted before is its own all the same.
        let two = statistics.renew(&two, [Some(0)].into(), &Counted::default());
        two.data_in.add(1);
        assert_eq!(statistics.snapshot().sessions[0].counted.data_in, 10);
        statistics.close(&two);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        statistics.session_failed(Failure::Digest, "iqn.x:y");
        statistics.login_refused(Some("u"), Refusal::Authenticate, "", peer);
        statistics.login_refused(Some("nowhere"), Refusal::Other, "", peer);
        statistics.logged_out(Some("u"), LogoutReason::CloseConnection);
        let snapshot = statistics.snapshot();
        assert_eq!(snapshot.sessions.len(), 1);
        assert_eq!(snapshot.last_failure.map(|last| last.why), Some(Failure::Digest));
        let totals = snapshot.totals;
        assert_eq!((totals.failed_by, totals.refusals, totals.logout_reasons), ([1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0]));
        let [t, u] = &snapshot.targets[..] else { panic!("{:?}", snapshot.targets) };
        assert_eq!((t.logins, t.refusals, t.logout_reasons), (2, [1, 0, 0, 0, 0], [0; 3]));
        assert_eq!((u.logins, u.refusals, u.logout_reasons), (0, [0, 0, 0, 1, 0], [0, 1, 0]));
        assert_eq!(u.last_refusal.as_ref().map(|last| (last.why, last.peer)), Some((Refusal::Authenticate, peer)));
    }

    #[test]
    fn totals_keep_what_ended_connections_counted() {
        let statistics = Statistics::default();
        let none = Counted::default();
        assert_eq!([statistics.row("t", 0, "a"), statistics.row("t", 1, "b"), statistics.row("t", 0, "c")], [0, 1, 0]);
        assert_eq!(statistics.described_rows()[0], Row { target: "t".into(), lun: 0, name: "c".into() });
        let begin = || statistics.renew(&statistics.open(), [Some(0), Some(1)].into(), &none);
        let [one, two] = [begin(), begin()];
        let counted = Counted { units: 7, digest_errors: 1, format_errors: 2, ..none };
        one.publish(&counted);
        one.read(0, 512);
        one.data_in.add(512);
        two.written(1, 4096);
        two.done(1, Work::Read { offset: 0, len: 100 });
        two.done(1, Work::Flush);
        two.failed(1);
        two.waited(Duration::from_millis(20));
        // No such disk: nothing to count, and no harm.
        two.read(2, 1);
        statistics.session_began(&one, session(3));
        let before = statistics.totals();
        assert_eq!((before.units, before.digest_errors, before.format_errors), (7, 1, 2));
        let disk = |reads, read_bytes, writes, written_bytes, failures| DiskTotals {
            reads,
            read_bytes,
            writes,
            written_bytes,
            failures,
        };
        assert_eq!(before.disks, [disk(1, 512, 0, 0, 0), disk(1, 100, 1, 4096, 1)]);
        assert_eq!(before.all_disks(), disk(2, 612, 1, 4096, 1));
        assert_eq!((before.data_in, before.waited_nanos, before.logins), (512, 20_000_000, 1));
        // Another set of logical units: nothing is counted twice, and nothing is lost.
        let one = statistics.renew(&one, [None, None, Some(1)].into(), &counted);
        assert_eq!(statistics.totals(), before);
        one.publish(&Counted { units: 9, ..counted });
        one.written(2, 10);
        one.data_in.add(8);
        assert_eq!(one.session(), SessionTotals { units: 9, data_in: 520, data_out: 0 });
        let after = statistics.totals();
        assert_eq!((after.units, after.disks[1]), (9, disk(1, 100, 2, 4106, 1)));
        let before = after;
        statistics.close(&one);
        assert_eq!(statistics.totals(), before);
        statistics.close(&two);
        assert_eq!(statistics.totals(), before);
    }
}
