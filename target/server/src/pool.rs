//! Threads for calls that wait for a device. A job carries its buffer there and back; none is allocated for it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use iesp_iscsi::TaskId;
use iesp_scsi::{IoError, Outcome};
use tokio::sync::mpsc::UnboundedSender;

use crate::backend::durability::Durability;
use crate::backend::{Backend, Patience, Served, durability};
use crate::buffers::Buffer;
use crate::messages::Message;

/// What is to be done; offsets and lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Reads into the front of the buffer.
    Read { offset: u64, len: usize },
    /// Writes `len` bytes of the buffer, from `from` on.
    Write { offset: u64, from: usize, len: usize, durable: bool },
    /// Makes everything durable.
    Flush,
    /// Gives space back.
    Unmap { offset: u64, len: u64 },
    /// Writes zeros.
    Zero { offset: u64, len: u64, unmap: bool },
    /// Asks what takes space; the answer is in blocks of `block` bytes.
    Extent { offset: u64, len: u64, block: u32 },
}

/// A call on its way.
#[derive(Debug)]
pub struct Job {
    /// Which task it is for.
    pub task: TaskId,
    /// What is to be done.
    pub work: Work,
    /// Bytes to write, or room to read into.
    pub buffer: Buffer,
    /// Where to.
    pub backend: Arc<dyn Backend>,
    /// Who is told.
    pub reply: UnboundedSender<Message>,
}

impl Job {
    /// Does what is to be done, but for the sync where the backend's jobs share theirs; this thread may wait.
    pub fn perform(&mut self) -> Outcome {
        let shares = self.backend.durability().is_some();
        if shares && self.work == Work::Flush {
            return Outcome::Done;
        }
        let work = if shares { self.work.without_sync() } else { self.work };
        let performed =
            catch_unwind(AssertUnwindSafe(|| work.perform(&*self.backend, &mut self.buffer, Patience::Any)));
        match performed {
            Ok(Ok(Served::Done(outcome))) => outcome,
            Ok(Ok(Served::WouldBlock)) => Outcome::Failed(IoError::Other),
            Ok(Err(error)) => Outcome::Failed(error),
            // What panicked has said so.
            Err(_) => Outcome::Failed(IoError::Other),
        }
    }

    /// It is done: says what became of it and gives the buffer back.
    pub fn finish(self, outcome: Outcome) {
        // A connection waits for its jobs before it ends.
        let _ = self.reply.send(Message::Served { task: self.task, outcome, buffer: self.buffer });
    }
}

impl Work {
    /// Whether it asks for a sync.
    pub const fn is_durable(self) -> bool {
        matches!(self, Self::Flush | Self::Write { durable: true, .. })
    }

    /// Whether it changes the disk.
    pub const fn is_writing(self) -> bool {
        matches!(self, Self::Write { .. } | Self::Unmap { .. } | Self::Zero { .. })
    }

    /// The same for who has the sync made otherwise.
    const fn without_sync(self) -> Self {
        match self {
            Self::Write { offset, from, len, .. } => Self::Write { offset, from, len, durable: false },
            other => other,
        }
    }

    /// Does it, as far as `patience` allows.
    ///
    /// # Errors
    /// What the backend says.
    #[inline]
    pub fn perform(
        self,
        backend: &dyn Backend,
        buffer: &mut [u8],
        patience: Patience,
    ) -> Result<Served<Outcome>, IoError> {
        let short = IoError::Other;
        let served = match self {
            Self::Read { offset, len } => backend.read(offset, buffer.get_mut(..len).ok_or(short)?, patience)?,
            Self::Write { offset, from, len, durable } => {
                backend.write(offset, buffer.get(from..from + len).ok_or(short)?, durable, patience)?
            }
            Self::Flush => backend.flush(patience)?,
            Self::Unmap { offset, len } => backend.unmap(offset, len, patience)?,
            Self::Zero { offset, len, unmap } => backend.zero(offset, len, unmap, patience)?,
            Self::Extent { offset, len, block } => return extent(backend, offset, len, block, patience),
        };
        Ok(match served {
            Served::Done(()) => Served::Done(Outcome::Done),
            Served::WouldBlock => Served::WouldBlock,
        })
    }
}

fn extent(
    backend: &dyn Backend,
    offset: u64,
    len: u64,
    block: u32,
    patience: Patience,
) -> Result<Served<Outcome>, IoError> {
    Ok(match backend.extent(offset, len, patience)? {
        Served::WouldBlock => Served::WouldBlock,
        Served::Done(extent) => Served::Done(extent_outcome(extent, block)),
    })
}

/// Bytes of a backend's extent in whole blocks: one of which only a part is deallocated is mapped.
pub fn extent_outcome((mapped, bytes): (bool, u64), block: u32) -> Outcome {
    let block = u64::from(block);
    match mapped {
        false if bytes >= block => Outcome::Extent { mapped: false, blocks: bytes / block },
        false => Outcome::Extent { mapped: true, blocks: 1 },
        true => Outcome::Extent { mapped: true, blocks: bytes.div_ceil(block) },
    }
}

/// Has a job done: by its backend, where that takes it, or by one of the backend's threads.
pub fn submit(job: Job) {
    let backend = Arc::clone(&job.backend);
    if let Err(job) = backend.submit(job) {
        hand_over(job);
    }
}

/// Has a job done by one of its backend's threads, for who has tried another way.
pub fn hand_over(job: Job) {
    let backend = Arc::clone(&job.backend);
    match backend.threads() {
        Some(threads) => threads.push(job),
        // Such a backend takes every job itself for as long as it is there.
        None => job.finish(Outcome::Failed(IoError::NotReady)),
    }
}

/// A job's reads or writes are done: answers it, at once or when it is durable.
pub fn settle(job: Job, outcome: Outcome) {
    let backend = Arc::clone(&job.backend);
    if durability::settle(job, outcome) {
        commit(backend);
    }
}

/// Leaves a write that is to be durable to whoever makes the next sync: many small ones need one thread then.
pub fn write_with_sync(job: Job, durability: &Durability) {
    let backend = Arc::clone(&job.backend);
    if durability.join(job) {
        commit(backend);
    }
}

/// Has one of a backend's threads make the syncs that jobs wait for.
pub fn commit(backend: Arc<dyn Backend>) {
    let shared = backend.threads().map(|threads| Arc::clone(&threads.0));
    match shared {
        Some(shared) => shared.push_commit(backend),
        None => backend.commit(),
    }
}

/// Most threads that one disk has for reads and writes; beside them, [`SYNCS`] make its syncs.
const MOST: usize = 8;

/// Most syncs of one disk at a time.
pub const SYNCS: usize = 2;

/// How long a thread stays that has nothing to do.
const LINGER: Duration = Duration::from_secs(10);

/// The threads of one disk: where they all wait for a device that does not answer, other disks have theirs. They start when
/// there is work and end when there is none.
#[derive(Debug)]
pub struct Threads(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Syncs are to be made, one thread each: no job stands before them.
    commits: Vec<Arc<dyn Backend>>,
    /// Threads that wait for work.
    idle: usize,
    /// Threads that there are.
    threads: usize,
    closed: bool,
}

/// What a thread does next.
enum Turn {
    Job(Job),
    Commit(Arc<dyn Backend>),
}

impl Threads {
    /// Of a disk; there are none yet.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    fn push(&self, job: Job) {
        self.0.push(job);
    }
}

impl Drop for Threads {
    /// A thread that waits for a device ends when that answers; nobody waits for it.
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, job: Job) {
        let mut queue = self.lock();
        queue.jobs.push_back(job);
        self.wake(queue, MOST);
    }

    fn push_commit(self: &Arc<Self>, backend: Arc<dyn Backend>) {
        let mut queue = self.lock();
        queue.commits.push(backend);
        self.wake(queue, MOST + SYNCS);
    }

    /// Has a thread look at the queue: one that waits, or a new one.
    fn wake(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>, most: usize) {
        if queue.jobs.len() + queue.commits.len() <= queue.idle || queue.threads >= most {
            drop(queue);
            return self.filled.notify_one();
        }
        queue.threads += 1;
        let number = queue.threads;
        drop(queue);
        let shared = Arc::clone(self);
        let started = thread::Builder::new().name(format!("disk-{number}")).spawn(move || shared.serve());
        if let Err(error) = started {
            self.not_started(&error);
        }
    }

    /// The system starts no more threads. Those that are there do the work; where there are none it fails.
    #[cold]
    fn not_started(&self, error: &std::io::Error) {
        tracing::error!(%error, "a disk has one thread less than it could use");
        let mut queue = self.lock();
        queue.threads -= 1;
        if queue.threads > 0 {
            drop(queue);
            return self.filled.notify_one();
        }
        let (jobs, commits) = (std::mem::take(&mut queue.jobs), std::mem::take(&mut queue.commits));
        drop(queue);
        jobs.into_iter().for_each(|job| job.finish(Outcome::Failed(IoError::Other)));
        commits.into_iter().for_each(|backend| backend.commit());
    }

    fn serve(&self) {
        while let Some(turn) = self.next() {
            match turn {
                Turn::Job(job) => perform(job),
                Turn::Commit(backend) => backend.commit(),
            }
        }
    }

    fn next(&self) -> Option<Turn> {
        let mut queue = self.lock();
        loop {
            if let Some(backend) = queue.commits.pop() {
                return Some(Turn::Commit(backend));
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(Turn::Job(job));
            }
            if queue.closed {
                queue.threads -= 1;
                return None;
            }
            queue.idle += 1;
            let waited = self.filled.wait_timeout(queue, LINGER).unwrap_or_else(PoisonError::into_inner);
            queue = waited.0;
            queue.idle -= 1;
            if waited.1.timed_out() && queue.jobs.is_empty() && queue.commits.is_empty() {
                queue.threads -= 1;
                return None;
            }
        }
    }
}

/// Does a job and answers it, whatever becomes of it.
fn perform(mut job: Job) {
    let outcome = job.perform();
    let backend = Arc::clone(&job.backend);
    if durability::settle(job, outcome) {
        backend.commit();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::backend::Facts;

    /// A disk whose calls wait for [`Self::gate`], and whose reads panic where `panics`.
    #[derive(Debug)]
    struct Slow {
        threads: Threads,
        gate: Mutex<()>,
        inside: AtomicUsize,
        panics: bool,
    }

    impl Slow {
        fn new(panics: bool) -> Arc<Self> {
            Arc::new(Self { threads: Threads::new(), gate: Mutex::new(()), inside: AtomicUsize::new(0), panics })
        }
    }

    impl Backend for Slow {
        fn facts(&self) -> Facts {
            Facts { len: 1 << 20, read_only: false, discard_granularity: 0, volatile_cache: true, rotational: false }
        }

        fn threads(&self) -> Option<&Threads> {
            Some(&self.threads)
        }

        fn read(&self, _: u64, _: &mut [u8], _: Patience) -> Result<Served, IoError> {
            assert!(!self.panics, "as planned");
            self.inside.fetch_add(1, Ordering::SeqCst);
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(Served::Done(()))
        }

        fn write(&self, _: u64, _: &[u8], _: bool, _: Patience) -> Result<Served, IoError> {
            Ok(Served::Done(()))
        }

        fn flush(&self, _: Patience) -> Result<Served, IoError> {
            Ok(Served::Done(()))
        }

        fn unmap(&self, _: u64, _: u64, _: Patience) -> Result<Served, IoError> {
            Ok(Served::Done(()))
        }

        fn zero(&self, _: u64, _: u64, _: bool, _: Patience) -> Result<Served, IoError> {
            Ok(Served::Done(()))
        }

        fn extent(&self, _: u64, len: u64, _: Patience) -> Result<Served<(bool, u64)>, IoError> {
            Ok(Served::Done((true, len)))
        }

        fn prefetch(&self, _: u64, _: u64) {}
    }

    fn read(backend: &Arc<Slow>, task: u16, reply: &UnboundedSender<Message>) {
        let work = Work::Read { offset: 0, len: 512 };
        let backend = Arc::clone(backend) as Arc<dyn Backend>;
        submit(Job { task: TaskId(task), work, buffer: Buffer::new(512), backend, reply: reply.clone() });
    }

    fn served(answers: &mut UnboundedReceiver<Message>) -> (u16, Outcome) {
        match answers.blocking_recv() {
            Some(Message::Served { task, outcome, .. }) => (task.0, outcome),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_whose_call_panics_is_answered_with_an_error() {
        let (reply, mut answers) = unbounded_channel();
        let broken = Slow::new(true);
        for task in 0..20 {
            read(&broken, task, &reply);
        }
        let mut all: Vec<_> = (0..20).map(|_| served(&mut answers)).collect();
        all.sort_unstable_by_key(|(task, _)| *task);
        assert!(
            all.iter().zip(0..).all(|(answer, task)| *answer == (task, Outcome::Failed(IoError::Other))),
            "{all:?}"
        );
    }

    #[test]
    fn a_disk_that_does_not_answer_leaves_the_others_theirs() {
        let (reply, mut answers) = unbounded_channel();
        let (stuck, healthy) = (Slow::new(false), Slow::new(false));
        let gate = stuck.gate.lock().expect("nobody panicked");
        for task in 0..40 {
            read(&stuck, task, &reply);
        }
        let start = Instant::now();
        while stuck.inside.load(Ordering::SeqCst) < MOST {
            assert!(start.elapsed() < Duration::from_secs(20), "its threads start");
            thread::yield_now();
        }
        for task in 100..140 {
            read(&healthy, task, &reply);
        }
        // Only the healthy one answers.
        for _ in 0..40 {
            assert!(served(&mut answers).0 >= 100);
        }
        assert_eq!(stuck.inside.load(Ordering::SeqCst), MOST);
        drop(gate);
        for _ in 0..40 {
            assert!(served(&mut answers).0 < 40);
        }
    }
}
