//! A LUN that isn't there (SPC-4 4.2, SAM-5 4.7.5): it tells so, and it knows its siblings.

use crate::capacity;
use crate::cdb::be32;
use crate::contract::{Completion, status};
use crate::inquiry::{AWAITED, NOTHING, inquiry_absent};
use crate::reply::Reply;
use crate::sense::Sense;

/// Answers a command to a LUN that isn't there. `luns` is the target's inventory in ascending order, for REPORT LUNS;
/// `reply` has at least [`REPLY_MAX`](crate::REPLY_MAX) bytes.
#[must_use]
pub fn absent_unit(luns: &[u16], cdb: &[u8; 16], reply: &mut [u8]) -> Completion {
    answer(NOTHING, luns, cdb, reply)
}

/// As [`absent_unit`], for a LUN that a logical unit is to have of which nothing is known yet.
#[must_use]
pub fn awaited_unit(luns: &[u16], cdb: &[u8; 16], reply: &mut [u8]) -> Completion {
    answer(AWAITED, luns, cdb, reply)
}

fn answer(peripheral: u8, luns: &[u16], cdb: &[u8; 16], reply: &mut [u8]) -> Completion {
    let answer = match cdb[0] {
        0x12 => inquiry_absent(peripheral, cdb, reply),
        0xa0 => capacity::report_luns(cdb[2], be32(cdb, 6), luns.iter().copied().filter(|lun| *lun <= 255), reply),
        // SPC-4 6.39: GOOD, and the sense data say what is the matter.
        0x03 => {
            let sense = Sense::LOGICAL_UNIT_NOT_SUPPORTED.encode(cdb[1] & 0x01 != 0);
            let mut reply = Reply::new(reply, usize::from(cdb[4]));
            reply.put(sense.as_slice());
            Ok(reply.finish())
        }
        _ => Err(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
    };
    match answer {
        Ok(len) => Completion { inventory_reported: cdb[0] == 0xa0, ..Completion::reply(len) },
        Err(sense) => Completion { status: status::CHECK_CONDITION, sense: sense.encode(false), ..Completion::GOOD },
    }
}
