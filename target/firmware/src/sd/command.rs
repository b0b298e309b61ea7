//! Commands and their first response byte (Physical Layer Simplified Specification 7.3).

use super::crc::crc7_and_end_bit;

/// Command indices; the names are those of table 7-3.
pub mod cmd {
    pub const GO_IDLE_STATE: u8 = 0;
    pub const ALL_SEND_CID: u8 = 2;
    pub const SEND_RELATIVE_ADDR: u8 = 3;
    pub const SWITCH_FUNC: u8 = 6;
    pub const SELECT_CARD: u8 = 7;
    pub const SEND_IF_COND: u8 = 8;
    pub const SEND_CSD: u8 = 9;
    pub const SEND_CID: u8 = 10;
    pub const STOP_TRANSMISSION: u8 = 12;
    pub const SEND_STATUS: u8 = 13;
    pub const READ_SINGLE_BLOCK: u8 = 17;
    pub const READ_MULTIPLE_BLOCK: u8 = 18;
    pub const WRITE_BLOCK: u8 = 24;
    pub const WRITE_MULTIPLE_BLOCK: u8 = 25;
    pub const ERASE_WR_BLK_START_ADDR: u8 = 32;
    pub const ERASE_WR_BLK_END_ADDR: u8 = 33;
    pub const ERASE: u8 = 38;
    pub const APP_CMD: u8 = 55;
    pub const READ_OCR: u8 = 58;
    pub const CRC_ON_OFF: u8 = 59;
}

/// Application command indices: each goes behind CMD55 (table 7-4).
pub mod acmd {
    pub const SET_BUS_WIDTH: u8 = 6;
    pub const SEND_NUM_WR_BLOCKS: u8 = 22;
    pub const SET_WR_BLK_ERASE_COUNT: u8 = 23;
    pub const SD_SEND_OP_COND: u8 = 41;
    pub const SEND_SCR: u8 = 51;
}

/// The six bytes of a command (7.3.1.1).
pub fn frame(index: u8, argument: u32) -> [u8; 6] {
    let [a, b, c, d] = argument.to_be_bytes();
    let start = 0x40 | index;
    [start, a, b, c, d, crc7_and_end_bit(&[start, a, b, c, d])]
}

/// Response R1 (7.3.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct R1(pub u8);

impl R1 {
    const IDLE: u8 = 0x01;
    const ILLEGAL_COMMAND: u8 = 0x04;
    const COM_CRC_ERROR: u8 = 0x08;

    /// The card is initialising or was never initialised.
    pub fn is_idle(self) -> bool {
        self.0 & Self::IDLE != 0
    }

    /// The card does not know the command, or not in its present state.
    pub fn is_illegal(self) -> bool {
        self.0 & Self::ILLEGAL_COMMAND != 0
    }

    /// The command arrived with a wrong checksum: the card did nothing.
    pub fn is_crc_error(self) -> bool {
        self.0 & Self::COM_CRC_ERROR != 0
    }

    /// Any of the error bits.
    pub fn is_error(self) -> bool {
        self.0 & !Self::IDLE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_byte_exact() {
        assert_eq!(frame(cmd::GO_IDLE_STATE, 0), [0x40, 0, 0, 0, 0, 0x95]);
        assert_eq!(frame(cmd::SEND_IF_COND, 0x1aa), [0x48, 0, 0, 1, 0xaa, 0x87]);
        assert_eq!(frame(cmd::APP_CMD, 0), [0x77, 0, 0, 0, 0, 0x65]);
        assert_eq!(frame(acmd::SD_SEND_OP_COND, 0x4000_0000), [0x69, 0x40, 0, 0, 0, 0x77]);
        assert_eq!(frame(cmd::READ_OCR, 0), [0x7a, 0, 0, 0, 0, 0xfd]);
    }

    #[test]
    fn idle_alone_is_no_error() {
        assert!(!R1(0x01).is_error() && R1(0x01).is_idle());
        assert!(R1(0x05).is_error() && R1(0x05).is_illegal());
        assert!(R1(0x08).is_crc_error() && !R1(0x08).is_idle());
    }
}
