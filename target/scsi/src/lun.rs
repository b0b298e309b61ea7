//! LUN fields (SAM-5 4.7), both ways.

/// The field of a number: peripheral device addressing, bus 0 (4.7.7.2).
pub(crate) fn lun_field(number: u16) -> u64 {
    u64::from(number & 0xff) << 48
}

/// The number in a LUN field: peripheral or flat addressing, one level (4.7.7); `None` for what no target here has.
#[inline]
pub const fn lun_number(lun: u64) -> Option<u16> {
    if lun & 0x0000_ffff_ffff_ffff != 0 {
        return None;
    }
    let field = (lun >> 48) as u16;
    match field >> 14 {
        0 if field < 256 => Some(field),
        1 => Some(field & 0x3fff),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lun_fields() {
        assert_eq!(lun_number(0), Some(0));
        assert_eq!(lun_number(0x0005_0000_0000_0000), Some(5));
        assert_eq!(lun_number(0x4105_0000_0000_0000), Some(0x105));
        assert_eq!(lun_number(0x0105_0000_0000_0000), None);
        assert_eq!(lun_number(0x0005_0000_0000_0001), None);
        assert_eq!(lun_number(0xc101_0000_0000_0000), None);
    }
}
