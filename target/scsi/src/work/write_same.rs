//! WRITE SAME(10) and (16) (SBC-3 5.42 f.).

use super::{Context, Next, Plan, Work, blocks_to_end, length_field, refuse_write};
use crate::cdb;
use crate::contract::{Completion, Outcome, Step, Transfer};
use crate::range::Hold;
use crate::sense::Sense;
use crate::unit::Unit;

/// WRITE SAME on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteSame {
    /// What is left.
    lba: u64,
    blocks: u64,
    unmap: bool,
    /// Zeros are written, whatever block comes.
    zeros: bool,
    /// Blocks of the pattern in the scratch buffer.
    filled: u32,
    /// Blocks of the next step; 0 for the flush at the end.
    piece: u32,
}

impl WriteSame {
    pub(super) fn step(&mut self, context: &Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        match outcome {
            // SBC-3 5.42: UNMAP only where what is read afterwards is the block: zeros.
            Outcome::Start => self.zeros = self.zeros || is_zero(block(context)?),
            // It was the flush.
            _ if self.piece == 0 => return Ok(Next::End(Completion::GOOD)),
            _ => {
                self.lba += u64::from(self.piece);
                self.blocks -= u64::from(self.piece);
            }
        }
        let most = match (self.zeros, self.unmap) {
            (true, true) => context.unmap_blocks(self.lba, self.blocks),
            (true, false) => context.piece_blocks().into(),
            (false, _) => context.scratch_blocks().into(),
        };
        self.piece = self.blocks.min(most) as u32;
        if self.piece > 0 {
            return Ok(Next::Piece(Hold::shared(self.lba, self.piece.into())));
        }
        // One flush makes all pieces durable, where WCE = 0 asks for it.
        if context.unit.must_be_durable(false) {
            return Ok(Next::Piece(Hold::NONE));
        }
        Ok(Next::End(Completion::GOOD))
    }

    pub(super) fn piece(&mut self, context: &mut Context<'_>, again: bool) -> Result<Step, Sense> {
        let Self { lba, piece: blocks, unmap, .. } = *self;
        if blocks == 0 {
            return Ok(Step::Flush);
        }
        if self.zeros {
            return Ok(Step::Zero { lba, blocks: blocks.into(), unmap });
        }
        if again || self.filled < blocks {
            let block = block(context)?;
            self.filled = fill(context.buffers.scratch, block, blocks);
        }
        Ok(Step::WriteScratch { lba, blocks, fua: false })
    }
}

/// The block that is repeated.
fn block<'a>(context: &Context<'a>) -> Result<&'a [u8], Sense> {
    context.buffers.data_out.get(..context.block_size()).ok_or(Sense::INVALID_FIELD_IN_CDB)
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Repeats `block` in `scratch` as often as there is room, at most `most` times.
fn fill(scratch: &mut [u8], block: &[u8], most: u32) -> u32 {
    let mut filled = 0;
    for room in scratch.chunks_exact_mut(block.len()) {
        if filled == most {
            break;
        }
        room.copy_from_slice(block);
        filled += 1;
    }
    filled
}

impl Plan {
    pub(super) fn write_same(unit: &Unit, cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        let unmap = cdb[1] & 0x08 != 0;
        if unmap && unit.capabilities.unmap.is_none() {
            return Err(refuse_write(unit, Sense::cdb(1, 3)));
        }
        let no_data = cdb[0] == 0x93 && cdb[1] & 0x01 != 0;
        // SBC-3 5.42: 0 blocks reach to the end (if that isn't too many): WSNZ is 0.
        let (lba, blocks) = blocks_to_end(unit, cdb)?;
        // "Give back all from here to the end" has no use for a block: Linux's targets and initiators send and ignore any,
        // and libiscsi's test sends one that is not zeros. With a number of blocks the block counts.
        let to_the_end = cdb::range(cdb).1 == 0;
        if blocks > unit.limits.write_same {
            return Err(Sense::cdb(length_field(cdb[0]), 7));
        }
        let data_out = if no_data { 0 } else { unit.capabilities.block_size };
        // One block, no less and no more.
        if !no_data && transfer.data_out != data_out {
            return Err(refuse_write(unit, Sense::INVALID_FIELD_IN_CDB));
        }
        let work = Work::WriteSame(WriteSame {
            lba,
            blocks,
            unmap,
            zeros: no_data || unmap && to_the_end,
            filled: 0,
            piece: 0,
        });
        Ok(Self { work, hold: Hold::shared(lba, blocks), data_out, data_in: 0 })
    }
}
