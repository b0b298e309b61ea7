//! Protocol data units (RFC 7143 clause 11): one file each, with byte-exact tests beside it.
//!
//! Every unit begins with a basic header segment of 48 bytes ([`Bhs`]), which tells how long the additional header
//! segments and the data segment are. A unit's type has `parse`, from a header whose opcode was looked at, and `emit`.

mod ahs;
mod asynchronous;
mod data;
mod login;
mod logout;
mod nop;
mod reject;
mod scsi;
mod tasks;
mod text;

pub use ahs::{Ahs, segments};
pub use asynchronous::{AsyncEvent, AsyncMessage};
pub use data::{DataIn, DataOut, ReadyToTransfer};
pub use login::{LoginRequest, LoginResponse, LoginStatus, Stage};
pub use logout::{LogoutReason, LogoutRequest, LogoutResponse};
pub use nop::{NopIn, NopOut};
pub use reject::{Reject, RejectReason};
pub use scsi::{CommandResponse, Residual, ScsiCommand, TaskAttribute};
pub use tasks::{TaskFunction, TaskRequest, TaskResponse, TaskResult};
pub use text::{TextRequest, TextResponse};

/// Bytes in a basic header segment.
pub const BHS_LEN: usize = 48;

/// The reserved value of Initiator Task Tag and Target Transfer Tag (RFC 7143 11.2.1.8).
pub const RESERVED_TAG: u32 = 0xffff_ffff;

/// What a unit is (RFC 7143 11.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Opcode {
    NopOut = 0x00,
    ScsiCommand = 0x01,
    TaskRequest = 0x02,
    LoginRequest = 0x03,
    TextRequest = 0x04,
    DataOut = 0x05,
    LogoutRequest = 0x06,
    SnackRequest = 0x10,
    NopIn = 0x20,
    CommandResponse = 0x21,
    TaskResponse = 0x22,
    LoginResponse = 0x23,
    TextResponse = 0x24,
    DataIn = 0x25,
    LogoutResponse = 0x26,
    ReadyToTransfer = 0x31,
    AsyncMessage = 0x32,
    Reject = 0x3f,
}

impl Opcode {
    /// The opcode of byte 0 without the immediate bit; `None` for a vendor's or a reserved one.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte & 0x3f {
            0x00 => Self::NopOut,
            0x01 => Self::ScsiCommand,
            0x02 => Self::TaskRequest,
            0x03 => Self::LoginRequest,
            0x04 => Self::TextRequest,
            0x05 => Self::DataOut,
            0x06 => Self::LogoutRequest,
            0x10 => Self::SnackRequest,
            0x20 => Self::NopIn,
            0x21 => Self::CommandResponse,
            0x22 => Self::TaskResponse,
            0x23 => Self::LoginResponse,
            0x24 => Self::TextResponse,
            0x25 => Self::DataIn,
            0x26 => Self::LogoutResponse,
            0x31 => Self::ReadyToTransfer,
            0x32 => Self::AsyncMessage,
            0x3f => Self::Reject,
            _ => return None,
        })
    }
}

/// A basic header segment: 48 bytes and what every unit has in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bhs(pub [u8; BHS_LEN]);

impl Bhs {
    /// A header of zeros with its opcode and the final bit.
    pub const fn new(opcode: Opcode) -> Self {
        let mut bytes = [0; BHS_LEN];
        bytes[0] = opcode as u8;
        bytes[1] = 0x80;
        Self(bytes)
    }

    /// What the unit is, `None` where no such opcode is defined.
    pub const fn opcode(&self) -> Option<Opcode> {
        Opcode::from_byte(self.0[0])
    }

    /// The I bit: delivered apart from the order of CmdSN (RFC 7143 4.2.2.1).
    pub const fn immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// The F bit (the T bit of a login).
    pub const fn is_final(&self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// TotalAHSLength, in bytes.
    pub const fn ahs_len(&self) -> usize {
        self.0[4] as usize * 4
    }

    /// DataSegmentLength, in bytes, without padding.
    pub const fn data_len(&self) -> usize {
        (self.0[5] as usize) << 16 | (self.0[6] as usize) << 8 | self.0[7] as usize
    }

    /// Sets DataSegmentLength.
    ///
    /// # Panics
    /// Where `len` needs more than 24 bits: a fault of this program, never of a peer.
    pub const fn set_data_len(&mut self, len: usize) {
        assert!(len < 1 << 24);
        self.0[5] = (len >> 16) as u8;
        self.0[6] = (len >> 8) as u8;
        self.0[7] = len as u8;
    }

    /// The LUN field as SAM-5 has it: eight bytes.
    pub const fn lun(&self) -> u64 {
        self.u64(8)
    }

    /// Initiator Task Tag.
    pub const fn itt(&self) -> u32 {
        self.u32(16)
    }

    /// CmdSN, in the units that carry one.
    pub const fn cmd_sn(&self) -> u32 {
        self.u32(24)
    }

    /// ExpStatSN, in what an initiator sends.
    pub const fn exp_stat_sn(&self) -> u32 {
        self.u32(28)
    }

    pub(crate) const fn u16(&self, at: usize) -> u16 {
        (self.0[at] as u16) << 8 | self.0[at + 1] as u16
    }

    pub(crate) const fn u32(&self, at: usize) -> u32 {
        (self.u16(at) as u32) << 16 | self.u16(at + 2) as u32
    }

    pub(crate) const fn u64(&self, at: usize) -> u64 {
        (self.u32(at) as u64) << 32 | self.u32(at + 4) as u64
    }

    pub(crate) fn set_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn set_u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }
}

/// StatSN, ExpCmdSN and MaxCmdSN, at bytes 24, 28 and 32 of what a target sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// StatSN (reserved where the unit carries no status).
    pub stat_sn: u32,
    /// ExpCmdSN.
    pub exp_cmd_sn: u32,
    /// MaxCmdSN.
    pub max_cmd_sn: u32,
}

impl Numbers {
    pub(crate) fn emit(&self, bhs: &mut Bhs) {
        bhs.set_u32(24, self.stat_sn);
        bhs.set_u32(28, self.exp_cmd_sn);
        bhs.set_u32(32, self.max_cmd_sn);
    }

    pub(crate) const fn parse(bhs: &Bhs) -> Self {
        Self { stat_sn: bhs.u32(24), exp_cmd_sn: bhs.u32(28), max_cmd_sn: bhs.u32(32) }
    }
}

/// A header that breaks the rules of its unit: the byte where it does. Answered by Reject, "invalid PDU field".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Offset of the offending field in the basic header segment.
    pub at: u8,
}

/// `len` rounded up to the four bytes that every segment is padded to (RFC 7143 11.1).
pub const fn padded(len: usize) -> usize {
    (len + 3) & !3
}
