//! The card's own checksums, bit by bit as SD 4.5 defines them: not the driver's, so that an error in one of them shows.

/// CRC7 (x^7 + x^3 + 1) and the end bit.
pub fn crc7_and_end_bit(bytes: &[u8]) -> u8 {
    let mut crc = 0_u8;
    for byte in bytes {
        for bit in (0..8).rev() {
            let feedback = (crc >> 6) ^ (byte >> bit) & 1;
            crc = (crc << 1) & 0x7f;
            if feedback & 1 == 1 {
                crc ^= 0x09;
            }
        }
    }
    crc << 1 | 1
}

/// CRC16 (x^16 + x^12 + x^5 + 1), initially 0.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let mut x = (crc >> 8) as u8 ^ byte;
        x ^= x >> 4;
        (crc << 8) ^ (u16::from(x) << 12) ^ (u16::from(x) << 5) ^ u16::from(x)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_specification() {
        assert_eq!(crc7_and_end_bit(&[0x40, 0, 0, 0, 0]), 0x95);
        assert_eq!(crc7_and_end_bit(&[0x48, 0, 0, 1, 0xaa]), 0x87);
        assert_eq!(crc16(&[0xff; 512]), 0x7fa1);
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }
}
