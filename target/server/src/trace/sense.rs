//! Status codes and sense data in words (SAM-5 5.3, SPC-4 4.5).

use std::fmt::Write;

/// A status code.
pub fn status(code: u8) -> String {
    match code {
        0x00 => "GOOD".to_owned(),
        0x02 => "CHECK-CONDITION".to_owned(),
        0x04 => "CONDITION-MET".to_owned(),
        0x08 => "BUSY".to_owned(),
        0x18 => "RESERVATION-CONFLICT".to_owned(),
        0x28 => "TASK-SET-FULL".to_owned(),
        0x30 => "ACA-ACTIVE".to_owned(),
        0x40 => "TASK-ABORTED".to_owned(),
        other => format!("{other:#04x}"),
    }
}

/// Sense data, of either format.
pub fn describe(sense: &[u8]) -> String {
    let byte = |at: usize| sense.get(at).copied().unwrap_or(0);
    let is_descriptor = matches!(byte(0) & 0x7f, 0x72 | 0x73);
    let (key, asc, ascq) = if is_descriptor { (byte(1), byte(2), byte(3)) } else { (byte(2), byte(12), byte(13)) };
    let mut text = format!("{} {asc:02x}/{ascq:02x}", key_name(key & 0xf));
    if let Some(meaning) = meaning(asc, ascq) {
        text.push(' ');
        text.push_str(meaning);
    }
    let (information, specific) = if is_descriptor { descriptors(sense) } else { fixed(sense) };
    // Into a string: it cannot fail.
    if let Some(information) = information {
        let _ = write!(text, ", information {information}");
    }
    if let Some([flags, high, low]) = specific.filter(|specific| specific[0] & 0x80 != 0 && key & 0xf == 5) {
        let place = if flags & 0x40 != 0 { "CDB" } else { "parameter" };
        let _ = write!(text, ", {place} byte {}", u16::from_be_bytes([high, low]));
        if flags & 0x08 != 0 {
            let _ = write!(text, " bit {}", flags & 7);
        }
    }
    text
}

type Details = (Option<u64>, Option<[u8; 3]>);

fn fixed(sense: &[u8]) -> Details {
    let is_valid = sense.first().is_some_and(|first| first & 0x80 != 0);
    let information = sense.get(3..7).filter(|_| is_valid);
    let information = information.map(|bytes| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
    (information, sense.get(15..18).and_then(|bytes| bytes.try_into().ok()))
}

fn descriptors(sense: &[u8]) -> Details {
    let (mut information, mut specific) = (None, None);
    let mut rest = sense.get(8..).unwrap_or_default();
    while let [kind, len, ..] = *rest {
        let body = rest.get(2..2 + usize::from(len)).unwrap_or_default();
        match kind {
            0 => information = body.get(2..10).map(|bytes| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))),
            2 => specific = body.get(2..5).and_then(|bytes| bytes.try_into().ok()),
            _ => {}
        }
        rest = rest.get(2 + usize::from(len)..).unwrap_or_default();
    }
    (information, specific)
}

const fn key_name(key: u8) -> &'static str {
    match key {
        0x0 => "NO SENSE",
        0x1 => "RECOVERED ERROR",
        0x2 => "NOT READY",
        0x3 => "MEDIUM ERROR",
        0x4 => "HARDWARE ERROR",
        0x5 => "ILLEGAL REQUEST",
        0x6 => "UNIT ATTENTION",
        0x7 => "DATA PROTECT",
        0x8 => "BLANK CHECK",
        0xa => "COPY ABORTED",
        0xb => "ABORTED COMMAND",
        0xd => "VOLUME OVERFLOW",
        0xe => "MISCOMPARE",
        _ => "reserved sense key",
    }
}

/// The codes that this target answers with (SPC-4 annex E.2).
const fn meaning(asc: u8, ascq: u8) -> Option<&'static str> {
    Some(match (asc, ascq) {
        (0x00, 0x00) => "NO ADDITIONAL SENSE INFORMATION",
        (0x04, 0x00) => "LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE",
        (0x04, 0x02) => "LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED",
        (0x0c, 0x00) => "WRITE ERROR",
        (0x0c, 0x0c) => "WRITE ERROR - UNEXPECTED UNSOLICITED DATA",
        (0x0c, 0x0d) => "WRITE ERROR - NOT ENOUGH UNSOLICITED DATA",
        (0x0e, 0x03) => "INVALID FIELD IN COMMAND INFORMATION UNIT",
        (0x11, 0x00) => "UNRECOVERED READ ERROR",
        (0x11, 0x13) => "READ ERROR - FAILED RETRANSMISSION REQUEST",
        (0x1a, 0x00) => "PARAMETER LIST LENGTH ERROR",
        (0x1d, 0x00) => "MISCOMPARE DURING VERIFY OPERATION",
        (0x20, 0x00) => "INVALID COMMAND OPERATION CODE",
        (0x21, 0x00) => "LOGICAL BLOCK ADDRESS OUT OF RANGE",
        (0x24, 0x00) => "INVALID FIELD IN CDB",
        (0x25, 0x00) => "LOGICAL UNIT NOT SUPPORTED",
        (0x26, 0x00) => "INVALID FIELD IN PARAMETER LIST",
        (0x27, 0x00) => "WRITE PROTECTED",
        (0x27, 0x07) => "SPACE ALLOCATION FAILED WRITE PROTECT",
        (0x29, 0x00) => "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED",
        (0x29, 0x03) => "BUS DEVICE RESET FUNCTION OCCURRED",
        (0x2a, 0x01) => "MODE PARAMETERS CHANGED",
        (0x2a, 0x09) => "CAPACITY DATA HAS CHANGED",
        (0x2f, 0x00) => "COMMANDS CLEARED BY ANOTHER INITIATOR",
        (0x39, 0x00) => "SAVING PARAMETERS NOT SUPPORTED",
        (0x3f, 0x0e) => "REPORTED LUNS DATA HAS CHANGED",
        (0x44, 0x00) => "INTERNAL TARGET FAILURE",
        (0x47, 0x05) => "PROTOCOL SERVICE CRC ERROR",
        (0x4b, 0x00) => "DATA PHASE ERROR",
        (0x55, 0x03) => "INSUFFICIENT RESOURCES",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let fixed = [0xf0, 0, 0xe, 0, 0, 0x12, 0x34, 10, 0, 0, 0, 0, 0x1d, 0, 0, 0, 0, 0];
        assert_eq!(describe(&fixed), "MISCOMPARE 1d/00 MISCOMPARE DURING VERIFY OPERATION, information 4660");
        let descriptor =
            [0x72, 5, 0x26, 0, 0, 0, 0, 20, 0, 0x0a, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2, 6, 0, 0, 0x80, 1, 2, 0];
        assert_eq!(
            describe(&descriptor),
            "ILLEGAL REQUEST 26/00 INVALID FIELD IN PARAMETER LIST, information 4294967298, parameter byte 258"
        );
        assert_eq!(describe(&[]), "NO SENSE 00/00 NO ADDITIONAL SENSE INFORMATION");
        assert_eq!(describe(&[0x72, 6, 0x99, 1, 0, 0, 0, 0, 9, 200]), "UNIT ATTENTION 99/01");
    }
}
