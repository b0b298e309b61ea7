//! Past the page cache: what the system asks of memory and offsets there, found out by trying.

use std::fs::File;
use std::io::{self, ErrorKind};

use super::open::OpenError;
use super::sys;
use crate::buffers::{ALIGNMENT, Buffer};

/// What must be a multiple of what. In bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alignment {
    /// Addresses of memory.
    pub(super) memory: usize,
    /// Offsets and lengths; as every command's are.
    pub(super) block: usize,
}

impl Alignment {
    /// Tries what blocks of `block` bytes need.
    ///
    /// # Errors
    /// Blocks of this size cannot be read so.
    pub(super) fn of(file: &File, block: u32) -> Result<Self, OpenError> {
        let block = block as usize;
        // Behind the first block: the beginning is a multiple of everything.
        match read(file, 0, block) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                let large = block < ALIGNMENT && read(file, 0, ALIGNMENT).is_ok();
                return Err(if large { OpenError::DirectBlocks(ALIGNMENT as u32) } else { OpenError::NotDirect });
            }
            result => result?,
        };
        let memory = if read(file, 512, block).is_ok() { 512 } else { ALIGNMENT };
        Ok(Self { memory, block })
    }

    /// Whether memory may be read into or written from, at this offset of the file.
    pub(super) fn suits(self, memory: &[u8], offset: u64) -> bool {
        memory.as_ptr().addr().is_multiple_of(self.memory) && self.is_whole(offset, memory.len())
    }

    /// Whether a range is whole blocks: an initiator may want less of the last one.
    pub(super) const fn is_whole(self, offset: u64, len: usize) -> bool {
        offset.is_multiple_of(self.block as u64) && len.is_multiple_of(self.block)
    }

    /// The whole blocks around a range: where they begin, and their bytes.
    pub(super) const fn around(self, offset: u64, len: usize) -> (u64, usize) {
        let block = self.block as u64;
        let (start, end) = (offset / block * block, (offset + len as u64).next_multiple_of(block));
        (start, (end - start) as usize)
    }

    /// Of so many bytes that were moved, those that are whole blocks: what comes next begins at one.
    pub(super) const fn whole(self, count: usize) -> usize {
        count / self.block * self.block
    }
}

fn read(file: &File, misplaced: usize, block: usize) -> io::Result<usize> {
    let mut memory = Buffer::new(misplaced + block);
    loop {
        match sys::read_at(file, &mut memory[misplaced..], block as u64) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
