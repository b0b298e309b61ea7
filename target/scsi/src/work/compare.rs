//! What compares: VERIFY, WRITE AND VERIFY and COMPARE AND WRITE (SBC-3 5.26 ff., 5.36 ff., 5.2).

use super::transfer::{is_no_write, whole_blocks};
use super::{Context, Next, Plan, Work, blocks_on_medium, check_range, check_transfer, refuse_write};
use crate::cdb;
use crate::contract::{Completion, Outcome, Step, Streaming, Transfer};
use crate::range::Hold;
use crate::sense::Sense;
use crate::unit::Unit;

/// Reads blocks piece by piece into the scratch buffer.
#[derive(Debug, Clone, Copy)]
struct Sweep {
    lba: u64,
    blocks: u32,
    done: u32,
    /// In the scratch buffer, or on their way there.
    piece: u32,
}

impl Sweep {
    fn new(lba: u64, blocks: u32) -> Self {
        Self { lba, blocks, done: 0, piece: 0 }
    }

    /// The next piece, unless all are done.
    fn next(&mut self, context: &Context<'_>) -> Option<Step> {
        self.done += self.piece;
        let left = u64::from(self.blocks - self.done);
        self.piece = left.min(context.scratch_blocks()) as u32;
        let lba = self.lba + u64::from(self.done);
        (self.piece > 0).then_some(Step::ReadScratch { lba, blocks: self.piece })
    }

    /// Compares the piece that was read with the Data-Out Buffer; `repeated` is one block that all have to equal.
    fn compare(&self, context: &Context<'_>, repeated: bool) -> Result<(), Sense> {
        let size = context.block_size();
        let from = if repeated { 0 } else { self.done as usize * size };
        let expected = context.buffers.data_out.get(from..).unwrap_or_default();
        for (index, block) in context.buffers.scratch.chunks_exact(size).take(self.piece as usize).enumerate() {
            let at = if repeated { 0 } else { index * size };
            let expected = expected.get(at..at + size).ok_or(Sense::INVALID_FIELD_IN_CDB)?;
            if let Some(differs) = first_difference(block, expected) {
                // SBC-3 5.2: INFORMATION is the byte of the Data-Out Buffer that differs first.
                let offset = (from + at + differs) as u64;
                return Err(Sense::MISCOMPARE_DURING_VERIFY.with_information(offset));
            }
        }
        Ok(())
    }
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b {
        return None;
    }
    a.iter().zip(b).position(|(a, b)| a != b)
}

/// BYTCHK (SBC-3 table 121).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteCheck {
    /// The medium is read, nothing is compared.
    None,
    /// Every block has its counterpart.
    Each,
    /// All have one counterpart.
    Repeated,
}

/// VERIFY, or WRITE AND VERIFY, on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verify {
    sweep: Sweep,
    check: ByteCheck,
    write_first: bool,
}

impl Verify {
    pub(super) fn step(&mut self, context: &Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        if self.write_first {
            if outcome == Outcome::Start {
                return Ok(self.write(context));
            }
            self.write_first = false;
        } else if self.sweep.piece > 0 && self.check != ByteCheck::None {
            self.sweep.compare(context, self.check == ByteCheck::Repeated)?;
        }
        Ok(self.sweep.next(context).map_or(Next::End(Completion::GOOD), Next::Io))
    }

    fn write(&mut self, context: &Context<'_>) -> Next {
        self.sweep.blocks = self.sweep.blocks.min(whole_blocks(context));
        if self.sweep.blocks == 0 {
            return Next::End(Completion::GOOD);
        }
        // SBC-3 5.36: what is verified is what is on the medium.
        let fua = context.unit.capabilities.volatile_cache;
        Next::Io(Step::Write { lba: self.sweep.lba, blocks: self.sweep.blocks, offset: 0, fua })
    }

    pub(super) fn is_writing(&self) -> bool {
        self.write_first
    }

    /// What is compared with one block, or with none, has nothing to stream.
    pub(crate) fn streaming(&self) -> Option<Streaming> {
        let Sweep { lba, blocks, .. } = self.sweep;
        let compare = self.check == ByteCheck::Each;
        // SBC-3 5.36: what is verified is what is on the medium.
        (self.write_first || compare).then_some(Streaming {
            lba,
            blocks,
            write: self.write_first,
            compare,
            fua: self.write_first,
        })
    }
}

/// COMPARE AND WRITE on its way: it has its blocks alone from its first step to its last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompareAndWrite {
    sweep: Sweep,
    fua: bool,
    writing: bool,
}

impl CompareAndWrite {
    pub(super) fn step(&mut self, context: &Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        if self.writing {
            return Ok(Next::End(Completion::GOOD));
        }
        let Sweep { lba, blocks, .. } = self.sweep;
        let half = blocks as usize * context.block_size();
        if context.buffers.data_out.len() < 2 * half {
            return Err(Sense::INVALID_FIELD_IN_CDB);
        }
        if outcome != Outcome::Start {
            self.sweep.compare(context, false)?;
        }
        if let Some(step) = self.sweep.next(context) {
            return Ok(Next::Io(step));
        }
        self.writing = true;
        let fua = context.unit.must_be_durable(self.fua);
        Ok(Next::Io(Step::Write { lba, blocks, offset: half as u32, fua }))
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing
    }
}

impl Plan {
    pub(super) fn verify(unit: &Unit, cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        let check = match cdb[1] >> 1 & 0b11 {
            0b00 => ByteCheck::None,
            0b01 => ByteCheck::Each,
            0b11 => ByteCheck::Repeated,
            _ => return Err(Sense::cdb(1, 2)),
        };
        let (lba, blocks) = blocks_on_medium(unit, cdb)?;
        let block_size = unit.capabilities.block_size;
        let data_out = match check {
            ByteCheck::None => 0,
            ByteCheck::Each => {
                check_transfer(unit, cdb, blocks)?;
                blocks * block_size
            }
            ByteCheck::Repeated => block_size,
        };
        if blocks == 0 {
            return Ok(Self::nothing());
        }
        // A comparison with data that don't come would be no comparison.
        if transfer.data_out < data_out {
            return Err(Sense::INVALID_FIELD_IN_CDB);
        }
        let work = Work::Verify(Verify { sweep: Sweep::new(lba, blocks), check, write_first: false });
        Ok(Self { work, hold: Hold::shared(lba, u64::from(blocks)), data_out, data_in: 0 })
    }

    pub(super) fn write_and_verify(unit: &Unit, cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        let check = match cdb[1] >> 1 & 0b11 {
            0b00 => ByteCheck::None,
            0b01 => ByteCheck::Each,
            _ => return Err(Sense::cdb(1, 2)),
        };
        let (lba, blocks) = blocks_on_medium(unit, cdb)?;
        check_transfer(unit, cdb, blocks)?;
        if blocks == 0 {
            return Ok(Self::nothing());
        }
        let data_out = blocks * unit.capabilities.block_size;
        if is_no_write(unit, transfer, data_out) {
            return Ok(Self::refused_with_residual(unit, data_out));
        }
        let work = Work::Verify(Verify { sweep: Sweep::new(lba, blocks), check, write_first: true });
        // Alone: another write in between would make it fail.
        Ok(Self { work, hold: Hold::exclusive(lba, u64::from(blocks)), data_out, data_in: 0 })
    }

    pub(super) fn compare_and_write(unit: &Unit, cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        let (lba, blocks) = (cdb::be64(cdb, 2), cdb[13]);
        check_range(unit, lba, u64::from(blocks))?;
        if blocks > unit.limits.compare_and_write {
            return Err(Sense::cdb(13, 7));
        }
        // Twice the blocks, no less and no more: a half that is read as the other would be written. None for none, so
        // that 256 blocks, which are 0 in their 8 bits, aren't taken for a success.
        let data_out = 2 * u32::from(blocks) * unit.capabilities.block_size;
        if transfer.data_out != data_out {
            return Err(refuse_write(unit, Sense::cdb(13, 7)));
        }
        if blocks == 0 {
            return Ok(Self::nothing());
        }
        let sweep = Sweep::new(lba, u32::from(blocks));
        let work = Work::CompareAndWrite(CompareAndWrite { sweep, fua: cdb[1] & 0x0a != 0, writing: false });
        Ok(Self { work, hold: Hold::exclusive(lba, u64::from(blocks)), data_out, data_in: 0 })
    }
}
