//! MODE SENSE(6) and (10) (SPC-4 6.11, 6.12).

use super::{PAGES, Values};
use crate::cdb::{be16, be32};
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::Unit;

/// PAGE CODE 3Fh: all pages.
const ALL_PAGES: u8 = 0x3f;
/// SUBPAGE CODE FFh: all subpages.
const ALL_SUBPAGES: u8 = 0xff;

/// Fills `buffer`, gives the bytes in it.
pub(crate) fn mode_sense(unit: &Unit, cdb: &[u8; 16], buffer: &mut [u8]) -> Result<u32, Sense> {
    let long = cdb[0] == 0x5a;
    let values = match cdb[2] >> 6 {
        0b00 => Values::Current,
        0b01 => Values::Changeable,
        0b10 => Values::Default,
        _ => return Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED),
    };
    let (page_code, subpage) = (cdb[2] & 0x3f, cdb[3]);
    // No page has subpages: "all of them" are page 00h alone.
    if subpage != 0 && subpage != ALL_SUBPAGES {
        return Err(Sense::cdb(3, 7));
    }
    let wanted = |code: u8| page_code == ALL_PAGES || page_code == code;
    if !PAGES.iter().any(|page| wanted(page.code())) {
        return Err(Sense::cdb(2, 5));
    }

    let allocation_length = if long { usize::from(be16(cdb, 7)) } else { usize::from(cdb[4]) };
    let descriptor = match (cdb[1] & 0x08 != 0, long && cdb[1] & 0x10 != 0) {
        (true, _) => Descriptor::None,
        (false, false) => Descriptor::Short,
        (false, true) => Descriptor::Long,
    };
    let mut reply = Reply::new(buffer, allocation_length);
    header(&mut reply, unit, long, descriptor);
    block_descriptor(&mut reply, unit, descriptor);
    for page in PAGES.iter().filter(|page| wanted(page.code())) {
        reply.put(&unit.modes.render(page, values)[..page.len()]);
    }
    // SPC-4 7.5.5: MODE DATA LENGTH doesn't count itself.
    if long {
        let len = (reply.len() - 2) as u16;
        reply.patch(0, &len.to_be_bytes());
    } else {
        let len = (reply.len() - 1) as u8;
        reply.patch(0, &[len]);
    }
    Ok(reply.finish())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Descriptor {
    None,
    Short,
    Long,
}

/// SPC-4 tables 362 and 363.
fn header(reply: &mut Reply<'_>, unit: &Unit, long: bool, descriptor: Descriptor) {
    // SBC-3 6.4.1: WP is set by the medium as well as by SWP; DPO and FUA are taken (DPOFUA).
    let device_specific = u8::from(unit.is_write_protected()) << 7 | 0x10;
    let descriptor_len = match descriptor {
        Descriptor::None => 0,
        Descriptor::Short => 8,
        Descriptor::Long => 16,
    };
    if long {
        let long_lba = u8::from(descriptor == Descriptor::Long);
        reply.put(&[0, 0, 0, device_specific, long_lba, 0, 0, descriptor_len]);
    } else {
        reply.put(&[0, 0, device_specific, descriptor_len]);
    }
}

/// SBC-3 6.4.2: short and long LBA mode parameter block descriptor.
fn block_descriptor(reply: &mut Reply<'_>, unit: &Unit, descriptor: Descriptor) {
    let (blocks, size) = (unit.blocks(), unit.capabilities.block_size);
    match descriptor {
        Descriptor::None => {}
        Descriptor::Short => {
            reply.u32(u32::try_from(blocks).unwrap_or(u32::MAX));
            reply.u32(size & 0x00ff_ffff);
        }
        Descriptor::Long => {
            reply.u64(blocks);
            reply.u32(0);
            reply.u32(size);
        }
    }
}

/// A block descriptor of a MODE SELECT says what is already so (SBC-3 6.4.2: nothing can be changed here); `at` is its
/// place in the parameter list.
pub(super) fn check_block_descriptor(unit: &Unit, bytes: &[u8], at: u16) -> Result<(), Sense> {
    let capabilities = &unit.capabilities;
    let (blocks, most, size) = match bytes.len() {
        0 => return Ok(()),
        8 => (u64::from(be32(bytes, 0)), u64::from(u32::MAX), be32(bytes, 4) & 0x00ff_ffff),
        16 => (u64::from(be32(bytes, 0)) << 32 | u64::from(be32(bytes, 4)), u64::MAX, be32(bytes, 12)),
        _ => return Err(Sense::parameter(at)),
    };
    // Zero: as it is; all ones: the most there is.
    if blocks != 0 && blocks != most && blocks != unit.blocks() {
        return Err(Sense::parameter(at));
    }
    if size != capabilities.block_size {
        return Err(Sense::parameter(at + if bytes.len() == 8 { 5 } else { 12 }));
    }
    Ok(())
}
