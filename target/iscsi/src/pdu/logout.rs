//! Logout Request (RFC 7143 11.14) and Response (11.15).

use super::{Bhs, Malformed, Numbers, Opcode};

/// What is to be closed (11.14.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogoutReason {
    CloseSession,
    CloseConnection,
    RemoveForRecovery,
    /// Reserved.
    Unknown(u8),
}

impl LogoutReason {
    const fn code(self) -> u8 {
        match self {
            Self::CloseSession => 0,
            Self::CloseConnection => 1,
            Self::RemoveForRecovery => 2,
            Self::Unknown(code) => code & 0x7f,
        }
    }
}

/// Logout Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Delivered apart from the order of CmdSN.
    pub immediate: bool,
    /// What is to be closed.
    pub reason: LogoutReason,
    /// Initiator Task Tag.
    pub itt: u32,
    /// Connection, unless the session is to be closed.
    pub cid: u16,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
}

impl LogoutRequest {
    /// The request in a header whose opcode says so. Bit 7 of byte 1 is always 1 (11.14), and says nothing: it is not looked
    /// at, as LIO and tgt do.
    ///
    /// # Errors
    /// None: every value of every field is parsed.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        let reason = match bhs.0[1] & 0x7f {
            0 => LogoutReason::CloseSession,
            1 => LogoutReason::CloseConnection,
            2 => LogoutReason::RemoveForRecovery,
            other => LogoutReason::Unknown(other),
        };
        Ok(Self {
            immediate: bhs.immediate(),
            reason,
            itt: bhs.itt(),
            cid: bhs.u16(20),
            cmd_sn: bhs.cmd_sn(),
            exp_stat_sn: bhs.exp_stat_sn(),
        })
    }

    /// The header.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::LogoutRequest);
        bhs.0[0] |= u8::from(self.immediate) << 6;
        bhs.0[1] |= self.reason.code();
        bhs.set_u32(16, self.itt);
        bhs.set_u16(20, self.cid);
        bhs.set_u32(24, self.cmd_sn);
        bhs.set_u32(28, self.exp_stat_sn);
        bhs
    }
}

/// Logout Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutResponse {
    /// 0 closed, 1 no such connection, 2 recovery is not supported, 3 clean-up failed (11.15.1).
    pub response: u8,
    /// Initiator Task Tag.
    pub itt: u32,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
    /// Seconds to wait before a reconnection.
    pub time2wait: u16,
    /// Seconds for which tasks are kept after that.
    pub time2retain: u16,
}

impl LogoutResponse {
    /// The response in a header whose opcode says so.
    pub const fn parse(bhs: &Bhs) -> Self {
        Self {
            response: bhs.0[2],
            itt: bhs.itt(),
            numbers: Numbers::parse(bhs),
            time2wait: bhs.u16(40),
            time2retain: bhs.u16(42),
        }
    }

    /// The header.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::LogoutResponse);
        bhs.0[2] = self.response;
        bhs.set_u32(16, self.itt);
        self.numbers.emit(&mut bhs);
        bhs.set_u16(40, self.time2wait);
        bhs.set_u16(42, self.time2retain);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_byte_exact() {
        let request = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CloseConnection,
            itt: 5,
            cid: 0x0102,
            cmd_sn: 7,
            exp_stat_sn: 8,
        };
        let mut bytes = [0; 48];
        bytes[..2].copy_from_slice(&[0x46, 0x81]);
        (bytes[19], bytes[20], bytes[21], bytes[27], bytes[31]) = (5, 1, 2, 7, 8);
        assert_eq!(request.emit().0, bytes);
        assert_eq!(LogoutRequest::parse(&Bhs(bytes)), Ok(request));
    }

    #[test]
    fn response_is_byte_exact() {
        let numbers = Numbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 };
        let response = LogoutResponse { response: 2, itt: 5, numbers, time2wait: 2, time2retain: 20 };
        let mut bytes = [0; 48];
        bytes[..3].copy_from_slice(&[0x26, 0x80, 2]);
        (bytes[19], bytes[27], bytes[31], bytes[35], bytes[41], bytes[43]) = (5, 1, 2, 3, 2, 20);
        assert_eq!(response.emit().0, bytes);
        assert_eq!(LogoutResponse::parse(&Bhs(bytes)), response);
    }
}
