//! INQUIRY (SPC-4 6.6): the standard data; the VPD pages are in [`crate::vpd`].

use crate::cdb::be16;
use crate::identity::Identity;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::Unit;
use crate::vpd;

/// PERIPHERAL QUALIFIER 000b, PERIPHERAL DEVICE TYPE 00h: a direct-access block device that is there.
pub(crate) const DISK: u8 = 0x00;
/// PERIPHERAL QUALIFIER 001b, PERIPHERAL DEVICE TYPE 00h: a direct-access block device can be here, and is not.
pub(crate) const AWAITED: u8 = 0x20;
/// PERIPHERAL QUALIFIER 011b, PERIPHERAL DEVICE TYPE 1Fh: nothing can be here.
pub(crate) const NOTHING: u8 = 0x7f;

/// The standards that are claimed (SPC-4 table 142): SAM-5, iSCSI, SPC-4, SBC-3, without a version.
const VERSION_DESCRIPTORS: [u16; 4] = [0x00a0, 0x0960, 0x0460, 0x04c0];

/// Bytes of the standard data: as far as the reserved ones behind the version descriptors.
const STANDARD: usize = 96;

pub(crate) fn inquiry(unit: &Unit, identity: &Identity, cdb: &[u8; 16], buffer: &mut [u8]) -> Result<u32, Sense> {
    let mut reply = Reply::new(buffer, usize::from(be16(cdb, 3)));
    if cdb[1] & 0x01 != 0 {
        vpd::page(unit, identity, cdb[2], &mut reply)?;
    } else if cdb[2] != 0 {
        // SPC-4 6.6.1: a page code without EVPD.
        return Err(Sense::cdb(2, 7));
    } else {
        standard(&mut reply, DISK, &identity.vendor, &identity.product, &identity.revision);
    }
    Ok(reply.finish())
}

/// INQUIRY of a LUN that isn't there, with its peripheral qualifier and device type.
pub(crate) fn inquiry_absent(peripheral: u8, cdb: &[u8; 16], buffer: &mut [u8]) -> Result<u32, Sense> {
    if cdb[1] != 0 || cdb[2] != 0 {
        return Err(if cdb[1] != 0 { Sense::cdb(1, 0) } else { Sense::cdb(2, 7) });
    }
    let mut reply = Reply::new(buffer, usize::from(be16(cdb, 3)));
    standard(&mut reply, peripheral, b"        ", b"                ", b"    ");
    Ok(reply.finish())
}

fn standard(reply: &mut Reply<'_>, peripheral: u8, vendor: &[u8; 8], product: &[u8; 16], revision: &[u8; 4]) {
    reply.put(&[
        peripheral,
        0x00, // RMB 0: not removable
        0x06, // VERSION: SPC-4
        0x12, // HISUP: hierarchical LUNs as SAM-5 has them; RESPONSE DATA FORMAT 2
        (STANDARD - 5) as u8,
        0x10, // TPGS 01b: REPORT TARGET PORT GROUPS, implicit only; no 3PC, no PROTECT
        0x00,
        0x02, // CMDQUE
    ]);
    reply.put(vendor);
    reply.put(product);
    reply.put(revision);
    reply.zeros(22); // vendor specific and reserved, to byte 57
    for version in VERSION_DESCRIPTORS {
        reply.u16(version);
    }
    reply.zeros(STANDARD - 66);
}
