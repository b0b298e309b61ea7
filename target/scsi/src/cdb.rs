//! Fields of CDBs and parameter lists: big-endian, as SCSI has them.

/// The byte at `at`; 0 beyond the end.
#[inline]
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Two bytes from `at` on; zeros beyond the end.
#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
}

/// Four bytes from `at` on; zeros beyond the end.
#[inline]
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Eight bytes from `at` on; zeros beyond the end.
#[inline]
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// LOGICAL BLOCK ADDRESS and the number of blocks, of the CDBs that have them where their group (SPC-4 4.2.5.1) has
/// them.
#[inline]
pub(crate) fn range(cdb: &[u8; 16]) -> (u64, u32) {
    match cdb[0] >> 5 {
        0 => {
            let lba = u32::from(cdb[1] & 0x1f) << 16 | u32::from(be16(cdb, 2));
            (u64::from(lba), u32::from(cdb[4]))
        }
        1 | 2 => (u64::from(be32(cdb, 2)), u32::from(be16(cdb, 7))),
        4 => (be64(cdb, 2), be32(cdb, 10)),
        _ => (u64::from(be32(cdb, 2)), be32(cdb, 6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_fields() {
        let cdb = |opcode: u8| {
            let mut cdb: [u8; 16] = core::array::from_fn(|i| i as u8);
            cdb[0] = opcode;
            cdb
        };
        assert_eq!(range(&cdb(0x08)), (0x01_0203, 4));
        assert_eq!(range(&cdb(0x28)), (0x0203_0405, 0x0708));
        assert_eq!(range(&cdb(0x41)), (0x0203_0405, 0x0708));
        assert_eq!(range(&cdb(0x88)), (0x0203_0405_0607_0809, 0x0a0b_0c0d));
        assert_eq!(range(&cdb(0xa8)), (0x0203_0405, 0x0607_0809));
    }
}
