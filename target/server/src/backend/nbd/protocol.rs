//! The NBD protocol's numbers and units (doc/proto.md of the NBD project). Everything is big-endian.

/// "NBDMAGIC": how a server begins.
pub const MAGIC: u64 = 0x4e42_444d_4147_4943;
/// "IHAVEOPT": the new style of handshake, and how an option begins.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// How the reply to an option begins.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Handshake flag of both sides: unknown options are answered.
pub const FIXED_NEWSTYLE: u16 = 1;
/// Handshake flag of both sides: no 124 zeros behind the answer to [`options::EXPORT_NAME`].
pub const NO_ZEROES: u16 = 2;

/// What a client asks for in the handshake.
pub mod options {
    /// The export; it has no error reply.
    pub const EXPORT_NAME: u32 = 1;
    /// TLS, from the reply on.
    pub const STARTTLS: u32 = 5;
    /// The export, with information, or a reason why not.
    pub const GO: u32 = 7;
    /// Replies in chunks.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// What BLOCK_STATUS tells of.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Lengths of 64 bits in requests and replies, and replies in chunks.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// What a server answers to an option.
pub mod option_replies {
    /// Done.
    pub const ACK: u32 = 1;
    /// A piece of information about the export.
    pub const INFO: u32 = 3;
    /// A context and its number.
    pub const META_CONTEXT: u32 = 4;
    /// All errors have this bit.
    pub const ERROR: u32 = 1 << 31;
    /// The option is not known.
    pub const UNSUPPORTED: u32 = ERROR | 1;
    /// TLS first.
    pub const TLS_REQUIRED: u32 = ERROR | 5;
    /// No such export.
    pub const UNKNOWN: u32 = ERROR | 6;
}

/// Information about an export.
pub mod info {
    /// Size and flags.
    pub const EXPORT: u16 = 0;
    /// Block sizes.
    pub const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags: what a server can do with an export.
pub mod export_flags {
    /// The others mean something.
    pub const HAS_FLAGS: u16 = 1;
    /// No writes.
    pub const READ_ONLY: u16 = 1 << 1;
    /// FLUSH.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// FUA.
    pub const SEND_FUA: u16 = 1 << 3;
    /// A spinning disk.
    pub const ROTATIONAL: u16 = 1 << 4;
    /// WRITE_ZEROES.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// A flush covers what all connections wrote.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// CACHE.
    pub const SEND_CACHE: u16 = 1 << 10;
}

/// Flags of requests.
pub mod request_flags {
    /// Durable before the reply.
    pub const FUA: u16 = 1;
    /// WRITE_ZEROES: no hole may be left.
    pub const NO_HOLE: u16 = 1 << 1;
    /// BLOCK_STATUS: one extent.
    pub const REQ_ONE: u16 = 1 << 3;
    /// With extended headers: the length is that of a payload.
    pub const PAYLOAD_LEN: u16 = 1 << 5;
}

/// Commands of the transmission phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Bytes of the export.
    Read = 0,
    /// Bytes to the export.
    Write = 1,
    /// The client goes: no reply.
    Disconnect = 2,
    /// Writes that were answered are durable.
    Flush = 3,
    /// Bytes are wanted soon.
    Cache = 5,
    /// Zeros.
    WriteZeroes = 6,
    /// What takes space.
    BlockStatus = 7,
}

/// Bytes of a request's header, and of an extended one.
const REQUEST: usize = 28;
const EXTENDED_REQUEST: usize = 32;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;

/// A request but for its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// [`request_flags`].
    pub flags: u16,
    /// Bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

/// A request's header as it travels.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    bytes: [u8; EXTENDED_REQUEST],
    len: u8,
}

impl std::ops::Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Request {
    /// As it travels, extended or not.
    pub fn emit(&self, cookie: u64, extended: bool) -> Header {
        let is_payload = extended && self.command == Command::Write;
        let flags = self.flags | if is_payload { request_flags::PAYLOAD_LEN } else { 0 };
        let magic = if extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC };
        let mut bytes = [0; EXTENDED_REQUEST];
        bytes[..4].copy_from_slice(&magic.to_be_bytes());
        bytes[4..6].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&(self.command as u16).to_be_bytes());
        bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_be_bytes());
        if extended {
            bytes[24..].copy_from_slice(&u64::from(self.len).to_be_bytes());
        } else {
            bytes[24..REQUEST].copy_from_slice(&self.len.to_be_bytes());
        }
        Header { bytes, len: if extended { EXTENDED_REQUEST } else { REQUEST } as u8 }
    }
}

/// Bytes of a simple reply's header.
pub const SIMPLE: usize = 16;
/// How a simple reply begins.
pub const SIMPLE_MAGIC: u32 = 0x6744_6698;
/// Bytes of a chunk's header.
pub const CHUNK: usize = 20;
/// How a chunk of a structured reply begins.
pub const CHUNK_MAGIC: u32 = 0x668e_33ef;
/// Bytes of a chunk's header, extended.
pub const EXTENDED_CHUNK: usize = 32;
/// How a chunk begins, extended.
pub const EXTENDED_CHUNK_MAGIC: u32 = 0x6e8a_278c;
/// Flag of a chunk: the last one of its reply.
pub const DONE: u16 = 1;

/// Types of chunks.
pub mod chunks {
    /// Nothing.
    pub const NONE: u16 = 0;
    /// Bytes that were read.
    pub const OFFSET_DATA: u16 = 1;
    /// Zeros that were read.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents.
    pub const BLOCK_STATUS: u16 = 5;
    /// Extents of 64 bits, with their number before them.
    pub const BLOCK_STATUS_EXT: u16 = 6;
    /// All errors have this bit; each begins with the error's number.
    pub const ERROR: u16 = 1 << 15;
}

/// Flags of an extent of base:allocation.
pub mod allocation {
    /// It takes no space.
    pub const HOLE: u32 = 1;
    /// It reads as zeros.
    pub const ZERO: u32 = 1 << 1;
}

/// Errors of commands.
pub mod errors {
    /// Not permitted.
    pub const EPERM: u32 = 1;
    /// Input or output failed.
    pub const EIO: u32 = 5;
    /// No space.
    pub const ENOSPC: u32 = 28;
    /// The server is being shut down.
    pub const ESHUTDOWN: u32 = 108;
}

/// A big-endian number at the front of `bytes`, and what is behind it.
pub fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u16::from_be_bytes(*number), rest))
}

/// The same of 32 bits.
pub fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u32::from_be_bytes(*number), rest))
}

/// The same of 64 bits.
pub fn split_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_byte_by_byte() {
        let request =
            Request { command: Command::WriteZeroes, flags: 3, offset: 0x0102_0304_0506_0708, len: 0x0a0b_0c0d };
        let bytes = request.emit(0x1112_1314_1516_1718, false);
        let expected = [
            0x25, 0x60, 0x95, 0x13, 0, 3, 0, 6, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 1, 2, 3, 4, 5, 6, 7, 8,
            0x0a, 0x0b, 0x0c, 0x0d,
        ];
        assert_eq!(*bytes, expected);
        let mut extended = [&expected[..24], &[0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d]].concat();
        extended[..4].copy_from_slice(&[0x21, 0xe4, 0x1c, 0x71]);
        assert_eq!(*request.emit(0x1112_1314_1516_1718, true), extended);
        (extended[5], extended[7]) = (1 << 5 | 3, 1);
        let write = Request { command: Command::Write, ..request };
        assert_eq!(*write.emit(0x1112_1314_1516_1718, true), extended, "the length is that of a payload");
    }
}
