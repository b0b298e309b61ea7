//! MODE SELECT(6) and (10) (SPC-4 6.9, 6.10).

use super::sense::check_block_descriptor;
use super::{Flag, PAGES, Page, Values};
use crate::cdb::{be16, u8_at};
use crate::contract::{Completion, Outcome, Step};
use crate::sense::Sense;
use crate::unit::{Attention, Unit};
use crate::work::{Context, Next};

/// PARAMETER LIST LENGTH, in bytes.
pub(crate) fn parameter_list_length(cdb: &[u8; 16]) -> u32 {
    if cdb[0] == 0x55 { u32::from(be16(cdb, 7)) } else { u32::from(cdb[4]) }
}

/// MODE SELECT on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModeSelect {
    cdb: [u8; 16],
    flushing: bool,
}

impl ModeSelect {
    pub(crate) fn new(cdb: &[u8; 16]) -> Self {
        Self { cdb: *cdb, flushing: false }
    }

    pub(crate) fn step(&mut self, context: &mut Context<'_>, _: Outcome) -> Result<Next, Sense> {
        if self.flushing {
            return Ok(Next::End(Completion::GOOD));
        }
        let length = parameter_list_length(&self.cdb) as usize;
        // SPC-4 6.9: a length of zero is no error.
        if length == 0 {
            return Ok(Next::End(Completion::GOOD));
        }
        let list = context.buffers.data_out.get(..length).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
        // Without PF only the header and block descriptors would have a meaning that is known here.
        if self.cdb[1] & 0x10 == 0 {
            return Err(Sense::cdb(1, 4));
        }
        let change = parse(context.unit, list, self.cdb[0] == 0x55)?;
        let changed = context.unit.modes.change(change.mask, change.flags);
        if changed == 0 {
            return Ok(Next::End(Completion::GOOD));
        }
        // SPC-4 5.14: the other I_T nexuses are told.
        context.attention_for_others(Attention::ModeParametersChanged);
        // SBC-3 6.4.5: what sits in the cache is written when WCE is cleared. It is cleared first, so that no write
        // slips in between.
        if changed & !change.flags & Flag::Wce as u8 != 0 {
            self.flushing = true;
            return Ok(Next::Io(Step::Flush));
        }
        Ok(Next::End(Completion::GOOD))
    }
}

/// The flags that a parameter list speaks of, and their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    mask: u8,
    flags: u8,
}

/// Checks the whole list before anything of it counts.
fn parse(unit: &Unit, list: &[u8], long: bool) -> Result<Change, Sense> {
    let header_len = if long { 8 } else { 4 };
    if list.len() < header_len {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    let descriptor_len = if long { usize::from(be16(list, 6)) } else { usize::from(u8_at(list, 3)) };
    let pages_at = header_len + descriptor_len;
    let descriptor = list.get(header_len..pages_at).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    // LONGLBA tells descriptors of 16 bytes from two of 8.
    let expected = if long && list[4] & 0x01 != 0 { 16 } else { 8 };
    if descriptor_len != 0 && descriptor_len != expected {
        return Err(Sense::parameter(if long { 6 } else { 3 }));
    }
    check_block_descriptor(unit, descriptor, header_len as u16)?;

    let mut change = Change { mask: 0, flags: 0 };
    let mut at = pages_at;
    while at < list.len() {
        let (page, bytes) = page_at(list, at)?;
        let current = unit.modes.render(page, Values::Current);
        let changeable = unit.modes.render(page, Values::Changeable);
        for i in 2..page.len() {
            // SPC-4 6.9: a field that can't be changed has to keep its value.
            if (bytes[i] ^ current[i]) & !changeable[i] != 0 {
                return Err(Sense::parameter((at + i) as u16));
            }
        }
        change.mask |= page.flags();
        change.flags = change.flags & !page.flags() | page.flags_in(bytes);
        at += page.len();
    }
    Ok(change)
}

/// The page that begins at `at`: its row, and its bytes.
fn page_at(list: &[u8], at: usize) -> Result<(&'static Page, &[u8]), Sense> {
    let header = list.get(at..at + 2).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    // SPF: there are no subpages. PS is reserved here.
    let known = PAGES.iter().find(|page| page.code() == header[0]);
    let page = known.ok_or(Sense::parameter(at as u16))?;
    if header[1] != page.fixed[1] {
        return Err(Sense::parameter(at as u16 + 1));
    }
    let bytes = list.get(at..at + page.len()).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    Ok((page, bytes))
}
