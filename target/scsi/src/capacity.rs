//! READ CAPACITY(10) and (16) (SBC-3 5.15 f.), REPORT LUNS (SPC-4 6.33).

use crate::cdb::be32;
use crate::lun::lun_field;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::Unit;

/// The last block's LBA and the block's length. What needs more than 32 bits is FFFFFFFFh: ask READ CAPACITY(16).
pub(crate) fn read_capacity_10(unit: &Unit, buffer: &mut [u8]) -> u32 {
    let last = unit.blocks().saturating_sub(1);
    let mut reply = Reply::new(buffer, 8);
    reply.u32(u32::try_from(last).unwrap_or(u32::MAX));
    reply.u32(unit.capabilities.block_size);
    reply.finish()
}

pub(crate) fn read_capacity_16(unit: &Unit, cdb: &[u8; 16], buffer: &mut [u8]) -> u32 {
    let capabilities = &unit.capabilities;
    let mut reply = Reply::new(buffer, be32(cdb, 10) as usize);
    reply.u64(unit.blocks().saturating_sub(1));
    reply.u32(capabilities.block_size);
    // No protection information (PROT_EN 0); LBPPBE; the first block is aligned.
    reply.u8(0);
    reply.u8(capabilities.physical_block_exponent & 0x0f);
    // LBPME and LBPRZ: what is deallocated reads as zeros.
    reply.u16(if capabilities.unmap.is_some() { 0xc000 } else { 0 });
    reply.zeros(16);
    reply.finish()
}

/// REPORT LUNS: `luns` in ascending order, below 256.
pub(crate) fn report_luns(
    select: u8,
    allocation_length: u32,
    luns: impl Iterator<Item = u16> + Clone,
    buffer: &mut [u8],
) -> Result<u32, Sense> {
    // SPC-4 table 279: 00h all but well known logical units, 01h only these (there are none), 02h all.
    let none = match select {
        0x00 | 0x02 => false,
        0x01 => true,
        _ => return Err(Sense::cdb(2, 7)),
    };
    let luns = luns.filter(|_| !none);
    let mut reply = Reply::new(buffer, allocation_length as usize);
    reply.u32(8 * luns.clone().count() as u32);
    reply.u32(0);
    for lun in luns {
        reply.u64(lun_field(lun));
    }
    Ok(reply.finish())
}
