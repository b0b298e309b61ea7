//! The format of dm-log-writes, as QEMU's `blklogwrites` writes it.
//!
//! All numbers are little endian. The first sector is the superblock: magic number, version, number of entries, size of
//! a sector. Each entry is one sector with its header, and behind it the data, if it has any.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use thiserror::Error;

/// The superblock's magic number.
pub const MAGIC: u64 = 0x006a_7366_7773_6872;
/// The only version of the format.
pub const VERSION: u64 = 1;
/// The cache is flushed before the entry's data, if it has any.
pub const FLUSH: u64 = 1;
/// The entry's data is on stable storage once the entry is done.
pub const FUA: u64 = 2;
/// The range is discarded; no data follows.
pub const DISCARD: u64 = 4;
/// A name for a place in the log, by the kernel's writer alone; the text follows.
pub const MARK: u64 = 8;
/// The range holds metadata of a file system.
pub const METADATA: u64 = 16;

/// One request that reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where the entry begins in the log, in bytes.
    pub at: u64,
    /// Where its range begins on the disk, in bytes.
    pub offset: u64,
    /// The length of its range, in bytes; 0 for a flush.
    pub length: u64,
    /// [`FLUSH`] and the like.
    pub flags: u64,
}

impl Entry {
    /// Whether all of these flags are set.
    #[must_use]
    pub fn is(&self, flags: u64) -> bool {
        self.flags & flags == flags
    }

    /// Whether data follows the header.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.length > 0 && !self.is(DISCARD)
    }
}

/// A log, with all its headers read.
#[derive(Debug)]
pub struct BlockLog {
    file: File,
    sector: u64,
    entries: Vec<Entry>,
    /// Where the next entry would begin.
    end: u64,
}

/// A file that is no log of writes, or a damaged one.
#[derive(Debug, Error)]
pub enum LogError {
    /// It cannot be read.
    #[error("cannot read the block log: {0}")]
    Io(#[from] io::Error),
    /// Another magic number or version.
    #[error("this is no block log of blklogwrites: magic number {magic:#x}, version {version}")]
    Format {
        /// The number at its beginning.
        magic: u64,
        /// The number behind it.
        version: u64,
    },
    /// A sector that no disk has.
    #[error("the block log has sectors of {0} bytes")]
    Sector(u32),
    /// A header that makes no sense.
    #[error(
        "entry {number} of the block log, at byte {at}, makes no sense: sector {sector}, {sectors} sectors, flags {flags:#x}"
    )]
    Entry {
        /// Its number, from 0.
        number: usize,
        /// Where it begins in the log.
        at: u64,
        /// Where its range begins, in sectors.
        sector: u64,
        /// How long that is.
        sectors: u64,
        /// Its flags.
        flags: u64,
    },
    /// Fewer entries than the superblock tells.
    #[error("the block log has {found} entries, and its superblock tells of {told}")]
    Short {
        /// How many there are.
        found: usize,
        /// How many there should be.
        told: u64,
    },
}

impl BlockLog {
    /// Reads the headers of a log whose writer has ended. An entry that was not written to its end did not happen.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0)?;
        let (magic, version) = (word(&head, 0), word(&head, 1));
        if (magic, version) != (MAGIC, VERSION) {
            return Err(LogError::Format { magic, version });
        }
        let sector = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
        if !sector.is_power_of_two() || !(512..=65_536).contains(&sector) {
            return Err(LogError::Sector(sector));
        }
        let mut log = Self { file, sector: u64::from(sector), entries: Vec::new(), end: u64::from(sector) };
        while log.next(length)? {}
        let told = word(&head, 2);
        if (log.entries.len() as u64) < told {
            return Err(LogError::Short { found: log.entries.len(), told });
        }
        Ok(log)
    }

    /// Whether there was one more entry.
    fn next(&mut self, length: u64) -> Result<bool, LogError> {
        let at = self.end;
        if at + self.sector > length {
            return Ok(false);
        }
        let mut head = [0; 32];
        self.file.read_exact_at(&mut head, at)?;
        if head == [0; 32] {
            // Room that was made for an entry, which did not come.
            return Ok(false);
        }
        let [sector, sectors, flags, extra] = [0, 1, 2, 3].map(|index| word(&head, index));
        let wrong = LogError::Entry { number: self.entries.len(), at, sector, sectors, flags };
        let bytes = |sectors: u64| sectors.checked_mul(self.sector);
        let range = bytes(sector).zip(bytes(sectors)).filter(|(offset, length)| offset.checked_add(*length).is_some());
        let Some((offset, range)) = range.filter(|_| flags & !(FLUSH | FUA | DISCARD | MARK | METADATA) == 0) else {
            return Err(wrong);
        };
        let entry = Entry { at, offset, length: range, flags };
        let data = if entry.has_data() { range } else { 0 };
        let text = extra.checked_next_multiple_of(self.sector);
        let Some(end) = text.and_then(|text| at.checked_add(self.sector)?.checked_add(data)?.checked_add(text)) else {
            return Err(wrong);
        };
        if end > length {
            return Ok(false);
        }
        self.entries.push(entry);
        self.end = end;
        Ok(true)
    }

    /// All entries in the order in which they reached the disk.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The size of a sector of the log, in bytes.
    #[must_use]
    pub fn sector(&self) -> u64 {
        self.sector
    }

    /// The log's length, in bytes, when it had its first `count` entries and no other.
    #[must_use]
    pub fn length_at(&self, count: usize) -> u64 {
        self.entries.get(count).map_or(self.end, |next| next.at)
    }

    /// How many entries had begun when the log was `length` bytes long.
    #[must_use]
    pub fn count_at(&self, length: u64) -> usize {
        self.entries.partition_point(|entry| entry.at < length)
    }

    /// The data of an entry; empty where it has none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn data(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let mut data = vec![0; if entry.has_data() { entry.length as usize } else { 0 }];
        self.file.read_exact_at(&mut data, entry.at + self.sector)?;
        Ok(data)
    }
}

/// The number of this index in a header.
fn word(head: &[u8], index: usize) -> u64 {
    head.as_chunks().0.get(index).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Writes a log: what QEMU does, for tests.
#[derive(Debug)]
pub struct Writer {
    file: File,
    sector: u64,
    end: u64,
    entries: u64,
}

impl Writer {
    /// Begins a log with sectors of `sector` bytes, in place of what the file holds.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path, sector: u32) -> io::Result<Self> {
        let mut writer = Self { file: File::create(path)?, sector: sector.into(), end: sector.into(), entries: 0 };
        writer.superblock()?;
        Ok(writer)
    }

    /// Adds an entry for the range `[offset, offset + length)`, both multiples of a sector.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add(&mut self, offset: u64, length: u64, flags: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = vec![0; self.sector as usize];
        let words = [offset / self.sector, length / self.sector, flags].map(u64::to_le_bytes);
        bytes[..24].copy_from_slice(words.as_flattened());
        bytes.extend_from_slice(data);
        self.file.write_all_at(&bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.entries += 1;
        if flags & FLUSH != 0 { self.superblock() } else { Ok(()) }
    }

    fn superblock(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; self.sector as usize];
        let words = [MAGIC, VERSION, self.entries, self.sector].map(u64::to_le_bytes);
        bytes[..32].copy_from_slice(words.as_flattened());
        self.file.write_all_at(&bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU 7.2 logged of `qemu-io`'s: write 4 KiB at 0, write 4 KiB at 4096, flush, write 512 bytes at 0, discard
    /// 8 KiB at 64 KiB, write 4 KiB of zeros at 128 KiB, write 4 KiB at 8192 with FUA.
    const OF_QEMU: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/qemu-io.blklog");

    fn summary(log: &BlockLog) -> Vec<(u64, u64, u64)> {
        log.entries().iter().map(|entry| (entry.offset, entry.length, entry.flags)).collect()
    }

    #[test]
    fn a_log_of_qemus_is_read() {
        let log = BlockLog::open(Path::new(OF_QEMU)).unwrap();
        assert_eq!(log.sector(), 512);
        let zeros = (131_072, 4096, 0);
        let expected =
            [(0, 4096, 0), (4096, 4096, 0), (0, 0, 1), (0, 512, 0), (65_536, 8192, 4), zeros, (8192, 4096, 0)];
        assert_eq!(summary(&log)[..7], expected);
        // QEMU made the FUA a flush; one more came at the end.
        assert_eq!(summary(&log)[7..], [(0, 0, 1), (0, 0, 1)]);
        let data = |number: usize| log.data(&log.entries()[number]).unwrap();
        assert_eq!(data(0), [1; 4096]);
        assert_eq!(data(3), [3; 512]);
        assert!(data(4).is_empty());
        assert_eq!(data(5), [0; 4096]);
        assert_eq!(data(6), [5; 4096]);
    }

    #[test]
    fn lengths_and_counts_belong_together() {
        let log = BlockLog::open(Path::new(OF_QEMU)).unwrap();
        for count in 0..=log.entries().len() {
            assert_eq!(log.count_at(log.length_at(count)), count);
            assert_eq!(log.count_at(log.length_at(count) + 1), (count + 1).min(log.entries().len()));
        }
    }

    fn written(change: impl FnOnce(&mut Vec<u8>)) -> Result<BlockLog, LogError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = Writer::create(&path, 512).unwrap();
        writer.add(0, 1024, 0, &[7; 1024]).unwrap();
        writer.add(0, 0, FLUSH, &[]).unwrap();
        writer.add(512, 512, FUA, &[8; 512]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        BlockLog::open(&path)
    }

    #[test]
    fn an_entry_that_is_not_whole_did_not_happen() {
        assert_eq!(written(|_| {}).unwrap().entries().len(), 3);
        for missing in [1, 512, 513, 1023] {
            assert_eq!(written(|bytes| bytes.truncate(bytes.len() - missing)).unwrap().entries().len(), 2, "{missing}");
        }
        assert_eq!(written(|bytes| bytes.extend([0; 512])).unwrap().entries().len(), 3);
    }

    #[test]
    fn damage_is_told() {
        assert!(matches!(written(|bytes| bytes[0] ^= 1), Err(LogError::Format { .. })));
        assert!(matches!(written(|bytes| bytes[8] = 2), Err(LogError::Format { version: 2, .. })));
        assert!(matches!(written(|bytes| bytes[24..28].fill(3)), Err(LogError::Sector(_))));
        assert!(matches!(written(|bytes| bytes[512 + 16] = 64), Err(LogError::Entry { number: 0, .. })));
        assert!(matches!(written(|bytes| bytes[512..520].fill(255)), Err(LogError::Entry { .. })));
        // The superblock was written at the flush, when there were two entries.
        assert!(matches!(written(|bytes| bytes.truncate(2048)), Err(LogError::Short { found: 1, told: 2 })));
        assert!(matches!(written(|bytes| bytes.truncate(20)), Err(LogError::Io(_))));
    }
}
