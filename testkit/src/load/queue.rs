//! Requests in, completions out: what every way to a disk looks like to a load.

use std::io;
use std::mem;
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

/// A request that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Its buffer, which is free again.
    pub slot: usize,
    /// How long it took, where the queue knows that better than who waits for it.
    pub latency: Option<Duration>,
}

/// A queue of requests of one size, for one thread.
pub trait Queue {
    /// Accepts a request; at the latest [`Queue::wait`] sends it.
    ///
    /// # Errors
    /// What the device reports.
    fn submit(&mut self, request: Request) -> io::Result<()>;

    /// Waits until at least one request is done and adds all that are to `done`.
    ///
    /// # Errors
    /// What the device reports for any of them.
    fn wait(&mut self, done: &mut Vec<Done>) -> io::Result<()>;
}

/// One call at a time: each request is carried out when it is submitted.
pub struct Calls {
    device: Arc<dyn Device>,
    buffers: Vec<Buffers>,
    done: Vec<Done>,
}

impl Calls {
    /// A queue for requests of `block` bytes.
    #[must_use]
    pub fn new(device: Arc<dyn Device>, block: usize, depth: usize) -> Self {
        Self { device, buffers: buffers(block, depth), done: Vec::new() }
    }
}

/// The memory of a slot. What is written must not be what was read before: that may be zeros.
pub(super) struct Buffers {
    /// Where reads go.
    pub(super) read: Buffer,
    /// What is written: data that does not compress, other in each slot.
    pub(super) write: Buffer,
}

pub(super) fn buffers(block: usize, depth: usize) -> Vec<Buffers> {
    use crate::verify::content::Content;
    let one = |slot| {
        let mut write = Buffer::new(block);
        Content::Unique { generation: slot as u64 + 1 }.fill(0, 0, &mut write);
        Buffers { read: Buffer::new(block), write }
    };
    (0..depth).map(one).collect()
}

impl Queue for Calls {
    fn submit(&mut self, request: Request) -> io::Result<()> {
        let buffer = &mut self.buffers[request.slot];
        if request.write {
            self.device.write(request.offset, &buffer.write, false)?;
        } else {
            self.device.read(request.offset, &mut buffer.read)?;
        }
        self.done.push(Done { slot: request.slot, latency: None });
        Ok(())
    }

    fn wait(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        done.append(&mut self.done);
        Ok(())
    }
}

/// The memory of a slot of a session, which has what is in flight.
struct Slot {
    read: Vec<u8>,
    write: Vec<u8>,
    writes: bool,
}

/// A session of its own over iSCSI.
pub struct Iscsi {
    session: Session,
    block: u64,
    logical: u64,
    access: Access,
    slots: Vec<Slot>,
    completions: Vec<iscsi::Completion<Vec<u8>>>,
}

impl Iscsi {
    /// A queue for requests of `block` bytes on a disk with logical blocks of `logical` bytes.
    #[must_use]
    pub fn new(session: Session, block: usize, logical: u32, depth: usize, access: Access) -> Self {
        let slot =
            |buffers: &Buffers| Slot { read: buffers.read.to_vec(), write: buffers.write.to_vec(), writes: false };
        let slots = buffers(block, depth).iter().map(slot).collect();
        let (block, logical) = (block as u64, u64::from(logical));
        Self { session, block, logical, access, slots, completions: Vec::new() }
    }
}

/// The ten-byte CDB where the address fits, as operating systems choose it.
fn cdb(read: bool, lba: u64, blocks: u32, access: Access) -> Cdb {
    match (u32::try_from(lba), u16::try_from(blocks), read) {
        (Ok(lba), Ok(blocks), true) => Cdb::read10(lba, blocks, access),
        (Ok(lba), Ok(blocks), false) => Cdb::write10(lba, blocks, access),
        (_, _, true) => Cdb::read16(lba, blocks, access),
        (_, _, false) => Cdb::write16(lba, blocks, access),
    }
}

/// The session itself gives up after its own, longer time.
const PATIENCE: Duration = Duration::from_secs(60);

impl Queue for Iscsi {
    fn submit(&mut self, request: Request) -> io::Result<()> {
        let (lba, blocks) = (request.offset / self.logical, (self.block / self.logical) as u32);
        let slot = &mut self.slots[request.slot];
        slot.writes = request.write;
        let cdb = cdb(!request.write, lba, blocks, self.access);
        let transfer = match request.write {
            true => Transfer::Out(mem::take(&mut slot.write)),
            false => Transfer::In(mem::take(&mut slot.read)),
        };
        self.session.submit(&cdb, transfer, request.slot as u64).map_err(|refused| io::Error::other(refused.error))
    }

    fn wait(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        self.session.poll(PATIENCE, &mut self.completions).map_err(io::Error::other)?;
        for completion in self.completions.drain(..) {
            completion.result.map_err(io::Error::other)?;
            if completion.residual != iscsi::Residual::None {
                let what = format!("it moved another amount of data than it should: {:?}", completion.residual);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            let index = completion.cookie as usize;
            let slot = &mut self.slots[index];
            let place = if slot.writes { &mut slot.write } else { &mut slot.read };
            *place = completion.buffer.unwrap_or_default();
            done.push(Done { slot: index, latency: Some(completion.latency) });
        }
        Ok(())
    }
}
