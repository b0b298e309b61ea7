//! Task Management Function Request (RFC 7143 11.5) and Response (11.6).

use super::{Bhs, Malformed, Numbers, Opcode};

/// What is to be done (11.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TaskFunction {
    AbortTask,
    AbortTaskSet,
    ClearAca,
    ClearTaskSet,
    LogicalUnitReset,
    TargetWarmReset,
    TargetColdReset,
    TaskReassign,
    /// Not one of RFC 7143.
    Unknown(u8),
}

impl TaskFunction {
    const fn from_code(code: u8) -> Self {
        match code & 0x7f {
            1 => Self::AbortTask,
            2 => Self::AbortTaskSet,
            3 => Self::ClearAca,
            4 => Self::ClearTaskSet,
            5 => Self::LogicalUnitReset,
            6 => Self::TargetWarmReset,
            7 => Self::TargetColdReset,
            8 => Self::TaskReassign,
            other => Self::Unknown(other),
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::AbortTask => 1,
            Self::AbortTaskSet => 2,
            Self::ClearAca => 3,
            Self::ClearTaskSet => 4,
            Self::LogicalUnitReset => 5,
            Self::TargetWarmReset => 6,
            Self::TargetColdReset => 7,
            Self::TaskReassign => 8,
            Self::Unknown(code) => code & 0x7f,
        }
    }
}

/// Task Management Function Request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskRequest {
    /// Delivered apart from the order of CmdSN.
    pub immediate: bool,
    /// What is to be done.
    pub function: TaskFunction,
    /// Logical unit, for all but the target resets.
    pub lun: u64,
    /// Initiator Task Tag of this request.
    pub itt: u32,
    /// Initiator Task Tag of the task that it is about.
    pub referenced_tag: u32,
    /// CmdSN.
    pub cmd_sn: u32,
    /// ExpStatSN.
    pub exp_stat_sn: u32,
    /// CmdSN of the task that it is about.
    pub ref_cmd_sn: u32,
}

impl TaskRequest {
    /// The request in a header whose opcode says so. Bit 7 of byte 1 is always 1 (11.5), and says nothing: it is not looked
    /// at, as LIO and tgt do.
    ///
    /// # Errors
    /// None: every value of every field is parsed.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        Ok(Self {
            immediate: bhs.immediate(),
            function: TaskFunction::from_code(bhs.0[1]),
            lun: bhs.lun(),
            itt: bhs.itt(),
            referenced_tag: bhs.u32(20),
            cmd_sn: bhs.cmd_sn(),
            exp_stat_sn: bhs.exp_stat_sn(),
            ref_cmd_sn: bhs.u32(32),
        })
    }

    /// The header.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::TaskRequest);
        bhs.0[0] |= u8::from(self.immediate) << 6;
        bhs.0[1] |= self.function.code();
        bhs.set_u64(8, self.lun);
        bhs.set_u32(16, self.itt);
        bhs.set_u32(20, self.referenced_tag);
        bhs.set_u32(24, self.cmd_sn);
        bhs.set_u32(28, self.exp_stat_sn);
        bhs.set_u32(32, self.ref_cmd_sn);
        bhs
    }
}

/// What became of a request (11.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum TaskResult {
    Complete = 0,
    TaskDoesNotExist = 1,
    LunDoesNotExist = 2,
    TaskStillAllegiant = 3,
    ReassignmentNotSupported = 4,
    NotSupported = 5,
    AuthorizationFailed = 6,
    Rejected = 255,
}

impl TaskResult {
    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Complete,
            1 => Self::TaskDoesNotExist,
            2 => Self::LunDoesNotExist,
            3 => Self::TaskStillAllegiant,
            4 => Self::ReassignmentNotSupported,
            5 => Self::NotSupported,
            6 => Self::AuthorizationFailed,
            255 => Self::Rejected,
            _ => return None,
        })
    }
}

/// Task Management Function Response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskResponse {
    /// What became of the request.
    pub result: TaskResult,
    /// Initiator Task Tag of the request.
    pub itt: u32,
    /// StatSN, ExpCmdSN, MaxCmdSN.
    pub numbers: Numbers,
}

impl TaskResponse {
    /// The response in a header whose opcode says so.
    ///
    /// # Errors
    /// The response code where it is reserved.
    pub const fn parse(bhs: &Bhs) -> Result<Self, Malformed> {
        match TaskResult::from_code(bhs.0[2]) {
            Some(result) => Ok(Self { result, itt: bhs.itt(), numbers: Numbers::parse(bhs) }),
            None => Err(Malformed { at: 2 }),
        }
    }

    /// The header.
    pub fn emit(&self) -> Bhs {
        let mut bhs = Bhs::new(Opcode::TaskResponse);
        bhs.0[2] = self.result as u8;
        bhs.set_u32(16, self.itt);
        self.numbers.emit(&mut bhs);
        bhs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_byte_exact() {
        let request = TaskRequest {
            immediate: true,
            function: TaskFunction::AbortTask,
            lun: 0,
            itt: 5,
            referenced_tag: 4,
            cmd_sn: 7,
            exp_stat_sn: 8,
            ref_cmd_sn: 6,
        };
        let bytes = [
            0x42, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0,
            0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(request.emit().0, bytes);
        assert_eq!(TaskRequest::parse(&Bhs(bytes)), Ok(request));
    }

    #[test]
    fn response_is_byte_exact() {
        let numbers = Numbers { stat_sn: 1, exp_cmd_sn: 2, max_cmd_sn: 3 };
        let response = TaskResponse { result: TaskResult::TaskDoesNotExist, itt: 5, numbers };
        let mut bytes = [0; 48];
        bytes[..4].copy_from_slice(&[0x22, 0x80, 1, 0]);
        (bytes[19], bytes[27], bytes[31], bytes[35]) = (5, 1, 2, 3);
        assert_eq!(response.emit().0, bytes);
        assert_eq!(TaskResponse::parse(&Bhs(bytes)), Ok(response));
    }

    #[test]
    fn function_codes_round_trip() {
        for code in 0..0x80 {
            assert_eq!(TaskFunction::from_code(code).code(), code);
        }
    }
}
