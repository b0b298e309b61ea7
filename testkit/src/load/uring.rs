//! io_uring: many requests in flight on a file or a block device, from one thread.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};

use super::queue::{Buffers, Done, Queue, Request, buffers};
use crate::device::buffer::Buffer;
use crate::device::file::FileDevice;

/// Most requests that are handed to the kernel at once while others are with the device. Where completions come several at a
/// time, all their successors in one call leave the device short of work until that is made: 12 % of the rate of a disk in a
/// virtual machine, at 32 in flight. One call for each costs CPU time for nothing.
const GROUP: usize = 2;

/// A ring with its buffers.
pub struct Uring {
    /// Before the buffers, so that it is dropped first.
    ring: IoUring,
    in_flight: usize,
    /// Requests that the kernel has not been told of.
    fresh: usize,
    /// So many of them are handed over in one call.
    group: usize,
    buffers: Vec<Buffers>,
    /// The file stays open as long as the ring.
    _device: Arc<FileDevice>,
    flags: squeue::Flags,
}

impl Uring {
    /// A queue for requests of `block` bytes.
    ///
    /// # Errors
    /// What the kernel says: io_uring may be forbidden, as in many containers.
    pub fn new(device: Arc<FileDevice>, block: usize, depth: usize) -> io::Result<Self> {
        let entries = (depth as u32).next_power_of_two();
        // Completions are worked on when this thread asks for them, rather than by interrupting it (Linux 6.1).
        let deferred = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries);
        let ring = deferred.or_else(|_| IoUring::new(entries))?;
        ring.submitter().register_files(&[device.file().as_raw_fd()])?;
        // Where the file cannot be read without waiting, the kernel's own threads do it: better at once than after
        // a try that is in vain (tmpfs).
        let flags = if can_try(&device) { squeue::Flags::empty() } else { squeue::Flags::ASYNC };
        let buffers = buffers(block, depth);
        Ok(Self { ring, in_flight: 0, fresh: 0, group: group(depth), buffers, _device: device, flags })
    }

    /// How many requests go in one call. Where all that were in flight are done at once it was the page cache that served them,
    /// which nothing keeps busy.
    fn choose_group(&mut self) {
        let all = self.ring.completion().len() == self.in_flight;
        self.group = if all { self.buffers.len() } else { group(self.buffers.len()) };
    }

    /// The outcome of a completion: all of the block, or an error.
    fn take(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        let mut failed = None;
        for entry in self.ring.completion() {
            self.in_flight -= 1;
            let slot = entry.user_data() as usize;
            match usize::try_from(entry.result()) {
                Ok(bytes) if bytes == self.buffers[slot].read.len() => done.push(Done { slot, latency: None }),
                Ok(_) => failed = Some(io::ErrorKind::UnexpectedEof.into()),
                Err(_) => failed = Some(io::Error::from_raw_os_error(-entry.result())),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The usual size of a group, with `depth` requests in flight at most.
fn group(depth: usize) -> usize {
    (depth / 8).clamp(1, GROUP)
}

/// Whether the file takes requests that must not wait.
pub(super) fn can_try(device: &FileDevice) -> bool {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    let mut buffer = Buffer::new(4096);
    let parts = &mut [io::IoSliceMut::new(&mut buffer)];
    !matches!(preadv2(device.file(), parts, 0, ReadWriteFlags::NOWAIT), Err(Errno::OPNOTSUPP))
}

impl Queue for Uring {
    fn submit(&mut self, request: Request) -> io::Result<()> {
        let buffer = &mut self.buffers[request.slot];
        let len = buffer.read.len() as u32;
        let fd = types::Fixed(0);
        let entry: squeue::Entry = if request.write {
            opcode::Write::new(fd, buffer.write.as_ptr(), len).offset(request.offset).build()
        } else {
            opcode::Read::new(fd, buffer.read.as_mut_ptr(), len).offset(request.offset).build()
        };
        let entry = entry.flags(self.flags).user_data(request.slot as u64);
        // SAFETY: the buffer stays where it is until `Drop` has seen all that is in flight, and the load does not use
        // a slot again before its completion, so nobody else touches it.
        unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        self.in_flight += 1;
        self.fresh += 1;
        if self.fresh < self.group {
            return Ok(());
        }
        self.fresh = 0;
        match self.ring.submit() {
            // What was not taken goes with the next call.
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn wait(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        self.fresh = 0;
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {
                    self.choose_group();
                    return self.take(done);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Uring {
    /// The kernel writes into the buffers until the last request is done.
    fn drop(&mut self) {
        let mut done = Vec::new();
        while self.in_flight > 0 {
            let before = self.in_flight;
            let outcome = self.wait(&mut done);
            if outcome.is_err() && self.in_flight == before {
                // Nothing is known about what is in flight: better lose the memory than have it written to later.
                self.buffers.drain(..).for_each(std::mem::forget);
                return;
            }
        }
    }
}
