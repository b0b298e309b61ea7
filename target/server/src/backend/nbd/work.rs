//! Work as a server takes it: aligned to its blocks, in pieces that it allows, with the flags that it has.

use std::collections::VecDeque;
use std::mem::take;
use std::rc::Rc;

use iesp_scsi::{IoError, Outcome};
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tokio::task::spawn_local;

use super::call::{Answer, Call};
use super::client::Client;
use super::protocol::{Command, Request, allocation, request_flags};
use crate::backend::commits::Joined;
use crate::backend::is_zero;
use crate::buffers::Buffer;
use crate::pool::{Job, Work, extent_outcome};

/// Most bytes that one WRITE_ZEROES zeroes: a server may write them all.
const ZEROES: u64 = 128 << 20;

/// Most bytes of zeros that travel in one WRITE, to servers without WRITE_ZEROES.
const ZERO_PIECE: u64 = 1 << 20;

/// Pieces of a transfer that are under way at the same time, where the server takes no larger ones.
const PIECES: usize = 8;

/// Most bytes that one BLOCK_STATUS asks about.
const STATUS: u64 = 1 << 30;

/// Locks of blocks of which a part is written; a block's number says which one.
const STRIPES: usize = 64;

/// Does work by calls to a server.
#[derive(Debug)]
pub struct Worker {
    client: Rc<Client>,
    /// UNMAP gives space back.
    unmap: bool,
    /// A write of zeros gives space back, too.
    unmap_zeros: bool,
    stripes: [Mutex<()>; STRIPES],
    /// Held by a flush that makes room in the journal.
    trimming: Mutex<()>,
}

impl Worker {
    /// With iESP's trim levels.
    pub fn new(client: Rc<Client>, unmap: bool, unmap_zeros: bool) -> Self {
        let stripes = [const { Mutex::const_new(()) }; STRIPES];
        Self { client, unmap, unmap_zeros, stripes, trimming: Mutex::const_new(()) }
    }

    /// Whose calls do it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Has a job done that one request does, as most are. Others come back.
    ///
    /// # Errors
    /// The job.
    pub fn begin(&self, job: Job) -> Result<(), Job> {
        let export = &self.client.export;
        let one = |offset: u64, len: usize| {
            let end = offset + len as u64;
            len <= export.payload as usize && self.enclosing(offset, len as u64) == (offset, end)
        };
        let call = match job.work {
            Work::Read { offset, len } if one(offset, len) => {
                let request = Request { command: Command::Read, flags: 0, offset, len: len as u32 };
                Call::whole(request, job, 0, false)
            }
            Work::Write { offset, from, len, durable }
                if one(offset, len)
                    && (!durable || export.fua() && self.check_lost().is_ok())
                    && !self.client.journal.borrow().is_half_full()
                    && !(self.unmap_zeros && job.buffer.get(from..from + len).is_some_and(is_zero)) =>
            {
                let request = Request { command: Command::Write, flags: self.fua(durable), offset, len: len as u32 };
                Call::whole(request, job, from, export.flush())
            }
            _ => return Err(job),
        };
        self.client.dispatch(call);
        Ok(())
    }

    /// Does it; the buffer comes back.
    pub async fn perform(self: &Rc<Self>, work: Work, mut buffer: Buffer) -> (Outcome, Buffer) {
        let result = match work {
            Work::Read { offset, len } => self.read(offset, &mut buffer, 0, len).await,
            Work::Write { offset, from, len, durable } => self.write(offset, &mut buffer, from, len, durable).await,
            Work::Flush => self.flush().await,
            Work::Unmap { offset, len } => self.zero(offset, len, true, false).await,
            Work::Zero { offset, len, unmap } => self.zero(offset, len, unmap, false).await,
            Work::Extent { offset, len, block } => {
                let extent = self.extent(offset, len).await;
                return (extent.map_or_else(Outcome::Failed, |extent| extent_outcome(extent, block)), buffer);
            }
        };
        (result.map_or_else(Outcome::Failed, |()| Outcome::Done), buffer)
    }

    /// Has the server bring bytes into its memory.
    pub async fn cache(&self, offset: u64, len: u64) {
        if !self.client.export.cache() {
            return;
        }
        let (start, end) = self.enclosing(offset, len.min(ZEROES));
        let request = Request { command: Command::Cache, flags: 0, offset: start, len: (end - start) as u32 };
        // Advice: where it is refused nothing is lost.
        let _ = self.client.call(request, Buffer::default(), 0, false).await;
    }

    async fn read(&self, offset: u64, buffer: &mut Buffer, at: usize, len: usize) -> Result<(), IoError> {
        let (start, end) = self.enclosing(offset, len as u64);
        if (start, end) == (offset, offset + len as u64) {
            return self.transfer(Command::Read, 0, offset, buffer, at, len).await;
        }
        let mut whole = Buffer::new((end - start) as usize);
        let whole_len = whole.len();
        self.transfer(Command::Read, 0, start, &mut whole, 0, whole_len).await?;
        let part = whole.get((offset - start) as usize..).and_then(|rest| rest.get(..len)).ok_or(IoError::Other)?;
        buffer.get_mut(at..at + len).ok_or(IoError::Other)?.copy_from_slice(part);
        Ok(())
    }

    async fn write(
        self: &Rc<Self>,
        offset: u64,
        buffer: &mut Buffer,
        at: usize,
        len: usize,
        durable: bool,
    ) -> Result<(), IoError> {
        let data = buffer.get(at..at + len).ok_or(IoError::Other)?;
        if self.unmap_zeros && is_zero(data) {
            return self.zero(offset, len as u64, true, durable).await;
        }
        self.write_bytes(offset, buffer, at, len, durable).await
    }

    /// Bytes that travel; where they are no whole blocks of the server's, with what is around them.
    async fn write_bytes(
        self: &Rc<Self>,
        offset: u64,
        buffer: &mut Buffer,
        at: usize,
        len: usize,
        durable: bool,
    ) -> Result<(), IoError> {
        let (start, end) = self.enclosing(offset, len as u64);
        if (start, end) == (offset, offset + len as u64) {
            return self.write_aligned(offset, buffer, at, len, durable).await;
        }
        // Neighbours in a block of the server's may be written by others, whose blocks the range lock does not know.
        let _locks = self.lock(start, end).await;
        let mut whole = Buffer::new((end - start) as usize);
        let whole_len = whole.len();
        let minimum = self.client.export.minimum as usize;
        if start != offset {
            self.transfer(Command::Read, 0, start, &mut whole, 0, minimum).await?;
        }
        if end != offset + len as u64 && (start == offset || whole_len > minimum) {
            let last = whole_len - minimum;
            self.transfer(Command::Read, 0, end - minimum as u64, &mut whole, last, minimum).await?;
        }
        let from = (offset - start) as usize;
        let data = buffer.get(at..at + len).ok_or(IoError::Other)?;
        whole.get_mut(from..from + len).ok_or(IoError::Other)?.copy_from_slice(data);
        self.write_aligned(start, &mut whole, 0, whole_len, durable).await
    }

    async fn write_aligned(
        self: &Rc<Self>,
        offset: u64,
        buffer: &mut Buffer,
        at: usize,
        len: usize,
        durable: bool,
    ) -> Result<(), IoError> {
        self.make_room().await?;
        self.transfer(Command::Write, self.fua(durable), offset, buffer, at, len).await?;
        self.harden(durable).await
    }

    /// READ or WRITE, in pieces that the server takes, several of them under way at the same time.
    async fn transfer(
        &self,
        command: Command,
        flags: u16,
        offset: u64,
        buffer: &mut Buffer,
        at: usize,
        len: usize,
    ) -> Result<(), IoError> {
        let keep = command == Command::Write && self.client.export.flush();
        let most = self.client.export.payload as usize;
        let request =
            |done: usize, piece: usize| Request { command, flags, offset: offset + done as u64, len: piece as u32 };
        if len <= most {
            let answer = self.client.call(request(0, len), take(buffer), at, keep).await;
            *buffer = answer.buffer;
            return answer.result.map(drop);
        }
        let (mut done, mut result, mut under_way) = (0, Ok(()), VecDeque::new());
        while (done < len && result.is_ok()) || !under_way.is_empty() {
            if done < len && result.is_ok() && under_way.len() < PIECES {
                let piece = most.min(len - done);
                let bytes = match command {
                    Command::Write => buffer.get(at + done..at + done + piece).ok_or(IoError::Other).map(Buffer::of)?,
                    _ => Buffer::new(piece),
                };
                let (call, answer) = Call::new(request(done, piece), bytes, 0, keep);
                self.client.dispatch(call);
                under_way.push_back((done, answer));
                done += piece;
                continue;
            }
            // After a failure, too: nothing of this is under way any more when its range is given back.
            let Some((from, answer)) = under_way.pop_front() else { break };
            let Answer { result: answered, buffer: bytes } = answer.await.map_err(|_| IoError::NotReady)?;
            match answered {
                Ok(_) if command == Command::Read => {
                    let place = buffer.get_mut(at + from..at + from + bytes.len()).ok_or(IoError::Other)?;
                    place.copy_from_slice(&bytes);
                }
                Ok(_) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Zeros. NBD's TRIM says nothing of what is read afterwards, and a logical unit promises zeros (LBPRZ): so space is
    /// given back by WRITE_ZEROES without NO_HOLE.
    async fn zero(self: &Rc<Self>, offset: u64, len: u64, unmap: bool, durable: bool) -> Result<(), IoError> {
        let end = offset + len;
        let minimum = u64::from(self.client.export.minimum);
        let (first, last) = (offset.next_multiple_of(minimum), end / minimum * minimum);
        if first >= last {
            return self.write_zeros(offset, len, durable).await;
        }
        if first > offset {
            self.write_zeros(offset, first - offset, durable).await?;
        }
        if self.client.export.zeroes() {
            self.write_zeroes(first, last - first, unmap, durable).await?;
        } else {
            self.write_zeros(first, last - first, durable).await?;
        }
        if end > last {
            self.write_zeros(last, end - last, durable).await?;
        }
        Ok(())
    }

    /// Whole blocks, by WRITE_ZEROES.
    async fn write_zeroes(
        self: &Rc<Self>,
        mut offset: u64,
        len: u64,
        unmap: bool,
        durable: bool,
    ) -> Result<(), IoError> {
        let end = offset + len;
        let hole = if unmap && self.unmap { 0 } else { request_flags::NO_HOLE };
        let flags = self.fua(durable) | hole;
        while offset < end {
            self.make_room().await?;
            let piece = (end - offset).min(ZEROES);
            let request = Request { command: Command::WriteZeroes, flags, offset, len: piece as u32 };
            self.client.call(request, Buffer::default(), 0, self.client.export.flush()).await.result?;
            offset += piece;
        }
        self.harden(durable).await
    }

    /// Zeros that travel.
    async fn write_zeros(self: &Rc<Self>, offset: u64, len: u64, durable: bool) -> Result<(), IoError> {
        let mut zeros = Buffer::new(len.min(ZERO_PIECE) as usize);
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(ZERO_PIECE) as usize;
            self.write_bytes(offset + done, &mut zeros, 0, piece, durable).await?;
            done += piece as u64;
        }
        Ok(())
    }

    /// What every flush of an initiator's does. It has the result of a flush that is sent from now on, which several may wait
    /// for: a server tells a failed sync to one of them alone, as the kernel does.
    async fn flush(self: &Rc<Self>) -> Result<(), IoError> {
        let (waiter, flushed) = oneshot::channel();
        let joined = self.client.commits.borrow_mut().join(waiter);
        match joined {
            Joined::Refused(_) => return Err(self.client.lost()),
            Joined::Follows => {}
            Joined::Leads => drop(spawn_local(Rc::clone(self).lead())),
        }
        // It ends with the thread alone.
        flushed.await.unwrap_or(Err(IoError::NotReady))
    }

    /// Flushes for as long as others wait for it.
    async fn lead(self: Rc<Self>) {
        let (commits, mut batch) = (&self.client.commits, Vec::new());
        loop {
            let (number, _) = commits.borrow_mut().begin(&mut batch);
            let result = self.sync().await;
            commits.borrow_mut().end(number, result, &mut batch);
            // Writes may have been lost meanwhile.
            loop {
                let answer = commits.borrow_mut().next_answer(&mut batch);
                let Some(answer) = answer else { break };
                for waiter in batch.drain(..) {
                    // Who no longer waits needs no answer.
                    let _ = waiter.send(answer);
                }
            }
            if !commits.borrow_mut().go_on() {
                return;
            }
        }
    }

    /// Gives the export back after writes were lost; whether there were any.
    pub async fn restore(&self) -> Result<bool, IoError> {
        if !self.client.commits.borrow().is_poisoned() {
            return Ok(false);
        }
        let losses = self.client.losses();
        self.sync().await?;
        if self.client.losses() != losses {
            return Err(IoError::Medium);
        }
        self.client.restore();
        Ok(true)
    }

    /// Nothing is called durable after what was acknowledged before it was lost. Linux repeats a flush that fails with MEDIUM
    /// ERROR, so that one failure would be hidden.
    fn check_lost(&self) -> Result<(), IoError> {
        if self.client.commits.borrow().is_poisoned() { Err(self.client.lost()) } else { Ok(()) }
    }

    /// Makes what was answered durable.
    async fn sync(&self) -> Result<(), IoError> {
        if !self.client.export.flush() {
            return Ok(());
        }
        let request = Request { command: Command::Flush, flags: 0, offset: 0, len: 0 };
        loop {
            let mark = self.client.journal.borrow().mark();
            match self.client.call(request, Buffer::default(), 0, false).await.result {
                Ok(_) if self.client.journal.borrow_mut().flushed(mark) => return Ok(()),
                // Another one failed meanwhile, and what it lost is written again: this one has to cover that.
                Ok(_) => {}
                // It did not reach the server.
                Err(IoError::NotReady) => return Err(IoError::NotReady),
                Err(error) => {
                    self.client.sync_failed();
                    return Err(error);
                }
            }
        }
    }

    /// Room in the journal. A write that finds it half full has it flushed; one that finds it full waits for that.
    async fn make_room(self: &Rc<Self>) -> Result<(), IoError> {
        if self.client.journal.borrow().is_full() {
            let _turn = self.trimming.lock().await;
            if self.client.journal.borrow().is_full() {
                self.flush().await?;
            }
        } else if self.client.journal.borrow().is_half_full()
            && let Ok(_turn) = self.trimming.try_lock()
        {
            // Where it fails the journal keeps what it has, and the initiator's own flush will tell.
            let _ = self.flush().await;
        }
        Ok(())
    }

    /// Durable in itself, where the server can do that.
    fn fua(&self, durable: bool) -> u16 {
        if durable && self.client.export.fua() { request_flags::FUA } else { 0 }
    }

    /// Durable after a flush, where it cannot.
    async fn harden(self: &Rc<Self>, durable: bool) -> Result<(), IoError> {
        match durable {
            true if self.client.export.fua() => self.check_lost(),
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Whether the bytes from `offset` on take space, and for how many of `len` that holds.
    async fn extent(&self, offset: u64, len: u64) -> Result<(bool, u64), IoError> {
        if self.client.export.context.is_none() {
            return Ok((true, len));
        }
        let (start, end) = self.enclosing(offset, len.min(STATUS));
        let request = Request {
            command: Command::BlockStatus,
            flags: request_flags::REQ_ONE,
            offset: start,
            len: (end - start) as u32,
        };
        let answer = self.client.call(request, Buffer::default(), 0, false).await.result?;
        let (size, flags) = answer.ok_or(IoError::Other)?;
        let hole = allocation::HOLE | allocation::ZERO;
        // A hole whose contents nobody promises is no deallocated block: those read as zeros.
        match size.checked_sub(offset - start) {
            Some(size) if size > 0 => Ok((flags & hole != hole, size.min(len))),
            _ => Ok((true, 1)),
        }
    }

    /// The blocks of the server's around a range: start and end, in bytes.
    fn enclosing(&self, offset: u64, len: u64) -> (u64, u64) {
        let minimum = u64::from(self.client.export.minimum);
        (offset / minimum * minimum, (offset + len).next_multiple_of(minimum))
    }

    /// The first and the last of these blocks, against others that write a part of one.
    async fn lock(&self, start: u64, end: u64) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        let minimum = u64::from(self.client.export.minimum);
        let stripe = |offset: u64| (offset / minimum % STRIPES as u64) as usize;
        let (one, two) = (stripe(start), stripe(end - minimum));
        // In one order, so that nobody waits in a circle.
        let first = self.stripes[one.min(two)].lock().await;
        let second = if one == two { None } else { Some(self.stripes[one.max(two)].lock().await) };
        (first, second)
    }
}
