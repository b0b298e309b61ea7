//! READ, WRITE and PRE-FETCH (SBC-3 5.8 ff., 5.32 ff., 5.10 f.).

use super::{Context, Next, Plan, Work, blocks_on_medium, blocks_to_end, check_transfer};
use crate::cdb;
use crate::contract::{Completion, Outcome, Step, Streaming, Transfer};
use crate::range::Hold;
use crate::sense::Sense;
use crate::unit::Unit;

/// FUA, and FUA_NV: without non-volatile cache (NV_SUP = 0) both ask for the medium.
const FUA: u8 = 0x0a;

/// READ on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    lba: u64,
    blocks: u32,
    /// SBC-3 5.8: with FUA what is read comes from the medium, so what is newer goes there first.
    flush_first: bool,
}

impl Read {
    #[inline]
    pub(super) fn step(&mut self, outcome: Outcome) -> Next {
        if self.flush_first {
            if outcome == Outcome::Start {
                return Next::Io(Step::Flush);
            }
            self.flush_first = false;
            return Next::Io(self.io());
        }
        match outcome {
            Outcome::Start => Next::Io(self.io()),
            _ => Next::End(Completion::GOOD),
        }
    }

    fn io(&self) -> Step {
        Step::Read { lba: self.lba, blocks: self.blocks }
    }
}

/// WRITE on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    lba: u64,
    blocks: u32,
    fua: bool,
}

impl Write {
    #[inline]
    pub(super) fn step(&mut self, context: &Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        if outcome != Outcome::Start {
            return Ok(Next::End(Completion::GOOD));
        }
        let blocks = self.blocks.min(whole_blocks(context));
        if blocks == 0 {
            return Ok(Next::End(Completion::GOOD));
        }
        let fua = context.unit.must_be_durable(self.fua);
        Ok(Next::Io(Step::Write { lba: self.lba, blocks, offset: 0, fua }))
    }

    pub(crate) fn streaming(&self) -> Streaming {
        Streaming { lba: self.lba, blocks: self.blocks, write: true, compare: false, fua: self.fua }
    }
}

/// Whole blocks in the Data-Out Buffer: where the initiator sends less than the CDB says, only these are written, and
/// the residual tells the difference.
#[inline]
pub(super) fn whole_blocks(context: &Context<'_>) -> u32 {
    u32::try_from(context.buffers.data_out.len() / context.block_size()).unwrap_or(u32::MAX)
}

/// The most bytes that one PRE-FETCH brings into the cache: a whole disk would drive out what others use.
const PREFETCH: u64 = 64 << 20;

/// PRE-FETCH on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefetch {
    lba: u64,
    blocks: u64,
    /// The range is larger than what is brought.
    cut: bool,
}

impl Prefetch {
    pub(super) fn step(&mut self, context: &Context<'_>) -> Next {
        let blocks = self.blocks.min(context.piece_blocks().into());
        if blocks == 0 {
            // SBC-3 5.10: GOOD where the cache doesn't take all of them.
            return Next::End(if self.cut { Completion::GOOD } else { Completion::CONDITION_MET });
        }
        let lba = self.lba;
        self.lba += blocks;
        self.blocks -= blocks;
        Next::Io(Step::Prefetch { lba, blocks })
    }
}

/// Fewer data are announced than the CDB asks for, and the last block is not whole; or the initiator waits for data in
/// place of sending any. (Where whole blocks are missing, those that come are written.)
#[inline]
pub(super) fn is_no_write(unit: &Unit, transfer: Transfer, data_out: u32) -> bool {
    transfer.data_out < data_out
        && (!transfer.data_out.is_multiple_of(unit.capabilities.block_size) || transfer.data_in > 0)
}

impl Plan {
    #[inline]
    pub(super) fn read(unit: &Unit, cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        let (lba, blocks, fua) = transfer_fields(unit, cdb)?;
        let block_size = unit.capabilities.block_size;
        // The initiator may have room for less: blocks that it would see nothing of aren't read.
        let wanted = blocks.min(transfer.data_in.div_ceil(block_size));
        let data_in = blocks * block_size;
        if wanted == 0 {
            return Ok(Self { data_in, ..Self::nothing() });
        }
        let flush_first = fua && unit.capabilities.volatile_cache;
        let work = Work::Read(Read { lba, blocks: wanted, flush_first });
        Ok(Self { work, hold: Hold::shared(lba, u64::from(wanted)), data_out: 0, data_in })
    }

    #[inline]
    pub(super) fn write(unit: &Unit, cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        let (lba, blocks, fua) = transfer_fields(unit, cdb)?;
        if blocks == 0 {
            return Ok(Self::nothing());
        }
        let data_out = blocks * unit.capabilities.block_size;
        if is_no_write(unit, transfer, data_out) {
            return Ok(Self::refused_with_residual(unit, data_out));
        }
        let work = Work::Write(Write { lba, blocks, fua });
        Ok(Self { work, hold: Hold::shared(lba, u64::from(blocks)), data_out, data_in: 0 })
    }

    /// Nothing of such a write is written, and the initiator is told so; the residual still says how much it announced too
    /// little.
    #[cold]
    pub(super) fn refused_with_residual(unit: &Unit, data_out: u32) -> Self {
        let completion = unit.check_condition(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
        Self { work: Work::Ended(completion), hold: Hold::NONE, data_out, data_in: 0 }
    }

    pub(super) fn prefetch(unit: &Unit, cdb: &[u8; 16]) -> Result<Self, Sense> {
        let (lba, blocks) = blocks_to_end(unit, cdb)?;
        let most = PREFETCH / u64::from(unit.capabilities.block_size);
        let work = Prefetch { lba, blocks: blocks.min(most), cut: blocks > most };
        Ok(Self::without_data(Work::Prefetch(work)))
    }
}

/// LOGICAL BLOCK ADDRESS, TRANSFER LENGTH and FUA.
#[inline]
fn transfer_fields(unit: &Unit, cdb: &[u8; 16]) -> Result<(u64, u32, bool), Sense> {
    if cdb[0] >> 5 == 0 {
        return six_byte_fields(unit, cdb);
    }
    let (lba, blocks) = blocks_on_medium(unit, cdb)?;
    check_transfer(unit, cdb, blocks)?;
    Ok((lba, blocks, cdb[1] & FUA != 0))
}

/// SBC-3 5.7: a TRANSFER LENGTH of 0 in a 6-byte CDB means 256; there is no FUA.
fn six_byte_fields(unit: &Unit, cdb: &[u8; 16]) -> Result<(u64, u32, bool), Sense> {
    let (lba, blocks) = match cdb::range(cdb) {
        (lba, 0) => (lba, 256),
        fields => fields,
    };
    super::check_range(unit, lba, u64::from(blocks))?;
    check_transfer(unit, cdb, blocks)?;
    Ok((lba, blocks, false))
}
