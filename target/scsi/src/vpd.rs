//! Vital product data (SPC-4 7.8, SBC-3 6.5): one table of pages, for page 00h and for dispatch.

use crate::capabilities::Capabilities;
use crate::identity::Identity;
use crate::inquiry::DISK;
use crate::ports::RELATIVE_PORT_1;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::Unit;

/// A VPD page.
struct Page {
    code: u8,
    is_supported: fn(&Capabilities) -> bool,
    /// What follows PAGE LENGTH.
    fill: fn(&Unit, &Identity, &mut Reply<'_>),
}

/// In ascending order, as page 00h lists them (SPC-4 7.8.15).
static PAGES: [Page; 7] = [
    Page { code: 0x00, is_supported: always, fill: supported_pages },
    Page { code: 0x80, is_supported: always, fill: |_, identity, reply| reply.put(&identity.serial()) },
    Page { code: 0x83, is_supported: always, fill: |_, identity, reply| device_identification(identity, reply) },
    Page { code: 0x86, is_supported: always, fill: extended_inquiry_data },
    Page { code: 0xb0, is_supported: always, fill: block_limits },
    Page { code: 0xb1, is_supported: always, fill: block_device_characteristics },
    Page { code: 0xb2, is_supported: |capabilities| capabilities.unmap.is_some(), fill: logical_block_provisioning },
];

fn always(_: &Capabilities) -> bool {
    true
}

fn pages(unit: &Unit) -> impl Iterator<Item = &'static Page> {
    PAGES.iter().filter(|page| (page.is_supported)(&unit.capabilities))
}

/// The page `code`.
pub(crate) fn page(unit: &Unit, identity: &Identity, code: u8, reply: &mut Reply<'_>) -> Result<(), Sense> {
    let page = pages(unit).find(|page| page.code == code).ok_or(Sense::cdb(2, 7))?;
    reply.put(&[DISK, page.code, 0, 0]);
    (page.fill)(unit, identity, reply);
    let len = (reply.len() - 4) as u16;
    reply.patch(2, &len.to_be_bytes());
    Ok(())
}

fn supported_pages(unit: &Unit, _: &Identity, reply: &mut Reply<'_>) {
    for page in pages(unit) {
        reply.u8(page.code);
    }
}

/// PROTOCOL IDENTIFIER 5h: iSCSI.
const ISCSI: u8 = 0x50;
/// CODE SET.
const BINARY: u8 = 0x1;
const ASCII: u8 = 0x2;
const UTF_8: u8 = 0x3;
/// PIV and ASSOCIATION, of the logical unit, the target port, the target device.
const UNIT: u8 = 0x00;
const PORT: u8 = 0x90;
const DEVICE: u8 = 0xa0;

/// SPC-4 7.8.6: who the logical unit, the target port and the target device are.
fn device_identification(identity: &Identity, reply: &mut Reply<'_>) {
    let naa = identity.naa();
    designator(reply, BINARY, UNIT | 0x3, |reply| reply.put(&naa));
    designator(reply, BINARY, UNIT | 0x2, |reply| reply.put(&identity.eui64()));
    designator(reply, ASCII, UNIT | 0x1, |reply| {
        reply.put(&identity.vendor);
        reply.put(&identity.serial());
    });
    // RFC 3980: "naa." and the NAA identifier in hexadecimal digits.
    designator(reply, UTF_8, UNIT | 0x8, |reply| {
        reply.put(b"naa.");
        naa.iter().for_each(|byte| hex(reply, *byte));
    });
    // RFC 7143 4.4.6: the name of the target port is the target's name, ",t,0x" and the portal group tag.
    let tag = identity.portal_group_tag().to_be_bytes();
    designator(reply, ISCSI | UTF_8, PORT | 0x8, |reply| {
        reply.put(identity.target_name().as_bytes());
        reply.put(b",t,0x");
        tag.iter().for_each(|byte| hex(reply, *byte));
    });
    designator(reply, ISCSI | BINARY, PORT | 0x4, |reply| {
        reply.u16(0);
        reply.u16(RELATIVE_PORT_1);
    });
    designator(reply, ISCSI | BINARY, PORT | 0x5, |reply| {
        reply.u16(0);
        reply.put(&tag);
    });
    designator(reply, ISCSI | UTF_8, DEVICE | 0x8, |reply| reply.put(identity.target_name().as_bytes()));
}

/// A designation descriptor (SPC-4 table 590).
fn designator(reply: &mut Reply<'_>, protocol_and_code_set: u8, kind: u8, fill: impl FnOnce(&mut Reply<'_>)) {
    let at = reply.len();
    reply.put(&[protocol_and_code_set, kind, 0, 0]);
    fill(reply);
    // SPC-4 7.8.6.11: a SCSI name string ends with a NUL and is padded to a multiple of four.
    if kind & 0x0f == 0x8 {
        let len = reply.len() - at;
        reply.zeros(4 - len % 4);
    }
    let len = (reply.len() - at - 4) as u8;
    reply.patch(at + 3, &[len]);
}

fn hex(reply: &mut Reply<'_>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    reply.u8(DIGITS[usize::from(byte >> 4)]);
    reply.u8(DIGITS[usize::from(byte & 0x0f)]);
}

/// SPC-4 7.8.7.
fn extended_inquiry_data(unit: &Unit, _: &Identity, reply: &mut Reply<'_>) {
    reply.u8(0); // no protection information
    reply.u8(0x07); // HEADSUP, ORDSUP, SIMPSUP: the driver orders tasks by their attributes
    reply.u8(u8::from(unit.capabilities.volatile_cache)); // V_SUP
    reply.u8(0x01); // LUICLR: REPORT LUNS clears REPORTED LUNS DATA HAS CHANGED at all logical units
    reply.zeros(56);
}

/// SBC-3 6.5.3.
fn block_limits(unit: &Unit, _: &Identity, reply: &mut Reply<'_>) {
    let (capabilities, limits) = (&unit.capabilities, &unit.limits);
    reply.u8(0); // WSNZ: WRITE SAME of 0 blocks reaches to the end
    reply.u8(limits.compare_and_write);
    reply.u16(1u16.checked_shl(capabilities.physical_block_exponent.into()).unwrap_or(0));
    reply.u32(limits.transfer);
    reply.u32(limits.optimal_transfer);
    reply.u32(0); // MAXIMUM PREFETCH LENGTH: no limit
    match capabilities.unmap {
        Some(unmap) => {
            reply.u32(u32::MAX); // MAXIMUM UNMAP LBA COUNT: no limit
            reply.u32(limits.unmap_descriptors);
            reply.u32(unmap.granularity);
            reply.u32(1 << 31 | unmap.alignment); // UGAVALID
        }
        None => reply.zeros(16),
    }
    reply.u64(limits.write_same);
    reply.zeros(20);
}

/// SBC-3 6.5.2.
fn block_device_characteristics(unit: &Unit, _: &Identity, reply: &mut Reply<'_>) {
    // MEDIUM ROTATION RATE: not reported, or 1: it doesn't rotate.
    reply.u16(if unit.capabilities.rotational { 0 } else { 1 });
    reply.zeros(58);
}

/// SBC-3 6.5.4: UNMAP, WRITE SAME(16) and (10) deallocate (LBPU, LBPWS, LBPWS10); what is deallocated reads as zeros
/// (LBPRZ); no anchors; thin.
fn logical_block_provisioning(_: &Unit, _: &Identity, reply: &mut Reply<'_>) {
    reply.put(&[0, 0xe4, 0x02, 0]);
}
