//! Requests in, completions out: what every way to a disk looks like to a load.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::device::Device;
use crate::device::buffer::Buffer;
use crate::iscsi::{self, Access, Cdb, Session, Transfer};

/// One read or write of a whole block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which of the queue's buffers, from 0 to its depth less one.
    pub slot: usize,
    /// Where, in bytes.
    pub offset: u64,
    /// Write instead of read.
    pub write: bool,
}

/// A queue of requests of one size, for one thread.
pub trait Queue {
    /// Accepts a request; at the latest [`Queue::wait`] sends it.
    ///
    /// # Errors
    /// What the device reports.
    fn submit(&mut self, request: Request) -> io::Result<()>;

    /// Waits until at least one request is done and adds the slots of all that are to `done`.
    ///
    /// # Errors
    /// What the device reports for any of them.
    fn wait(&mut self, done: &mut Vec<usize>) -> io::Result<()>;
}

/// One call at a time: each request is carried out when it is submitted.
pub struct Calls {
    device: Arc<dyn Device>,
    buffers: Vec<Buffer>,
    done: Vec<usize>,
}

impl Calls {
    /// A queue for requests of `block` bytes.
    #[must_use]
    pub fn new(device: Arc<dyn Device>, block: usize, depth: usize) -> Self {
        Self { device, buffers: buffers(block, depth), done: Vec::new() }
    }
}

/// Buffers that hold what does not compress, each other data.
pub(super) fn buffers(block: usize, depth: usize) -> Vec<Buffer> {
    use crate::verify::content::Content;
    let one = |slot| {
        let mut buffer = Buffer::new(block);
        Content::Unique { generation: slot as u64 + 1 }.fill(0, 0, &mut buffer);
        buffer
    };
    (0..depth).map(one).collect()
}

impl Queue for Calls {
    fn submit(&mut self, request: Request) -> io::Result<()> {
        let buffer = &mut self.buffers[request.slot];
        if request.write {
            self.device.write(request.offset, buffer, false)?;
        } else {
            self.device.read(request.offset, buffer)?;
        }
        self.done.push(request.slot);
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> io::Result<()> {
        done.append(&mut self.done);
        Ok(())
    }
}

/// A session of its own over iSCSI.
pub struct Iscsi {
    session: Session,
    block: u64,
    logical: u64,
    buffers: Vec<Option<Vec<u8>>>,
    completions: Vec<iscsi::Completion<Vec<u8>>>,
}

impl Iscsi {
    /// A queue for requests of `block` bytes on a disk with logical blocks of `logical` bytes.
    #[must_use]
    pub fn new(session: Session, block: usize, logical: u32, depth: usize) -> Self {
        let buffers = buffers(block, depth).iter().map(|buffer| Some(buffer.to_vec())).collect();
        Self { session, block: block as u64, logical: u64::from(logical), buffers, completions: Vec::new() }
    }
}

/// The session itself gives up after its own, longer time.
const PATIENCE: Duration = Duration::from_secs(60);

impl Queue for Iscsi {
    fn submit(&mut self, request: Request) -> io::Result<()> {
        let (lba, blocks) = (request.offset / self.logical, (self.block / self.logical) as u32);
        let buffer = self.buffers[request.slot].take().unwrap_or_else(|| vec![0; self.block as usize]);
        let (cdb, transfer) = if request.write {
            (Cdb::write16(lba, blocks, Access::default()), Transfer::Out(buffer))
        } else {
            (Cdb::read16(lba, blocks, Access::default()), Transfer::In(buffer))
        };
        self.session.submit(&cdb, transfer, request.slot as u64).map_err(|refused| io::Error::other(refused.error))
    }

    fn wait(&mut self, done: &mut Vec<usize>) -> io::Result<()> {
        self.session.poll(PATIENCE, &mut self.completions).map_err(io::Error::other)?;
        for completion in self.completions.drain(..) {
            completion.result.map_err(io::Error::other)?;
            if completion.residual != iscsi::Residual::None {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let slot = completion.cookie as usize;
            self.buffers[slot] = completion.buffer;
            done.push(slot);
        }
        Ok(())
    }
}
