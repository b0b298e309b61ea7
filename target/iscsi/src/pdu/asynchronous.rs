//! Asynchronous Message (RFC 7143 11.9).

use super::{Bhs, Malformed, Numbers, Opcode, RESERVED_TAG};

/// What happened (11.9.1). Times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AsyncEvent {
    /// Sense data follows in the data segment.
    Scsi,
    /// The initiator is to log out within `time3`.
    LogoutRequest { time3: u16 },
    /// The target drops connection `cid`.
    DropConnection { cid: u16, time2wait: u16, time2retain: u16 },
    /// The target drops every connection of the session.
    DropSession { time2wait: u16, time2retain: u16 },
    /// The target wants the parameters negotiated anew, within `time3`.
    Renegotiate { time3: u16 },
    /// A vendor's or a reserved event.
    Unknown(u8),
}

/// Asynchronous Message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncMessage {
    /// Logical unit, of a SCSI event.
    pub lun: u64,
    /// What happened.
    pub event: AsyncEvent,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
}

impl AsyncMessage {
    /// The message in a header whose opcode says so.
    ///
    /// # Errors
    /// The tag where it is not the reserved one.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        if bhs.itt() != RESERVED_TAG {
            return Err(Malformed { at: 16 });
        }
        let (first, second, third) = (bhs.u16(38), bhs.u16(40), bhs.u16(42));
        let event = match bhs.0[36] {
            0 => AsyncEvent::Scsi,
            1 => AsyncEvent::LogoutRequest { time3: third },
            2 => AsyncEvent::DropConnection { cid: first, time2wait: second, time2retain: third },
            3 => AsyncEvent::DropSession { time2wait: second, time2retain: third },
            4 => AsyncEvent::Renegotiate { time3: third },
            other => AsyncEvent::Unknown(other),
        };
        Ok(Self { lun: bhs.lun(), event, numbers: Numbers::parse(bhs) })
    }

    /// The header, without the length of its data.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::AsyncMessage);
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, RESERVED_TAG);
        self.numbers.emit(&mut bhs);
        let (code, first, second, third) = match self.event {
            AsyncEvent::Scsi => (0, 0, 0, 0),
            AsyncEvent::LogoutRequest { time3 } => (1, 0, 0, time3),
            AsyncEvent::DropConnection { cid, time2wait, time2retain } => (2, cid, time2wait, time2retain),
            AsyncEvent::DropSession { time2wait, time2retain } => (3, 0, time2wait, time2retain),
            AsyncEvent::Renegotiate { time3 } => (4, 0, 0, time3),
            AsyncEvent::Unknown(code) => (code, 0, 0, 0),
        };
        bhs.0[36] = code;
        bhs.set_u16(38, first);
        bhs.set_u16(40, second);
        bhs.set_u16(42, third);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logout_request_is_byte_exact() {
        let numbers = Numbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 };
        let message = AsyncMessage { lun: 0, event: AsyncEvent::LogoutRequest { time3: 5 }, numbers };
        let mut bytes = [0; 48];
        bytes[..2].copy_from_slice(&[0x32, 0x80]);
        bytes[16..20].fill(0xff);
        (bytes[27], bytes[31], bytes[35], bytes[36], bytes[43]) = (1, 2, 3, 1, 5);
        assert_eq!(message.emit().0, bytes);
        assert_eq!(AsyncMessage::parse(&Bhs(bytes)), Ok(message));
    }
}
