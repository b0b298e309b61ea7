//! Sense data (SPC-4 4.5): what is the matter, in fixed or descriptor format.

/// Sense data as it travels: at most 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenseBytes {
    bytes: [u8; 32],
    len: u8,
}

impl SenseBytes {
    /// No sense data.
    pub const EMPTY: Self = Self { bytes: [0; 32], len: 0 };

    /// The bytes; empty for none.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// SPC-4 4.5.6: sense keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Key {
    NoSense = 0x0,
    NotReady = 0x2,
    MediumError = 0x3,
    HardwareError = 0x4,
    IllegalRequest = 0x5,
    UnitAttention = 0x6,
    DataProtect = 0x7,
    AbortedCommand = 0xb,
    Miscompare = 0xe,
}

/// SPC-4 4.5.2.4.2: which field of the CDB or of the parameter list is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldPointer {
    /// In the CDB rather than in the parameter list (the C/D bit).
    pub in_cdb: bool,
    /// First byte of the field.
    pub byte: u16,
    /// Its most significant bit, where that is known.
    pub bit: Option<u8>,
}

/// Sense data before it has a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sense {
    pub key: Key,
    pub asc: u8,
    pub ascq: u8,
    pub information: Option<u64>,
    pub field: Option<FieldPointer>,
}

macro_rules! senses {
    ($($(#[$doc:meta])* $name:ident = $key:ident, $asc:literal, $ascq:literal;)*) => {
        impl Sense {
            $($(#[$doc])* pub const $name: Sense = Sense::new(Key::$key, $asc, $ascq);)*
        }
    };
}

senses! {
    NO_SENSE = NoSense, 0x00, 0x00;
    INITIALIZING_COMMAND_REQUIRED = NotReady, 0x04, 0x02;
    /// The backend is gone: LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE.
    NOT_READY = NotReady, 0x04, 0x00;
    WRITE_ERROR = MediumError, 0x0c, 0x00;
    UNRECOVERED_READ_ERROR = MediumError, 0x11, 0x00;
    INTERNAL_TARGET_FAILURE = HardwareError, 0x44, 0x00;
    /// The transport announces data that are no whole number of blocks.
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT = IllegalRequest, 0x0e, 0x03;
    PARAMETER_LIST_LENGTH_ERROR = IllegalRequest, 0x1a, 0x00;
    INVALID_COMMAND_OPERATION_CODE = IllegalRequest, 0x20, 0x00;
    LBA_OUT_OF_RANGE = IllegalRequest, 0x21, 0x00;
    INVALID_FIELD_IN_CDB = IllegalRequest, 0x24, 0x00;
    LOGICAL_UNIT_NOT_SUPPORTED = IllegalRequest, 0x25, 0x00;
    INVALID_FIELD_IN_PARAMETER_LIST = IllegalRequest, 0x26, 0x00;
    SAVING_PARAMETERS_NOT_SUPPORTED = IllegalRequest, 0x39, 0x00;
    WRITE_PROTECTED = DataProtect, 0x27, 0x00;
    /// SBC-3 4.7.3.6: thin provisioning ran out of space.
    SPACE_ALLOCATION_FAILED = DataProtect, 0x27, 0x07;
    UNEXPECTED_UNSOLICITED_DATA = AbortedCommand, 0x0c, 0x0c;
    NOT_ENOUGH_UNSOLICITED_DATA = AbortedCommand, 0x0c, 0x0d;
    READ_ERROR_SNACK_REJECTED = AbortedCommand, 0x11, 0x13;
    PROTOCOL_SERVICE_CRC_ERROR = AbortedCommand, 0x47, 0x05;
    DATA_PHASE_ERROR = AbortedCommand, 0x4b, 0x00;
    INSUFFICIENT_RESOURCES = AbortedCommand, 0x55, 0x03;
    MISCOMPARE_DURING_VERIFY = Miscompare, 0x1d, 0x00;
}

impl Sense {
    pub(crate) const fn new(key: Key, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq, information: None, field: None }
    }

    /// INVALID FIELD IN CDB with the field's place.
    pub(crate) const fn cdb(byte: u16, bit: u8) -> Self {
        Self { field: Some(FieldPointer { in_cdb: true, byte, bit: Some(bit) }), ..Self::INVALID_FIELD_IN_CDB }
    }

    /// INVALID FIELD IN PARAMETER LIST with the field's place.
    pub(crate) const fn parameter(byte: u16) -> Self {
        Self { field: Some(FieldPointer { in_cdb: false, byte, bit: None }), ..Self::INVALID_FIELD_IN_PARAMETER_LIST }
    }

    pub(crate) const fn with_information(self, information: u64) -> Self {
        Self { information: Some(information), ..self }
    }

    /// SKSV, C/D, BPV, BIT POINTER and FIELD POINTER (SPC-4 table 46).
    fn key_specific(&self) -> Option<[u8; 3]> {
        let field = self.field?;
        let bit = field.bit.map_or(0, |bit| 0x08 | bit & 0x07);
        let [high, low] = field.byte.to_be_bytes();
        Some([0x80 | u8::from(field.in_cdb) << 6 | bit, high, low])
    }

    /// In fixed format (SPC-4 4.5.3) or, where `descriptor`, in descriptor format (4.5.2).
    pub(crate) fn encode(&self, descriptor: bool) -> SenseBytes {
        if descriptor { self.descriptor_format() } else { self.fixed_format() }
    }

    fn fixed_format(&self) -> SenseBytes {
        let mut bytes = [0; 32];
        bytes[0] = 0x70;
        bytes[2] = self.key as u8;
        // SPC-4 4.5.3: information that needs more than 4 bytes can't be told in fixed format: VALID stays zero.
        if let Some(Ok(information)) = self.information.map(u32::try_from) {
            bytes[0] |= 0x80;
            bytes[3..7].copy_from_slice(&information.to_be_bytes());
        }
        bytes[7] = FIXED_LEN as u8 - 8;
        bytes[12] = self.asc;
        bytes[13] = self.ascq;
        if let Some(specific) = self.key_specific() {
            bytes[15..18].copy_from_slice(&specific);
        }
        SenseBytes { bytes, len: FIXED_LEN as u8 }
    }

    fn descriptor_format(&self) -> SenseBytes {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&[0x72, self.key as u8, self.asc, self.ascq]);
        let mut len = 8;
        if let Some(information) = self.information {
            bytes[len..len + 4].copy_from_slice(&[0x00, 0x0a, 0x80, 0x00]);
            bytes[len + 4..len + 12].copy_from_slice(&information.to_be_bytes());
            len += 12;
        }
        if let Some(specific) = self.key_specific() {
            bytes[len..len + 2].copy_from_slice(&[0x02, 0x06]);
            bytes[len + 4..len + 7].copy_from_slice(&specific);
            len += 8;
        }
        bytes[7] = len as u8 - 8;
        SenseBytes { bytes, len: len as u8 }
    }
}

const FIXED_LEN: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_is_byte_exact() {
        let sense = Sense::cdb(5, 3).encode(false);
        assert_eq!(sense.as_slice(), [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcb, 0, 5]);
        let sense = Sense::MISCOMPARE_DURING_VERIFY.with_information(0x1234).encode(false);
        assert_eq!(sense.as_slice(), [0xf0, 0, 0xe, 0, 0, 0x12, 0x34, 10, 0, 0, 0, 0, 0x1d, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn information_too_wide_for_fixed_format_is_left_out() {
        let sense = Sense::LBA_OUT_OF_RANGE.with_information(1 << 32).encode(false);
        assert_eq!(sense.as_slice()[0], 0x70);
        assert_eq!(sense.as_slice()[3..7], [0; 4]);
    }

    #[test]
    fn descriptor_format_is_byte_exact() {
        let sense = Sense::parameter(0x102).with_information(0x1_0000_0002).encode(true);
        let expected = [
            0x72, 5, 0x26, 0, 0, 0, 0, 20, // header
            0x00, 0x0a, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 2, // information
            0x02, 0x06, 0, 0, 0x80, 0x01, 0x02, 0, // sense-key specific
        ];
        assert_eq!(sense.as_slice(), expected);
        assert_eq!(Sense::WRITE_PROTECTED.encode(true).as_slice(), [0x72, 7, 0x27, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn no_sense_data_is_empty() {
        assert!(SenseBytes::EMPTY.as_slice().is_empty());
    }
}
