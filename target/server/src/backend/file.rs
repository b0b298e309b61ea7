//! A file, a block device, or memory (an unnamed file of the kernel's): all the same to the system calls.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use iesp_scsi::IoError;
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Backend, Facts, Patience, Served};

/// More bytes than this are not unmapped or zeroed on a thread that serves other commands.
const INLINE_UNMAP: u64 = 1 << 20;

/// Zeros are written in pieces of this size where the file system has no better way.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

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

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// Writes are refused.
    pub read_only: bool,
    /// Bytes of a logical block, of which the size must be a multiple.
    pub block_size: u32,
    /// UNMAP gives space back.
    pub unmap: bool,
    /// A write of zeros gives space back, too.
    pub unmap_zeros: bool,
}

/// Why a file cannot be served; what to do stands in the message.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none.
    #[error("there is no such file: make it with --create SIZE, for example --create 10G")]
    Missing,
    /// A directory.
    #[error("this is a directory: name a disk image or a block device")]
    Directory,
    /// Neither a file nor a block device.
    #[error("this is neither a file nor a block device")]
    Special,
    /// No permission to read it.
    #[error("no permission to read it: run iesp as a user who may, or change its mode")]
    NotReadable,
    /// No permission to write it.
    #[error("no permission to write it: change its mode, or serve it with --read-only")]
    NotWritable,
    /// Another process has it.
    #[error("it is in use: another iesp (or this one, as another LUN) serves it already")]
    Locked,
    /// No blocks.
    #[error("it is empty: give it a size, for example with `truncate -s 10G`")]
    Empty,
    /// Not whole blocks.
    #[error(
        "its size of {size} bytes is no multiple of the block size of {block} bytes: `truncate -s {rounded}` makes it one"
    )]
    NotWholeBlocks {
        /// Bytes.
        size: u64,
        /// Bytes.
        block: u32,
        /// The next multiple, in bytes.
        rounded: u64,
    },
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A backend on a file descriptor.
#[derive(Debug)]
pub struct FileBackend {
    file: File,
    facts: Facts,
    medium: Medium,
    unmap_zeros: bool,
    /// Whether the file system takes RWF_NOWAIT; found out at the first try.
    read_nowait: AtomicBool,
    write_nowait: AtomicBool,
    /// A flush failed: the kernel has dropped what it could not write, so that no later flush may say GOOD.
    poisoned: AtomicBool,
}

impl FileBackend {
    /// Opens and locks a file or block device; nothing of it is changed.
    ///
    /// # Errors
    /// [`OpenError`], for people to read.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let file = open_checked(path, options.read_only)?;
        let kind = file.metadata()?.file_type();
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::Locked),
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let medium = if kind.is_block_device() {
            Medium::Device
        } else if on_tmpfs(&file) {
            Medium::Memory
        } else {
            Medium::File
        };
        Self::new(file, medium, options)
    }

    /// Memory of `len` bytes: sparse, gone at exit.
    ///
    /// # Errors
    /// [`OpenError`], for people to read.
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    pub fn memory(len: u64, options: &OpenOptions) -> Result<Self, OpenError> {
        let fd = rustix::fs::memfd_create(c"iesp", rustix::fs::MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
        let file = File::from(fd);
        file.set_len(len)?;
        Self::new(file, Medium::Memory, options)
    }

    fn new(file: File, medium: Medium, options: &OpenOptions) -> Result<Self, OpenError> {
        // The end, rather than the metadata: a block device has no length there.
        let len = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).map_err(io::Error::from)?;
        if len == 0 {
            return Err(OpenError::Empty);
        }
        let block = u64::from(options.block_size);
        if len % block != 0 {
            let rounded = len.next_multiple_of(block);
            return Err(OpenError::NotWholeBlocks { size: len, block: options.block_size, rounded });
        }
        let granularity = file.metadata().map_or(4096, |metadata| granularity(&metadata, medium));
        let facts = Facts {
            len,
            read_only: options.read_only,
            discard_granularity: if options.unmap { granularity } else { 0 },
            // The page cache.
            volatile_cache: true,
            rotational: false,
        };
        Ok(Self {
            file,
            facts,
            medium,
            unmap_zeros: options.unmap_zeros && facts.discard_granularity != 0,
            read_nowait: AtomicBool::new(true),
            write_nowait: AtomicBool::new(true),
            poisoned: AtomicBool::new(false),
        })
    }

    const fn inline(&self, patience: Patience) -> bool {
        matches!(patience, Patience::Any) || matches!(self.medium, Medium::Memory)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, offset, len)?)
    }

    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(ZEROS.len() as u64);
            self.file.write_all_at(&ZEROS[..piece as usize], offset + done)?;
            done += piece;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), IoError> {
        if self.medium == Medium::Memory {
            return Ok(());
        }
        if self.poisoned.load(Ordering::Relaxed) {
            return Err(IoError::Medium);
        }
        self.file.sync_data().map_err(|error| {
            self.poisoned.store(true, Ordering::Relaxed);
            tracing::error!(%error, "a flush failed: what was written since the last one may be lost; restart after a check");
            failure(&error)
        })
    }
}

impl Backend for FileBackend {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn read(&self, offset: u64, buffer: &mut [u8], patience: Patience) -> Result<Served, IoError> {
        if self.inline(patience) {
            return match self.file.read_exact_at(buffer, offset) {
                Ok(()) => Ok(Served::Done(())),
                Err(error) => Err(failure(&error)),
            };
        }
        if !self.read_nowait.load(Ordering::Relaxed) {
            return Ok(Served::WouldBlock);
        }
        let len = buffer.len();
        match rustix::io::preadv2(&self.file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == len => Ok(Served::Done(())),
            // Part of it is not in the page cache, or an error that the patient way will meet and tell.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(Served::WouldBlock),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.read_nowait.store(false, Ordering::Relaxed);
                Ok(Served::WouldBlock)
            }
            Err(error) => Err(failure(&error.into())),
        }
    }

    fn write(&self, offset: u64, data: &[u8], durable: bool, patience: Patience) -> Result<Served, IoError> {
        if self.unmap_zeros && is_zero(data) {
            return self.zero_durably(offset, data.len() as u64, durable, patience);
        }
        if self.inline(patience) {
            self.file.write_all_at(data, offset).map_err(|error| failure(&error))?;
            if durable {
                self.sync()?;
            }
            return Ok(Served::Done(()));
        }
        if durable || !self.write_nowait.load(Ordering::Relaxed) {
            return Ok(Served::WouldBlock);
        }
        match rustix::io::pwritev2(&self.file, &[IoSlice::new(data)], offset, ReadWriteFlags::NOWAIT) {
            Ok(written) if written == data.len() => Ok(Served::Done(())),
            // What was written is written again: the task still holds its range.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Served::WouldBlock),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.write_nowait.store(false, Ordering::Relaxed);
                Ok(Served::WouldBlock)
            }
            Err(error) => Err(failure(&error.into())),
        }
    }

    fn flush(&self, patience: Patience) -> Result<Served, IoError> {
        if !self.inline(patience) {
            return Ok(Served::WouldBlock);
        }
        self.sync().map(Served::Done)
    }

    fn unmap(&self, offset: u64, len: u64, patience: Patience) -> Result<Served, IoError> {
        self.zero(offset, len, true, patience)
    }

    fn zero(&self, offset: u64, len: u64, unmap: bool, patience: Patience) -> Result<Served, IoError> {
        if !self.inline(patience) || patience == Patience::None && len > INLINE_UNMAP {
            return Ok(Served::WouldBlock);
        }
        if unmap && self.facts.discard_granularity != 0 {
            match self.punch(offset, len) {
                Ok(()) => return Ok(Served::Done(())),
                // The file system has no holes: zeros are as good to the reader.
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(failure(&error)),
            }
        }
        self.write_zeros(offset, len).map(Served::Done).map_err(|error| failure(&error))
    }

    fn extent(&self, offset: u64, len: u64, patience: Patience) -> Result<Served<(bool, u64)>, IoError> {
        if !self.inline(patience) {
            return Ok(Served::WouldBlock);
        }
        // SEEK_DATA moves the descriptor's offset, which nothing else here uses.
        let data = match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(Served::Done((false, len))),
            // A device or a file system that does not tell: all of it takes space.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Served::Done((true, len))),
            Err(error) => return Err(failure(&error.into())),
        };
        if data > offset {
            return Ok(Served::Done((false, (data - offset).min(len))));
        }
        let hole = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Hole(offset)).unwrap_or(offset + len);
        Ok(Served::Done((true, hole.saturating_sub(offset).clamp(1, len))))
    }

    fn prefetch(&self, offset: u64, len: u64) {
        let len = std::num::NonZeroU64::new(len);
        // Advice: where it is refused nothing is lost.
        let _ = rustix::fs::fadvise(&self.file, offset, len, rustix::fs::Advice::WillNeed);
    }

    fn allocated(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        // A device has its size, and does not say what of it is in use.
        (self.medium != Medium::Device).then_some(())?;
        // POSIX leaves the unit of st_blocks open; it is 512 bytes wherever this runs.
        Some(self.file.metadata().ok()?.blocks() << 9)
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

fn open_checked(path: &Path, read_only: bool) -> Result<File, OpenError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(OpenError::Missing),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(OpenError::NotReadable),
        Err(error) => return Err(error.into()),
    };
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(OpenError::Directory);
    }
    // Before it is opened: a FIFO would wait for its other end.
    if !kind.is_file() && !kind.is_block_device() {
        return Err(OpenError::Special);
    }
    let mut options = File::options();
    options.read(true).write(!read_only).custom_flags(rustix::fs::OFlags::CLOEXEC.bits() as i32);
    options.open(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied if !read_only && File::open(path).is_ok() => OpenError::NotWritable,
        ErrorKind::ReadOnlyFilesystem => OpenError::NotWritable,
        ErrorKind::PermissionDenied => OpenError::NotReadable,
        _ => error.into(),
    })
}

#[cfg(target_os = "linux")]
fn on_tmpfs(file: &File) -> bool {
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type as u32 == TMPFS_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn on_tmpfs(_: &File) -> bool {
    false
}

/// Bytes of the unit in which space is given back: the file system's block, as `stat` tells it.
fn granularity(metadata: &std::fs::Metadata, medium: Medium) -> u32 {
    use std::os::unix::fs::MetadataExt;
    match medium {
        Medium::File => u32::try_from(metadata.blksize()).unwrap_or(4096).clamp(512, 1 << 20),
        Medium::Device | Medium::Memory => 4096,
    }
}

pub(super) fn is_zero(data: &[u8]) -> bool {
    data.chunks(4096).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// What an error of the system means to the device server.
fn failure(error: &io::Error) -> IoError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => IoError::NoSpace,
        Some(Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::BADF) => IoError::ReadOnly,
        Some(Errno::NODEV | Errno::NXIO | Errno::NOMEDIUM | Errno::STALE) => IoError::NotReady,
        Some(Errno::NOMEM | Errno::AGAIN) => IoError::Other,
        // EIO, and an end of file where blocks should be: the file was cut under us.
        _ => IoError::Medium,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: OpenOptions = OpenOptions { read_only: false, block_size: 512, unmap: true, unmap_zeros: false };

    fn image(len: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(len).expect("a size");
        file
    }

    fn backends() -> [FileBackend; 2] {
        let image = image(1 << 20);
        [
            FileBackend::open(image.path(), &OPTIONS).expect("it opens"),
            FileBackend::memory(1 << 20, &OPTIONS).expect("memory"),
        ]
    }

    #[test]
    fn what_is_written_is_read_and_what_is_unmapped_is_a_hole() {
        for backend in backends() {
            let data = [0x5a; 8192];
            assert_eq!(backend.write(65536, &data, true, Patience::Any), Ok(Served::Done(())));
            let mut read = [0; 8192];
            assert_eq!(backend.read(65536, &mut read, Patience::Any), Ok(Served::Done(())));
            assert_eq!(read, data);
            assert_eq!(backend.extent(65536, 8192, Patience::Any), Ok(Served::Done((true, 8192))));
            assert_eq!(backend.unmap(65536, 8192, Patience::Any), Ok(Served::Done(())));
            assert_eq!(backend.read(65536, &mut read, Patience::Any), Ok(Served::Done(())));
            assert_eq!(read, [0; 8192]);
            assert_eq!(backend.extent(65536, 8192, Patience::Any), Ok(Served::Done((false, 8192))));
        }
    }

    #[test]
    fn zeros_without_unmap_take_space() {
        for backend in backends() {
            assert_eq!(backend.zero(4096, 4096, false, Patience::Any), Ok(Served::Done(())));
            let mut read = [1; 4096];
            assert_eq!(backend.read(4096, &mut read, Patience::Any), Ok(Served::Done(())));
            assert_eq!(read, [0; 4096]);
        }
    }

    #[test]
    fn trim_level_2_turns_zeros_into_holes() {
        let options = OpenOptions { unmap_zeros: true, ..OPTIONS };
        let backend = FileBackend::memory(1 << 20, &options).expect("memory");
        assert_eq!(backend.write(0, &[1; 4096], false, Patience::None), Ok(Served::Done(())));
        assert_eq!(backend.extent(0, 4096, Patience::None), Ok(Served::Done((true, 4096))));
        assert_eq!(backend.write(0, &[0; 4096], false, Patience::None), Ok(Served::Done(())));
        assert_eq!(backend.extent(0, 4096, Patience::None), Ok(Served::Done((false, 4096))));
    }

    #[test]
    fn a_file_cut_under_us_is_a_medium_error() {
        let image = image(1 << 20);
        let backend = FileBackend::open(image.path(), &OPTIONS).expect("it opens");
        image.as_file().set_len(0).expect("cut");
        assert_eq!(backend.read(0, &mut [0; 512], Patience::Any), Err(IoError::Medium));
    }

    #[test]
    fn refusals() {
        let open = |path: &Path| FileBackend::open(path, &OPTIONS);
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(open(folder.path()), Err(OpenError::Directory)));
        assert!(matches!(open(&folder.path().join("none")), Err(OpenError::Missing)));
        assert!(matches!(open(Path::new("/dev/null")), Err(OpenError::Special)));
        assert!(matches!(open(image(0).path()), Err(OpenError::Empty)));
        let odd = image(1000);
        let message = open(odd.path()).expect_err("not whole blocks").to_string();
        assert!(message.contains("1024"), "{message}");
        let image = image(4096);
        let first = open(image.path()).expect("it opens");
        assert!(matches!(open(image.path()), Err(OpenError::Locked)));
        drop(first);
        assert!(open(image.path()).is_ok());
    }
}
