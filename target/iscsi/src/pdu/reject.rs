//! Reject (RFC 7143 11.17). The header that it rejects is its data.

use super::{Bhs, Malformed, Numbers, Opcode, RESERVED_TAG};

/// Why a unit was rejected (11.17.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum RejectReason {
    DataDigestError = 0x02,
    SnackReject = 0x03,
    ProtocolError = 0x04,
    CommandNotSupported = 0x05,
    TooManyImmediateCommands = 0x06,
    TaskInProgress = 0x07,
    InvalidDataAck = 0x08,
    InvalidPduField = 0x09,
    LongOperationReject = 0x0a,
    WaitingForLogout = 0x0c,
}

impl RejectReason {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x02 => Self::DataDigestError,
            0x03 => Self::SnackReject,
            0x04 => Self::ProtocolError,
            0x05 => Self::CommandNotSupported,
            0x06 => Self::TooManyImmediateCommands,
            0x07 => Self::TaskInProgress,
            0x08 => Self::InvalidDataAck,
            0x09 => Self::InvalidPduField,
            0x0a => Self::LongOperationReject,
            0x0c => Self::WaitingForLogout,
            _ => return None,
        })
    }
}

/// Reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
}

impl Reject {
    /// The unit in a header whose opcode says so.
    ///
    /// # Errors
    /// The reason where it is reserved; the tag where it is not the reserved one.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        // 11.17: bytes 16 to 19 are 0xffffffff, whatever tag the rejected unit had.
        if bhs.itt() != RESERVED_TAG {
            return Err(Malformed { at: 16 });
        }
        match RejectReason::from_code(bhs.0[2]) {
            Some(reason) => Ok(Self { reason, numbers: Numbers::parse(bhs) }),
            None => Err(Malformed { at: 2 }),
        }
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::Reject);
        bhs.0[2] = self.reason as u8;
        bhs.set_u32(16, RESERVED_TAG);
        self.numbers.emit(&mut bhs);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_18_reject_carries_the_reserved_tag() {
        let numbers = Numbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 };
        let reject = Reject { reason: RejectReason::InvalidPduField, numbers };
        let mut bytes = [0; 48];
        bytes[..3].copy_from_slice(&[0x3f, 0x80, 9]);
        bytes[16..20].fill(0xff);
        (bytes[27], bytes[31], bytes[35]) = (1, 2, 3);
        assert_eq!(reject.emit().0, bytes);
        assert_eq!(Reject::parse(&Bhs(bytes)), Ok(reject));
    }
}
