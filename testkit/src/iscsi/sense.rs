//! Sense data (SPC-4 4.5).

use std::ffi::CStr;
use std::fmt;

/// What a CHECK CONDITION says.
#[derive(Clone, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// The INFORMATION field where it is valid: a block address, or the offset of a miscompare.
    pub information: Option<u64>,
    /// All sense bytes as they came.
    pub bytes: Vec<u8>,
}

/// A sense key (SPC-4 table 49).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names")]
pub enum SenseKey {
    NoSense,
    RecoveredError,
    NotReady,
    MediumError,
    HardwareError,
    IllegalRequest,
    UnitAttention,
    DataProtect,
    BlankCheck,
    VendorSpecific,
    CopyAborted,
    AbortedCommand,
    Reserved,
    VolumeOverflow,
    Miscompare,
    Completed,
}

impl Sense {
    /// Parses sense data in fixed or descriptor format; what is missing counts as zero.
    pub fn parse(bytes: &[u8]) -> Self {
        let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
        let (key, asc, ascq) = match at(0) & 0x7f {
            // SPC-4 4.5.3: fixed format.
            0x70 | 0x71 => (at(2), at(12), at(13)),
            // SPC-4 4.5.2: descriptor format.
            0x72 | 0x73 => (at(1), at(2), at(3)),
            _ => (0, 0, 0),
        };
        Self { key: SenseKey::from(key & 0x0f), asc, ascq, information: information(bytes), bytes: bytes.to_vec() }
    }

    /// Whether key, code and qualifier are these.
    pub fn is(&self, key: SenseKey, asc: u8, ascq: u8) -> bool {
        (self.key, self.asc, self.ascq) == (key, asc, ascq)
    }
}

/// The INFORMATION field: SPC-4 4.5.3 (valid bit and bytes 3 to 6) and 4.5.2.2 (descriptor type 00h).
fn information(bytes: &[u8]) -> Option<u64> {
    match bytes.first()? & 0x7f {
        0x70 | 0x71 if bytes[0] & 0x80 != 0 => Some(u64::from(u32::from_be_bytes(bytes.get(3..7)?.try_into().ok()?))),
        0x72 | 0x73 => {
            let mut rest = bytes.get(8..)?;
            while let [kind, length, ..] = *rest {
                let (descriptor, after) = rest.split_at_checked(usize::from(length) + 2)?;
                if kind == 0 && length == 10 {
                    return Some(u64::from_be_bytes(descriptor.get(4..12)?.try_into().ok()?));
                }
                rest = after;
            }
            None
        }
        _ => None,
    }
}

impl From<u8> for SenseKey {
    fn from(key: u8) -> Self {
        match key & 0x0f {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x4 => Self::HardwareError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0x8 => Self::BlankCheck,
            0x9 => Self::VendorSpecific,
            0xa => Self::CopyAborted,
            0xb => Self::AbortedCommand,
            0xd => Self::VolumeOverflow,
            0xe => Self::Miscompare,
            0xf => Self::Completed,
            _ => Self::Reserved,
        }
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: the function takes every number.
        let text = unsafe { libiscsi_sys::scsi_sense_ascq_str(i32::from(self.asc) << 8 | i32::from(self.ascq)) };
        write!(f, "{:?}, {:02x}h/{:02x}h", self.key, self.asc, self.ascq)?;
        if !text.is_null() {
            // SAFETY: it is a string constant of the library; there is none for a code that it does not know.
            let text = unsafe { CStr::from_ptr(text) };
            write!(f, " ({})", text.to_string_lossy())?;
        }
        if let Some(information) = self.information {
            write!(f, ", information {information:#x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sense({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format() {
        let sense = Sense::parse(&[0xf0, 0, 0x0e, 0, 0, 2, 1, 10, 0, 0, 0, 0, 0x1d, 0x00, 0, 0, 0, 0]);
        assert!(sense.is(SenseKey::Miscompare, 0x1d, 0));
        assert_eq!(sense.information, Some(0x201));
        assert_eq!(sense.to_string(), "Miscompare, 1dh/00h (MISCOMPARE_DURING_VERIFY), information 0x201");
    }

    #[test]
    fn descriptor_format_with_an_information_descriptor_behind_another() {
        let mut bytes = vec![0x72, 0x05, 0x21, 0x00, 0, 0, 0, 20];
        bytes.extend_from_slice(&[0x02, 0x06, 0, 0, 0x80, 0, 0, 0]);
        bytes.extend_from_slice(&[0x00, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let sense = Sense::parse(&bytes);
        assert!(sense.is(SenseKey::IllegalRequest, 0x21, 0));
        assert_eq!(sense.information, Some(256));
    }

    #[test]
    fn a_code_that_libiscsi_has_no_text_for_is_shown_by_its_number() {
        let sense = Sense::parse(&[0x70, 0, 0x06, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x7e, 0x7d, 0, 0, 0, 0]);
        assert_eq!(sense.to_string(), "UnitAttention, 7eh/7dh");
    }

    #[test]
    fn truncated_sense_is_no_panic() {
        for len in 0..20 {
            Sense::parse(&[0xf0; 20][..len]);
            Sense::parse(&[0x72; 20][..len]);
            Sense::parse(&[0x72, 0, 0, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1][..len]);
        }
    }
}
