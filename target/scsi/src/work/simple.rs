//! Commands without I/O: what they answer is known at once.

use super::{Context, Next};
use crate::capacity;
use crate::cdb::be32;
use crate::commands::Command;
use crate::contract::{Buffers, Completion};
use crate::inquiry;
use crate::mode::mode_sense;
use crate::ports;
use crate::reply::Reply;
use crate::report;
use crate::sense::Sense;
use crate::unit::Attention;
use portable_atomic::Ordering;

/// A command without I/O.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Simple {
    command: Command,
    cdb: [u8; 16],
}

impl Simple {
    pub(super) fn new(command: Command, cdb: &[u8; 16]) -> Self {
        Self { command, cdb: *cdb }
    }

    pub(super) fn step(&self, context: &mut Context<'_>) -> Result<Next, Sense> {
        let (unit, identity, cdb) = (context.unit, context.identity, &self.cdb);
        let Buffers { reply, .. } = &mut context.buffers;
        let len = match self.command {
            Command::Inquiry => inquiry::inquiry(unit, identity, cdb, reply)?,
            Command::ModeSense => mode_sense(unit, cdb, reply)?,
            Command::ReadCapacity10 => capacity::read_capacity_10(unit, reply),
            Command::ReadCapacity16 => capacity::read_capacity_16(unit, cdb, reply),
            Command::ReportSupportedOperationCodes => report::operation_codes(unit, cdb, reply)?,
            Command::ReportSupportedTaskManagementFunctions => report::task_management_functions(cdb, reply),
            Command::ReportTargetPortGroups => ports::report_target_port_groups(identity, cdb, reply)?,
            Command::RequestSense => request_sense(context, cdb),
            _ => return Ok(Next::End(self.state(context))),
        };
        Ok(Next::End(Completion::reply(len)))
    }

    /// Commands that change what the unit remembers, or nothing at all.
    fn state(&self, context: &Context<'_>) -> Completion {
        match self.command {
            Command::Reserve if !context.unit.reservation.take(context.nexus) => {
                return Completion::RESERVATION_CONFLICT;
            }
            // SPC-2 7.22: from someone who hasn't the reservation it is no error, and does nothing.
            Command::Release => context.unit.reservation.release(context.nexus),
            Command::PreventAllowMediumRemoval => {
                if let Some(own) = context.own() {
                    own.prevents_removal.store(self.cdb[4] & 0x01 != 0, Ordering::Release);
                }
            }
            // TEST UNIT READY: that it isn't stopped was looked at before.
            _ => {}
        }
        Completion::GOOD
    }
}

/// REQUEST SENSE (SPC-4 6.39): a pending unit attention condition, or how ready the unit is; in the format that DESC
/// asks for.
fn request_sense(context: &mut Context<'_>, cdb: &[u8; 16]) -> u32 {
    let attention = context.own().and_then(|own| own.take_attention());
    let sense = attention.unwrap_or(if context.unit.absent {
        Sense::NOT_READY
    } else if context.unit.stopped.load(Ordering::Acquire) {
        Sense::INITIALIZING_COMMAND_REQUIRED
    } else {
        Sense::NO_SENSE
    });
    let mut reply = Reply::new(context.buffers.reply, usize::from(cdb[4]));
    reply.put(sense.encode(cdb[1] & 0x01 != 0).as_slice());
    reply.finish()
}

/// REPORT LUNS with the target's inventory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inventory {
    /// One bit a LUN.
    luns: [u64; 4],
    allocation_length: u32,
    select: u8,
}

impl Inventory {
    pub(super) fn new(cdb: &[u8; 16], luns: &[u16]) -> Self {
        let mut bits = [0; 4];
        for lun in luns {
            if let Some(word) = bits.get_mut(usize::from(*lun >> 6)) {
                *word |= 1 << (lun & 0x3f);
            }
        }
        Self { luns: bits, allocation_length: be32(cdb, 6), select: cdb[2] }
    }

    fn iter(&self) -> impl Iterator<Item = u16> + Clone {
        let luns = self.luns;
        (0..=255).filter(move |lun: &u16| luns[usize::from(lun >> 6)] >> (lun & 0x3f) & 1 != 0)
    }
}

pub(super) fn report_luns(inventory: &Inventory, context: &mut Context<'_>) -> Result<Next, Sense> {
    let (select, length) = (inventory.select, inventory.allocation_length);
    let len = capacity::report_luns(select, length, inventory.iter(), context.buffers.reply)?;
    // SPC-4 6.33: the initiator knows now what the unit attention would have told it.
    if let Some(nexus) = context.own() {
        nexus.forget(Attention::InventoryChanged);
    }
    Ok(Next::End(Completion { inventory_reported: true, ..Completion::reply(len) }))
}
