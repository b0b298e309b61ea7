//! A PDU as it is on the wire (RFC 7143 11.2): header, additional headers, data, digests.

use std::io::{self, ErrorKind, Read, Write};

use iesp_iscsi::digest::digest;
use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{BHS_LEN, Bhs, Opcode, padded};

use crate::field::Field;

/// One PDU; both lengths of its header are set when it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdu {
    /// The basic header segment.
    pub bhs: Bhs,
    /// Additional header segments, whole words.
    pub ahs: Vec<u8>,
    /// The data segment without its padding.
    pub data: Vec<u8>,
}

/// How a PDU departs from what RFC 7143 11.2 makes of it on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flaws {
    /// The header digest is wrong in one bit.
    pub header_digest: bool,
    /// The data digest is wrong in one bit.
    pub data_digest: bool,
    /// DataSegmentLength, if it is not the data's length.
    pub data_len: Option<u32>,
    /// TotalAHSLength in words, if it is not the length of the additional headers.
    pub ahs_words: Option<u8>,
}

/// Why bytes are no PDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The header digest is not the header's.
    #[error("wrong header digest {found:08x} instead of {right:08x} on a PDU of {len} bytes")]
    HeaderDigest {
        /// What came.
        found: u32,
        /// CRC32C of the headers.
        right: u32,
        /// Bytes of the headers.
        len: usize,
    },
    /// The data digest is not the data segment's.
    #[error("wrong data digest {found:08x} instead of {right:08x} on a PDU of {len} bytes")]
    DataDigest {
        /// What came.
        found: u32,
        /// CRC32C of the data and its padding.
        right: u32,
        /// Bytes of the data segment with its padding.
        len: usize,
    },
    /// Padding that is not zero (RFC 7143 11.1: it SHOULD be).
    #[error("padding that is not zero")]
    Padding,
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        Self::new(ErrorKind::InvalidData, error)
    }
}

impl Pdu {
    /// A header of zeros with this opcode and the final bit, without data.
    #[must_use]
    pub const fn new(opcode: Opcode) -> Self {
        Self { bhs: Bhs::new(opcode), ahs: Vec::new(), data: Vec::new() }
    }

    /// A header with its data.
    #[must_use]
    pub fn of(bhs: &Bhs, data: &[u8]) -> Self {
        Self { bhs: *bhs, ahs: Vec::new(), data: data.to_vec() }
    }

    /// The same with other data.
    #[must_use]
    pub fn with_data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    /// The same with additional headers, which are padded to whole words.
    #[must_use]
    pub fn with_ahs(mut self, ahs: &[u8]) -> Self {
        self.ahs = ahs.to_vec();
        self.ahs.resize(padded(ahs.len()), 0);
        self
    }

    /// The same with another value in a field.
    #[must_use]
    pub fn with(mut self, field: Field, value: u64) -> Self {
        self.set(field, value);
        self
    }

    /// The same with another byte in its header.
    #[must_use]
    pub const fn with_byte(mut self, at: usize, value: u8) -> Self {
        self.bhs.0[at] = value;
        self
    }

    /// Gives a field a value, whatever the opcode; what does not fit is cut off.
    pub fn set(&mut self, field: Field, value: u64) {
        field.set(&mut self.bhs.0, value);
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, field: Field) -> u64 {
        field.get(&self.bhs.0)
    }

    /// The opcode's six bits, known or not.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.bhs.0[0] & 0x3f
    }

    /// What the PDU is; `None` where no such opcode is defined.
    #[must_use]
    pub const fn opcode(&self) -> Option<Opcode> {
        self.bhs.opcode()
    }

    /// Whether its opcode is this one.
    #[must_use]
    pub fn is(&self, opcode: Opcode) -> bool {
        self.opcode() == Some(opcode)
    }

    /// The initiator task tag.
    #[must_use]
    pub const fn itt(&self) -> u32 {
        self.bhs.itt()
    }

    /// A LUN below 16384, in peripheral or flat addressing (SAM-5 4.7).
    #[must_use]
    pub const fn lun(&self) -> u16 {
        u16::from_be_bytes([self.bhs.0[8] & 0x3f, self.bhs.0[9]])
    }

    /// The command descriptor block of a SCSI Command.
    #[must_use]
    pub fn cdb(&self) -> [u8; 16] {
        let mut cdb = [0; 16];
        cdb.copy_from_slice(&self.bhs.0[32..]);
        cdb
    }

    /// Whether it is the Login Response that ends the login (RFC 7143 11.13: T, NSG 3, status 0).
    #[must_use]
    pub fn starts_full_feature_phase(&self) -> bool {
        self.is(Opcode::LoginResponse) && self.bhs.0[1] & 0x83 == 0x83 && self.bhs.0[36] == 0
    }

    /// The value of a text key in the data (RFC 7143 6.1: `KEY=VALUE`, each with a zero behind it).
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&str> {
        let pairs = self.data.split(|&byte| byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok());
        pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Gives a key another value, where it stands in the data; answers whether it does.
    pub fn set_key(&mut self, key: &str, value: &str) -> bool {
        let wanted = |pair: &[u8]| pair.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='));
        let mut replaced = false;
        let mut data = Vec::with_capacity(self.data.len() + value.len());
        for pair in self.data.split(|&byte| byte == 0).filter(|pair| !pair.is_empty()) {
            if wanted(pair) {
                replaced = true;
                data.extend([key.as_bytes(), b"=", value.as_bytes()].concat());
            } else {
                data.extend(pair);
            }
            data.push(0);
        }
        if replaced {
            self.data = data;
        }
        replaced
    }

    /// Makes a SCSI Command a TEST UNIT READY: the target answers it in its turn, and does nothing.
    pub fn make_test_unit_ready(&mut self) {
        // RFC 7143 11.3.1: F alone, the task attributes stay; nothing is transferred.
        self.bhs.0[1] = 0x80 | (self.bhs.0[1] & 0x07);
        self.bhs.0[20..24].fill(0);
        self.bhs.0[32..].fill(0);
        self.ahs.clear();
        self.data.clear();
    }

    /// The PDU on the wire.
    #[must_use]
    pub fn to_bytes(&self, digests: Digests) -> Vec<u8> {
        self.to_flawed_bytes(digests, Flaws::default())
    }

    /// The PDU on the wire, with what is wrong about it.
    #[must_use]
    pub fn to_flawed_bytes(&self, digests: Digests, flaws: Flaws) -> Vec<u8> {
        let mut bhs = self.bhs;
        let len = flaws.data_len.map_or(self.data.len(), |len| len as usize & 0xff_ffff);
        bhs.set_data_len(len);
        // The field is one byte: longer additional headers cannot be told.
        bhs.0[4] = flaws.ahs_words.unwrap_or((self.ahs.len() / 4) as u8);
        let room = BHS_LEN + self.ahs.len() + padded(self.data.len()) + 8;
        let mut bytes = Vec::with_capacity(room);
        bytes.extend(bhs.0);
        bytes.extend(&self.ahs);
        if digests.header {
            bytes.extend((digest(&bytes) ^ u32::from(flaws.header_digest)).to_le_bytes());
        }
        let start = bytes.len();
        bytes.extend(&self.data);
        bytes.resize(start + padded(self.data.len()), 0);
        if digests.data && !self.data.is_empty() {
            // RFC 7143 11.2.3: the padding counts.
            bytes.extend((digest(&bytes[start..]) ^ u32::from(flaws.data_digest)).to_le_bytes());
        }
        bytes
    }

    /// The first PDU of `bytes`, and how many bytes it takes; `None` if it is not whole.
    ///
    /// # Errors
    /// Digests that are wrong.
    pub fn parse(bytes: &[u8], digests: Digests) -> Result<Option<(Self, usize)>, WireError> {
        let Some(bhs) = bytes.first_chunk::<BHS_LEN>() else { return Ok(None) };
        let bhs = Bhs(*bhs);
        let (headers, len) = (BHS_LEN + bhs.ahs_len(), bhs.data_len());
        let data_at = headers + if digests.header { 4 } else { 0 };
        let data_end = data_at + padded(len);
        let end = data_end + if digests.data && len > 0 { 4 } else { 0 };
        if bytes.len() < end {
            return Ok(None);
        }
        if digests.header {
            let (found, right) = (word(&bytes[headers..data_at]), digest(&bytes[..headers]));
            if found != right {
                return Err(WireError::HeaderDigest { found, right, len: headers });
            }
        }
        let body = &bytes[data_at..data_end];
        if end > data_end {
            let (found, right) = (word(&bytes[data_end..end]), digest(body));
            if found != right {
                return Err(WireError::DataDigest { found, right, len: body.len() });
            }
        }
        Ok(Some((Self { bhs, ahs: bytes[BHS_LEN..headers].to_vec(), data: body[..len].to_vec() }, end)))
    }

    /// The same, for a peer whose padding has to be zero.
    ///
    /// # Errors
    /// Digests that are wrong, and padding that is not zero.
    pub fn parse_strictly(bytes: &[u8], digests: Digests) -> Result<Option<(Self, usize)>, WireError> {
        let parsed = Self::parse(bytes, digests)?;
        if let Some((pdu, end)) = &parsed {
            let digest = if digests.data && !pdu.data.is_empty() { 4 } else { 0 };
            let data_end = end - digest;
            let padding = padded(pdu.data.len()) - pdu.data.len();
            if bytes[data_end - padding..data_end].iter().any(|&byte| byte != 0) {
                return Err(WireError::Padding);
            }
        }
        Ok(parsed)
    }

    /// Reads one; `None` where the peer has ended between two. Which digests it has is asked when its header is there:
    /// before, the login may still be under way.
    ///
    /// # Errors
    /// What the connection reports, [`ErrorKind::UnexpectedEof`] in the middle of a PDU, [`ErrorKind::InvalidData`]
    /// with a [`WireError`].
    pub fn read(from: &mut impl Read, digests: impl FnOnce() -> Digests) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; BHS_LEN];
        let mut filled = 0;
        while filled < BHS_LEN {
            match from.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let digests = digests();
        bytes.resize(whole_len(&bytes, digests), 0);
        from.read_exact(&mut bytes[BHS_LEN..])?;
        Ok(Self::parse(&bytes, digests)?.map(|(pdu, _)| pdu))
    }

    /// Writes it in one call.
    ///
    /// # Errors
    /// What the connection reports.
    pub fn write(&self, to: &mut impl Write, digests: Digests) -> io::Result<()> {
        to.write_all(&self.to_bytes(digests))
    }
}

/// Bytes of the whole PDU that begins with this basic header segment: at most 16 MiB by the fields' widths.
///
/// # Panics
/// If there are less than 48 bytes.
#[must_use]
pub fn whole_len(header: &[u8], digests: Digests) -> usize {
    let words = usize::from(header[4]);
    let len = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
    let digest_len = |present: bool| if present { 4 } else { 0 };
    BHS_LEN + words * 4 + digest_len(digests.header) + padded(len) + digest_len(digests.data && len > 0)
}

/// A whole PDU as it is on the wire.
///
/// # Panics
/// If the additional headers are no whole words.
#[must_use]
pub fn frame(digests: Digests, bhs: &Bhs, ahs: &[u8], data: &[u8]) -> Vec<u8> {
    assert_eq!(ahs.len() % 4, 0, "additional headers are whole words");
    Pdu::of(bhs, data).with_ahs(ahs).to_bytes(digests)
}

/// Digests travel with their least significant byte first (RFC 7143 13.1).
fn word(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(bytes);
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Digests = Digests { header: true, data: true };
    const NONE: Digests = Digests { header: false, data: false };

    fn pdu(data: &[u8]) -> Pdu {
        Pdu::new(Opcode::DataIn).with_data(data)
    }

    /// The PDU with the lengths that writing gives its header.
    fn written(mut pdu: Pdu) -> Pdu {
        pdu.bhs.set_data_len(pdu.data.len());
        pdu.bhs.0[4] = (pdu.ahs.len() / 4) as u8;
        pdu
    }

    #[test]
    fn what_is_written_is_read_again() {
        for digests in [NONE, BOTH, Digests { header: true, data: false }, Digests { header: false, data: true }] {
            for length in [0, 1, 3, 4, 4096, 70_001] {
                for ahs in [0, 8] {
                    let one = pdu(&vec![7; length]).with_ahs(&vec![1; ahs]);
                    let bytes = one.to_bytes(digests);
                    assert_eq!(bytes.len() % 4, 0);
                    assert_eq!(bytes.len(), whole_len(&bytes, digests));
                    let one = written(one);
                    assert_eq!(Pdu::read(&mut &*bytes, || digests).unwrap(), Some(one.clone()));
                    let more = [&bytes[..], b"next"].concat();
                    assert_eq!(Pdu::parse(&more, digests), Ok(Some((one, bytes.len()))));
                    assert_eq!(Pdu::parse(&bytes[..bytes.len() - 1], digests), Ok(None));
                    let cut = Pdu::read(&mut &bytes[..bytes.len() - 1], || digests);
                    assert_eq!(cut.unwrap_err().kind(), ErrorKind::UnexpectedEof);
                }
            }
        }
        assert_eq!(Pdu::read(&mut &[][..], || BOTH).unwrap(), None);
    }

    #[test]
    fn every_wrong_bit_is_seen_by_the_digests() {
        let bytes = pdu(b"abcde").to_bytes(BOTH);
        // Not the lengths: they decide what is read at all.
        for at in (0..bytes.len()).filter(|at| !(4..8).contains(at)) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            let error = Pdu::read(&mut wrong.as_slice(), || BOTH).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "byte {at}");
        }
    }

    #[test]
    fn flaws_are_seen() {
        let one = pdu(b"abcde");
        let flawed = |flaws| Pdu::parse(&one.to_flawed_bytes(BOTH, flaws), BOTH);
        let header = flawed(Flaws { header_digest: true, ..Flaws::default() });
        assert!(matches!(header, Err(WireError::HeaderDigest { .. })), "{header:?}");
        let data = flawed(Flaws { data_digest: true, ..Flaws::default() });
        assert!(matches!(data, Err(WireError::DataDigest { .. })), "{data:?}");
        let longer = flawed(Flaws { data_len: Some(9), ..Flaws::default() });
        assert_eq!(longer, Ok(None));
        let mut padding = one.to_bytes(NONE);
        padding[BHS_LEN + 6] = 1;
        assert_eq!(Pdu::parse_strictly(&padding, NONE), Err(WireError::Padding));
        assert!(Pdu::parse(&padding, NONE).unwrap().is_some());
        assert!(Pdu::parse_strictly(&one.to_bytes(BOTH), BOTH).unwrap().is_some());
    }

    #[test]
    fn a_keys_value_is_replaced_and_others_stay() {
        let mut login = pdu(b"InitiatorName=x\0HeaderDigest=CRC32C,None\0DataDigestX=1\0");
        assert!(login.set_key("HeaderDigest", "None"));
        assert!(!login.set_key("DataDigest", "None"));
        assert_eq!(login.data, b"InitiatorName=x\0HeaderDigest=None\0DataDigestX=1\0");
        assert_eq!(login.key("HeaderDigest"), Some("None"));
        assert_eq!(login.key("DataDigest"), None);
    }

    #[test]
    fn the_digest_is_rfc_7143s() {
        // RFC 7143 appendix A.4 of RFC 3720 (B.4): zeroes, ones and rising bytes, as they are sent.
        let rising: Vec<u8> = (0..32).collect();
        for (bytes, sent) in [
            (vec![0; 32], [0xaa, 0x36, 0x91, 0x8a]),
            (vec![0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (rising, [0x4e, 0x79, 0xdd, 0x46]),
        ] {
            assert_eq!(digest(&bytes).to_le_bytes(), sent);
        }
    }
}
