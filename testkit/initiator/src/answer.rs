//! What a target sends, taken apart.

use iesp_iscsi::pdu::{
    AsyncMessage, BHS_LEN, Bhs, CommandResponse, DataIn, LoginResponse, LogoutResponse, NopIn, Numbers, Opcode,
    RESERVED_TAG, ReadyToTransfer, Reject, TaskResponse, TextResponse,
};
use iesp_iscsi::text::Pairs;

use crate::field;
use crate::pdu::Pdu;

/// A target's PDU with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With its text, written as [`untext`] does.
    Login(LoginResponse, String),
    /// With its text, written as [`untext`] does.
    Text(TextResponse, String),
    /// With the ping data.
    Nop(NopIn, Vec<u8>),
    /// With the sense data, without their length.
    Status(CommandResponse, Vec<u8>),
    /// The outcome of a task management function.
    Task(TaskResponse),
    /// With the data.
    Data(DataIn, Vec<u8>),
    /// The end of a connection or session.
    Logout(LogoutResponse),
    /// The target asks for data.
    R2t(ReadyToTransfer),
    /// An event that no request led to.
    Async(AsyncMessage),
    /// With the header that it rejects.
    Reject(Reject, Bhs),
}

/// A target's PDU that breaks the form RFC 7143 gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {pdu:?}")]
pub struct Malformed {
    /// Which rule it breaks.
    pub what: &'static str,
    /// The PDU.
    pub pdu: Box<Pdu>,
}

impl Answer {
    /// Takes a PDU apart.
    ///
    /// # Errors
    /// A PDU that no target may send, or whose fields or data have no meaning.
    pub fn parse(pdu: &Pdu) -> Result<Self, Malformed> {
        let malformed = |what| Malformed { what, pdu: Box::new(pdu.clone()) };
        let (bhs, data) = (&pdu.bhs, &pdu.data[..]);
        if !pdu.ahs.is_empty() {
            return Err(malformed("a target has no use for additional headers"));
        }
        let field = |_| malformed("a field has no meaning");
        let pairs = || read_text(data).ok_or_else(|| malformed("text that is not well formed (6.1)"));
        Ok(match bhs.opcode() {
            Some(Opcode::LoginResponse) => Self::Login(LoginResponse::parse(bhs).map_err(field)?, pairs()?),
            Some(Opcode::TextResponse) => Self::Text(TextResponse::parse(bhs).map_err(field)?, pairs()?),
            Some(Opcode::NopIn) => Self::Nop(NopIn::parse(bhs), data.to_vec()),
            Some(Opcode::CommandResponse) => {
                let sense = sense(data).ok_or_else(|| malformed("SenseLength is not the length (11.4.7)"))?;
                Self::Status(CommandResponse::parse(bhs).map_err(field)?, sense.to_vec())
            }
            Some(Opcode::TaskResponse) => Self::Task(TaskResponse::parse(bhs).map_err(field)?),
            Some(Opcode::DataIn) => Self::Data(DataIn::parse(bhs).map_err(field)?, data.to_vec()),
            Some(Opcode::LogoutResponse) => Self::Logout(LogoutResponse::parse(bhs)),
            Some(Opcode::ReadyToTransfer) => Self::R2t(ReadyToTransfer::parse(bhs)),
            Some(Opcode::AsyncMessage) => Self::Async(AsyncMessage::parse(bhs).map_err(field)?),
            Some(Opcode::Reject) => {
                let header: [u8; BHS_LEN] =
                    data.try_into().map_err(|_| malformed("a Reject carries the header that it rejects (11.17)"))?;
                Self::Reject(Reject::parse(bhs).map_err(field)?, Bhs(header))
            }
            _ => return Err(malformed("no target sends this opcode")),
        })
    }

    /// Its name as RFC 7143 writes it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        field::name(Some(match self {
            Self::Login(..) => Opcode::LoginResponse,
            Self::Text(..) => Opcode::TextResponse,
            Self::Nop(..) => Opcode::NopIn,
            Self::Status(..) => Opcode::CommandResponse,
            Self::Task(_) => Opcode::TaskResponse,
            Self::Data(..) => Opcode::DataIn,
            Self::Logout(_) => Opcode::LogoutResponse,
            Self::R2t(_) => Opcode::ReadyToTransfer,
            Self::Async(_) => Opcode::AsyncMessage,
            Self::Reject(..) => Opcode::Reject,
        }))
    }

    /// The tag of the task that it belongs to.
    #[must_use]
    pub const fn itt(&self) -> u32 {
        match self {
            Self::Login(pdu, _) => pdu.itt,
            Self::Text(pdu, _) => pdu.itt,
            Self::Nop(pdu, _) => pdu.itt,
            Self::Status(pdu, _) => pdu.itt,
            Self::Task(pdu) => pdu.itt,
            Self::Data(pdu, _) => pdu.itt,
            Self::Logout(pdu) => pdu.itt,
            Self::R2t(pdu) => pdu.itt,
            Self::Async(_) | Self::Reject(..) => RESERVED_TAG,
        }
    }

    /// The numbers, and whether the PDU uses up a StatSN.
    #[must_use]
    pub const fn numbers(&self) -> (Numbers, bool) {
        match self {
            Self::Login(pdu, _) => (pdu.numbers, true),
            Self::Text(pdu, _) => (pdu.numbers, true),
            Self::Nop(pdu, _) => (pdu.numbers, pdu.itt != RESERVED_TAG),
            Self::Status(pdu, _) => (pdu.numbers, true),
            Self::Task(pdu) => (pdu.numbers, true),
            Self::Data(pdu, _) => (pdu.numbers, pdu.status.is_some()),
            Self::Logout(pdu) => (pdu.numbers, true),
            Self::R2t(pdu) => (pdu.numbers, false),
            Self::Async(pdu) => (pdu.numbers, true),
            Self::Reject(pdu, _) => (pdu.numbers, true),
        }
    }

    /// StatSN, where the PDU has one: a Data-In without status has none (11.7.4).
    #[must_use]
    pub const fn stat_sn(&self) -> Option<u32> {
        match self {
            Self::Data(pdu, _) if pdu.status.is_none() => None,
            _ => Some(self.numbers().0.stat_sn),
        }
    }
}

/// 11.4.7: the length of the sense data stands before them.
fn sense(data: &[u8]) -> Option<&[u8]> {
    match data.split_first_chunk::<2>() {
        None => data.is_empty().then_some(data),
        Some((len, sense)) => (usize::from(u16::from_be_bytes(*len)) == sense.len()).then_some(sense),
    }
}

/// Pairs written `A=b C=d`, as the text that they are; a value holds no space here.
#[must_use]
pub fn text(pairs: &str) -> Vec<u8> {
    pairs.split_whitespace().flat_map(|pair| [pair.as_bytes(), b"\0"].concat()).collect()
}

/// A text, written as [`text`] takes it.
///
/// # Panics
/// If it is not well formed.
#[must_use]
pub fn untext(bytes: &[u8]) -> String {
    read_text(bytes).expect("well formed text")
}

fn read_text(bytes: &[u8]) -> Option<String> {
    let pairs = Pairs::new(bytes).map(|pair| pair.ok().map(|pair| format!("{}={}", pair.key, pair.value)));
    Some(pairs.collect::<Option<Vec<_>>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        let pairs = "InitiatorName=iqn.a HeaderDigest=CRC32C,None X=";
        assert_eq!(untext(&text(pairs)), pairs);
        assert_eq!(untext(b""), "");
    }

    #[test]
    fn malformed_answers_are_told() {
        let wrong = [
            Pdu::new(Opcode::CommandResponse).with_data(&[0, 18, 0x70]),
            Pdu::new(Opcode::CommandResponse).with_data(&[0]),
            Pdu::new(Opcode::Reject).with(field::INITIATOR_TASK_TAG, 0xffff_ffff).with_data(&[0; 47]),
            Pdu::new(Opcode::LoginResponse).with_data(b"no value\0"),
            Pdu::new(Opcode::ScsiCommand),
            Pdu::new(Opcode::NopIn).with_ahs(&[1]),
            Pdu::new(Opcode::TaskResponse).with(field::RESPONSE, 77),
        ];
        for pdu in wrong {
            assert!(Answer::parse(&pdu).is_err(), "{pdu:?}");
        }
    }
}
