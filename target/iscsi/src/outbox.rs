//! Where units are put together before they leave: a buffer of the driver's, filled from the front.

use crate::digest;
use crate::pdu::{BHS_LEN, Bhs, padded};

/// Which digests a connection carries (RFC 7143 13.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests {
    /// Behind the header segments.
    pub header: bool,
    /// Behind the data segment and its padding.
    pub data: bool,
}

impl Digests {
    /// Bytes of a header without AHS, with its digest.
    #[inline]
    pub const fn header_len(self) -> usize {
        BHS_LEN + if self.header { 4 } else { 0 }
    }

    /// Bytes behind `len` bytes of data: padding and digest.
    #[inline]
    pub const fn trailer_len(self, len: usize) -> usize {
        padded(len) - len + if self.data && len > 0 { 4 } else { 0 }
    }

    /// Bytes of a whole unit with `len` bytes of data.
    #[inline]
    pub const fn unit_len(self, len: usize) -> usize {
        self.header_len() + len + self.trailer_len(len)
    }
}

/// A buffer that is filled from the front with whole units.
#[derive(Debug)]
pub struct Outbox<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Outbox<'a> {
    /// A buffer of which `len` bytes are filled already.
    ///
    /// # Panics
    /// Where `len` is more than there is.
    pub const fn new(bytes: &'a mut [u8], len: usize) -> Self {
        assert!(len <= bytes.len());
        Self { bytes, len }
    }

    /// Bytes that are filled.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is filled.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that are free.
    #[inline]
    pub const fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// The place for the data of the next unit: `len` bytes behind the room for its header. `None` where the whole unit
    /// does not fit.
    #[inline]
    pub fn data_room(&mut self, digests: Digests, len: usize) -> Option<&mut [u8]> {
        if self.room() < digests.unit_len(len) {
            return None;
        }
        let start = self.len + digests.header_len();
        Some(&mut self.bytes[start..start + len])
    }

    /// Closes a unit whose data lie in [`Self::data_room`] already.
    ///
    /// # Panics
    /// Where the unit does not fit.
    #[inline]
    pub(crate) fn seal(&mut self, digests: Digests, mut bhs: Bhs, len: usize) {
        bhs.set_data_len(len);
        let unit = &mut self.bytes[self.len..self.len + digests.unit_len(len)];
        let (header, rest) = unit.split_at_mut(digests.header_len());
        header[..BHS_LEN].copy_from_slice(&bhs.0);
        if digests.header {
            let crc = digest::digest(&bhs.0);
            header[BHS_LEN..].copy_from_slice(&crc.to_le_bytes());
        }
        let (body, trailer) = rest.split_at_mut(padded(len));
        body[len..].fill(0);
        if !trailer.is_empty() {
            trailer.copy_from_slice(&digest::digest(body).to_le_bytes());
        }
        self.len += digests.unit_len(len);
    }

    /// Appends a unit.
    ///
    /// # Panics
    /// Where the unit does not fit: callers check [`Self::room`] first.
    pub(crate) fn push(&mut self, digests: Digests, bhs: Bhs, data: &[u8]) {
        if let Some(room) = self.data_room(digests, data.len()) {
            room.copy_from_slice(data);
        }
        self.seal(digests, bhs, data.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::Opcode;

    #[test]
    fn a_unit_with_digests_and_padding() {
        let mut bytes = [0xee; 64];
        let mut out = Outbox::new(&mut bytes, 0);
        let digests = Digests { header: true, data: true };
        out.push(digests, Bhs::new(Opcode::NopIn), &[1, 2, 3, 4, 5]);
        assert_eq!(out.len(), 48 + 4 + 8 + 4);
        assert_eq!(bytes[7], 5);
        assert_eq!(bytes[48..52], digest::digest(&bytes[..48]).to_le_bytes());
        assert_eq!(bytes[52..60], [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(bytes[60..64], digest::digest_padded(&[1, 2, 3, 4, 5]).to_le_bytes());
    }

    #[test]
    fn no_data_no_data_digest() {
        let digests = Digests { header: false, data: true };
        assert_eq!(digests.unit_len(0), 48);
        assert_eq!(digests.unit_len(1), 48 + 4 + 4);
    }
}
