//! Command descriptor blocks (SBC-3, SPC-4).

use std::iter::repeat_n;

/// READ(16) of `blocks` blocks.
#[must_use]
pub fn read(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x88, 0, lba, blocks)
}

/// WRITE(16).
#[must_use]
pub fn write(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x8a, 0, lba, blocks)
}

/// WRITE(16) with FUA.
#[must_use]
pub fn write_fua(lba: u64, blocks: u32) -> [u8; 16] {
    sixteen(0x8a, 8, lba, blocks)
}

/// A 16-byte CDB with LBA and length.
#[must_use]
pub fn sixteen(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A 10-byte CDB with LBA and length.
#[must_use]
pub fn ten(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// COMPARE AND WRITE.
#[must_use]
pub fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = sixteen(0x89, 0, lba, 0);
    cdb[13] = blocks;
    cdb
}

/// UNMAP with its parameter list of one range.
#[must_use]
pub fn unmap(lba: u64, blocks: u32) -> ([u8; 10], Vec<u8>) {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(lba.to_be_bytes());
    list.extend(blocks.to_be_bytes());
    list.extend(repeat_n(0, 4));
    ([0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], list)
}

/// INQUIRY of a page, or of the standard data.
#[must_use]
pub fn inquiry(page: Option<u8>, len: u16) -> [u8; 6] {
    let [high, low] = len.to_be_bytes();
    [0x12, u8::from(page.is_some()), page.unwrap_or(0), high, low, 0]
}

/// GET LBA STATUS.
#[must_use]
pub fn lba_status(lba: u64, len: u32) -> [u8; 16] {
    sixteen(0x9e, 0x12, lba, len)
}
