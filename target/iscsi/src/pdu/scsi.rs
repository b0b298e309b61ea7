//! SCSI Command (RFC 7143 11.3) and SCSI Response (11.4).

use super::{Bhs, Malformed, Numbers, Opcode};

/// SCSI task attribute (RFC 7143 11.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TaskAttribute {
    Untagged,
    Simple,
    Ordered,
    HeadOfQueue,
    Aca,
    /// 5 to 7: reserved.
    Unknown(u8),
}

impl TaskAttribute {
    const fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::Untagged,
            1 => Self::Simple,
            2 => Self::Ordered,
            3 => Self::HeadOfQueue,
            4 => Self::Aca,
            other => Self::Unknown(other),
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Untagged => 0,
            Self::Simple => 1,
            Self::Ordered => 2,
            Self::HeadOfQueue => 3,
            Self::Aca => 4,
            Self::Unknown(bits) => bits & 7,
        }
    }
}

/// SCSI Command: sixteen opaque bytes for a logical unit, and how much data the initiator expects to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScsiCommand {
    /// Delivered apart from the order of CmdSN.
    pub immediate: bool,
    /// No unsolicited Data-Out follows.
    pub is_final: bool,
    /// The R bit: the initiator expects input data.
    pub read: bool,
    /// The W bit: the initiator expects to send data.
    pub write: bool,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Logical unit.
    pub lun: u64,
    /// Initiator Task Tag.
    pub itt: u32,
    /// Expected Data Transfer Length, in bytes.
    pub expected_len: u32,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// The CDB, padded with zeros.
    pub cdb: [u8; 16],
}

impl ScsiCommand {
    /// The command in a header whose opcode says so.
    ///
    /// # Errors
    /// The flags where F=0 comes without W=1 (11.3.1: F=0 says that unsolicited data follows).
    #[inline]
    pub fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        let flags = bhs.0[1];
        let (is_final, write) = (flags & 0x80 != 0, flags & 0x20 != 0);
        if !is_final && !write {
            return Err(Malformed { at: 1 });
        }
        let mut cdb = [0; 16];
        cdb.copy_from_slice(&bhs.0[32..48]);
        Ok(Self {
            immediate: bhs.immediate(),
            is_final,
            read: flags & 0x40 != 0,
            write,
            attribute: TaskAttribute::from_bits(flags),
            lun: bhs.lun(),
            itt: bhs.itt(),
            expected_len: bhs.u32(20),
            cmd_sn: bhs.cmd_sn(),
            exp_stat_sn: bhs.exp_stat_sn(),
            cdb,
        })
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::ScsiCommand);
        bhs.0[0] |= u8::from(self.immediate) << 6;
        bhs.0[1] =
            u8::from(self.is_final) << 7 | u8::from(self.read) << 6 | u8::from(self.write) << 5 | self.attribute.bits();
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, self.expected_len);
        bhs.set_u32(24, self.cmd_sn);
        bhs.set_u32(28, self.exp_stat_sn);
        bhs.0[32..48].copy_from_slice(&self.cdb);
        bhs
    }
}

/// By how much the data differed from what the initiator expected (RFC 7143 11.4.5), in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residual {
    /// As expected.
    #[default]
    None,
    /// This much was expected and not moved.
    Underflow(u32),
    /// This much more would have been moved.
    Overflow(u32),
}

impl Residual {
    /// What is left where the device server would move `wanted` bytes and the initiator expects `expected`.
    #[inline]
    pub const fn of(wanted: u32, expected: u32) -> Self {
        if wanted > expected {
            Self::Overflow(wanted - expected)
        } else if wanted < expected {
            Self::Underflow(expected - wanted)
        } else {
            Self::None
        }
    }

    /// The O or U bit, and the count.
    pub(crate) const fn fields(self) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Underflow(count) => (0x02, count),
            Self::Overflow(count) => (0x04, count),
        }
    }

    pub(crate) const fn from_fields(flags: u8, count: u32) -> Self {
        match flags & 0x06 {
            0x02 => Self::Underflow(count),
            0x04 => Self::Overflow(count),
            _ => Self::None,
        }
    }
}

/// SCSI Response. Sense data goes in the data segment, behind its two-byte length (11.4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandResponse {
    /// The iSCSI service response: 00h command completed at target, 01h target failure (11.4.3). A SCSI status other than
    /// GOOD is still "completed".
    pub response: u8,
    /// SAM-5 status code.
    pub status: u8,
    /// Initiator Task Tag.
    pub itt: u32,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
    /// Data-In and R2T units that were sent for the command.
    pub exp_data_sn: u32,
    /// Residual count.
    pub residual: Residual,
}

impl CommandResponse {
    /// The response in a header whose opcode says so.
    ///
    /// # Errors
    /// The flags where both overflow and underflow are set (11.4.1).
    pub fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        let flags = bhs.0[1];
        if flags & 0x06 == 0x06 {
            return Err(Malformed { at: 1 });
        }
        Ok(Self {
            response: bhs.0[2],
            status: bhs.0[3],
            itt: bhs.itt(),
            numbers: Numbers::parse(bhs),
            exp_data_sn: bhs.u32(36),
            residual: Residual::from_fields(flags, bhs.u32(44)),
        })
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::CommandResponse);
        let (flag, count) = self.residual.fields();
        bhs.0[1] |= flag;
        bhs.0[2] = self.response;
        bhs.0[3] = self.status;
        bhs.set_u32(16, self.itt);
        self.numbers.emit(&mut bhs);
        bhs.set_u32(36, self.exp_data_sn);
        bhs.set_u32(44, count);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_byte_exact() {
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            read: true,
            write: false,
            attribute: TaskAttribute::Simple,
            lun: 0x0001_0000_0000_0000,
            itt: 0x0a0b_0c0d,
            expected_len: 4096,
            cmd_sn: 7,
            exp_stat_sn: 9,
            cdb: [0x28, 0, 0, 0, 0, 16, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],
        };
        let bytes = [
            0x01, 0xc1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0x10, 0, 0, 0, 0, 7, 0,
            0, 0, 9, 0x28, 0, 0, 0, 0, 16, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(command.emit().0, bytes);
        assert_eq!(ScsiCommand::parse(&Bhs(bytes)), Ok(command));
    }

    #[test]
    fn unsolicited_data_needs_a_write() {
        let mut bhs = Bhs::new(Opcode::ScsiCommand);
        bhs.0[1] = 0x40;
        assert_eq!(ScsiCommand::parse(&bhs), Err(Malformed { at: 1 }));
    }

    #[test]
    fn response_is_byte_exact() {
        let response = CommandResponse {
            response: 0,
            status: 2,
            itt: 0x0a0b_0c0d,
            numbers: Numbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 },
            exp_data_sn: 4,
            residual: Residual::Underflow(512),
        };
        let bytes = [
            0x21, 0x82, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0,
            0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 2, 0,
        ];
        assert_eq!(response.emit().0, bytes);
        assert_eq!(CommandResponse::parse(&Bhs(bytes)), Ok(response));
    }

    #[test]
    fn residuals() {
        assert_eq!(Residual::of(10, 10), Residual::None);
        assert_eq!(Residual::of(10, 4), Residual::Overflow(6));
        assert_eq!(Residual::of(0, 4), Residual::Underflow(4));
    }
}
