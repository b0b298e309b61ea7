//! REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.34, 6.36).

use crate::cdb::{be16, be32};
use crate::commands::{Row, TABLE};
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::Unit;

pub(crate) fn operation_codes(unit: &Unit, cdb: &[u8; 16], buffer: &mut [u8]) -> Result<u32, Sense> {
    let timeouts = cdb[2] & 0x80 != 0;
    let (opcode, service_action) = (cdb[3], be16(cdb, 4));
    let mut reply = Reply::new(buffer, be32(cdb, 6) as usize);
    // SPC-4 table 282: REPORTING OPTIONS.
    match cdb[2] & 0x07 {
        0b000 => all_commands(unit, timeouts, &mut reply),
        0b001 => {
            let row = supported(unit).find(|row| row.opcode() == opcode);
            if row.is_some_and(|row| row.service_action.is_some()) {
                return Err(Sense::cdb(2, 2));
            }
            one_command(unit, row, timeouts, &mut reply);
        }
        0b010 => {
            let mut rows = supported(unit).filter(|row| row.opcode() == opcode).peekable();
            if rows.peek().is_some_and(|row| row.service_action.is_none()) {
                return Err(Sense::cdb(2, 2));
            }
            let row = rows.find(|row| row.service_action == Some(service_action));
            one_command(unit, row, timeouts, &mut reply);
        }
        0b011 => {
            let row =
                supported(unit).find(|row| row.opcode() == opcode && row.service_action.unwrap_or(0) == service_action);
            one_command(unit, row, timeouts, &mut reply);
        }
        _ => return Err(Sense::cdb(2, 2)),
    }
    Ok(reply.finish())
}

fn supported(unit: &Unit) -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(|row| row.is_supported(&unit.capabilities, &unit.limits))
}

/// SPC-4 6.34.2.
fn all_commands(unit: &Unit, timeouts: bool, reply: &mut Reply<'_>) {
    reply.u32(0);
    for row in supported(unit) {
        reply.u8(row.opcode());
        reply.u8(0);
        reply.u16(row.service_action.unwrap_or(0));
        reply.u8(0);
        // CTDP and SERVACTV.
        reply.u8(u8::from(timeouts) << 1 | u8::from(row.service_action.is_some()));
        reply.u16(u16::from(row.length));
        if timeouts {
            timeouts_descriptor(row, reply);
        }
    }
    let len = (reply.len() - 4) as u32;
    reply.patch(0, &len.to_be_bytes());
}

/// SPC-4 6.34.3.
fn one_command(unit: &Unit, row: Option<&Row>, timeouts: bool, reply: &mut Reply<'_>) {
    // SUPPORT 001b: not supported; 011b: as the standard has it.
    let Some(row) = row else {
        reply.put(&[0, 0x01, 0, 0]);
        return;
    };
    reply.u8(0);
    reply.u8(u8::from(timeouts) << 7 | 0x03);
    reply.u16(u16::from(row.length));
    reply.put(&row.usage(&unit.capabilities)[..usize::from(row.length)]);
    if timeouts {
        timeouts_descriptor(row, reply);
    }
}

/// SPC-4 6.34.4.
fn timeouts_descriptor(row: &Row, reply: &mut Reply<'_>) {
    reply.u16(0x000a);
    reply.u16(0);
    reply.u32(0); // NOMINAL COMMAND PROCESSING TIMEOUT: not indicated
    reply.u32(row.timeout);
}

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET and TARGET RESET (ATS, ATSS, CTSS, LURS, TRS); CLEAR
/// ACA isn't, for want of ACA.
const FUNCTIONS: u8 = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;

pub(crate) fn task_management_functions(cdb: &[u8; 16], buffer: &mut [u8]) -> u32 {
    let extended = cdb[2] & 0x80 != 0;
    let mut reply = Reply::new(buffer, be32(cdb, 6) as usize);
    reply.put(&[FUNCTIONS, 0, 0]);
    if extended {
        // SPC-4 table 293: ADDITIONAL DATA LENGTH; no timeouts are stated (TMFTMOV 0).
        reply.u8(0x0c);
        reply.zeros(12);
    } else {
        reply.u8(0);
    }
    reply.finish()
}
