//! What Linux has.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use iesp_scsi::IoError;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::Medium;
use super::open::Kind;

/// Looks at what is there.
pub fn kind(path: &Path) -> io::Result<Kind> {
    let kind = std::fs::metadata(path)?.file_type();
    Ok(if kind.is_file() {
        Kind::File
    } else if kind.is_block_device() {
        Kind::Device
    } else if kind.is_dir() {
        Kind::Directory
    } else {
        Kind::Other
    })
}

/// Opens it; for reads and writes past the page cache where `direct`; a device where nobody has it for himself, if `exclusive`.
pub fn open(path: &Path, read_only: bool, direct: bool, exclusive: bool) -> io::Result<File> {
    let mut flags = OFlags::empty();
    flags.set(OFlags::DIRECT, direct);
    flags.set(OFlags::EXCL, exclusive);
    File::options().read(true).write(!read_only).custom_flags(flags.bits() as i32).open(path)
}

/// An unnamed file of `len` bytes in memory, sparse, gone at exit.
pub fn memory(len: u64) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(c"iesp", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.set_len(len)?;
    Ok(file)
}

/// Its size in bytes.
pub fn len(file: &File) -> io::Result<u64> {
    // The end, rather than the metadata: a block device has no length there.
    Ok(rustix::fs::seek(file, SeekFrom::End(0))?)
}

/// Whether the page cache is all there is under it: no call waits for a device.
pub fn is_in_memory(file: &File) -> bool {
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type as u32 == TMPFS_MAGIC)
}

/// Bytes of the unit in which space is given back: the file system's block, as `stat` tells it.
pub fn granularity(file: &File, medium: Medium) -> Option<u32> {
    Some(match medium {
        Medium::File => u32::try_from(file.metadata().ok()?.blksize()).unwrap_or(4096).clamp(512, 1 << 20),
        Medium::Device | Medium::Memory => 4096,
    })
}

/// The same, where space can be given back: tried behind the file's end, where nothing is; a device says so.
pub fn holes(file: &File, medium: Medium, len: u64) -> Option<u32> {
    let granularity = granularity(file, medium)?;
    if medium == Medium::Device {
        return device_holes(file).map(|unit| unit.max(granularity));
    }
    let behind = len.next_multiple_of(u64::from(granularity));
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let punched = punch(file, behind, u64::from(granularity));
    if let Ok(changed) = changed {
        // Nothing of it was changed. Where the file is another user's this is not allowed, and does no harm.
        let _ = file.set_modified(changed);
    }
    match punched {
        // No offset is larger: the file system was asked all the same.
        Err(error) if error.raw_os_error() != Some(Errno::FBIG.raw_os_error()) => None,
        _ => Some(granularity),
    }
}

/// Bytes of the unit in which a device gives space back; it has to read as zeros afterwards, which is WRITE ZEROES with leave
/// to discard.
fn device_holes(file: &File) -> Option<u32> {
    let number = file.metadata().ok()?.rdev();
    let device = format!("/sys/dev/block/{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    // A partition's queue is its disk's.
    let limit = |name: &str| {
        let read = |place: &str| std::fs::read_to_string(format!("{device}/{place}/{name}")).ok();
        read("queue").or_else(|| read("../queue"))?.trim().parse::<u64>().ok()
    };
    if limit("discard_max_bytes")? == 0 || limit("write_zeroes_max_bytes")? == 0 {
        return None;
    }
    let unit = limit("discard_granularity").and_then(|bytes| u32::try_from(bytes).ok());
    Some(unit.filter(|unit| unit.is_power_of_two()).unwrap_or(4096))
}

/// Bytes that it takes below.
pub fn allocated(metadata: &Metadata) -> u64 {
    // POSIX leaves the unit of st_blocks open; it is 512 bytes on Linux.
    metadata.blocks() << 9
}

/// Whether no name leads to it any more.
pub fn is_deleted(metadata: &Metadata) -> bool {
    metadata.nlink() == 0
}

/// Reads, and waits for it.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

/// Writes, and waits for it.
pub fn write_at(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(data, offset)
}

/// Reads what is in the page cache: [`ErrorKind::WouldBlock`] where it is not, [`ErrorKind::Unsupported`] where that cannot be
/// asked.
#[inline]
pub fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT).map_err(at_once)
}

/// Writes to the page cache where that need not wait; else as [`read_cached`].
#[inline]
pub fn write_cached(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    rustix::io::pwritev2(file, &[IoSlice::new(data)], offset, ReadWriteFlags::NOWAIT).map_err(at_once)
}

fn at_once(error: Errno) -> io::Error {
    match error {
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL => ErrorKind::Unsupported.into(),
        // An error that the patient way will meet and tell.
        Errno::AGAIN | Errno::INTR | Errno::IO => ErrorKind::WouldBlock.into(),
        error => error.into(),
    }
}

/// Gives space back; the bytes read as zeros. [`ErrorKind::Unsupported`] where there are no holes.
pub fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)
}

/// Makes zeros of bytes without their travelling. [`ErrorKind::Unsupported`] where that is not possible.
pub fn zero(file: &File, offset: u64, len: u64) -> io::Result<()> {
    fallocate(file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, offset, len)
}

fn fallocate(file: &File, flags: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
    loop {
        return match rustix::fs::fallocate(file, flags, offset, len) {
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Err(ErrorKind::Unsupported.into()),
            result => Ok(result?),
        };
    }
}

/// Whether the bytes from `offset` on take space, and for how many of `len` that holds.
pub fn extent(file: &File, offset: u64, len: u64) -> io::Result<(bool, u64)> {
    // SEEK_DATA moves the descriptor's offset, which nothing else here uses.
    let data = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(Errno::NXIO) => return Ok((false, len)),
        // A device or a file system that does not tell: all of it takes space.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((true, len)),
        Err(error) => return Err(error.into()),
    };
    if data > offset {
        return Ok((false, (data - offset).min(len)));
    }
    let hole = rustix::fs::seek(file, SeekFrom::Hole(offset)).unwrap_or(offset + len);
    Ok((true, hole.saturating_sub(offset).clamp(1, len)))
}

/// Has bytes brought into memory.
pub fn prefetch(file: &File, offset: u64, len: u64) {
    // Advice: where it is refused nothing is lost.
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(len), rustix::fs::Advice::WillNeed);
}

/// Makes what was written durable: fdatasync(2), which has the device write its cache, too.
pub fn sync(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// The file, opened up to `count` times more, for syncs alone.
///
/// The kernel tells a write-back error once to each open file description (errseq_t): a sync by one of its own hears of every
/// error, whatever others have heard. Where `/proc` is missing there are none.
pub fn more_for_syncs(file: &File, count: usize) -> Vec<File> {
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    (0..count).map_while(|_| File::open(&again).ok()).collect()
}

/// What an error of the system's means to the device server.
pub fn failure(error: &io::Error) -> IoError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => IoError::NoSpace,
        Some(Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::BADF) => IoError::ReadOnly,
        Some(Errno::NODEV | Errno::NXIO | Errno::NOMEDIUM | Errno::STALE) => IoError::NotReady,
        // The way to a file system or a device that is elsewhere.
        Some(Errno::NOTCONN | Errno::NOLINK | Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::SHUTDOWN) => IoError::NotReady,
        Some(Errno::NOMEM | Errno::AGAIN) => IoError::Other,
        // EIO, and an end of file where blocks should be: the file was cut under us.
        _ => IoError::Medium,
    }
}

/// A clock of some milliseconds' ticks that costs next to nothing.
#[inline]
pub fn tick() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (time.tv_sec as u64) << 32 | time.tv_nsec as u64
}
