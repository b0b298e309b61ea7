//! Header fields of RFC 7143, at fixed offsets of the 48-byte basic header segment.

/// Length of a basic header segment in bytes.
pub(super) const BHS: usize = 48;

/// Initiator opcodes (RFC 7143 11.2.1.2).
pub(super) mod opcode {
    pub const NOP_OUT: u8 = 0x00;
    pub const SCSI_COMMAND: u8 = 0x01;
    pub const TASK_MANAGEMENT: u8 = 0x02;
    pub const LOGIN: u8 = 0x03;
    pub const DATA_OUT: u8 = 0x05;
    pub const LOGOUT: u8 = 0x06;

    pub const NOP_IN: u8 = 0x20;
    pub const SCSI_RESPONSE: u8 = 0x21;
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    pub const LOGIN_RESPONSE: u8 = 0x23;
    pub const DATA_IN: u8 = 0x25;
    pub const LOGOUT_RESPONSE: u8 = 0x26;
}

/// The tag that means "none".
pub(super) const NO_TAG: u32 = 0xffff_ffff;

/// A received basic header segment.
#[derive(Clone, Copy)]
pub(super) struct Header<'a>(pub &'a [u8; BHS]);

impl Header<'_> {
    pub fn opcode(self) -> u8 {
        self.0[0] & 0x3f
    }

    /// Immediate delivery: CmdSN is not advanced.
    pub fn immediate(self) -> bool {
        self.0[0] & 0x40 != 0
    }

    pub fn flags(self) -> u8 {
        self.0[1]
    }

    pub fn has_ahs(self) -> bool {
        self.0[4] != 0
    }

    /// DataSegmentLength in bytes, without padding.
    pub fn data_length(self) -> usize {
        (usize::from(self.0[5]) << 16) | (usize::from(self.0[6]) << 8) | usize::from(self.0[7])
    }

    /// The LUN field; 0 is LUN 0 in every addressing method that starts with a zero byte.
    pub fn lun(self) -> u64 {
        u64::from_be_bytes(self.chunk(8))
    }

    /// Initiator task tag, byte for byte.
    pub fn itt(self) -> [u8; 4] {
        self.chunk(16)
    }

    /// Expected data transfer length of a SCSI command.
    pub fn expected_length(self) -> u32 {
        self.word(20)
    }

    pub fn cmd_sn(self) -> u32 {
        self.word(24)
    }

    /// BufferOffset of a Data-Out PDU.
    pub fn buffer_offset(self) -> u32 {
        self.word(40)
    }

    pub fn cdb(self) -> [u8; 16] {
        self.chunk(32)
    }

    pub fn word(self, at: usize) -> u32 {
        u32::from_be_bytes(self.chunk(at))
    }

    fn chunk<const N: usize>(self, at: usize) -> [u8; N] {
        let mut chunk = [0; N];
        chunk.copy_from_slice(&self.0[at..at + N]);
        chunk
    }
}

/// Bytes of padding behind a data segment.
pub(super) fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}

/// Starts a header to be sent: opcode, flags, data segment length, initiator task tag.
pub(super) fn header(opcode: u8, flags: u8, data_length: usize, itt: [u8; 4]) -> [u8; BHS] {
    let mut header = [0; BHS];
    header[0] = opcode;
    header[1] = flags;
    header[4..8].copy_from_slice(&((data_length as u32) & 0x00ff_ffff).to_be_bytes());
    header[16..20].copy_from_slice(&itt);
    header
}

/// Writes a big-endian word.
pub(super) fn put(header: &mut [u8; BHS], at: usize, word: u32) {
    header[at..at + 4].copy_from_slice(&word.to_be_bytes());
}
