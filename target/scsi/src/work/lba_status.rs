//! GET LBA STATUS (SBC-3 5.5): what is mapped and what is a hole, as the backend tells it.

use super::{Context, Next, Plan, Work};
use crate::cdb::{be32, be64};
use crate::contract::{Completion, Outcome, Step};
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::Unit;

/// Bytes of the parameter data header, and of a descriptor.
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;
/// Questions to the backend for one command: bounds its time where the extents are many.
const QUESTIONS: u16 = 256;

/// GET LBA STATUS on its way. Finished descriptors wait in the scratch buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LbaStatus {
    lba: u64,
    allocation_length: u32,
    finished: u16,
    questions: u16,
    /// The descriptor that grows.
    extent: Option<Extent>,
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    lba: u64,
    blocks: u32,
    mapped: bool,
}

impl LbaStatus {
    pub(super) fn step(&mut self, context: &mut Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        let all = context.unit.blocks();
        if let Outcome::Extent { mapped, blocks } = outcome {
            let blocks = blocks.clamp(1, self.most(all)) as u32;
            self.take(context, Extent { lba: self.lba, blocks, mapped });
            self.lba += u64::from(blocks);
        }
        let full = self.finished >= self.room(context);
        if self.lba < all && self.questions < QUESTIONS && !full {
            self.questions += 1;
            return Ok(Next::Io(Step::Extent { lba: self.lba, blocks: self.most(all) }));
        }
        Ok(Next::End(Completion::reply(self.reply(context))))
    }

    /// Blocks left, as many as a descriptor can tell.
    fn most(&self, all: u64) -> u64 {
        // At least one: the unit may have become smaller meanwhile.
        all.saturating_sub(self.lba).clamp(1, u64::from(u32::MAX))
    }

    /// Descriptors that fit in the answer.
    fn room(&self, context: &Context<'_>) -> u16 {
        let asked = (self.allocation_length as usize).saturating_sub(HEADER) / DESCRIPTOR;
        let kept = context.buffers.scratch.len() / DESCRIPTOR;
        asked.min(kept).clamp(1, usize::from(QUESTIONS) - 1) as u16
    }

    /// Joins `next` with what is there, where it goes on in the same state.
    fn take(&mut self, context: &mut Context<'_>, next: Extent) {
        let Some(extent) = &mut self.extent else {
            self.extent = Some(next);
            return;
        };
        match extent.blocks.checked_add(next.blocks) {
            Some(blocks) if extent.mapped == next.mapped => extent.blocks = blocks,
            _ => {
                let done = core::mem::replace(extent, next);
                self.finish(context, done);
            }
        }
    }

    fn finish(&mut self, context: &mut Context<'_>, extent: Extent) {
        let at = usize::from(self.finished) * DESCRIPTOR;
        if let Some(room) = context.buffers.scratch.get_mut(at..at + DESCRIPTOR) {
            room.copy_from_slice(&extent.descriptor());
            self.finished += 1;
        }
    }

    fn reply(&mut self, context: &mut Context<'_>) -> u32 {
        let room = self.room(context);
        if let Some(extent) = self.extent.take()
            && self.finished < room
        {
            self.finish(context, extent);
        }
        let descriptors = &context.buffers.scratch[..usize::from(self.finished) * DESCRIPTOR];
        let mut reply = Reply::new(context.buffers.reply, self.allocation_length as usize);
        // PARAMETER DATA LENGTH doesn't count itself.
        reply.u32((descriptors.len() + HEADER - 4) as u32);
        reply.u32(0);
        reply.put(descriptors);
        reply.finish()
    }
}

impl Extent {
    /// SBC-3 table 51: PROVISIONING STATUS 0 = mapped, 1 = deallocated.
    fn descriptor(&self) -> [u8; DESCRIPTOR] {
        let mut bytes = [0; DESCRIPTOR];
        bytes[..8].copy_from_slice(&self.lba.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.blocks.to_be_bytes());
        bytes[12] = u8::from(!self.mapped);
        bytes
    }
}

impl Plan {
    pub(super) fn lba_status(unit: &Unit, cdb: &[u8; 16]) -> Result<Self, Sense> {
        let lba = be64(cdb, 2);
        if lba >= unit.blocks() {
            return Err(Sense::LBA_OUT_OF_RANGE.with_information(lba));
        }
        let work = LbaStatus { lba, allocation_length: be32(cdb, 10), finished: 0, questions: 0, extent: None };
        Ok(Self::without_data(Work::LbaStatus(work)))
    }
}
