//! The card's registers: what it is and how large.

use super::crc::crc7_and_end_bit;

/// Card identification (Physical Layer Simplified Specification 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cid([u8; 16]);

impl Cid {
    /// Length of [`serial_number`](Self::serial_number) in characters.
    pub const SERIAL_LEN: usize = 30;

    /// Takes a register as it was read; `None` when its checksum is wrong.
    pub fn parse(register: [u8; 16]) -> Option<Self> {
        has_good_crc(&register).then_some(Self(register))
    }

    /// What tells this card from every other one, in hexadecimal: the register without its checksum.
    pub fn serial_number(&self) -> [u8; Self::SERIAL_LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::SERIAL_LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
            }
        }
        text
    }

    /// Manufacturer (MID).
    pub fn manufacturer(&self) -> u8 {
        self.0[0]
    }

    /// Product name (PNM), five characters of ASCII on a card that keeps the rules.
    pub fn product(&self) -> [u8; 5] {
        let [_, _, _, a, b, c, d, e, ..] = self.0;
        [a, b, c, d, e]
    }

    /// Product serial number (PSN).
    pub fn product_serial(&self) -> u32 {
        let [_, _, _, _, _, _, _, _, _, a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Card-specific data, version 2.0: what SDHC and SDXC cards have (5.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csd([u8; 16]);

/// Why a CSD register is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsdError {
    /// Its checksum is wrong.
    Crc,
    /// CSD_STRUCTURE is not 1: an SDSC card (0), an SDUC card (2), or what does not exist yet.
    Structure(u8),
}

impl Csd {
    /// Takes a register as it was read.
    ///
    /// # Errors
    /// When the checksum is wrong, or the register is not of version 2.0.
    pub fn parse(register: [u8; 16]) -> Result<Self, CsdError> {
        if !has_good_crc(&register) {
            return Err(CsdError::Crc);
        }
        match register[0] >> 6 {
            1 => Ok(Self(register)),
            other => Err(CsdError::Structure(other)),
        }
    }

    /// Capacity in blocks of 512 bytes: (C_SIZE + 1) * 512 KiB, at most 2 TiB.
    pub fn blocks(&self) -> u64 {
        let [_, _, _, _, _, _, _, high, mid, low, ..] = self.0;
        let c_size = u32::from_be_bytes([0, high & 0x3f, mid, low]);
        (u64::from(c_size) + 1) * 1024
    }

    /// Card command classes (CCC), one bit each.
    pub fn classes(&self) -> u16 {
        let [_, _, _, _, high, low, ..] = self.0;
        u16::from(high) << 4 | u16::from(low) >> 4
    }

    /// The card refuses writes, for now or for ever (TMP_WRITE_PROTECT, PERM_WRITE_PROTECT).
    pub fn is_write_protected(&self) -> bool {
        self.0[14] & 0x30 != 0
    }
}

/// What erased blocks read as, from the SD configuration register (5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
}

impl Erased {
    /// DATA_STAT_AFTER_ERASE, bit 55 of SCR.
    pub(super) fn from_scr(scr: [u8; 8]) -> Self {
        if scr[1] & 0x80 == 0 { Self::Zeros } else { Self::Ones }
    }
}

fn has_good_crc(register: &[u8; 16]) -> bool {
    let (last, rest) = register.split_last().unwrap_or((&0, &[]));
    crc7_and_end_bit(rest) == *last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_crc(mut register: [u8; 16]) -> [u8; 16] {
        register[15] = crc7_and_end_bit(&register[..15]);
        register
    }

    // An SDHC card of 8 GB: C_SIZE is 0x3b37.
    const CSD: [u8; 16] = [0x40, 0x0e, 0, 0x32, 0x5b, 0x59, 0, 0, 0x3b, 0x37, 0x7f, 0x80, 0x0a, 0x40, 0, 0];

    #[test]
    fn csd_gives_capacity_and_classes() {
        let csd = Csd::parse(with_crc(CSD)).unwrap();
        assert_eq!(csd.blocks(), (0x3b37 + 1) * 1024);
        assert_eq!(csd.classes(), 0x5b5);
        assert!(!csd.is_write_protected());
    }

    #[test]
    fn csd_has_22_bits_of_capacity() {
        let mut largest = CSD;
        largest[7..10].copy_from_slice(&[0xff, 0xff, 0xff]);
        assert_eq!(Csd::parse(with_crc(largest)).unwrap().blocks(), 1 << 32);
    }

    #[test]
    fn csd_write_protection() {
        for bit in [0x10, 0x20] {
            let mut register = CSD;
            register[14] = bit;
            assert!(Csd::parse(with_crc(register)).unwrap().is_write_protected());
        }
    }

    #[test]
    fn csd_of_another_version_or_damaged_is_refused() {
        let mut old = CSD;
        old[0] = 0;
        assert_eq!(Csd::parse(with_crc(old)), Err(CsdError::Structure(0)));
        let mut damaged = with_crc(CSD);
        damaged[8] ^= 1;
        assert_eq!(Csd::parse(damaged), Err(CsdError::Crc));
    }

    #[test]
    fn cid_is_the_serial_number() {
        let register =
            with_crc([3, 0x53, 0x44, b'S', b'U', b'0', b'8', b'G', 0x80, 0x12, 0x34, 0x56, 0x78, 1, 0x23, 0]);
        let cid = Cid::parse(register).unwrap();
        assert_eq!(&cid.serial_number(), b"035344535530384780123456780123");
        assert_eq!((cid.manufacturer(), &cid.product(), cid.product_serial()), (3, b"SU08G", 0x1234_5678));
        assert_eq!(Cid::parse([0; 16]), None);
    }

    #[test]
    fn scr_tells_what_erased_blocks_read_as() {
        assert_eq!(Erased::from_scr([2, 0x35, 0x80, 0, 0, 0, 0, 0]), Erased::Zeros);
        assert_eq!(Erased::from_scr([2, 0xb5, 0x80, 0, 0, 0, 0, 0]), Erased::Ones);
    }
}
