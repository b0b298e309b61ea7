//! SCSI Data-Out, SCSI Data-In (RFC 7143 11.7) and Ready To Transfer (11.8).

use super::{Bhs, Malformed, Numbers, Opcode, Residual};

/// SCSI Data-Out: a piece of what a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataOut {
    /// The last unit of its sequence.
    pub is_final: bool,
    /// Logical unit, where the tag is not reserved.
    pub lun: u64,
    /// Initiator Task Tag.
    pub itt: u32,
    /// Target Transfer Tag of the R2T that this answers, or the reserved tag for unsolicited data.
    pub ttt: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// Number of this unit in its sequence.
    pub data_sn: u32,
    /// Offset of the data in the Data-Out Buffer, in bytes.
    pub offset: u32,
}

impl DataOut {
    /// The unit in a header whose opcode says so.
    #[inline]
    pub const fn parse(bhs: &Bhs) -> Self {
        Self {
            is_final: bhs.is_final(),
            lun: bhs.lun(),
            itt: bhs.itt(),
            ttt: bhs.u32(20),
            exp_stat_sn: bhs.exp_stat_sn(),
            data_sn: bhs.u32(36),
            offset: bhs.u32(40),
        }
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::DataOut);
        bhs.0[1] = u8::from(self.is_final) << 7;
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, self.ttt);
        bhs.set_u32(28, self.exp_stat_sn);
        bhs.set_u32(36, self.data_sn);
        bhs.set_u32(40, self.offset);
        bhs
    }
}

/// SCSI Data-In: a piece of what a command reads, and its status where that is GOOD ("phase collapse", 11.7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataIn {
    /// The last unit of its sequence.
    pub is_final: bool,
    /// The command's status, where the S bit is set.
    pub status: Option<u8>,
    /// Initiator Task Tag.
    pub itt: u32,
    /// StatSN (only with a status), ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
    /// Number of this unit among those of the command.
    pub data_sn: u32,
    /// Offset of the data in the Data-In Buffer, in bytes.
    pub offset: u32,
    /// Residual count, with a status.
    pub residual: Residual,
}

impl DataIn {
    /// The unit in a header whose opcode says so.
    ///
    /// # Errors
    /// The flags where S comes without F, or both residual bits are set (11.7.3).
    pub fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        let flags = bhs.0[1];
        let has_status = flags & 1 != 0;
        if has_status && flags & 0x80 == 0 || flags & 6 == 6 {
            return Err(Malformed { at: 1 });
        }
        Ok(Self {
            is_final: bhs.is_final(),
            status: has_status.then_some(bhs.0[3]),
            itt: bhs.itt(),
            numbers: Numbers::parse(bhs),
            data_sn: bhs.u32(36),
            offset: bhs.u32(40),
            residual: Residual::from_fields(flags, bhs.u32(44)),
        })
    }

    /// The header, without the length of its data.
    #[inline]
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::DataIn);
        bhs.0[1] = u8::from(self.is_final) << 7;
        if let Some(status) = self.status {
            let (flag, count) = self.residual.fields();
            bhs.0[1] |= flag | 1;
            bhs.0[3] = status;
            bhs.set_u32(44, count);
        }
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, super::RESERVED_TAG);
        self.numbers.emit(&mut bhs);
        bhs.set_u32(36, self.data_sn);
        bhs.set_u32(40, self.offset);
        bhs
    }
}

/// Ready To Transfer: the target asks for a piece of what a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyToTransfer {
    /// Logical unit.
    pub lun: u64,
    /// Initiator Task Tag.
    pub itt: u32,
    /// Target Transfer Tag.
    pub ttt: u32,
    /// The next StatSN (it is not used up), ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
    /// Number of this R2T among those of the command.
    pub r2t_sn: u32,
    /// Offset in the Data-Out Buffer, in bytes.
    pub offset: u32,
    /// Desired Data Transfer Length, in bytes, at most MaxBurstLength.
    pub len: u32,
}

impl ReadyToTransfer {
    /// The unit in a header whose opcode says so.
    pub const fn parse(bhs: &Bhs) -> Self {
        Self {
            lun: bhs.lun(),
            itt: bhs.itt(),
            ttt: bhs.u32(20),
            numbers: Numbers::parse(bhs),
            r2t_sn: bhs.u32(36),
            offset: bhs.u32(40),
            len: bhs.u32(44),
        }
    }

    /// The header.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::ReadyToTransfer);
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, self.ttt);
        self.numbers.emit(&mut bhs);
        bhs.set_u32(36, self.r2t_sn);
        bhs.set_u32(40, self.offset);
        bhs.set_u32(44, self.len);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Numbers = Numbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 };

    #[test]
    fn data_out_is_byte_exact() {
        let unit =
            DataOut { is_final: true, lun: 1 << 48, itt: 5, ttt: 6, exp_stat_sn: 7, data_sn: 8, offset: 0x0001_0000 };
        let bytes = [
            5, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0,
            0, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(unit.emit().0, bytes);
        assert_eq!(DataOut::parse(&Bhs(bytes)), unit);
    }

    #[test]
    fn data_in_is_byte_exact() {
        let unit = DataIn {
            is_final: true,
            status: Some(0),
            itt: 5,
            numbers: NUMBERS,
            data_sn: 8,
            offset: 512,
            residual: Residual::Overflow(0x100),
        };
        let bytes = [
            0x25, 0x85, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0,
            0, 2, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 2, 0, 0, 0, 1, 0,
        ];
        assert_eq!(unit.emit().0, bytes);
        assert_eq!(DataIn::parse(&Bhs(bytes)), Ok(unit));
    }

    #[test]
    fn r2t_is_byte_exact() {
        let unit = ReadyToTransfer { lun: 0, itt: 5, ttt: 6, numbers: NUMBERS, r2t_sn: 9, offset: 512, len: 8192 };
        let bytes = [
            0x31, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0,
            0, 3, 0, 0, 0, 9, 0, 0, 2, 0, 0, 0, 0x20, 0,
        ];
        assert_eq!(unit.emit().0, bytes);
        assert_eq!(ReadyToTransfer::parse(&Bhs(bytes)), unit);
    }
}
