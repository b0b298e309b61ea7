//! CRC32C digests (RFC 7143 13.1): polynomial 0x11edc6f41, reflected, four bytes little-endian on the wire.

/// The digest of `bytes`.
#[inline]
pub fn digest(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// The digest of what `crc` is the digest of, followed by `bytes`.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(feature = "hardware-crc")]
    {
        crc32c::crc32c_append(crc, bytes)
    }
    #[cfg(not(feature = "hardware-crc"))]
    {
        software(crc, bytes)
    }
}

/// The digest of `bytes` with its padding, which counts (RFC 7143 11.2.3).
pub fn digest_padded(bytes: &[u8]) -> u32 {
    let pad = (4 - bytes.len() % 4) % 4;
    append(digest(bytes), &[0; 3][..pad])
}

#[cfg(any(test, not(feature = "hardware-crc")))]
fn software(crc: u32, bytes: &[u8]) -> u32 {
    const CRC32C: crc::Crc<u32, crc::Table<1>> = crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISCSI);
    // `digest_with_initial` takes the register before it is reflected; `finalize` has inverted it.
    let mut digest = CRC32C.digest_with_initial((!crc).reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7143 A.4: examples of CRC32C.
    #[test]
    fn rfc_examples() {
        let rising: [u8; 32] = core::array::from_fn(|at| at as u8);
        let falling: [u8; 32] = core::array::from_fn(|at| 31 - at as u8);
        for (bytes, wire) in [
            ([0; 32], [0xaa, 0x36, 0x91, 0x8a]),
            ([0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (rising, [0x4e, 0x79, 0xdd, 0x46]),
            (falling, [0x5c, 0xdb, 0x3f, 0x11]),
        ] {
            assert_eq!(digest(&bytes).to_le_bytes(), wire);
            assert_eq!(software(software(0, &bytes[..13]), &bytes[13..]).to_le_bytes(), wire);
        }
    }

    #[test]
    fn padding_counts() {
        assert_eq!(digest_padded(&[1, 2, 3, 4, 5]), digest(&[1, 2, 3, 4, 5, 0, 0, 0]));
        assert_eq!(digest_padded(&[1, 2, 3, 4]), digest(&[1, 2, 3, 4]));
    }
}
