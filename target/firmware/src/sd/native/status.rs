//! The card status, which most commands are answered with (Physical Layer Simplified Specification 4.10.1).

/// The card status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

/// CURRENT_STATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `tran`: waits for a command.
    Transfer,
    /// `data`: sends.
    Sending,
    /// `rcv`: waits for data.
    Receiving,
    /// `prg`: programs.
    Programming,
    /// Not selected, or not initialised.
    Other,
}

impl Status {
    /// OUT_OF_RANGE, ADDRESS_ERROR, BLOCK_LEN_ERROR, ERASE_SEQ_ERROR, ERASE_PARAM, WP_VIOLATION; LOCK_UNLOCK_FAILED,
    /// COM_CRC_ERROR, ILLEGAL_COMMAND, CARD_ECC_FAILED, CC_ERROR, ERROR; CSD_OVERWRITE, WP_ERASE_SKIP; AKE_SEQ_ERROR.
    const ERRORS: u32 = 0xfdf9_8008;
    const OUT_OF_RANGE: u32 = 1 << 31;
    const READY_FOR_DATA: u32 = 1 << 8;

    /// The error bits alone.
    pub fn errors(self) -> u32 {
        self.0 & Self::ERRORS
    }

    /// Without the error that a read up to the last block may end with (4.3.3).
    pub fn forgiving_end(self) -> Self {
        Status(self.0 & !Self::OUT_OF_RANGE)
    }

    /// The card takes the next command with data.
    pub fn is_ready(self) -> bool {
        self.0 & Self::READY_FOR_DATA != 0 && self.state() == State::Transfer
    }

    /// What it is doing.
    pub fn state(self) -> State {
        match self.0 >> 9 & 0xf {
            4 => State::Transfer,
            5 => State::Sending,
            6 => State::Receiving,
            7 => State::Programming,
            _ => State::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_idle_in_the_transfer_state() {
        assert!(Status(0x0000_0900).is_ready());
        assert!(!Status(0x0000_0800).is_ready());
        assert_eq!(Status(0x0000_0e00).state(), State::Programming);
        assert_eq!(Status(0x0000_0900).errors(), 0);
    }

    #[test]
    fn the_end_of_the_card_is_forgiven_and_nothing_else() {
        assert_eq!(Status(0x8000_0b00).forgiving_end().errors(), 0);
        assert_eq!(Status(0x8020_0b00).forgiving_end().errors(), 1 << 21);
    }
}
