//! UNMAP (SBC-3 5.25).

use super::{Context, Next, Plan, Work, check_range, refuse_write};
use crate::cdb::{be16, be32, be64};
use crate::contract::{Completion, Outcome, Step, Transfer};
use crate::range::Hold;
use crate::sense::Sense;
use crate::unit::Unit;

/// Bytes of the parameter list header, and of a block descriptor.
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;

/// UNMAP on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unmap {
    /// PARAMETER LIST LENGTH.
    length: u16,
    descriptors: u16,
    next: u16,
    /// What is left of the range that is under way.
    lba: u64,
    blocks: u64,
    /// Blocks of the next step; 0 for a flush.
    piece: u64,
}

impl Unmap {
    /// Checks the whole list before anything of it is done.
    fn prepare(&mut self, context: &Context<'_>) -> Result<(), Sense> {
        let list =
            context.buffers.data_out.get(..usize::from(self.length)).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
        let descriptors = descriptors(context.unit, list)?;
        for bytes in descriptors.clone() {
            let (lba, blocks) = fields(bytes);
            check_range(context.unit, lba, blocks)?;
        }
        self.descriptors = descriptors.count() as u16;
        Ok(())
    }

    pub(super) fn step(&mut self, context: &Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        match outcome {
            Outcome::Start => self.prepare(context)?,
            // It was the flush.
            _ if self.piece == 0 => return Ok(Next::End(Completion::GOOD)),
            _ => {
                self.lba += self.piece;
                self.blocks -= self.piece;
            }
        }
        if self.blocks == 0
            && let Some(run) = self.next_run(context.buffers.data_out)?
        {
            (self.lba, self.blocks) = run;
        }
        self.piece = context.unmap_blocks(self.lba, self.blocks);
        if self.piece > 0 {
            return Ok(Next::Piece(Hold::shared(self.lba, self.piece)));
        }
        if self.descriptors > 0 && context.unit.must_be_durable(false) {
            return Ok(Next::Piece(Hold::NONE));
        }
        Ok(Next::End(Completion::GOOD))
    }

    pub(super) fn piece(&self) -> Step {
        match self.piece {
            0 => Step::Flush,
            blocks => Step::Unmap { lba: self.lba, blocks },
        }
    }

    /// The next descriptors that lie next to each other or overlap, upwards or downwards, as one range: less for the backend to do,
    /// and more of it whole granules. (An SD card takes as long to erase one block as to erase thousands.)
    fn next_run(&mut self, data_out: &[u8]) -> Result<Option<(u64, u64)>, Sense> {
        let mut run: Option<(u64, u64)> = None;
        while self.next < self.descriptors {
            let at = HEADER + usize::from(self.next) * DESCRIPTOR;
            // The list was there when it was checked; a driver that takes it away gets an error.
            let bytes = data_out.get(at..at + DESCRIPTOR).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
            let (lba, blocks) = fields(bytes);
            // The check has seen to it that no sum is too large.
            let (first, end) = run.map_or((lba, lba), |(first, blocks)| (first, first + blocks));
            if blocks > 0 {
                if run.is_some() && (lba > end || lba + blocks < first) {
                    break;
                }
                let (first, end) = (first.min(lba), end.max(lba + blocks));
                run = Some((first, end - first));
            }
            self.next += 1;
        }
        Ok(run)
    }
}

/// The block descriptors of a parameter list (SBC-3 table 113).
fn descriptors<'a>(unit: &Unit, list: &'a [u8]) -> Result<core::slice::ChunksExact<'a, u8>, Sense> {
    if list.is_empty() {
        return Ok(list.chunks_exact(DESCRIPTOR));
    }
    if list.len() < HEADER {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    let length = usize::from(be16(list, 2));
    let bytes = list.get(HEADER..HEADER + length).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    // SBC-3 5.25.2: a last descriptor that isn't whole is ignored.
    let descriptors = bytes.chunks_exact(DESCRIPTOR);
    if descriptors.len() > unit.limits.unmap_descriptors as usize {
        return Err(Sense::parameter(2));
    }
    Ok(descriptors)
}

/// UNMAP LOGICAL BLOCK ADDRESS, NUMBER OF LOGICAL BLOCKS.
fn fields(descriptor: &[u8]) -> (u64, u64) {
    (be64(descriptor, 0), u64::from(be32(descriptor, 8)))
}

impl Plan {
    pub(super) fn unmap(unit: &Unit, cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        let length = be16(cdb, 7);
        if transfer.data_out < u32::from(length) {
            return Err(refuse_write(unit, Sense::PARAMETER_LIST_LENGTH_ERROR));
        }
        let work = Work::Unmap(Unmap { length, descriptors: 0, next: 0, lba: 0, blocks: 0, piece: 0 });
        Ok(Self { data_out: u32::from(length), ..Self::without_data(work) })
    }
}
