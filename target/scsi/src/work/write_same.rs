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
    lba: u64,
    blocks: u64,
    unmap: bool,
    /// Zeros are written, whatever block comes.
    zeros: bool,
    /// Blocks of the pattern in the scratch buffer.
    filled: u64,
    flushing: bool,
}

impl WriteSame {
    pub(super) fn step(&mut self, context: &mut Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        if self.flushing {
            return Ok(Next::End(Completion::GOOD));
        }
        if outcome == Outcome::Start {
            let size = context.block_size();
            let block = if self.zeros {
                &[]
            } else {
                context.buffers.data_out.get(..size).ok_or(Sense::INVALID_FIELD_IN_CDB)?
            };
            // SBC-3 5.42: UNMAP only where what is read afterwards is the block: zeros.
            if is_zero(block) {
                let (lba, blocks) = (self.lba, self.blocks);
                self.blocks = 0;
                return Ok(Next::Io(Step::Zero { lba, blocks, unmap: self.unmap }));
            }
            self.filled = fill(context.buffers.scratch, block, self.blocks);
        }
        let blocks = self.blocks.min(self.filled);
        if blocks == 0 {
            return Ok(self.finish(context));
        }
        let lba = self.lba;
        self.lba += blocks;
        self.blocks -= blocks;
        Ok(Next::Io(Step::WriteScratch { lba, blocks: blocks as u32, fua: false }))
    }

    /// One flush makes all pieces durable, where WCE = 0 asks for it.
    fn finish(&mut self, context: &Context<'_>) -> Next {
        if context.unit.must_be_durable(false) {
            self.flushing = true;
            return Next::Io(Step::Flush);
        }
        Next::End(Completion::GOOD)
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Repeats `block` in `scratch` as often as there is room, at most `most` times.
fn fill(scratch: &mut [u8], block: &[u8], most: u64) -> u64 {
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
            flushing: false,
        });
        Ok(Self { work, hold: Hold::shared(lba, blocks), data_out, data_in: 0 })
    }
}
