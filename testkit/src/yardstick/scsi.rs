//! The SCSI commands: two that move data, and the few that describe the disk.

use super::{BLOCK_SIZE, Disk};

/// What a command is to the yardstick.
pub(super) enum Command {
    /// READ: offset in bytes and length in bytes.
    Read(u64, u32),
    /// WRITE: offset in bytes and length in bytes.
    Write(u64, u32),
    /// A command that is answered with these bytes, cut to its allocation length.
    Describe(Vec<u8>, usize),
    /// CHECK CONDITION, ILLEGAL REQUEST with this additional sense code.
    Illegal(u8),
}

/// INVALID COMMAND OPERATION CODE.
const OPERATION_CODE: u8 = 0x20;
/// LOGICAL BLOCK ADDRESS OUT OF RANGE.
const OUT_OF_RANGE: u8 = 0x21;
/// INVALID FIELD IN CDB.
const FIELD_IN_CDB: u8 = 0x24;
/// LOGICAL UNIT NOT SUPPORTED.
const NO_SUCH_UNIT: u8 = 0x25;

/// Decodes a CDB for the logical unit 0.
pub(super) fn command(cdb: &[u8; 16], lun: u64, disk: &Disk) -> Command {
    let half = |at: usize| u16::from_be_bytes([cdb[at], cdb[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([cdb[at], cdb[at + 1], cdb[at + 2], cdb[at + 3]]);
    let address = |at: usize| (u64::from(word(at)) << 32) | u64::from(word(at + 4));
    if lun != 0 {
        return Command::Illegal(NO_SUCH_UNIT);
    }
    match cdb[0] {
        // READ(10), READ(16), WRITE(10), WRITE(16).
        0x28 => transfer(disk, u64::from(word(2)), u32::from(half(7)), Command::Read),
        0x88 => transfer(disk, address(2), word(10), Command::Read),
        0x2a => transfer(disk, u64::from(word(2)), u32::from(half(7)), Command::Write),
        0x8a => transfer(disk, address(2), word(10), Command::Write),
        // TEST UNIT READY.
        0x00 => Command::Describe(Vec::new(), 0),
        // INQUIRY: standard data and the list of pages, which holds only itself.
        0x12 => match (cdb[1] & 1, cdb[2]) {
            (0, 0) => Command::Describe(inquiry(), usize::from(half(3))),
            (1, 0) => Command::Describe(vec![0, 0, 0, 1, 0], usize::from(half(3))),
            _ => Command::Illegal(FIELD_IN_CDB),
        },
        // MODE SENSE(6): a header without pages.
        0x1a => Command::Describe(vec![3, 0, 0, 0], usize::from(cdb[4])),
        // READ CAPACITY(10) and (16).
        0x25 => Command::Describe(capacity10(disk), 8),
        0x9e if cdb[1] & 0x1f == 0x10 => Command::Describe(capacity16(disk), word(10) as usize),
        // REPORT LUNS: LUN 0.
        0xa0 => Command::Describe([&[0, 0, 0, 8][..], &[0; 12]].concat(), word(6) as usize),
        _ => Command::Illegal(OPERATION_CODE),
    }
}

fn transfer(disk: &Disk, lba: u64, blocks: u32, make: fn(u64, u32) -> Command) -> Command {
    match (disk.offset(lba, blocks), blocks.checked_mul(BLOCK_SIZE)) {
        (Some(offset), Some(length)) => make(offset, length),
        _ => Command::Illegal(OUT_OF_RANGE),
    }
}

/// SPC-4 6.6.2: a direct-access block device.
fn inquiry() -> Vec<u8> {
    let mut data = vec![0x00, 0x00, 0x06, 0x02, 31, 0, 0, 0x02];
    data.extend_from_slice(b"iESP    yardstick       1   ");
    data
}

/// SBC-3 5.15.2.
fn capacity10(disk: &Disk) -> Vec<u8> {
    let last = u32::try_from(disk.blocks - 1).unwrap_or(u32::MAX);
    [last.to_be_bytes(), BLOCK_SIZE.to_be_bytes()].concat()
}

/// SBC-3 5.16.2.
fn capacity16(disk: &Disk) -> Vec<u8> {
    let mut data = (disk.blocks - 1).to_be_bytes().to_vec();
    data.extend_from_slice(&BLOCK_SIZE.to_be_bytes());
    data.resize(32, 0);
    data
}

/// Sense data in fixed format (SPC-4 4.5.3), with its length before it (RFC 7143 11.4.7).
pub(super) fn illegal_request(code: u8) -> [u8; 20] {
    let mut data = [0; 20];
    data[1] = 18;
    data[2] = 0x70;
    data[4] = 0x05;
    data[9] = 10;
    data[14] = code;
    data
}
