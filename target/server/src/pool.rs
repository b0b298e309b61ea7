//! Threads for calls that wait for a device. A job carries its buffer there and back; none is allocated for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use iesp_iscsi::TaskId;
use iesp_scsi::{IoError, Outcome};
use tokio::sync::mpsc::UnboundedSender;

use crate::backend::{Backend, Patience, Served};
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
    /// It is done: says what became of it and gives the buffer back.
    pub fn finish(self, outcome: Outcome) {
        // A connection waits for its jobs before it ends.
        let _ = self.reply.send(Message::Served { task: self.task, outcome, buffer: self.buffer });
    }
}

impl Work {
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

/// A fixed number of threads that take jobs in order.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    /// Starts `threads` of them.
    ///
    /// # Errors
    /// Where the system starts no more threads.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = (0..threads)
            .map(|number| {
                let shared = Arc::clone(&shared);
                thread::Builder::new().name(format!("disk-{number}")).spawn(move || shared.serve())
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// Has a job done: by its backend, where that takes it, or by a thread.
    pub fn submit(&self, job: Job) {
        let backend = Arc::clone(&job.backend);
        if let Err(job) = backend.submit(job) {
            self.shared.push(job);
        }
    }

    /// The threads alone, for who has tried another way.
    pub fn threads(&self) -> Threads {
        Threads(Arc::clone(&self.shared))
    }
}

/// Threads that take jobs in order, as long as their pool is there.
#[derive(Debug)]
pub struct Threads(Arc<Shared>);

impl Threads {
    /// Has a job done by a thread.
    pub fn wait_for(&self, job: Job) {
        self.0.push(job);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn push(&self, job: Job) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).jobs.push_back(job);
        self.filled.notify_one();
    }

    fn serve(&self) {
        while let Some(mut job) = self.next() {
            let outcome = match job.work.perform(&*job.backend, &mut job.buffer, Patience::Any) {
                Ok(Served::Done(outcome)) => outcome,
                Ok(Served::WouldBlock) => Outcome::Failed(IoError::Other),
                Err(error) => Outcome::Failed(error),
            };
            job.finish(outcome);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
