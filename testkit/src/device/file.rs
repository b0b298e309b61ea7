//! A file or a block device, by the system's own calls.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Device, Discard, Geometry, Promise, check_range};

/// How a [`FileDevice`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileAccess {
    /// Open for writing too.
    pub write: bool,
    /// Bypass the page cache (O_DIRECT).
    pub direct: bool,
}

/// A file or a block device. Sparse files stay sparse: a discard punches a hole.
pub struct FileDevice {
    file: File,
    geometry: Geometry,
    block_device: bool,
    direct: bool,
}

impl FileDevice {
    /// Opens `path`.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidInput`] for what is neither a file nor a block device.
    pub fn open(path: &Path, access: FileAccess) -> io::Result<Self> {
        let file = sys::open(path, access)?;
        let kind = file.metadata()?.file_type();
        let block_device = sys::is_block_device(&kind);
        if !block_device && !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a block device"));
        }
        let geometry = sys::geometry(&file, block_device, access)?;
        Ok(Self { file, geometry, block_device, direct: access.direct })
    }

    /// Whether this is a block device.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.block_device
    }

    /// Whether the page cache is bypassed.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// The open file, for an engine that queues its own I/O on it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Device for FileDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    fn write(&self, offset: u64, data: &[u8], fua: bool) -> io::Result<()> {
        // A file would grow.
        check_range(self.geometry.size, offset, data.len() as u64)?;
        if fua { sys::write_through(&self.file, offset, data) } else { self.file.write_all_at(data, offset) }
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.geometry.size, offset, len)?;
        if self.geometry.discard.is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        sys::discard(&self.file, self.block_device, offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.geometry.size, offset, len)?;
        match sys::zero(&self.file, self.block_device, offset, len) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_zeros(offset, len),
            result => result,
        }
    }
}

impl FileDevice {
    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeros = super::buffer::Buffer::new(len.min(1 << 20) as usize);
        let mut at = offset;
        while at < offset + len {
            let part = (offset + len - at).min(zeros.len() as u64);
            self.file.write_all_at(&zeros[..part as usize], at)?;
            at += part;
        }
        Ok(())
    }
}

/// What Linux has for it.
#[cfg(target_os = "linux")]
mod sys {
    use std::fs::{self, FileType, OpenOptions};
    use std::io::IoSlice;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

    use rustix::fs::{FallocateFlags, OFlags};
    use rustix::io::{Errno, ReadWriteFlags};
    use rustix::ioctl;

    use super::*;

    pub(super) fn open(path: &Path, access: FileAccess) -> io::Result<File> {
        let mut flags = OFlags::empty();
        if access.direct {
            flags |= OFlags::DIRECT;
        }
        OpenOptions::new().read(true).write(access.write).custom_flags(flags.bits() as i32).open(path)
    }

    pub(super) fn is_block_device(kind: &FileType) -> bool {
        kind.is_block_device()
    }

    pub(super) fn geometry(file: &File, block_device: bool, access: FileAccess) -> io::Result<Geometry> {
        let size = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?;
        let logical_block = match (block_device, access.direct) {
            (true, _) => rustix::fs::ioctl_blksszget(file)?,
            (false, true) => direct_alignment(file)?,
            (false, false) => 512,
        };
        let physical_block = if block_device { rustix::fs::ioctl_blkpbszget(file)? } else { logical_block };
        let discard = if block_device {
            queue_limit(file, "discard_max_bytes").filter(|&most| most > 0).map(|_| Discard {
                granularity: queue_limit(file, "discard_granularity").unwrap_or(0).max(u64::from(logical_block)),
                reads: Promise::Anything,
            })
        } else if access.write && can_punch(file, size) {
            Some(Discard { granularity: u64::from(logical_block), reads: Promise::Zeros })
        } else {
            None
        };
        Ok(Geometry { size, logical_block, physical_block, discard, zero: true, compare_and_write: 0 })
    }

    /// The alignment that O_DIRECT wants on this file, as far as the file system tells.
    fn direct_alignment(file: &File) -> io::Result<u32> {
        use rustix::fs::{AtFlags, StatxFlags};
        let answer = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::from_bits_retain(0x2000))?;
        // Before Linux 6.1 nothing is told: a page always does.
        let told = if answer.stx_mask & 0x2000 != 0 { answer.stx_dio_offset_align } else { 0 };
        Ok(if told == 0 { 4096 } else { told.max(512) })
    }

    /// Asks by punching behind the end, where there is nothing to lose.
    fn can_punch(file: &File, size: u64) -> bool {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let past = size.next_multiple_of(1 << 20);
        rustix::fs::fallocate(file, flags, past, 4096).is_ok()
    }

    /// A number from the queue's folder in sysfs; a partition has it in its disk's.
    fn queue_limit(file: &File, name: &str) -> Option<u64> {
        let device = file.metadata().ok()?.rdev();
        let folder = format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        ["queue", "../queue"]
            .iter()
            .find_map(|queue| fs::read_to_string(format!("{folder}/{queue}/{name}")).ok())
            .and_then(|text| text.trim().parse().ok())
    }

    pub(super) fn write_through(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            let rest = [IoSlice::new(&data[done..])];
            match rustix::io::pwritev2(file, &rest, offset + done as u64, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn discard(file: &File, block_device: bool, offset: u64, len: u64) -> io::Result<()> {
        if block_device {
            range_ioctl::<BLKDISCARD>(file, offset, len)
        } else {
            fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)
        }
    }

    pub(super) fn zero(file: &File, block_device: bool, offset: u64, len: u64) -> io::Result<()> {
        if block_device {
            range_ioctl::<BLKZEROOUT>(file, offset, len)
        } else {
            fallocate(file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, offset, len)
        }
    }

    fn fallocate(file: &File, flags: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(file, flags, offset, len) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP) => return Err(io::ErrorKind::Unsupported.into()),
                result => return Ok(result?),
            }
        }
    }

    /// `linux/fs.h`: `_IO(0x12, 119)`, takes the start and the length in bytes.
    const BLKDISCARD: ioctl::Opcode = ioctl::opcode::none(0x12, 119);
    /// `linux/fs.h`: `_IO(0x12, 127)`, likewise.
    const BLKZEROOUT: ioctl::Opcode = ioctl::opcode::none(0x12, 127);

    fn range_ioctl<const OPCODE: ioctl::Opcode>(file: &File, offset: u64, len: u64) -> io::Result<()> {
        // SAFETY: both requests read two u64 behind the pointer and write nothing to user memory; the kernel checks
        // that the file is a block device and the range lies on it.
        let result = unsafe { ioctl::ioctl(file, ioctl::Setter::<OPCODE, [u64; 2]>::new([offset, len])) };
        match result {
            Err(Errno::OPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
            result => Ok(result?),
        }
    }
}

/// What every Unix has: no discard, no FUA of its own, zeros are written.
#[cfg(not(target_os = "linux"))]
mod sys {
    use std::fs::{FileType, OpenOptions};
    use std::io::{Seek, SeekFrom};
    use std::os::unix::fs::FileTypeExt;

    use super::*;

    pub(super) fn open(path: &Path, access: FileAccess) -> io::Result<File> {
        OpenOptions::new().read(true).write(access.write).open(path)
    }

    /// FreeBSD and macOS have character devices for disks.
    pub(super) fn is_block_device(kind: &FileType) -> bool {
        kind.is_block_device() || kind.is_char_device()
    }

    pub(super) fn geometry(mut file: &File, _block_device: bool, _access: FileAccess) -> io::Result<Geometry> {
        let size = file.seek(SeekFrom::End(0))?;
        let logical_block = 512;
        let physical_block = logical_block;
        Ok(Geometry { size, logical_block, physical_block, discard: None, zero: false, compare_and_write: 0 })
    }

    pub(super) fn write_through(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        file.write_all_at(data, offset)?;
        file.sync_data()
    }

    pub(super) fn discard(_: &File, _: bool, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn zero(_: &File, _: bool, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
