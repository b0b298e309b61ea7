//! A file, a block device, or memory (an unnamed file of the kernel's): all the same to the system calls.
//!
//! What the systems have for it is in a file for each; the names in them are the same.

mod direct;
mod length;
mod narrow;
mod open;
#[cfg(not(target_os = "linux"))]
mod simple;

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
#[cfg_attr(not(any(target_os = "linux", windows)), path = "other.rs")]
mod sys;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::iter;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use iesp_scsi::{IoError, Outcome};

use super::durability::{Durability, SyncError};
use super::{Backend, Condition, Facts, Patience, Served};
use crate::buffers::{ALIGNMENT, Buffer};
use crate::pool::{self, Job, SYNCS, Threads, Work};
use crate::ring;
use direct::Alignment;
use length::Length;
use open::Kind;
pub use open::{OpenError, OpenOptions};
use sys::failure;

/// More bytes than this are not unmapped or zeroed on a thread that serves other commands.
const INLINE_UNMAP: u64 = 1 << 20;

/// A durable write of at most so many bytes is done by the thread that makes the sync.
const WITH_SYNC: usize = 64 << 10;

/// Zeros are written in pieces of this size where the file system has no better way.
static ZEROS: Zeros = Zeros([0; 64 << 10]);

/// Where a device may read them from.
#[repr(align(4096))]
struct Zeros([u8; 64 << 10]);

/// What lies under the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A file of a file system.
    File,
    /// A block device.
    Device,
    /// The page cache is the medium (tmpfs): no call waits for a device, and a flush has nothing to do.
    Memory,
}

/// A read or a write that did not get to its end.
#[derive(Debug)]
struct Stopped {
    /// The byte of the file that it did not get past.
    at: u64,
    error: io::Error,
}

/// A backend on a file descriptor.
#[derive(Debug)]
pub struct FileBackend {
    file: File,
    /// What the log calls it.
    name: Box<str>,
    /// But for the length.
    facts: Facts,
    /// It has no name, and its length is chosen here.
    is_own: bool,
    medium: Medium,
    /// Past the page cache, and what that asks for.
    direct: Option<Alignment>,
    unmap_zeros: bool,
    block_size: u32,
    /// Whether the page cache can be asked without waiting; found out at the first try.
    read_cached: AtomicBool,
    write_cached: AtomicBool,
    /// The same file, opened again: the system tells an error to each, so that syncs may be under way at the same time.
    syncs: Vec<File>,
    /// Its syncs, and whether one failed.
    durability: Durability,
    /// They wait for it.
    threads: Threads,
    /// Whether it is as long as it was.
    length: Length,
}

impl FileBackend {
    /// Opens and locks a file or block device; nothing of it is changed.
    ///
    /// # Errors
    /// [`OpenError`], for people to read.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let (file, kind) = open::open(path, options)?;
        let medium = match kind {
            Kind::Device => Medium::Device,
            _ if sys::is_in_memory(&file) => Medium::Memory,
            _ => Medium::File,
        };
        let direct = (options.direct && medium != Medium::Memory).then(|| Alignment::of(&file, options.block_size));
        let backend = Self::new(file, medium, direct.transpose()?, options)?;
        let name = path.display().to_string();
        let syncs =
            if backend.medium == Medium::Memory { Vec::new() } else { sys::more_for_syncs(&backend.file, SYNCS - 1) };
        let durability = Durability::new(name.clone(), 1 + syncs.len());
        Ok(Self { durability, syncs, name: name.into(), ..backend })
    }

    /// Whether what is at a path could be served: as far as that can be told without opening it.
    ///
    /// # Errors
    /// [`OpenError`], for people to read.
    pub fn look_at(path: &Path, block_size: u32) -> Result<(), OpenError> {
        match open::kind(path)? {
            Kind::File => open::check_len(path.metadata()?.len(), block_size),
            _ => Ok(()),
        }
    }

    /// Memory of `len` bytes: sparse, gone at exit.
    ///
    /// # Errors
    /// [`OpenError`], for people to read.
    pub fn memory(len: u64, options: &OpenOptions) -> Result<Self, OpenError> {
        Ok(Self { is_own: true, ..Self::new(sys::memory(len)?, Medium::Memory, None, options)? })
    }

    fn new(file: File, medium: Medium, direct: Option<Alignment>, options: &OpenOptions) -> Result<Self, OpenError> {
        let len = sys::len(&file).map_err(|error| match error.kind() {
            // What a file system makes up when it is read, as /proc does, has no end.
            ErrorKind::InvalidInput => OpenError::Special,
            _ => error.into(),
        })?;
        open::check_len(len, options.block_size)?;
        // What is read only is as its owner made it.
        let holes = if options.read_only { sys::granularity(&file, medium) } else { sys::holes(&file, medium, len) };
        let facts = Facts {
            len,
            read_only: options.read_only,
            discard_granularity: if options.unmap { holes.unwrap_or(0) } else { 0 },
            // The page cache.
            volatile_cache: true,
            rotational: false,
        };
        Ok(Self {
            file,
            name: "memory".into(),
            facts,
            is_own: false,
            medium,
            direct,
            block_size: options.block_size,
            unmap_zeros: options.unmap_zeros && facts.discard_granularity != 0,
            read_cached: AtomicBool::new(true),
            // A file system may be frozen (fsfreeze(8)): then a write sleeps before it looks whether it may wait.
            write_cached: AtomicBool::new(medium != Medium::File),
            syncs: Vec::new(),
            durability: Durability::new("memory", 1),
            threads: Threads::new(),
            length: Length::new(len),
        })
    }

    /// Whether a call may be made that waits, as there is patience for it or nothing to wait for.
    const fn inline(&self, patience: Patience) -> bool {
        matches!(patience, Patience::Any) || matches!(self.medium, Medium::Memory)
    }

    /// All of `buffer`. An end of the file before that is an error: it was cut under us.
    fn read_all(&self, mut buffer: &mut [u8], mut offset: u64) -> Result<(), Stopped> {
        if let Some(alignment) = self.direct.filter(|alignment| !alignment.suits(buffer, offset)) {
            let (start, len) = alignment.around(offset, buffer.len());
            let mut aligned = Buffer::new(len);
            self.read_all(&mut aligned, start)?;
            let from = (offset - start) as usize;
            buffer.copy_from_slice(&aligned[from..from + buffer.len()]);
            return Ok(());
        }
        while !buffer.is_empty() {
            match sys::read_at(&self.file, buffer, offset).map(|count| self.whole(count)) {
                Ok(0) => return Err(Stopped { at: offset, error: ErrorKind::UnexpectedEof.into() }),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Stopped { at: offset, error }),
            }
        }
        Ok(())
    }

    /// All of `data`, which are whole blocks.
    fn write_all(&self, mut data: &[u8], mut offset: u64) -> Result<(), Stopped> {
        if self.direct.is_some_and(|alignment| !alignment.suits(data, offset)) {
            return self.write_all(&Buffer::of(data), offset);
        }
        while !data.is_empty() {
            match sys::write_at(&self.file, data, offset).map(|count| self.whole(count)) {
                Ok(0) => return Err(Stopped { at: offset, error: ErrorKind::WriteZero.into() }),
                Ok(count) => {
                    data = &data[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Stopped { at: offset, error }),
            }
        }
        Ok(())
    }

    /// What it means that a read or a write of `len` bytes stopped; `attempt` tries a part of it again, to find the block that
    /// failed first.
    #[cold]
    fn located(&self, stopped: &Stopped, offset: u64, len: usize, attempt: impl FnMut(u64, usize) -> bool) -> IoError {
        let error = self.failure(&stopped.error);
        let block = u64::from(self.block_size);
        let begins = |byte: u64| byte / block * block;
        if error != IoError::Medium {
            return error;
        }
        if let Some(byte) = self.length.lost(offset, len) {
            return IoError::MediumAt(begins(byte));
        }
        let end = (offset + len as u64).next_multiple_of(block);
        narrow::first_bad(begins(stopped.at), end, block, attempt).map_or(error, IoError::MediumAt)
    }

    /// Nothing of the range was lost when the file was cut.
    fn check_lost(&self, offset: u64, len: usize) -> Result<(), IoError> {
        match self.length.lost(offset, len) {
            None => Ok(()),
            Some(_) if self.medium == Medium::Device => Err(IoError::NotReady),
            Some(byte) => Err(IoError::MediumAt(byte / u64::from(self.block_size) * u64::from(self.block_size))),
        }
    }

    fn whole(&self, count: usize) -> usize {
        self.direct.map_or(count, |alignment| alignment.whole(count))
    }

    /// What an error of the system's means. A device that is gone says so by its size; what else it says is misleading.
    fn failure(&self, error: &io::Error) -> IoError {
        if self.is_cut() { self.cut() } else { failure(error) }
    }

    /// Whether somebody else may cut it.
    const fn is_watched(&self) -> bool {
        !self.is_own
    }

    fn is_cut(&self) -> bool {
        self.is_watched() && self.length.is_cut(&self.name, &self.file)
    }

    /// What it means that it was cut: the medium of a file is damaged, a device is gone.
    fn cut(&self) -> IoError {
        if self.medium == Medium::Device { IoError::NotReady } else { IoError::Medium }
    }

    /// Before it is written to, from `offset` on: nothing is where it was cut of late.
    #[inline]
    fn check_length(&self, offset: u64, len: u64) -> Result<(), IoError> {
        if !self.is_watched() {
            return Ok(());
        }
        // A write up to the end would make a file as long as it was before anybody looks again.
        let is_cut = if offset + len >= self.length.get() {
            self.is_cut()
        } else {
            self.length.is_cut_of_late(&self.name, Some(offset + len), &self.file)
        };
        if is_cut { Err(self.cut()) } else { Ok(()) }
    }

    /// Before it is read from: what was lost of it stays lost.
    #[inline]
    fn check_read(&self, offset: u64, len: usize) -> Result<(), IoError> {
        if self.is_watched() && self.length.is_cut_of_late(&self.name, None, &self.file) {
            return self.check_lost(offset, len);
        }
        Ok(())
    }

    /// Something was written that is not durable yet.
    #[inline]
    fn wrote(&self) {
        if self.medium != Medium::Memory {
            self.durability.wrote();
        }
    }

    fn write_zeros(&self, offset: u64, len: u64) -> Result<(), Stopped> {
        match sys::zero(&self.file, offset, len) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            result => return result.map_err(|error| Stopped { at: offset, error }),
        }
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(ZEROS.0.len() as u64);
            self.write_all(&ZEROS.0[..piece as usize], offset + done)?;
            done += piece;
        }
        Ok(())
    }

    /// Makes everything durable that was written before, by a sync of its own or one that others wait for, too.
    fn sync(&self) -> Result<(), IoError> {
        if self.medium == Medium::Memory {
            return if self.is_cut() { Err(self.cut()) } else { Ok(()) };
        }
        self.durability.sync(|lane| self.sync_file(lane))
    }

    /// One sync, by the file of its lane. Called by [`Durability`] alone.
    fn sync_file(&self, lane: usize) -> Result<(), SyncError> {
        if self.is_cut() {
            return Err(SyncError::Refused(self.cut()));
        }
        let file = lane.checked_sub(1).and_then(|more| self.syncs.get(more)).unwrap_or(&self.file);
        sys::sync(file).map_err(|error| {
            tracing::error!(disk = %self.name, %error, "it could not be flushed");
            SyncError::Lost(self.failure(&error))
        })
    }
}

impl Backend for FileBackend {
    fn facts(&self) -> Facts {
        Facts { len: self.length.get(), ..self.facts }
    }

    fn resize(&self, wanted: Option<u64>) -> io::Result<u64> {
        if let Some(wanted) = wanted.filter(|_| self.is_own) {
            self.file.set_len(wanted)?;
        }
        let len = sys::len(&self.file)?;
        if len != 0 && len % u64::from(self.block_size) == 0 {
            self.length.set(len);
        }
        Ok(len)
    }

    fn submit(&self, job: Job) -> Result<(), Job> {
        match job.work {
            Work::Read { offset, len } => {
                let whole = self.direct.is_none_or(|alignment| alignment.is_whole(offset, len));
                // Where the page cache cannot be asked, the kernel's workers would wait for it, which all disks share.
                let waits = self.direct.is_none() && !self.read_cached.load(Ordering::Relaxed);
                if !whole || waits || self.check_read(offset, len).is_err() {
                    return Err(job);
                }
                ring::submit(job, &self.file, self.direct.is_some())
            }
            // Through the page cache a write seldom waits for a device, and the kernel would have a thread do it, too.
            Work::Write { offset, from, len, .. } if self.direct.is_some() => {
                let zeros = self.unmap_zeros && job.buffer.get(from..from + len).is_some_and(is_zero);
                if zeros || self.check_length(offset, len as u64).is_err() {
                    return Err(job);
                }
                ring::submit(job, &self.file, true)
            }
            // Nothing of such a page is read first, and a copy of so few bytes takes no time beside the sync.
            Work::Write { offset, len, durable: true, .. }
                if self.durability().is_some() && len <= WITH_SYNC && is_whole_pages(offset, len) =>
            {
                pool::write_with_sync(job, &self.durability);
                Ok(())
            }
            // No thread for each that waits for the same sync.
            Work::Flush if self.medium != Medium::Memory => {
                pool::settle(job, Outcome::Done);
                Ok(())
            }
            _ => Err(job),
        }
    }

    fn threads(&self) -> Option<&Threads> {
        Some(&self.threads)
    }

    fn durability(&self) -> Option<&Durability> {
        (self.medium != Medium::Memory).then_some(&self.durability)
    }

    fn commit(&self) {
        self.durability.lead(|lane| self.sync_file(lane));
    }

    fn restore(&self) -> Result<bool, IoError> {
        if !sys::len(&self.file).is_ok_and(|len| len >= self.length.get()) {
            return Err(self.cut());
        }
        let was_cut = self.length.forget();
        if was_cut {
            tracing::warn!(disk = %self.name, "the disk was given back: it counts as it is now");
        }
        if self.durability.is_poisoned() {
            // Each may have to tell of the failure that is known.
            for file in iter::once(&self.file).chain(&self.syncs) {
                let _ = sys::sync(file);
            }
        }
        Ok(self.durability.restore(|lane| self.sync_file(lane))? || was_cut)
    }

    fn read(&self, offset: u64, buffer: &mut [u8], patience: Patience) -> Result<Served, IoError> {
        self.check_read(offset, buffer.len())?;
        if self.inline(patience) {
            let len = buffer.len();
            return match self.read_all(buffer, offset) {
                Ok(()) => Ok(Served::Done(())),
                Err(stopped) => {
                    Err(self
                        .located(&stopped, offset, len, |at, count| self.read_all(&mut Buffer::new(count), at).is_ok()))
                }
            };
        }
        if self.direct.is_some() || !self.read_cached.load(Ordering::Relaxed) {
            return Ok(Served::WouldBlock);
        }
        let len = buffer.len();
        at_once(sys::read_cached(&self.file, buffer, offset), len, &self.read_cached)
    }

    fn write(&self, offset: u64, data: &[u8], durable: bool, patience: Patience) -> Result<Served, IoError> {
        self.check_length(offset, data.len() as u64)?;
        if self.unmap_zeros && is_zero(data) {
            return self.zero_durably(offset, data.len() as u64, durable, patience);
        }
        if self.inline(patience) {
            self.write_all(data, offset).map_err(|stopped| {
                // Once more, the same bytes: the task still holds its range.
                self.located(&stopped, offset, data.len(), |at, count| {
                    let from = (at - offset) as usize;
                    data.get(from..from + count).is_some_and(|part| self.write_all(part, at).is_ok())
                })
            })?;
            self.wrote();
            if durable {
                self.sync()?;
            }
            return Ok(Served::Done(()));
        }
        if durable || self.direct.is_some() || !self.write_cached.load(Ordering::Relaxed) {
            return Ok(Served::WouldBlock);
        }
        // What was written in part is written again: the task still holds its range.
        let served = at_once(sys::write_cached(&self.file, data, offset), data.len(), &self.write_cached)?;
        if served == Served::Done(()) {
            self.wrote();
        }
        Ok(served)
    }

    fn flush(&self, patience: Patience) -> Result<Served, IoError> {
        if self.inline(patience) {
            return self.sync().map(Served::Done);
        }
        // As a READ with FUA finds it that nothing was written before (SBC-3 5.8).
        if self.durability.is_clean() && !self.is_cut() {
            return Ok(Served::Done(()));
        }
        Ok(Served::WouldBlock)
    }

    fn unmap(&self, offset: u64, len: u64, patience: Patience) -> Result<Served, IoError> {
        self.zero(offset, len, true, patience)
    }

    fn zero(&self, offset: u64, len: u64, unmap: bool, patience: Patience) -> Result<Served, IoError> {
        if !self.inline(patience) || patience == Patience::None && len > INLINE_UNMAP {
            return Ok(Served::WouldBlock);
        }
        self.check_length(offset, len)?;
        if unmap && self.facts.discard_granularity != 0 {
            match sys::punch(&self.file, offset, len) {
                Ok(()) => {
                    self.wrote();
                    return Ok(Served::Done(()));
                }
                // The file system has no holes: zeros are as good to the reader.
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(self.failure(&error)),
            }
        }
        self.write_zeros(offset, len).map_err(|stopped| self.failure(&stopped.error))?;
        self.wrote();
        Ok(Served::Done(()))
    }

    fn extent(&self, offset: u64, len: u64, patience: Patience) -> Result<Served<(bool, u64)>, IoError> {
        if !self.inline(patience) {
            return Ok(Served::WouldBlock);
        }
        sys::extent(&self.file, offset, len).map(Served::Done).map_err(|error| self.failure(&error))
    }

    fn prefetch(&self, offset: u64, len: u64) {
        sys::prefetch(&self.file, offset, len);
    }

    fn condition(&self) -> Condition {
        if self.durability.is_poisoned() {
            return Condition::Failed("a flush failed: what was written since the one before may be lost");
        }
        match (self.length.was_cut(), self.medium) {
            (false, _) => Condition::Serving,
            (true, Medium::Device) => Condition::Failed("the device is shorter than it was, or gone"),
            (true, _) => Condition::Failed("the file is shorter than it was"),
        }
    }

    fn is_deleted(&self) -> bool {
        self.is_watched() && self.file.metadata().is_ok_and(|metadata| sys::is_deleted(&metadata))
    }

    fn allocated(&self) -> Option<u64> {
        // A device has its size, and does not say what of it is in use.
        (self.medium != Medium::Device).then_some(())?;
        Some(sys::allocated(&self.file.metadata().ok()?))
    }
}

impl FileBackend {
    fn zero_durably(&self, offset: u64, len: u64, durable: bool, patience: Patience) -> Result<Served, IoError> {
        if durable && !self.inline(patience) {
            return Ok(Served::WouldBlock);
        }
        let served = self.zero(offset, len, true, patience)?;
        if durable && served == Served::Done(()) {
            self.sync()?;
        }
        Ok(served)
    }
}

/// Whether a range is whole pages of the page cache, whatever their size is here.
const fn is_whole_pages(offset: u64, len: usize) -> bool {
    offset.is_multiple_of(ALIGNMENT as u64) && len.is_multiple_of(ALIGNMENT)
}

/// What came of a try at the page cache; a part is nothing.
#[inline]
fn at_once(result: io::Result<usize>, len: usize, supported: &AtomicBool) -> Result<Served, IoError> {
    match result {
        Ok(count) if count == len => Ok(Served::Done(())),
        Ok(_) => Ok(Served::WouldBlock),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock => Ok(Served::WouldBlock),
            ErrorKind::Unsupported => {
                supported.store(false, Ordering::Relaxed);
                Ok(Served::WouldBlock)
            }
            // The patient way meets it, too, and tells.
            _ => Ok(Served::WouldBlock),
        },
    }
}

pub(super) fn is_zero(data: &[u8]) -> bool {
    data.chunks(4096).all(|chunk| chunk == &ZEROS.0[..chunk.len()])
}

#[cfg(test)]
mod tests;
