//! The two checksums of an SD card (Physical Layer Simplified Specification 4.5).

use crc::{CRC_7_MMC, CRC_16_XMODEM, Crc};

const CRC7: Crc<u8> = Crc::<u8>::new(&CRC_7_MMC);
const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The last byte of a command or of a register: CRC7 in the upper bits, then the end bit, which is 1.
pub fn crc7_and_end_bit(bytes: &[u8]) -> u8 {
    CRC7.checksum(bytes) << 1 | 1
}

/// The checksum behind a data block, most significant byte first on the wire.
pub fn crc16(bytes: &[u8]) -> u16 {
    CRC16.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of 4.5: CMD0, CMD17 and the response to it.
    #[test]
    fn crc7_examples_of_the_specification() {
        assert_eq!(crc7_and_end_bit(&[0x40, 0, 0, 0, 0]) >> 1, 0b100_1010);
        assert_eq!(crc7_and_end_bit(&[0x51, 0, 0, 0, 0]) >> 1, 0b010_1010);
        assert_eq!(crc7_and_end_bit(&[0x11, 0, 0, 9, 0]) >> 1, 0b011_0011);
    }

    // 4.5: 512 bytes of 0xff have the checksum 0x7fa1.
    #[test]
    fn crc16_example_of_the_specification() {
        assert_eq!(crc16(&[0xff; 512]), 0x7fa1);
        assert_eq!(crc16(&[0; 512]), 0);
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }
}
