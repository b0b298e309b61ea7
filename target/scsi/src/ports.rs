//! REPORT TARGET PORT GROUPS (SPC-4 6.35): one group with one port, always active/optimized.

use crate::cdb::be32;
use crate::identity::Identity;
use crate::reply::Reply;
use crate::sense::Sense;

/// RELATIVE TARGET PORT IDENTIFIER of the only port.
pub(crate) const RELATIVE_PORT_1: u16 = 1;

pub(crate) fn report_target_port_groups(identity: &Identity, cdb: &[u8; 16], buffer: &mut [u8]) -> Result<u32, Sense> {
    // PARAMETER DATA FORMAT: 000b length only, 001b extended.
    let extended = match cdb[1] >> 5 {
        0b000 => false,
        0b001 => true,
        _ => return Err(Sense::cdb(1, 7)),
    };
    let mut reply = Reply::new(buffer, be32(cdb, 6) as usize);
    reply.u32(0);
    if extended {
        // FORMAT TYPE 001b, IMPLICIT TRANSITION TIME 0: the state never changes.
        reply.put(&[0x10, 0, 0, 0]);
    }
    reply.u8(0x00); // not preferred; active/optimized
    reply.u8(0x01); // AO_SUP: no other state
    reply.u16(identity.portal_group_tag());
    reply.put(&[0, 0, 0, 1]); // STATUS CODE 0: no state was ever changed; one port
    reply.u16(0);
    reply.u16(RELATIVE_PORT_1);
    let len = (reply.len() - 4) as u32;
    reply.patch(0, &len.to_be_bytes());
    Ok(reply.finish())
}
