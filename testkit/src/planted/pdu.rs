//! A PDU as it travels without digests (RFC 7143 11.2).

use std::io::{self, ErrorKind, Read, Write};

/// Length of a basic header segment in bytes.
pub const BHS: usize = 48;

/// SCSI Command.
pub const SCSI_COMMAND: u8 = 0x01;
/// Login Request.
pub const LOGIN_REQUEST: u8 = 0x03;
/// Data-Out.
pub const DATA_OUT: u8 = 0x05;
/// SCSI Response.
pub const SCSI_RESPONSE: u8 = 0x21;
/// Data-In.
pub const DATA_IN: u8 = 0x25;

/// One protocol data unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdu {
    /// The basic header segment; its lengths are set when it is written.
    pub header: [u8; BHS],
    /// Additional header segments.
    pub additional: Vec<u8>,
    /// The data segment without its padding.
    pub data: Vec<u8>,
}

impl Pdu {
    /// Reads one; `None` where the peer has ended between two.
    ///
    /// # Errors
    /// What the connection reports; [`ErrorKind::UnexpectedEof`] in the middle of a PDU.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; BHS];
        let mut filled = 0;
        while filled < BHS {
            match from.read(&mut header[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // TotalAHSLength counts words; both are at most 16 MiB by the fields' widths.
        let mut additional = vec![0; usize::from(header[4]) * 4];
        from.read_exact(&mut additional)?;
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        let mut data = vec![0; length.next_multiple_of(4)];
        from.read_exact(&mut data)?;
        data.truncate(length);
        Ok(Some(Self { header, additional, data }))
    }

    /// Writes it in one call.
    ///
    /// # Errors
    /// What the connection reports.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(BHS + self.additional.len() + self.data.len() + 3);
        bytes.extend(self.header);
        bytes[4] = (self.additional.len() / 4) as u8;
        bytes[5..8].copy_from_slice(&(self.data.len() as u32).to_be_bytes()[1..]);
        bytes.extend(&self.additional);
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        to.write_all(&bytes)
    }

    /// The opcode, without the bit for immediate delivery.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// The initiator task tag.
    #[must_use]
    pub fn tag(&self) -> u32 {
        self.word(16)
    }

    /// A LUN below 16384, in peripheral or flat addressing (SAM-5 4.7).
    #[must_use]
    pub fn lun(&self) -> u16 {
        u16::from_be_bytes([self.header[8] & 0x3f, self.header[9]])
    }

    /// The command descriptor block of a SCSI Command.
    #[must_use]
    pub fn cdb(&self) -> [u8; 16] {
        let mut cdb = [0; 16];
        cdb.copy_from_slice(&self.header[32..]);
        cdb
    }

    /// Four bytes of the header.
    #[must_use]
    pub fn word(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.header[at..at + 4]);
        u32::from_be_bytes(word)
    }

    /// Makes a SCSI Command a TEST UNIT READY: the target answers it in its turn, and does nothing.
    pub fn make_test_unit_ready(&mut self) {
        // RFC 7143 11.3.1: F alone, the task attributes stay; nothing is transferred.
        self.header[1] = 0x80 | (self.header[1] & 0x07);
        self.header[20..24].fill(0);
        self.header[32..].fill(0);
        self.additional.clear();
        self.data.clear();
    }

    /// Gives a key of a login another value, where it is there (RFC 7143 6.1: `KEY=VALUE`, each with a zero behind it).
    pub fn set_key(&mut self, key: &str, value: &str) {
        let pairs = self.data.split(|&byte| byte == 0).filter(|pair| !pair.is_empty());
        let wanted = |pair: &[u8]| pair.strip_prefix(key.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='));
        let mut data = Vec::with_capacity(self.data.len());
        for pair in pairs {
            if wanted(pair) {
                data.extend(format!("{key}={value}").as_bytes());
            } else {
                data.extend(pair);
            }
            data.push(0);
        }
        self.data = data;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu(data: &[u8]) -> Pdu {
        Pdu { header: [0; BHS], additional: Vec::new(), data: data.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 3, 4, 4096, 70_001] {
            let mut one = pdu(&vec![7; length]);
            one.additional = vec![1; 8];
            let mut bytes = Vec::new();
            one.write(&mut bytes).unwrap();
            assert_eq!(bytes.len() % 4, 0);
            let again = Pdu::read(&mut &*bytes).unwrap().unwrap();
            assert_eq!((&again.data, &again.additional), (&one.data, &one.additional));
            assert!(Pdu::read(&mut &bytes[..bytes.len() - 1]).is_err());
        }
        assert_eq!(Pdu::read(&mut &[][..]).unwrap(), None);
    }

    #[test]
    fn a_keys_value_is_replaced_and_others_stay() {
        let mut login = pdu(b"InitiatorName=x\0HeaderDigest=CRC32C,None\0DataDigestX=1\0");
        login.set_key("HeaderDigest", "None");
        login.set_key("DataDigest", "None");
        assert_eq!(login.data, b"InitiatorName=x\0HeaderDigest=None\0DataDigestX=1\0");
    }
}
