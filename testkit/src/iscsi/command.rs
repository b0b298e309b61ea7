//! Command descriptor blocks of the commands that the tools use.

use libiscsi_sys::SCSI_CDB_MAX_SIZE;

/// A command descriptor block of at most 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cdb {
    bytes: [u8; SCSI_CDB_MAX_SIZE],
    len: usize,
}

/// The data that goes with a command; its buffer's length is the expected data transfer length.
#[derive(Debug)]
pub enum Transfer<B> {
    /// No data.
    None,
    /// From the target into the buffer.
    In(B),
    /// From the buffer to the target.
    Out(B),
}

/// How a medium access treats caches (SBC-3 4.22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Force unit access: the medium, not the volatile cache, is read or written.
    pub fua: bool,
    /// Disable page out: the data is not worth to be kept in the cache.
    pub dpo: bool,
}

/// A range of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First logical block.
    pub lba: u64,
    /// Number of logical blocks.
    pub blocks: u32,
}

impl Cdb {
    /// Any CDB; `None` unless it has 1 to 16 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut cdb = Self { bytes: [0; SCSI_CDB_MAX_SIZE], len: bytes.len() };
        cdb.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (!bytes.is_empty()).then_some(cdb)
    }

    /// TEST UNIT READY (SPC-4 6.47).
    pub fn test_unit_ready() -> Self {
        Self::six(0x00)
    }

    /// INQUIRY (SPC-4 6.6): standard data, or a vital product data page. `allocation` in bytes.
    pub fn inquiry(page: Option<u8>, allocation: u16) -> Self {
        let [high, low] = allocation.to_be_bytes();
        let mut cdb = Self::six(0x12);
        cdb.bytes[1] = u8::from(page.is_some());
        cdb.bytes[2] = page.unwrap_or(0);
        cdb.bytes[3] = high;
        cdb.bytes[4] = low;
        cdb
    }

    /// MODE SENSE(6) (SPC-4 6.13): the current values of a page, without block descriptors. `allocation` in bytes.
    pub fn mode_sense6(page: u8, allocation: u8) -> Self {
        let mut cdb = Self::six(0x1a);
        cdb.bytes[1] = 0x08;
        cdb.bytes[2] = page & 0x3f;
        cdb.bytes[4] = allocation;
        cdb
    }

    /// READ CAPACITY(16) (SBC-3 5.16). `allocation` in bytes.
    pub fn read_capacity16(allocation: u32) -> Self {
        Self::service_action_in(0x10, 0, allocation)
    }

    /// GET LBA STATUS (SBC-3 5.4) from `lba` on. `allocation` in bytes.
    pub fn get_lba_status(lba: u64, allocation: u32) -> Self {
        Self::service_action_in(0x12, lba, allocation)
    }

    /// READ(10) (SBC-3 5.8).
    pub fn read10(lba: u32, blocks: u16, access: Access) -> Self {
        Self::ten(0x28, access, lba, blocks)
    }

    /// WRITE(10) (SBC-3 5.30).
    pub fn write10(lba: u32, blocks: u16, access: Access) -> Self {
        Self::ten(0x2a, access, lba, blocks)
    }

    /// READ(16) (SBC-3 5.10).
    pub fn read16(lba: u64, blocks: u32, access: Access) -> Self {
        Self::sixteen(0x88, access.bits(), lba, blocks)
    }

    /// WRITE(16) (SBC-3 5.32).
    pub fn write16(lba: u64, blocks: u32, access: Access) -> Self {
        Self::sixteen(0x8a, access.bits(), lba, blocks)
    }

    /// COMPARE AND WRITE (SBC-3 5.2): the data-out buffer holds `blocks` blocks to compare, then as many to write.
    pub fn compare_and_write(lba: u64, blocks: u8, access: Access) -> Self {
        let mut cdb = Self::sixteen(0x89, access.bits(), lba, 0);
        cdb.bytes[13] = blocks;
        cdb
    }

    /// SYNCHRONIZE CACHE(10) (SBC-3 5.26) of the whole medium.
    pub fn synchronize_cache10() -> Self {
        Self::ten(0x35, Access::default(), 0, 0)
    }

    /// SYNCHRONIZE CACHE(16) (SBC-3 5.27); 0 blocks means: up to the end of the medium.
    pub fn synchronize_cache16(lba: u64, blocks: u32) -> Self {
        Self::sixteen(0x91, 0, lba, blocks)
    }

    /// UNMAP (SBC-3 5.28); the data-out buffer comes from [`unmap_parameters`] and has `parameter_len` bytes.
    pub fn unmap(parameter_len: u16) -> Self {
        Self::ten(0x42, Access::default(), 0, parameter_len)
    }

    /// WRITE SAME(16) (SBC-3 5.46); the data-out buffer is one logical block. With `unmap` the range may be unmapped.
    pub fn write_same16(lba: u64, blocks: u32, unmap: bool) -> Self {
        Self::sixteen(0x93, if unmap { 0x08 } else { 0 }, lba, blocks)
    }

    /// REPORT LUNS (SPC-4 6.33). `allocation` in bytes, at least 16.
    pub fn report_luns(allocation: u32) -> Self {
        let mut cdb = Self { bytes: [0; SCSI_CDB_MAX_SIZE], len: 12 };
        cdb.bytes[0] = 0xa0;
        cdb.bytes[6..10].copy_from_slice(&allocation.to_be_bytes());
        cdb
    }

    /// The bytes that are sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn six(operation: u8) -> Self {
        let mut cdb = Self { bytes: [0; SCSI_CDB_MAX_SIZE], len: 6 };
        cdb.bytes[0] = operation;
        cdb
    }

    fn ten(operation: u8, access: Access, lba: u32, length: u16) -> Self {
        let mut cdb = Self { bytes: [0; SCSI_CDB_MAX_SIZE], len: 10 };
        cdb.bytes[0] = operation;
        cdb.bytes[1] = access.bits();
        cdb.bytes[2..6].copy_from_slice(&lba.to_be_bytes());
        cdb.bytes[7..9].copy_from_slice(&length.to_be_bytes());
        cdb
    }

    fn sixteen(operation: u8, flags: u8, lba: u64, length: u32) -> Self {
        let mut cdb = Self { bytes: [0; SCSI_CDB_MAX_SIZE], len: 16 };
        cdb.bytes[0] = operation;
        cdb.bytes[1] = flags;
        cdb.bytes[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb.bytes[10..14].copy_from_slice(&length.to_be_bytes());
        cdb
    }

    fn service_action_in(action: u8, lba: u64, allocation: u32) -> Self {
        Self::sixteen(0x9e, action, lba, allocation)
    }
}

impl std::fmt::Debug for Cdb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.as_bytes())
    }
}

impl Access {
    /// DPO and FUA as they stand in byte 1 of the CDB (SBC-3 5.8).
    fn bits(self) -> u8 {
        (if self.dpo { 0x10 } else { 0 }) | (if self.fua { 0x08 } else { 0 })
    }
}

/// The parameter list of UNMAP (SBC-3 5.28.2); `None` when the ranges do not fit its 16-bit lengths.
pub fn unmap_parameters(ranges: &[Range]) -> Option<Vec<u8>> {
    let descriptors = u16::try_from(ranges.len().checked_mul(16)?).ok()?;
    let total = descriptors.checked_add(6)?;
    let mut list = Vec::with_capacity(usize::from(total) + 2);
    list.extend_from_slice(&total.to_be_bytes());
    list.extend_from_slice(&descriptors.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    for range in ranges {
        list.extend_from_slice(&range.lba.to_be_bytes());
        list.extend_from_slice(&range.blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cdbs_are_byte_exact() {
        let fua = Access { fua: true, dpo: false };
        let both = Access { fua: true, dpo: true };
        let cases: &[(Cdb, &[u8])] = &[
            (Cdb::test_unit_ready(), &[0; 6]),
            (Cdb::inquiry(None, 0x1234), &[0x12, 0, 0, 0x12, 0x34, 0]),
            (Cdb::inquiry(Some(0xb0), 64), &[0x12, 1, 0xb0, 0, 64, 0]),
            (Cdb::mode_sense6(8, 255), &[0x1a, 8, 8, 0, 255, 0]),
            (Cdb::read_capacity16(32), &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]),
            (Cdb::get_lba_status(0x0102, 24), &[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 24, 0, 0]),
            (Cdb::read10(0x0102_0304, 0x0506, both), &[0x28, 0x18, 1, 2, 3, 4, 0, 5, 6, 0]),
            (Cdb::write10(1, 2, fua), &[0x2a, 8, 0, 0, 0, 1, 0, 0, 2, 0]),
            (
                Cdb::read16(0x0102_0304_0506_0708, 0x090a_0b0c, Access::default()),
                &[0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0],
            ),
            (Cdb::write16(1, 2, fua), &[0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]),
            (Cdb::compare_and_write(1, 2, fua), &[0x89, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]),
            (Cdb::synchronize_cache10(), &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Cdb::synchronize_cache16(1, 2), &[0x91, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]),
            (Cdb::unmap(24), &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]),
            (Cdb::write_same16(1, 2, true), &[0x93, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]),
            (Cdb::report_luns(256), &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
        ];
        for (cdb, bytes) in cases {
            assert_eq!(cdb.as_bytes(), *bytes);
        }
    }

    #[test]
    fn a_cdb_has_1_to_16_bytes() {
        assert!(Cdb::new(&[]).is_none());
        assert!(Cdb::new(&[0; 17]).is_none());
        assert_eq!(Cdb::new(&[7; 16]).map(|cdb| cdb.as_bytes().to_vec()), Some(vec![7; 16]));
    }

    #[test]
    fn unmap_parameters_are_byte_exact() {
        let list = unmap_parameters(&[Range { lba: 0x0102, blocks: 3 }]).expect("fits");
        assert_eq!(list, [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 0, 0, 0, 0]);
        assert!(unmap_parameters(&[Range { lba: 0, blocks: 1 }; 4096]).is_none());
    }
}
