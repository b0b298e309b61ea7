//! The fields of basic header segments by name (RFC 7143 clause 11), for any opcode.

use iesp_iscsi::pdu::{BHS_LEN, Opcode};

/// Some bits of a basic header segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Field {
    /// As RFC 7143 writes it.
    pub name: &'static str,
    /// First byte.
    at: u8,
    /// Bytes.
    len: u8,
    /// The bits that belong to it, once its bytes are one number.
    mask: u64,
}

/// Whole bytes.
const fn bytes(name: &'static str, at: u8, len: u8) -> Field {
    let mask = if len == 8 { u64::MAX } else { (1 << (8 * len as u32)) - 1 };
    Field { name, at, len, mask }
}

/// Bits of one byte.
const fn bits(name: &'static str, at: u8, mask: u8) -> Field {
    Field { name, at, len: 1, mask: mask as u64 }
}

impl Field {
    /// Its value in a header.
    #[must_use]
    pub fn get(self, header: &[u8; BHS_LEN]) -> u64 {
        (self.number(header) & self.mask) >> self.mask.trailing_zeros()
    }

    /// Gives it a value; other bits of its bytes stay.
    pub fn set(self, header: &mut [u8; BHS_LEN], value: u64) {
        let value = value << self.mask.trailing_zeros() & self.mask;
        let number = self.number(header) & !self.mask | value;
        let (at, len) = (usize::from(self.at), usize::from(self.len));
        header[at..at + len].copy_from_slice(&number.to_be_bytes()[8 - len..]);
    }

    fn number(self, header: &[u8; BHS_LEN]) -> u64 {
        let (at, len) = (usize::from(self.at), usize::from(self.len));
        header[at..at + len].iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    /// The bytes of the header that it has bits in.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        usize::from(self.at)..usize::from(self.at + self.len)
    }

    /// Its bits within [`Field::range`].
    #[must_use]
    pub const fn mask(self) -> u64 {
        self.mask
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $field:expr;)*) => {
        $($(#[$doc])* pub const $name: Field = $field;)*
    };
}

fields! {
    /// I (11.2.1.1).
    IMMEDIATE = bits("I", 0, 0x40);
    /// Opcode (11.2.1.2).
    OPCODE = bits("Opcode", 0, 0x3f);
    /// The highest bit of byte 0, reserved.
    RESERVED_0 = bits("reserved bit of byte 0", 0, 0x80);
    /// F (11.2.1.3).
    FINAL = bits("F", 1, 0x80);
    /// All flags of byte 1.
    FLAGS = bits("flags", 1, 0xff);
    /// TotalAHSLength (11.2.1.5).
    AHS_LENGTH = bytes("TotalAHSLength", 4, 1);
    /// DataSegmentLength (11.2.1.6).
    DATA_LENGTH = bytes("DataSegmentLength", 5, 3);
    /// LUN (11.2.1.7).
    LUN = bytes("LUN", 8, 8);
    /// Initiator Task Tag (11.2.1.8).
    INITIATOR_TASK_TAG = bytes("Initiator Task Tag", 16, 4);
    /// Target Transfer Tag (11.7.4).
    TARGET_TRANSFER_TAG = bytes("Target Transfer Tag", 20, 4);
    /// Expected Data Transfer Length (11.3.4).
    EXPECTED_LENGTH = bytes("Expected Data Transfer Length", 20, 4);
    /// Referenced Task Tag (11.5.5).
    REFERENCED_TASK_TAG = bytes("Referenced Task Tag", 20, 4);
    /// CmdSN (11.3.3).
    CMD_SN = bytes("CmdSN", 24, 4);
    /// ExpStatSN (11.3.3).
    EXP_STAT_SN = bytes("ExpStatSN", 28, 4);
    /// StatSN (11.4.8).
    STAT_SN = bytes("StatSN", 24, 4);
    /// ExpCmdSN (11.4.9).
    EXP_CMD_SN = bytes("ExpCmdSN", 28, 4);
    /// MaxCmdSN (11.4.10).
    MAX_CMD_SN = bytes("MaxCmdSN", 32, 4);
    /// CDB: its first eight bytes (11.3.5).
    CDB = bytes("CDB", 32, 8);
    /// CDB: its last eight bytes (11.3.5).
    CDB_REST = bytes("CDB behind byte 7", 40, 8);
    /// Data-In: A (11.7.2).
    ACKNOWLEDGE = bits("A", 1, 0x40);
    /// R of a command (11.3.1).
    READ = bits("R", 1, 0x40);
    /// W of a command (11.3.1).
    WRITE = bits("W", 1, 0x20);
    /// ATTR of a command (11.3.1).
    ATTRIBUTE = bits("ATTR", 1, 0x07);
    /// Residual flags of both directions (11.4.1): o, u, O, U.
    RESIDUAL_FLAGS = bits("residual flags", 1, 0x1e);
    /// Data-In: O, U (11.7.3).
    DATA_RESIDUAL_FLAGS = bits("residual flags", 1, 0x06);
    /// Data-In: S (11.7.3).
    STATUS_PRESENT = bits("S", 1, 0x01);
    /// Response of a SCSI Response, task management, a logout (11.4.3, 11.6.1, 11.15.1).
    RESPONSE = bytes("Response", 2, 1);
    /// Status (11.4.2).
    STATUS = bytes("Status", 3, 1);
    /// SNACK Tag of a SCSI Response (11.4.4).
    SNACK_TAG = bytes("SNACK Tag", 20, 4);
    /// ExpDataSN of a SCSI Response (11.4.8).
    EXP_DATA_SN = bytes("ExpDataSN", 36, 4);
    /// Bidirectional Read Residual Count (11.4.5).
    READ_RESIDUAL_COUNT = bytes("Bidirectional Read Residual Count", 40, 4);
    /// Residual Count (11.4.5).
    RESIDUAL_COUNT = bytes("Residual Count", 44, 4);
    /// Function of a task management request (11.5.1).
    FUNCTION = bits("Function", 1, 0x7f);
    /// RefCmdSN (11.5.6).
    REF_CMD_SN = bytes("RefCmdSN", 32, 4);
    /// ExpDataSN of a task management request (11.5.7).
    TASK_EXP_DATA_SN = bytes("ExpDataSN", 36, 4);
    /// DataSN (11.7.5).
    DATA_SN = bytes("DataSN", 36, 4);
    /// R2TSN (11.8.1).
    R2T_SN = bytes("R2TSN", 36, 4);
    /// Buffer Offset (11.7.6).
    BUFFER_OFFSET = bytes("Buffer Offset", 40, 4);
    /// Desired Data Transfer Length (11.8.5).
    DESIRED_LENGTH = bytes("Desired Data Transfer Length", 44, 4);
    /// T of a login (11.12.1).
    TRANSIT = bits("T", 1, 0x80);
    /// C of a login or text (11.12.2).
    CONTINUE = bits("C", 1, 0x40);
    /// CSG (11.12.3).
    CURRENT_STAGE = bits("CSG", 1, 0x0c);
    /// NSG (11.12.3).
    NEXT_STAGE = bits("NSG", 1, 0x03);
    /// Version-max (11.12.4).
    VERSION_MAX = bytes("Version-max", 2, 1);
    /// Version-min of a request, Version-active of a response (11.12.4, 11.13.2).
    VERSION_MIN = bytes("Version-min", 3, 1);
    /// ISID (11.12.5).
    ISID = bytes("ISID", 8, 6);
    /// TSIH (11.12.6).
    TSIH = bytes("TSIH", 14, 2);
    /// CID (11.12.7).
    CID = bytes("CID", 20, 2);
    /// Status-Class and Status-Detail (11.13.5).
    LOGIN_STATUS = bytes("Status-Class and Status-Detail", 36, 2);
    /// Reason Code of a logout (11.14.1).
    LOGOUT_REASON = bits("Reason Code", 1, 0x7f);
    /// Time2Wait of a Logout Response (11.15.3).
    TIME2WAIT = bytes("Time2Wait", 40, 2);
    /// Time2Retain of a Logout Response (11.15.4).
    TIME2RETAIN = bytes("Time2Retain", 42, 2);
    /// Reason of a Reject (11.17.1).
    REJECT_REASON = bytes("Reason", 2, 1);
    /// DataSN or R2TSN of a Reject (11.17.2).
    REJECT_DATA_SN = bytes("DataSN/R2TSN", 36, 4);
    /// AsyncEvent (11.9.1).
    ASYNC_EVENT = bytes("AsyncEvent", 36, 1);
    /// AsyncVCode (11.9.2).
    ASYNC_CODE = bytes("AsyncVCode", 37, 1);
    /// Parameter1 (11.9).
    PARAMETER_1 = bytes("Parameter1", 38, 2);
    /// Parameter2 (11.9).
    PARAMETER_2 = bytes("Parameter2", 40, 2);
    /// Parameter3 (11.9).
    PARAMETER_3 = bytes("Parameter3", 42, 2);
}

/// The fields of an opcode; bits of a header that none of them has are reserved.
#[must_use]
pub const fn of(opcode: Option<Opcode>) -> &'static [Field] {
    match opcode {
        Some(Opcode::NopOut) => {
            &[IMMEDIATE, OPCODE, FINAL, LUN, INITIATOR_TASK_TAG, TARGET_TRANSFER_TAG, CMD_SN, EXP_STAT_SN]
        }
        Some(Opcode::ScsiCommand) => &[
            IMMEDIATE,
            OPCODE,
            FINAL,
            READ,
            WRITE,
            ATTRIBUTE,
            LUN,
            INITIATOR_TASK_TAG,
            EXPECTED_LENGTH,
            CMD_SN,
            EXP_STAT_SN,
            CDB,
            CDB_REST,
        ],
        Some(Opcode::TaskRequest) => &[
            IMMEDIATE,
            OPCODE,
            FINAL,
            FUNCTION,
            LUN,
            INITIATOR_TASK_TAG,
            REFERENCED_TASK_TAG,
            CMD_SN,
            EXP_STAT_SN,
            REF_CMD_SN,
            TASK_EXP_DATA_SN,
        ],
        Some(Opcode::LoginRequest) => &[
            IMMEDIATE,
            OPCODE,
            TRANSIT,
            CONTINUE,
            CURRENT_STAGE,
            NEXT_STAGE,
            VERSION_MAX,
            VERSION_MIN,
            ISID,
            TSIH,
            INITIATOR_TASK_TAG,
            CID,
            CMD_SN,
            EXP_STAT_SN,
        ],
        Some(Opcode::TextRequest) => {
            &[IMMEDIATE, OPCODE, FINAL, CONTINUE, LUN, INITIATOR_TASK_TAG, TARGET_TRANSFER_TAG, CMD_SN, EXP_STAT_SN]
        }
        Some(Opcode::DataOut) => {
            &[OPCODE, FINAL, LUN, INITIATOR_TASK_TAG, TARGET_TRANSFER_TAG, EXP_STAT_SN, DATA_SN, BUFFER_OFFSET]
        }
        Some(Opcode::LogoutRequest) => {
            &[IMMEDIATE, OPCODE, FINAL, LOGOUT_REASON, INITIATOR_TASK_TAG, CID, CMD_SN, EXP_STAT_SN]
        }
        Some(Opcode::NopIn) => {
            &[OPCODE, FINAL, LUN, INITIATOR_TASK_TAG, TARGET_TRANSFER_TAG, STAT_SN, EXP_CMD_SN, MAX_CMD_SN]
        }
        Some(Opcode::CommandResponse) => &[
            OPCODE,
            FINAL,
            RESIDUAL_FLAGS,
            RESPONSE,
            STATUS,
            INITIATOR_TASK_TAG,
            SNACK_TAG,
            STAT_SN,
            EXP_CMD_SN,
            MAX_CMD_SN,
            EXP_DATA_SN,
            READ_RESIDUAL_COUNT,
            RESIDUAL_COUNT,
        ],
        Some(Opcode::TaskResponse) => &[OPCODE, FINAL, RESPONSE, INITIATOR_TASK_TAG, STAT_SN, EXP_CMD_SN, MAX_CMD_SN],
        Some(Opcode::LoginResponse) => &[
            OPCODE,
            TRANSIT,
            CONTINUE,
            CURRENT_STAGE,
            NEXT_STAGE,
            VERSION_MAX,
            VERSION_MIN,
            ISID,
            TSIH,
            INITIATOR_TASK_TAG,
            STAT_SN,
            EXP_CMD_SN,
            MAX_CMD_SN,
            LOGIN_STATUS,
        ],
        Some(Opcode::TextResponse) => {
            &[OPCODE, FINAL, CONTINUE, LUN, INITIATOR_TASK_TAG, TARGET_TRANSFER_TAG, STAT_SN, EXP_CMD_SN, MAX_CMD_SN]
        }
        Some(Opcode::DataIn) => &[
            OPCODE,
            FINAL,
            ACKNOWLEDGE,
            DATA_RESIDUAL_FLAGS,
            STATUS_PRESENT,
            STATUS,
            LUN,
            INITIATOR_TASK_TAG,
            TARGET_TRANSFER_TAG,
            STAT_SN,
            EXP_CMD_SN,
            MAX_CMD_SN,
            DATA_SN,
            BUFFER_OFFSET,
            RESIDUAL_COUNT,
        ],
        Some(Opcode::LogoutResponse) => {
            &[OPCODE, FINAL, RESPONSE, INITIATOR_TASK_TAG, STAT_SN, EXP_CMD_SN, MAX_CMD_SN, TIME2WAIT, TIME2RETAIN]
        }
        Some(Opcode::ReadyToTransfer) => &[
            OPCODE,
            FINAL,
            LUN,
            INITIATOR_TASK_TAG,
            TARGET_TRANSFER_TAG,
            STAT_SN,
            EXP_CMD_SN,
            MAX_CMD_SN,
            R2T_SN,
            BUFFER_OFFSET,
            DESIRED_LENGTH,
        ],
        Some(Opcode::AsyncMessage) => &[
            OPCODE,
            FINAL,
            LUN,
            INITIATOR_TASK_TAG,
            STAT_SN,
            EXP_CMD_SN,
            MAX_CMD_SN,
            ASYNC_EVENT,
            ASYNC_CODE,
            PARAMETER_1,
            PARAMETER_2,
            PARAMETER_3,
        ],
        Some(Opcode::Reject) => {
            &[OPCODE, FINAL, REJECT_REASON, INITIATOR_TASK_TAG, STAT_SN, EXP_CMD_SN, MAX_CMD_SN, REJECT_DATA_SN]
        }
        Some(Opcode::SnackRequest) | None => &[OPCODE, INITIATOR_TASK_TAG],
    }
}

/// The name of an opcode as RFC 7143 11.2.1.2 writes it.
#[must_use]
pub const fn name(opcode: Option<Opcode>) -> &'static str {
    match opcode {
        Some(Opcode::NopOut) => "NOP-Out",
        Some(Opcode::ScsiCommand) => "SCSI Command",
        Some(Opcode::TaskRequest) => "Task Management Function Request",
        Some(Opcode::LoginRequest) => "Login Request",
        Some(Opcode::TextRequest) => "Text Request",
        Some(Opcode::DataOut) => "SCSI Data-Out",
        Some(Opcode::LogoutRequest) => "Logout Request",
        Some(Opcode::SnackRequest) => "SNACK Request",
        Some(Opcode::NopIn) => "NOP-In",
        Some(Opcode::CommandResponse) => "SCSI Response",
        Some(Opcode::TaskResponse) => "Task Management Function Response",
        Some(Opcode::LoginResponse) => "Login Response",
        Some(Opcode::TextResponse) => "Text Response",
        Some(Opcode::DataIn) => "SCSI Data-In",
        Some(Opcode::LogoutResponse) => "Logout Response",
        Some(Opcode::ReadyToTransfer) => "Ready To Transfer",
        Some(Opcode::AsyncMessage) => "Asynchronous Message",
        Some(Opcode::Reject) => "Reject",
        None => "undefined opcode",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPCODES: [Opcode; 17] = [
        Opcode::NopOut,
        Opcode::ScsiCommand,
        Opcode::TaskRequest,
        Opcode::LoginRequest,
        Opcode::TextRequest,
        Opcode::DataOut,
        Opcode::LogoutRequest,
        Opcode::NopIn,
        Opcode::CommandResponse,
        Opcode::TaskResponse,
        Opcode::LoginResponse,
        Opcode::TextResponse,
        Opcode::DataIn,
        Opcode::LogoutResponse,
        Opcode::ReadyToTransfer,
        Opcode::AsyncMessage,
        Opcode::Reject,
    ];

    #[test]
    fn fields_of_one_opcode_share_no_bit_and_keep_each_others_values() {
        for opcode in OPCODES {
            let mut header = [0; BHS_LEN];
            for (index, &field) in of(Some(opcode)).iter().enumerate() {
                let before = header;
                field.set(&mut header, u64::MAX);
                assert_eq!(field.get(&header), field.mask() >> field.mask().trailing_zeros(), "{opcode:?} {field:?}");
                for other in &of(Some(opcode))[..index] {
                    assert_eq!(other.get(&header), other.get(&before), "{opcode:?}: {field:?} and {other:?}");
                }
                assert_ne!(header, before, "{opcode:?}: {field:?} is another's");
            }
        }
    }

    #[test]
    fn values_are_where_the_standard_has_them() {
        let mut header = [0; BHS_LEN];
        CURRENT_STAGE.set(&mut header, 1);
        NEXT_STAGE.set(&mut header, 3);
        TRANSIT.set(&mut header, 1);
        ISID.set(&mut header, 0x8012_3456_789a);
        TSIH.set(&mut header, 0xbeef);
        assert_eq!(header[1], 0x87);
        assert_eq!(header[8..16], [0x80, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbe, 0xef]);
        DATA_LENGTH.set(&mut header, 0x1234_5678);
        assert_eq!(header[4..8], [0, 0x34, 0x56, 0x78]);
    }
}
