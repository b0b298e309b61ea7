//! What FreeBSD and macOS have, as far as this program uses it: image files with holes. Disks of the machine's own are not
//! served.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use iesp_scsi::IoError;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Medium;
use super::open::Kind;
pub use super::simple::{is_in_memory, len, prefetch, read_cached, tick, write_cached, zero};

/// Looks at what is there.
pub fn kind(path: &Path) -> io::Result<Kind> {
    let kind = std::fs::metadata(path)?.file_type();
    Ok(if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Directory
    } else {
        Kind::Other
    })
}

/// Opens it.
pub fn open(path: &Path, read_only: bool, direct: bool, _: bool) -> io::Result<File> {
    if direct {
        // Past the cache is Linux's way alone so far.
        return Err(ErrorKind::InvalidInput.into());
    }
    File::options().read(true).write(!read_only).open(path)
}

/// A file of `len` bytes without a name, sparse, gone at exit; the page cache keeps it while it can.
pub fn memory(len: u64) -> io::Result<File> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("iesp-{}-{}.ram", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.set_len(len)?;
    Ok(file)
}

/// Bytes of the unit in which space is given back: the file system's block, as `stat` tells it.
pub fn granularity(file: &File, _: Medium) -> Option<u32> {
    Some(u32::try_from(file.metadata().ok()?.blksize()).unwrap_or(4096).clamp(512, 1 << 20))
}

/// The same, where space can be given back: APFS does it.
#[cfg(target_vendor = "apple")]
pub fn holes(file: &File, medium: Medium, _: u64) -> Option<u32> {
    let name = rustix::fs::fstatfs(file).ok()?.f_fstypename;
    let name = name.iter().take_while(|letter| **letter != 0).map(|letter| *letter as u8);
    if name.eq(*b"apfs") { granularity(file, medium) } else { None }
}

/// The same, where space can be given back: tried behind the file's end, where nothing is.
#[cfg(not(target_vendor = "apple"))]
pub fn holes(file: &File, medium: Medium, len: u64) -> Option<u32> {
    let granularity = granularity(file, medium)?;
    let behind = len.next_multiple_of(u64::from(granularity));
    punch(file, behind, u64::from(granularity)).ok().map(|()| granularity)
}

/// Bytes that it takes below.
pub fn allocated(metadata: &Metadata) -> u64 {
    // POSIX leaves the unit of st_blocks open; it is 512 bytes here.
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

/// What a file system says that has no holes, or none of this size.
const NO_HOLES: [i32; 3] = [libc::EINVAL, libc::ENOTSUP, libc::EOPNOTSUPP];

/// Gives space back; the bytes read as zeros. [`ErrorKind::Unsupported`] where there are no holes.
pub fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    loop {
        match hole(file, offset, len) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error().is_some_and(|code| NO_HOLES.contains(&code)) => {
                return Err(ErrorKind::Unsupported.into());
            }
            result => return result,
        }
    }
}

/// fcntl(2), F_PUNCHHOLE.
#[cfg(target_vendor = "apple")]
fn hole(file: &File, offset: libc::off_t, len: libc::off_t) -> io::Result<()> {
    let range = libc::fpunchhole_t { fp_flags: 0, reserved: 0, fp_offset: offset, fp_length: len };
    // SAFETY: the descriptor is open as long as `file` is there, and the call reads one `fpunchhole_t`.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PUNCHHOLE, &raw const range) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// fspacectl(2). It may end before all is done, and says what is left.
#[cfg(not(target_vendor = "apple"))]
fn hole(file: &File, offset: libc::off_t, len: libc::off_t) -> io::Result<()> {
    let mut rest = libc::spacectl_range { r_offset: offset, r_len: len };
    while rest.r_len > 0 {
        let range = libc::spacectl_range { ..rest };
        // SAFETY: the descriptor is open as long as `file` is there; the call reads one `spacectl_range` and writes another.
        let result =
            unsafe { libc::fspacectl(file.as_raw_fd(), libc::SPACECTL_DEALLOC, &raw const range, 0, &raw mut rest) };
        if result == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether the bytes from `offset` on take space, and for how many of `len` that holds.
pub fn extent(file: &File, offset: u64, len: u64) -> io::Result<(bool, u64)> {
    // SEEK_DATA moves the descriptor's offset, which nothing else here uses.
    let data = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(Errno::NXIO) => return Ok((false, len)),
        // A file system that does not tell: all of it takes space.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY) => return Ok((true, len)),
        Err(error) => return Err(error.into()),
    };
    if data > offset {
        return Ok((false, (data - offset).min(len)));
    }
    let hole = rustix::fs::seek(file, SeekFrom::Hole(offset)).unwrap_or(offset + len);
    Ok((true, hole.saturating_sub(offset).clamp(1, len)))
}

/// Makes what was written durable: fdatasync(2); on macOS `F_FULLFSYNC`, as fsync(2) leaves it in the drive's cache there.
pub fn sync(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// None: whether each would hear of every error is not known here.
pub const fn more_for_syncs(_file: &File, _count: usize) -> Vec<File> {
    Vec::new()
}

/// What an error of the system's means to the device server.
pub fn failure(error: &io::Error) -> IoError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => IoError::NoSpace,
        Some(Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::BADF) => IoError::ReadOnly,
        Some(Errno::NODEV | Errno::NXIO | Errno::STALE) => IoError::NotReady,
        Some(Errno::NOMEM | Errno::AGAIN) => IoError::Other,
        // EIO, and an end of file where blocks should be: the file was cut under us.
        _ => IoError::Medium,
    }
}
