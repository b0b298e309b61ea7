//! What Windows has. Images are files, made sparse; disks of the machine's own are not served.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use iesp_scsi::IoError;
use windows_sys::Win32::Foundation::{
    ERROR_DISK_FULL, ERROR_FILE_TOO_LARGE, ERROR_HANDLE_DISK_FULL, ERROR_INVALID_FUNCTION, ERROR_INVALID_PARAMETER,
    ERROR_MORE_DATA, ERROR_NOT_READY, ERROR_NOT_SUPPORTED, ERROR_SHARING_VIOLATION, ERROR_WRITE_PROTECT,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_ATTRIBUTE_TEMPORARY, FILE_FLAG_DELETE_ON_CLOSE, FILE_SHARE_READ};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    FILE_ALLOCATED_RANGE_BUFFER, FILE_ZERO_DATA_INFORMATION, FSCTL_QUERY_ALLOCATED_RANGES, FSCTL_SET_SPARSE,
    FSCTL_SET_ZERO_DATA,
};

use super::Medium;
use super::open::Kind;
pub use super::simple::{is_in_memory, len, prefetch, read_cached, tick, write_cached, zero};

/// Looks at what is there.
pub fn kind(path: &Path) -> io::Result<Kind> {
    // \\.\PhysicalDrive0 and its like.
    if path.as_os_str().to_string_lossy().starts_with(r"\\.\") {
        return Ok(Kind::Other);
    }
    let kind = std::fs::metadata(path)?.file_type();
    Ok(if kind.is_dir() { Kind::Directory } else { Kind::File })
}

/// Opens it. Others may not write it meanwhile; one that is served already cannot be opened.
pub fn open(path: &Path, read_only: bool, direct: bool, _: bool) -> io::Result<File> {
    if direct {
        // Past the cache is Linux's way alone so far.
        return Err(ErrorKind::InvalidInput.into());
    }
    let opened = File::options().read(true).write(!read_only).share_mode(FILE_SHARE_READ).open(path);
    let file = opened.map_err(|error| match code(&error) {
        ERROR_SHARING_VIOLATION => ErrorKind::ResourceBusy.into(),
        _ => error,
    })?;
    if !read_only {
        // Where the file system has no holes, zeros are written in their place.
        let _ = control(&file, FSCTL_SET_SPARSE, &(), &mut ());
    }
    Ok(file)
}

/// A file of `len` bytes that Windows keeps in memory while it can, sparse, gone at exit.
pub fn memory(len: u64) -> io::Result<File> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("iesp-{}-{}.ram", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut options = File::options();
    options.read(true).write(true).create_new(true).share_mode(0);
    options.attributes(FILE_ATTRIBUTE_TEMPORARY).custom_flags(FILE_FLAG_DELETE_ON_CLOSE);
    let file = options.open(std::env::temp_dir().join(name))?;
    let _ = control(&file, FSCTL_SET_SPARSE, &(), &mut ());
    file.set_len(len)?;
    Ok(file)
}

/// Bytes of the unit in which NTFS gives space back: sixteen clusters of 4 KiB ([MS-FSCC] 2.1.5).
pub const fn granularity(_: &File, _: Medium) -> Option<u32> {
    Some(64 << 10)
}

/// The same, where the file system has sparse files.
pub fn holes(file: &File, medium: Medium, _: u64) -> Option<u32> {
    control(file, FSCTL_SET_SPARSE, &(), &mut ()).ok().and_then(|_| granularity(file, medium))
}

/// Bytes that it takes below: not told without another handle, so that it counts as full.
pub fn allocated(metadata: &Metadata) -> u64 {
    metadata.len()
}

/// Whether no name leads to it any more: what is open is not deleted there.
pub fn is_deleted(_: &Metadata) -> bool {
    false
}

/// Reads, and waits for it.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buffer, offset)
}

/// Writes, and waits for it.
pub fn write_at(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    file.seek_write(data, offset)
}

/// Gives space back; the bytes read as zeros. [`ErrorKind::Unsupported`] where there are no holes.
pub fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (Ok(start), Ok(end)) = (i64::try_from(offset), i64::try_from(offset + len)) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let range = FILE_ZERO_DATA_INFORMATION { FileOffset: start, BeyondFinalZero: end };
    control(file, FSCTL_SET_ZERO_DATA, &range, &mut ()).map(drop)
}

/// Whether the bytes from `offset` on take space, and for how many of `len` that holds.
pub fn extent(file: &File, offset: u64, len: u64) -> io::Result<(bool, u64)> {
    let (Ok(start), Ok(count)) = (i64::try_from(offset), i64::try_from(len)) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let asked = FILE_ALLOCATED_RANGE_BUFFER { FileOffset: start, Length: count };
    let mut first = FILE_ALLOCATED_RANGE_BUFFER::default();
    let told = match control(file, FSCTL_QUERY_ALLOCATED_RANGES, &asked, &mut first) {
        Ok(told) => told,
        // A file system that does not tell: all of it takes space.
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok((true, len)),
        Err(error) => return Err(error),
    };
    if told == 0 {
        return Ok((false, len));
    }
    let (at, size) = (first.FileOffset.unsigned_abs(), first.Length.unsigned_abs());
    if at > offset {
        return Ok((false, (at - offset).min(len)));
    }
    Ok((true, (at + size).saturating_sub(offset).clamp(1, len)))
}

/// Makes what was written durable: `FlushFileBuffers`, which has the device write its cache, too.
pub fn sync(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// None: whether each would hear of every error is not known here.
pub const fn more_for_syncs(_file: &File, _count: usize) -> Vec<File> {
    Vec::new()
}

/// What an error of the system's means to the device server.
pub fn failure(error: &io::Error) -> IoError {
    match code(error) {
        ERROR_DISK_FULL | ERROR_HANDLE_DISK_FULL | ERROR_FILE_TOO_LARGE => IoError::NoSpace,
        ERROR_WRITE_PROTECT => IoError::ReadOnly,
        ERROR_NOT_READY => IoError::NotReady,
        _ if error.kind() == ErrorKind::PermissionDenied => IoError::ReadOnly,
        _ if error.kind() == ErrorKind::OutOfMemory => IoError::Other,
        _ => IoError::Medium,
    }
}

fn code(error: &io::Error) -> u32 {
    error.raw_os_error().map_or(0, i32::cast_unsigned)
}

/// Asks the file system; answers with how many bytes of `output` it filled. More than fits is cut off.
fn control<I, O>(file: &File, what: u32, input: &I, output: &mut O) -> io::Result<u32> {
    let (input_len, output_len) = (size_of::<I>() as u32, size_of::<O>() as u32);
    let mut filled = 0;
    // SAFETY: the handle is open for as long as `file` is borrowed; both buffers are as long as is said, and plain data of
    // the layouts that these codes take; the handle was not opened for overlapped I/O, so that nothing is written later.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            what,
            std::ptr::from_ref(input).cast(),
            input_len,
            std::ptr::from_mut(output).cast(),
            output_len,
            &raw mut filled,
            std::ptr::null_mut(),
        )
    };
    if done != 0 {
        return Ok(filled);
    }
    let error = io::Error::last_os_error();
    match code(&error) {
        ERROR_MORE_DATA => Ok(output_len),
        ERROR_INVALID_FUNCTION | ERROR_NOT_SUPPORTED | ERROR_INVALID_PARAMETER => Err(ErrorKind::Unsupported.into()),
        _ => Err(error),
    }
}
