//! io_uring: reads and writes that wait for a device, without a thread that waits for each.
//!
//! A thread that serves connections has a ring of its own. What does not go as it should (an error, a part, a full ring) is
//! done again by a disk thread, which knows what to make of it: so there is one place that does.

use std::cell::RefCell;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker};

use iesp_scsi::Outcome;
use io_uring::{IoUring, Probe, opcode, squeue, types};
use rustix::event::EventfdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::pool::{self, Job, Work};

/// Most requests in flight of one thread's connections; more wait for a disk thread.
const ENTRIES: u32 = 512;

/// So many requests go to the kernel in one call, while there are more to come: a device that waits until all of a batch are
/// prepared has nothing to do meanwhile, and a call for each costs CPU time for nothing.
const GROUP: u32 = 4;

/// `linux/io_uring.h`: IORING_ENTER_GETEVENTS.
const GETEVENTS: u32 = 1;

/// `linux/fs.h`: RWF_NOWAIT.
const NOWAIT: i32 = 8;

thread_local! {
    static RING: RefCell<Option<Ring>> = const { RefCell::new(None) };
}

struct Ring {
    ring: IoUring,
    /// What is in flight, by the number that comes back.
    jobs: Vec<Option<Job>>,
    free: Vec<usize>,
    /// Requests that the kernel has not been told of.
    fresh: u32,
    /// Of the task that tells it.
    waker: Option<Waker>,
}

/// Whether this kernel has what is needed, and lets this process have it.
///
/// # Errors
/// What the kernel says.
pub fn available() -> io::Result<()> {
    let ring = make(1)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let codes = [opcode::Read::CODE, opcode::Write::CODE];
    if codes.iter().all(|code| probe.is_supported(*code)) { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

fn make(entries: u32) -> io::Result<IoUring> {
    // Completions are worked on when this thread asks for them: else they would interrupt it (Linux 6.1).
    let deferred = IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().build(entries);
    deferred.or_else(|_| IoUring::new(entries))
}

/// Gives this thread a ring and a task of its runtime's that works on it. Where that is not possible, disk threads do the
/// work.
///
/// # Errors
/// What the kernel says.
pub fn start() -> io::Result<()> {
    let ring = make(ENTRIES)?;
    // An eventfd rather than the ring itself, whose readers do not hear of completions that wait for this thread.
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    ring.submitter().register_eventfd(event.as_raw_fd())?;
    // SAFETY: an `OwnedFd` is open and the same as long as it is there.
    let done = unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) }.map_err(io::Error::from)?;
    let count = ENTRIES as usize;
    let jobs = (0..count).map(|_| None).collect();
    let ring = Ring { ring, jobs, free: (0..count).collect(), fresh: 0, waker: None };
    RING.set(Some(ring));
    tokio::spawn(async move { poll_fn(|cx| with(|ring| ring.poll(&done, cx)).unwrap_or(Poll::Ready(()))).await });
    Ok(())
}

/// Takes this thread's ring away, when all that is in flight is done.
pub fn end() {
    drop(RING.take());
}

/// Takes a read or a write of `file`; where `direct`, one past the page cache. What the ring does not take comes back.
///
/// # Errors
/// The job.
pub fn submit(job: Job, file: &File, direct: bool) -> Result<(), Job> {
    RING.with(|ring| match ring.try_borrow_mut().as_deref_mut() {
        Ok(Some(ring)) => ring.submit(job, file.as_raw_fd(), direct),
        _ => Err(job),
    })
}

fn with<T>(act: impl FnOnce(&mut Ring) -> T) -> Option<T> {
    RING.with(|ring| ring.borrow_mut().as_mut().map(act))
}

impl Ring {
    fn submit(&mut self, mut job: Job, file: RawFd, direct: bool) -> Result<(), Job> {
        let Some(entry) = entry(&mut job, types::Fd(file), direct) else { return Err(job) };
        let Some(number) = self.free.pop() else { return Err(job) };
        let entry = entry.user_data(number as u64);
        // SAFETY: the buffer's memory stays where it is and is touched by nobody until the job leaves `jobs`, which it does
        // after its completion; the file is open as long as the job has its backend.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            self.free.push(number);
            return Err(job);
        }
        self.jobs[number] = Some(job);
        self.fresh += 1;
        if self.fresh >= GROUP {
            self.enter(0);
        } else if self.fresh == 1
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
        Ok(())
    }

    /// Tells the kernel of what is fresh, and has it finish what is done where `flags` say so.
    fn enter(&mut self, flags: u32) {
        // SAFETY: no argument is given; what the entries point to is as `submit` says.
        match unsafe { self.ring.submitter().enter::<()>(self.fresh, 0, flags, None) } {
            Ok(taken) => self.fresh = self.fresh.saturating_sub(taken as u32),
            // Interrupted, or short of memory: they are told of again.
            Err(error) => tracing::debug!(%error, "io_uring"),
        }
    }

    /// Hands over and takes back until there is nothing to do. Never ready.
    fn poll(&mut self, done: &AsyncFd<OwnedFd>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        loop {
            let ready = match done.poll_read_ready(cx) {
                Poll::Ready(Ok(mut guard)) => {
                    // Before the look: what comes after it is told again. Its count is not read, as only changes are heard of.
                    guard.clear_ready();
                    true
                }
                // The runtime ends.
                Poll::Ready(Err(_)) => return Poll::Pending,
                Poll::Pending => false,
            };
            if self.fresh > 0 || self.ring.submission().taskrun() {
                self.enter(GETEVENTS);
            }
            let reaped = self.reap();
            if self.fresh > 0 {
                // The kernel took none: others on this thread go first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !ready && !reaped {
                return Poll::Pending;
            }
        }
    }

    /// Takes back what is done; whether there was any.
    fn reap(&mut self) -> bool {
        let mut any = false;
        for entry in self.ring.completion() {
            let number = entry.user_data() as usize;
            let Some(job) = self.jobs.get_mut(number).and_then(Option::take) else { continue };
            self.free.push(number);
            any = true;
            match job.work {
                Work::Read { len, .. } | Work::Write { len, .. } if entry.result() as usize == len => {
                    pool::settle(job, Outcome::Done);
                }
                _ => pool::hand_over(job),
            }
        }
        any
    }
}

/// What the kernel is asked; `None` for what is not asked this way.
fn entry(job: &mut Job, file: types::Fd, direct: bool) -> Option<squeue::Entry> {
    // What would sleep is a disk thread's, of which each disk has its own. The kernel's workers are shared by all: a disk that
    // does not answer would take them. Reads through the page cache wait without one.
    let flags = if direct { NOWAIT } else { 0 };
    match job.work {
        Work::Read { offset, len } => {
            let room = job.buffer.get_mut(..len)?;
            let read = opcode::Read::new(file, room.as_mut_ptr(), u32::try_from(len).ok()?).offset(offset);
            Some(read.rw_flags(flags).build())
        }
        // A durable one, too: the sync that makes it so is the disk's, not this write's. Of one call for both (RWF_DSYNC)
        // nobody could tell whether the write failed, which loses nothing, or the device's cache.
        Work::Write { offset, from, len, .. } => {
            let data = job.buffer.get(from..from.checked_add(len)?)?;
            let write = opcode::Write::new(file, data.as_ptr(), u32::try_from(len).ok()?).offset(offset);
            Some(write.rw_flags(flags).build())
        }
        _ => None,
    }
}

impl Drop for Ring {
    /// The kernel reads and writes the buffers until the last request is done.
    fn drop(&mut self) {
        while self.jobs.iter().any(Option::is_some) {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {
                    self.reap();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // Nothing is known about what is in flight: better lose the memory than have it written to later.
                    self.jobs.drain(..).for_each(std::mem::forget);
                    return;
                }
            }
        }
    }
}
