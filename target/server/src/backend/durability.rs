//! What a disk has promised to keep: the one owner of its syncs and of whether one failed.
//!
//! Every way to durability goes through it: flushes, writes with FUA or with WCE=0, by a disk thread or by the ring. Syncs
//! that are asked for at the same time become one ([`Commits`]). A kernel reports a write-back error once, so whoever else
//! asked meanwhile would hear that all is well: here all of them fail, and every later one, until the disk is given back.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use iesp_scsi::{IoError, Outcome};

use super::commits::{Commits, Joined};
use crate::pool::{Job, Work};

thread_local! {
    /// Room for the jobs of a sync, kept from one to the next: a job that waits costs no allocation.
    static BATCH: Cell<Vec<Job>> = const { Cell::new(Vec::new()) };
}

/// Why a sync did not make everything durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncError {
    /// The device failed: what was acknowledged may be lost.
    Lost(IoError),
    /// Nothing was tried, so that nothing more is lost than before.
    Refused(IoError),
}

/// The syncs of a disk, and whether one failed.
#[derive(Debug)]
pub struct Durability {
    /// What the log calls the disk.
    name: Box<str>,
    commits: Mutex<Commits<Job>>,
    /// A sync has ended.
    ended: Condvar,
    /// Something was written since the latest sync began. True at the start: an earlier process may have written.
    dirty: AtomicBool,
}

impl Durability {
    /// Of the disk that the log calls so. At most `lanes` syncs are under way at a time: each of them hears of every error.
    pub fn new(name: impl Into<Box<str>>, lanes: usize) -> Self {
        let commits = Mutex::new(Commits::new(lanes));
        Self { name: name.into(), commits, ended: Condvar::new(), dirty: AtomicBool::new(true) }
    }

    /// A write was done that is not durable yet; called before it is answered.
    #[inline]
    pub fn wrote(&self) {
        // Looked at first: all connections share it, and it seldom changes.
        if !self.dirty.load(Ordering::SeqCst) {
            self.dirty.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a sync would have nothing to do: everything that was answered is durable.
    pub fn is_clean(&self) -> bool {
        let commits = self.lock();
        commits.is_idle() && !commits.is_poisoned() && !self.dirty.load(Ordering::SeqCst)
    }

    /// A job waits for the next sync: one whose write is done, as [`Work::Flush`], or a write that whoever leads does before
    /// it. True where the caller has to have [`Self::lead`] called, by a
    /// thread that may wait.
    #[must_use]
    pub fn join(&self, job: Job) -> bool {
        let joined = self.lock().join(job);
        match joined {
            Joined::Leads => true,
            Joined::Follows => false,
            Joined::Refused(job) => {
                job.finish(Outcome::Failed(IoError::Medium));
                false
            }
        }
    }

    /// Has syncs made by `sync`, which is given its lane, for as long as jobs wait for one.
    pub fn lead(&self, sync: impl Fn(usize) -> Result<(), SyncError>) {
        loop {
            // Each that waits has its answer.
            let _ = self.round(&sync);
            if !self.lock().go_on() {
                // Threads that wait, and came too late for this round, lead themselves.
                return self.ended.notify_all();
            }
        }
    }

    /// Waits until a sync that begins from now on has made everything durable.
    ///
    /// # Errors
    /// That sync failed, or one before it.
    pub fn sync(&self, sync: impl Fn(usize) -> Result<(), SyncError>) -> Result<(), IoError> {
        let mut commits = self.lock();
        let number = commits.next().ok_or(IoError::Medium)?;
        loop {
            match commits.result(number) {
                Some(true) => return Ok(()),
                Some(false) => return Err(IoError::Medium),
                None if !commits.has_begun(number) && commits.take_lead() => {
                    drop(commits);
                    self.round_of_thread(&sync)?;
                    // It is answered after those that began before it.
                    commits = self.lock();
                }
                None => commits = self.ended.wait(commits).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// A round of a thread that waits for one alone: the next sync is not its to make.
    fn round_of_thread(&self, sync: impl Fn(usize) -> Result<(), SyncError>) -> Result<(), IoError> {
        let result = self.round(sync);
        let mut commits = self.lock();
        let next = commits.go_on().then(|| commits.first().map(|job| Arc::clone(&job.backend))).flatten();
        drop(commits);
        self.ended.notify_all();
        if let Some(backend) = next {
            crate::pool::commit(backend);
        }
        result
    }

    /// One sync, for all that wait for it; this thread leads.
    fn round(&self, sync: impl Fn(usize) -> Result<(), SyncError>) -> Result<(), IoError> {
        let mut batch = BATCH.take();
        let (number, lane) = self.lock().begin(&mut batch);
        write_all(&mut batch);
        // After the batch is known and written, before the sync: what is written from now on is for the next one.
        self.dirty.store(false, Ordering::SeqCst);
        let result = catch_unwind(AssertUnwindSafe(|| sync(lane))).unwrap_or(Err(SyncError::Lost(IoError::Other)));
        if result.is_err() {
            self.dirty.store(true, Ordering::SeqCst);
        }
        let mut commits = self.lock();
        if matches!(result, Err(SyncError::Lost(_))) {
            self.poison_now(&mut commits);
        }
        let result = result.map_err(|(SyncError::Lost(error) | SyncError::Refused(error))| error);
        commits.end(number, result, &mut batch);
        drop(commits);
        self.answer(batch);
        result
    }

    /// Answers all jobs whose syncs have ended, and those before them; `batch` is room for them.
    fn answer(&self, mut batch: Vec<Job>) {
        loop {
            let answer = self.lock().next_answer(&mut batch);
            let Some(result) = answer else { break };
            let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Done);
            batch.drain(..).for_each(|job| job.finish(outcome));
        }
        BATCH.set(batch);
        self.ended.notify_all();
    }

    fn poison_now(&self, commits: &mut Commits<Job>) {
        if commits.poison() {
            tracing::error!(
                disk = %self.name,
                "a flush failed: what was written since the last one may be lost, and every flush fails from now on; \
                 check the disk, then give it back by `iesp restore`"
            );
        }
    }

    /// Whether every sync fails, as one failed before.
    pub fn is_poisoned(&self) -> bool {
        self.lock().is_poisoned()
    }

    /// Gives the disk back after somebody has looked into what was lost: `sync` is tried first. Whether it was poisoned.
    ///
    /// # Errors
    /// It fails still.
    pub fn restore(&self, sync: impl Fn(usize) -> Result<(), SyncError>) -> Result<bool, IoError> {
        if !self.is_poisoned() {
            return Ok(false);
        }
        sync(0).map_err(|(SyncError::Lost(error) | SyncError::Refused(error))| error)?;
        self.dirty.store(true, Ordering::SeqCst);
        self.lock().restore();
        tracing::warn!(disk = %self.name, "the disk was given back: flushes are made again");
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Commits<Job>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does the writes of a batch that were left to its leader; one that fails is answered and leaves the batch.
fn write_all(batch: &mut Vec<Job>) {
    let outcome = Cell::new(Outcome::Done);
    let has_failed = |job: &mut Job| {
        if job.work != Work::Flush {
            outcome.set(job.perform());
            job.work = Work::Flush;
        }
        outcome.get() != Outcome::Done
    };
    batch.extract_if(.., has_failed).for_each(|job| job.finish(outcome.replace(Outcome::Done)));
}

/// A job's reads or writes have been done with this outcome: it is answered, at once or after the next sync where it asked
/// for durability. True where the caller has to have [`Backend::commit`](super::Backend::commit) called, by a thread that may wait.
#[must_use]
pub fn settle(mut job: Job, outcome: Outcome) -> bool {
    let failed = matches!(outcome, Outcome::Failed(_));
    let backend = Arc::clone(&job.backend);
    match backend.durability() {
        Some(durability) if !failed && job.work.is_durable() => {
            job.work = Work::Flush;
            return durability.join(job);
        }
        Some(durability) if job.work.is_writing() => durability.wrote(),
        _ => {}
    }
    job.finish(outcome);
    false
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const LANES: usize = 3;

    /// A device whose cache fails once, as a kernel's does: the first sync says so, the next one does not.
    #[test]
    fn all_flushes_at_the_same_time_hear_of_a_failure_that_is_reported_once() {
        for _ in 0..50 {
            let durability = Durability::new("disk", LANES);
            let reports = AtomicUsize::new(0);
            let sync = |_| {
                thread::sleep(Duration::from_micros(200));
                match reports.fetch_add(1, Ordering::SeqCst) {
                    0 => Err(SyncError::Lost(IoError::Medium)),
                    _ => Ok(()),
                }
            };
            let results: Vec<_> = thread::scope(|scope| {
                let flushes: Vec<_> = (0..8).map(|_| scope.spawn(|| durability.sync(sync))).collect();
                flushes.into_iter().map(|flush| flush.join().expect("it ends")).collect()
            });
            assert!(results.iter().all(Result::is_err), "{results:?}");
            assert_eq!(durability.sync(sync), Err(IoError::Medium));
        }
    }

    #[test]
    fn flushes_that_wait_share_a_sync() {
        let durability = Durability::new("disk", LANES);
        let syncs = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let sync = |_| {
                            syncs.fetch_add(1, Ordering::SeqCst);
                            thread::sleep(Duration::from_millis(1));
                            Ok(())
                        };
                        durability.sync(sync).expect("it goes well");
                    }
                });
            }
        });
        let syncs = syncs.load(Ordering::SeqCst);
        assert!((10..=80).contains(&syncs), "{syncs} syncs for 160 flushes");
    }

    #[test]
    fn a_disk_is_given_back_by_a_sync_that_goes_well() {
        let durability = Durability::new("disk", LANES);
        assert!(durability.sync(|_| Err(SyncError::Lost(IoError::NoSpace))).is_err());
        assert!(durability.is_poisoned() && !durability.is_clean());
        assert_eq!(durability.restore(|_| Err(SyncError::Lost(IoError::Medium))), Err(IoError::Medium));
        assert_eq!(durability.sync(|_| Ok(())), Err(IoError::Medium));
        assert_eq!(durability.restore(|_| Ok(())), Ok(true));
        assert_eq!(durability.sync(|_| Ok(())), Ok(()));
        assert_eq!(durability.restore(|_| Ok(())), Ok(false));
    }

    #[test]
    fn what_is_refused_poisons_nothing() {
        let durability = Durability::new("disk", LANES);
        assert_eq!(durability.sync(|_| Err(SyncError::Refused(IoError::NotReady))), Err(IoError::NotReady));
        assert!(!durability.is_clean());
        assert_eq!(durability.sync(|_| Ok(())), Ok(()));
        assert!(durability.is_clean());
        durability.wrote();
        assert!(!durability.is_clean());
    }

    #[test]
    fn a_sync_that_panics_poisons() {
        let durability = Durability::new("disk", LANES);
        assert_eq!(durability.sync(|_| panic!("as planned")), Err(IoError::Other));
        assert!(durability.is_poisoned());
    }
}
