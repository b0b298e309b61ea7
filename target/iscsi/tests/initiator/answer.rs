//! What a target sends, taken apart.

use iesp_iscsi::pdu::{
    AsyncMessage, Bhs, CommandResponse, DataIn, LoginResponse, LogoutResponse, NopIn, Numbers, Opcode, RESERVED_TAG,
    ReadyToTransfer, Reject, TaskResponse, TextResponse,
};
use iesp_iscsi::text::Pairs;

/// A unit of a target's with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Login(LoginResponse, String),
    Text(TextResponse, String),
    Nop(NopIn, Vec<u8>),
    /// With the sense data, without their length.
    Status(CommandResponse, Vec<u8>),
    Task(TaskResponse),
    Data(DataIn, Vec<u8>),
    Logout(LogoutResponse),
    R2t(ReadyToTransfer),
    Async(AsyncMessage),
    /// With the header that it rejects.
    Reject(Reject, Bhs),
}

impl Answer {
    pub fn parse(bhs: &Bhs, data: &[u8]) -> Self {
        let bytes = data.to_vec();
        match bhs.opcode() {
            Some(Opcode::LoginResponse) => Self::Login(LoginResponse::parse(bhs).expect("well formed"), untext(data)),
            Some(Opcode::TextResponse) => Self::Text(TextResponse::parse(bhs).expect("well formed"), untext(data)),
            Some(Opcode::NopIn) => Self::Nop(NopIn::parse(bhs), bytes),
            Some(Opcode::CommandResponse) => {
                Self::Status(CommandResponse::parse(bhs).expect("well formed"), sense(data).to_vec())
            }
            Some(Opcode::TaskResponse) => Self::Task(TaskResponse::parse(bhs).expect("well formed")),
            Some(Opcode::DataIn) => Self::Data(DataIn::parse(bhs).expect("well formed"), bytes),
            Some(Opcode::LogoutResponse) => Self::Logout(LogoutResponse::parse(bhs)),
            Some(Opcode::ReadyToTransfer) => Self::R2t(ReadyToTransfer::parse(bhs)),
            Some(Opcode::AsyncMessage) => Self::Async(AsyncMessage::parse(bhs).expect("well formed")),
            Some(Opcode::Reject) => {
                let header = data.try_into().expect("a Reject carries the header that it rejects");
                Self::Reject(Reject::parse(bhs).expect("well formed"), Bhs(header))
            }
            other => panic!("no target sends {other:?}: {bhs:?}"),
        }
    }

    /// The numbers, and whether the unit uses up a StatSN.
    pub const fn numbers(&self) -> (Numbers, bool) {
        match self {
            Self::Login(unit, _) => (unit.numbers, true),
            Self::Text(unit, _) => (unit.numbers, true),
            Self::Nop(unit, _) => (unit.numbers, unit.itt != RESERVED_TAG),
            Self::Status(unit, _) => (unit.numbers, true),
            Self::Task(unit) => (unit.numbers, true),
            Self::Data(unit, _) => (unit.numbers, unit.status.is_some()),
            Self::Logout(unit) => (unit.numbers, true),
            Self::R2t(unit) => (unit.numbers, false),
            Self::Async(unit) => (unit.numbers, true),
            Self::Reject(unit, _) => (unit.numbers, true),
        }
    }

    /// StatSN, where the unit has one: a Data-In without status has none (11.7.4).
    pub const fn stat_sn(&self) -> Option<u32> {
        match self {
            Self::Data(unit, _) if unit.status.is_none() => None,
            _ => Some(self.numbers().0.stat_sn),
        }
    }
}

/// 11.4.7: the length of the sense data stands before them.
fn sense(data: &[u8]) -> &[u8] {
    match data.split_first_chunk::<2>() {
        None => data,
        Some((len, sense)) => {
            assert_eq!(usize::from(u16::from_be_bytes(*len)), sense.len(), "SenseLength");
            sense
        }
    }
}

/// Pairs written `A=b C=d`, as the text that they are; a value holds no space here.
pub fn text(pairs: &str) -> Vec<u8> {
    pairs.split_whitespace().flat_map(|pair| [pair.as_bytes(), b"\0"].concat()).collect()
}

/// A text, written as [`text`] takes it.
pub fn untext(bytes: &[u8]) -> String {
    let pair = |pair: Result<iesp_iscsi::text::Pair<'_>, _>| {
        let pair = pair.expect("well formed text");
        format!("{}={}", pair.key, pair.value)
    };
    Pairs::new(bytes).map(pair).collect::<Vec<_>>().join(" ")
}
