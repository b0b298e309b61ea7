//! What the blocks lie on.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes a block.
pub const BLOCK: usize = 512;

/// Blocks that survive a power cut.
pub trait Medium {
    /// Reads one block; one that was never written is what `erased` says.
    fn read(&mut self, address: u32, erased: u8) -> [u8; BLOCK];
    /// Writes one block.
    fn write(&mut self, address: u32, data: &[u8; BLOCK], erased: u8);
    /// Erases blocks: they read as `erased` from then on.
    fn erase(&mut self, first: u32, count: u32, erased: u8);
}

/// Blocks in memory; takes what was written.
#[derive(Default)]
pub struct Memory(BTreeMap<u32, Box<[u8; BLOCK]>>);

impl Medium for Memory {
    fn read(&mut self, address: u32, erased: u8) -> [u8; BLOCK] {
        self.0.get(&address).map_or([erased; BLOCK], |block| **block)
    }

    fn write(&mut self, address: u32, data: &[u8; BLOCK], _: u8) {
        self.0.insert(address, Box::new(*data));
    }

    fn erase(&mut self, first: u32, count: u32, _: u8) {
        let Some(last) = count.checked_sub(1).and_then(|more| first.checked_add(more)) else { return };
        let mut rest = self.0.split_off(&first);
        if let Some(behind) = last.checked_add(1) {
            self.0.append(&mut rest.split_off(&behind));
        }
    }
}

/// Blocks that are looked at together when they are erased.
const ERASED_AT_ONCE: usize = 256;

/// A sparse file of the card's size.
///
/// Its blocks are stored so that a hole reads as an erased block: XORed with what erased blocks read as.
pub struct SparseFile(File);

impl SparseFile {
    /// Opens a file, or makes it, and gives it the size of the card. As long as it is open nobody else can do so.
    ///
    /// # Errors
    /// When the file cannot be opened, is another board's card, or holds more than the card.
    pub fn open(path: &Path, blocks: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        // Two boards with one card would tear its file system. Where files cannot be locked, nobody is kept out.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the card is in use by another simulator"));
        }
        let size = blocks * BLOCK as u64;
        if file.metadata()?.len() > size {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is larger than the card"));
        }
        file.set_len(size)?;
        Ok(Self(file))
    }

    fn at(&mut self, address: u32) -> &mut File {
        self.0.seek(SeekFrom::Start(u64::from(address) * BLOCK as u64)).expect("the image can be positioned");
        &mut self.0
    }
}

/// The host's disk is not what is simulated: where it fails, the simulation ends.
impl Medium for SparseFile {
    fn read(&mut self, address: u32, erased: u8) -> [u8; BLOCK] {
        let mut data = [0; BLOCK];
        self.at(address).read_exact(&mut data).expect("the image can be read");
        data.map(|byte| byte ^ erased)
    }

    fn write(&mut self, address: u32, data: &[u8; BLOCK], erased: u8) {
        self.at(address).write_all(&data.map(|byte| byte ^ erased)).expect("the image can be written");
    }

    fn erase(&mut self, first: u32, count: u32, _: u8) {
        let mut blocks = vec![0; ERASED_AT_ONCE * BLOCK];
        let mut left = count as usize;
        while left > 0 {
            let now = left.min(ERASED_AT_ONCE);
            let part = &mut blocks[..now * BLOCK];
            let address = first + (count as usize - left) as u32;
            self.at(address).read_exact(part).expect("the image can be read");
            // A hole stays one.
            if part.iter().any(|byte| *byte != 0) {
                part.fill(0);
                self.at(address).write_all(part).expect("the image can be written");
            }
            left -= now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(medium: &mut dyn Medium) {
        for address in [0, 9, 10, 11, 12, 99] {
            medium.write(address, &[address as u8 + 1; BLOCK], 0xff);
        }
        medium.erase(10, 2, 0xff);
        let first = |medium: &mut dyn Medium, address| medium.read(address, 0xff)[0];
        let seen = [0, 9, 10, 11, 12, 50, 99].map(|address| first(medium, address));
        assert_eq!(seen, [1, 10, 0xff, 0xff, 13, 0xff, 100]);
        medium.erase(0, 100, 0xff);
        assert_eq!([0, 12, 99].map(|address| first(medium, address)), [0xff; 3]);
    }

    #[test]
    fn memory_keeps_and_erases() {
        check(&mut Memory::default());
        let mut memory = Memory::default();
        memory.write(u32::MAX, &[1; BLOCK], 0);
        memory.erase(u32::MAX, 1, 0);
        assert_eq!(memory.read(u32::MAX, 0), [0; BLOCK]);
    }

    #[test]
    fn a_file_keeps_and_erases() {
        let path = std::env::temp_dir().join(format!("iesp-simulator-medium-{}", std::process::id()));
        let mut file = SparseFile::open(&path, 100).unwrap();
        check(&mut file);
        assert_eq!(SparseFile::open(&path, 100).map(drop).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(file);
        assert_eq!(SparseFile::open(&path, 99).map(drop).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        std::fs::remove_file(&path).unwrap();
    }
}
