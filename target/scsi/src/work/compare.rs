//! What compares: VERIFY, WRITE AND VERIFY and COMPARE AND WRITE (SBC-3 5.26 ff., 5.36 ff., 5.2).

use super::transfer::{is_no_write, whole_blocks};
use super::{Context, Next, Plan, Work, blocks_on_medium, check_range, check_transfer, refuse_write};
use crate::cdb;
use crate::contract::{Completion, Outcome, Step, Streaming, Transfer};
use crate::range::Hold;
use crate::sense::Sense;
use crate::unit::Unit;

/// Reads blocks, as many at a time as the scratch buffer holds.
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

    /// The blocks that were read are done with.
    fn advance(&mut self) {
        self.done += core::mem::take(&mut self.piece);
    }

    const fn left(&self) -> u32 {
        self.blocks - self.done
    }

    /// The first block that is not done.
    fn at(&self) -> u64 {
        self.lba + u64::from(self.done)
    }

    /// Reads the next of them, `most` at most.
    fn read(&mut self, context: &Context<'_>, most: u32) -> Step {
        self.piece = self.left().min(most).min(context.scratch_blocks());
        Step::ReadScratch { lba: self.at(), blocks: self.piece }
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

/// VERIFY, or WRITE AND VERIFY, on its way: it has the blocks of each piece from its write to the end of its comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verify {
    sweep: Sweep,
    check: ByteCheck,
    /// WRITE AND VERIFY.
    writes: bool,
    /// The write of a piece is under way.
    writing: bool,
    /// Blocks of the whole command that were written, or are.
    written: u32,
}

impl Verify {
    fn new(lba: u64, blocks: u32, check: ByteCheck, writes: bool) -> Self {
        Self { sweep: Sweep::new(lba, blocks), check, writes, writing: false, written: 0 }
    }

    pub(super) fn step(&mut self, context: &Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        if outcome == Outcome::Start && self.writes {
            self.sweep.blocks = self.sweep.blocks.min(whole_blocks(context));
        }
        if core::mem::take(&mut self.writing) {
            return Ok(Next::Io(self.read(context)));
        }
        if self.sweep.piece > 0 && self.check != ByteCheck::None {
            self.sweep.compare(context, self.check == ByteCheck::Repeated)?;
        }
        self.sweep.advance();
        let (at, left) = (self.sweep.at(), self.sweep.left());
        if left == 0 {
            return Ok(Next::End(Completion::GOOD));
        }
        if self.sweep.done < self.written {
            return Ok(Next::Io(self.read(context)));
        }
        Ok(Next::Piece(match self.writes {
            // Exclusively: another write in between would make it fail.
            true => Hold::exclusive(at, left.min(context.piece_blocks()).into()),
            false => Hold::shared(at, left.min(context.scratch_blocks()).into()),
        }))
    }

    pub(super) fn piece(&mut self, context: &Context<'_>) -> Step {
        if !self.writes {
            return self.sweep.read(context, u32::MAX);
        }
        let Sweep { done, .. } = self.sweep;
        let blocks = self.sweep.left().min(context.piece_blocks());
        (self.writing, self.written) = (true, done + blocks);
        let offset = done * context.unit.capabilities.block_size;
        // SBC-3 5.36: what is verified is what is on the medium.
        let fua = context.unit.capabilities.volatile_cache;
        Step::Write { lba: self.sweep.at(), blocks, offset, fua }
    }

    /// Reads what was written.
    fn read(&mut self, context: &Context<'_>) -> Step {
        let most = self.written - self.sweep.done;
        self.sweep.read(context, most)
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing
    }

    /// What is compared with one block, or with none, has nothing to stream.
    pub(crate) fn streaming(&self) -> Option<Streaming> {
        let Sweep { lba, blocks, .. } = self.sweep;
        let compare = self.check == ByteCheck::Each;
        // SBC-3 5.36: what is verified is what is on the medium.
        (self.writes || compare).then_some(Streaming { lba, blocks, write: self.writes, compare, fua: self.writes })
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
        self.sweep.advance();
        if self.sweep.left() > 0 {
            return Ok(Next::Io(self.sweep.read(context, u32::MAX)));
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
        let work = Work::Verify(Verify::new(lba, blocks, check, false));
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
        let work = Work::Verify(Verify::new(lba, blocks, check, true));
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
