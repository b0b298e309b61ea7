//! NOP-Out (RFC 7143 11.18) and NOP-In (11.19).

use super::{Bhs, Malformed, Numbers, Opcode, RESERVED_TAG};

/// NOP-Out: a ping, or the answer to the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NopOut {
    /// Delivered apart from the order of CmdSN.
    pub immediate: bool,
    /// Logical unit, as the NOP-In that this answers had it.
    pub lun: u64,
    /// Initiator Task Tag; reserved where no answer is wanted.
    pub itt: u32,
    /// Target Transfer Tag of the NOP-In that this answers, or reserved.
    pub ttt: u32,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
}

impl NopOut {
    /// The unit in a header whose opcode says so. Bit 7 of byte 1 is always 1 (11.18), and says nothing: it is not looked at,
    /// as tgt does.
    ///
    /// # Errors
    /// The I bit where the task tag is reserved without it (11.18.1): it would have a CmdSN and no answer.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        if bhs.itt() == RESERVED_TAG && !bhs.immediate() {
            return Err(Malformed { at: 0 });
        }
        Ok(Self {
            immediate: bhs.immediate(),
            lun: bhs.lun(),
            itt: bhs.itt(),
            ttt: bhs.u32(20),
            cmd_sn: bhs.cmd_sn(),
            exp_stat_sn: bhs.exp_stat_sn(),
        })
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::NopOut);
        bhs.0[0] |= u8::from(self.immediate) << 6;
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, self.ttt);
        bhs.set_u32(24, self.cmd_sn);
        bhs.set_u32(28, self.exp_stat_sn);
        bhs
    }
}

/// NOP-In: the answer to a ping, or a ping of the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NopIn {
    /// Logical unit.
    pub lun: u64,
    /// Initiator Task Tag of the ping, or reserved.
    pub itt: u32,
    /// Target Transfer Tag where an answer is wanted, or reserved.
    pub ttt: u32,
    /// StatSN (the next one where the task tag is reserved), ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
}

impl NopIn {
    /// The unit in a header whose opcode says so.
    pub const fn parse(bhs: &Bhs) -> Self {
        Self { lun: bhs.lun(), itt: bhs.itt(), ttt: bhs.u32(20), numbers: Numbers::parse(bhs) }
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::NopIn);
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, self.ttt);
        self.numbers.emit(&mut bhs);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_is_byte_exact() {
        let unit = NopOut { immediate: true, lun: 0, itt: 5, ttt: RESERVED_TAG, cmd_sn: 7, exp_stat_sn: 8 };
        let mut bytes = [0; 48];
        bytes[..2].copy_from_slice(&[0x40, 0x80]);
        bytes[20..24].fill(0xff);
        (bytes[19], bytes[27], bytes[31]) = (5, 7, 8);
        assert_eq!(unit.emit().0, bytes);
        assert_eq!(NopOut::parse(&Bhs(bytes)), Ok(unit));
    }

    #[test]
    fn without_a_tag_it_must_be_immediate() {
        let unit = NopOut { immediate: false, lun: 0, itt: RESERVED_TAG, ttt: 1, cmd_sn: 7, exp_stat_sn: 8 };
        assert_eq!(NopOut::parse(&unit.emit()), Err(Malformed { at: 0 }));
    }

    #[test]
    fn in_is_byte_exact() {
        let numbers = Numbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 };
        let unit = NopIn { lun: 0, itt: RESERVED_TAG, ttt: 9, numbers };
        let mut bytes = [0; 48];
        bytes[..2].copy_from_slice(&[0x20, 0x80]);
        bytes[16..20].fill(0xff);
        (bytes[23], bytes[27], bytes[31], bytes[35]) = (9, 1, 2, 3);
        assert_eq!(unit.emit().0, bytes);
        assert_eq!(NopIn::parse(&Bhs(bytes)), unit);
    }
}
