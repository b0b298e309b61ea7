//! The one table of commands: what it lists is dispatched, is checked for reserved bits, and is reported by
//! REPORT SUPPORTED OPERATION CODES; what it doesn't list doesn't exist.

use crate::capabilities::{Capabilities, Limits};
use crate::sense::Sense;

/// What stands for a CDB that is longer than sixteen bytes: of its operation code (SPC-4 table E.2: variable length CDB) there is
/// no command here, so that it is refused as such.
pub const LONG_CDB: [u8; 16] = [0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    TestUnitReady,
    RequestSense,
    Read,
    Write,
    Inquiry,
    ModeSelect,
    Reserve,
    Release,
    ModeSense,
    StartStopUnit,
    PreventAllowMediumRemoval,
    ReadCapacity10,
    WriteAndVerify,
    Verify,
    Prefetch,
    SynchronizeCache,
    WriteSame,
    Unmap,
    CompareAndWrite,
    ReadCapacity16,
    GetLbaStatus,
    ReportLuns,
    ReportTargetPortGroups,
    ReportSupportedOperationCodes,
    ReportSupportedTaskManagementFunctions,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// As the standards call it.
    pub name: &'static str,
    pub command: Command,
    /// Bytes in the CDB.
    pub length: u8,
    /// SPC-4 6.34.3 CDB USAGE DATA: the operation code, the service action, and a 1 for each bit that is evaluated.
    pub usage: [u8; 16],
    /// SERVICE ACTION, where the operation code has them.
    pub service_action: Option<u16>,
    /// RECOMMENDED COMMAND TIMEOUT in seconds; 0 = none is stated.
    pub timeout: u32,
    flags: u8,
    /// The bits that may be set, as the CDB lies in memory.
    allowed: u128,
}

/// Allowed though another I_T nexus has the reservation (SPC-2 table 9, SBC-3 table 13).
const SHARED: u8 = 1;
/// Changes the medium.
const WRITES: u8 = 2;
/// Needs a unit that isn't stopped.
const MEDIUM: u8 = 4;
/// A pending unit attention condition stays (SAM-5 5.14).
const PASSES: u8 = 8;

/// Seconds; nothing that isn't bounded by the amount of data takes longer.
const QUICK: u32 = 10;
const TRANSFER: u32 = 30;
const LONG: u32 = 120;

const G: u8 = 0x1f; // GROUP NUMBER: a hint that is taken and not used
const F: u8 = 0xff;

const fn row(name: &'static str, command: Command, flags: u8, timeout: u32, cdb: &[u8], sa: Option<u16>) -> Row {
    let mut usage = [0; 16];
    // What follows the CDB in iSCSI's 16 bytes is of no concern.
    let mut allowed = [0xff; 16];
    let mut i = 0;
    while i < cdb.len() {
        usage[i] = cdb[i];
        allowed[i] = cdb[i];
        i += 1;
    }
    allowed[0] = 0xff;
    if sa.is_some() {
        allowed[1] |= 0x1f;
    }
    Row {
        name,
        command,
        length: cdb.len() as u8,
        usage,
        service_action: sa,
        timeout,
        flags,
        allowed: u128::from_ne_bytes(allowed),
    }
}

/// In ascending order of operation code, then service action.
#[rustfmt::skip]
pub(crate) static TABLE: [Row; TABLE_LEN] = {
    use Command::*;
    [
        row("TEST UNIT READY", TestUnitReady, MEDIUM, QUICK, &[0x00, 0, 0, 0, 0, 0], None),
        row("REQUEST SENSE", RequestSense, SHARED | PASSES, QUICK, &[0x03, 0x01, 0, 0, F, 0], None),
        row("READ(6)", Read, MEDIUM, TRANSFER, &[0x08, 0x1f, F, F, F, 0], None),
        row("WRITE(6)", Write, MEDIUM | WRITES, TRANSFER, &[0x0a, 0x1f, F, F, F, 0], None),
        row("INQUIRY", Inquiry, SHARED | PASSES, QUICK, &[0x12, 0x01, F, F, F, 0], None),
        row("MODE SELECT(6)", ModeSelect, 0, TRANSFER, &[0x15, 0x10, 0, 0, F, 0], None),
        row("RESERVE(6)", Reserve, 0, QUICK, &[0x16, 0, 0, 0, 0, 0], None),
        row("RELEASE(6)", Release, SHARED, QUICK, &[0x17, 0, 0, 0, 0, 0], None),
        row("MODE SENSE(6)", ModeSense, 0, QUICK, &[0x1a, 0x08, F, F, F, 0], None),
        row("START STOP UNIT", StartStopUnit, 0, LONG, &[0x1b, 0x01, 0, 0, 0x05, 0], None),
        row("PREVENT ALLOW MEDIUM REMOVAL", PreventAllowMediumRemoval, 0, QUICK, &[0x1e, 0, 0, 0, 0x01, 0], None),
        row("READ CAPACITY(10)", ReadCapacity10, SHARED, QUICK, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
        row("READ(10)", Read, MEDIUM, TRANSFER, &[0x28, 0x1a, F, F, F, F, G, F, F, 0], None),
        row("WRITE(10)", Write, MEDIUM | WRITES, TRANSFER, &[0x2a, 0x1a, F, F, F, F, G, F, F, 0], None),
        row("WRITE AND VERIFY(10)", WriteAndVerify, MEDIUM | WRITES, TRANSFER, &[0x2e, 0x16, F, F, F, F, G, F, F, 0], None),
        row("VERIFY(10)", Verify, MEDIUM, LONG, &[0x2f, 0x16, F, F, F, F, G, F, F, 0], None),
        row("PRE-FETCH(10)", Prefetch, MEDIUM, TRANSFER, &[0x34, 0x02, F, F, F, F, G, F, F, 0], None),
        row("SYNCHRONIZE CACHE(10)", SynchronizeCache, MEDIUM, LONG, &[0x35, 0x06, F, F, F, F, G, F, F, 0], None),
        row("WRITE SAME(10)", WriteSame, MEDIUM | WRITES, LONG, &[0x41, 0x08, F, F, F, F, G, F, F, 0], None),
        row("UNMAP", Unmap, MEDIUM | WRITES, LONG, &[0x42, 0, 0, 0, 0, 0, G, F, F, 0], None),
        row("MODE SELECT(10)", ModeSelect, 0, TRANSFER, &[0x55, 0x10, 0, 0, 0, 0, 0, F, F, 0], None),
        row("RESERVE(10)", Reserve, 0, QUICK, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
        row("RELEASE(10)", Release, SHARED, QUICK, &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
        row("MODE SENSE(10)", ModeSense, 0, QUICK, &[0x5a, 0x18, F, F, 0, 0, 0, F, F, 0], None),
        row("READ(16)", Read, MEDIUM, TRANSFER, &[0x88, 0x1a, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], None),
        row("COMPARE AND WRITE", CompareAndWrite, MEDIUM | WRITES, TRANSFER, &[0x89, 0x1a, F, F, F, F, F, F, F, F, 0, 0, 0, F, G, 0], None),
        row("WRITE(16)", Write, MEDIUM | WRITES, TRANSFER, &[0x8a, 0x1a, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], None),
        row("WRITE AND VERIFY(16)", WriteAndVerify, MEDIUM | WRITES, TRANSFER, &[0x8e, 0x16, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], None),
        row("VERIFY(16)", Verify, MEDIUM, LONG, &[0x8f, 0x16, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], None),
        row("PRE-FETCH(16)", Prefetch, MEDIUM, TRANSFER, &[0x90, 0x02, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], None),
        row("SYNCHRONIZE CACHE(16)", SynchronizeCache, MEDIUM, LONG, &[0x91, 0x06, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], None),
        row("WRITE SAME(16)", WriteSame, MEDIUM | WRITES, LONG, &[0x93, 0x09, F, F, F, F, F, F, F, F, F, F, F, F, G, 0], None),
        row("READ CAPACITY(16)", ReadCapacity16, SHARED, QUICK, &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0], Some(0x10)),
        row("GET LBA STATUS", GetLbaStatus, MEDIUM, TRANSFER, &[0x9e, 0x12, F, F, F, F, F, F, F, F, F, F, F, F, 0, 0], Some(0x12)),
        row("REPORT LUNS", ReportLuns, SHARED | PASSES, QUICK, &[0xa0, 0, F, 0, 0, 0, F, F, F, F, 0, 0], None),
        row("REPORT TARGET PORT GROUPS", ReportTargetPortGroups, SHARED, QUICK, &[0xa3, 0xea, 0, 0, 0, 0, F, F, F, F, 0, 0], Some(0x0a)),
        row("REPORT SUPPORTED OPERATION CODES", ReportSupportedOperationCodes, SHARED, QUICK, &[0xa3, 0x0c, 0x87, F, F, F, F, F, F, F, 0, 0], Some(0x0c)),
        row("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", ReportSupportedTaskManagementFunctions, SHARED, QUICK, &[0xa3, 0x0d, 0x80, 0, 0, 0, F, F, F, F, 0, 0], Some(0x0d)),
        row("READ(12)", Read, MEDIUM, TRANSFER, &[0xa8, 0x1a, F, F, F, F, F, F, F, F, G, 0], None),
        row("WRITE(12)", Write, MEDIUM | WRITES, TRANSFER, &[0xaa, 0x1a, F, F, F, F, F, F, F, F, G, 0], None),
        row("WRITE AND VERIFY(12)", WriteAndVerify, MEDIUM | WRITES, TRANSFER, &[0xae, 0x16, F, F, F, F, F, F, F, F, G, 0], None),
        row("VERIFY(12)", Verify, MEDIUM, LONG, &[0xaf, 0x16, F, F, F, F, F, F, F, F, G, 0], None),
    ]
};

/// What the standards call the command in `cdb`, for logs; none where it isn't known.
#[must_use]
pub fn command_name(cdb: &[u8; 16]) -> Option<&'static str> {
    Row::of(cdb).ok().map(|row| row.name)
}

/// Where an operation code's first row is; `NONE` for none.
static INDEX: [u8; 256] = {
    let mut index = [NONE; 256];
    let mut i = TABLE_LEN;
    while i > 0 {
        i -= 1;
        index[TABLE[i].usage[0] as usize] = i as u8;
    }
    index
};

const NONE: u8 = u8::MAX;
const TABLE_LEN: usize = 42;

impl Row {
    /// The row of the command in `cdb`.
    ///
    /// # Errors
    /// INVALID COMMAND OPERATION CODE, or INVALID FIELD IN CDB for a service action that isn't there.
    #[inline]
    pub(crate) fn of(cdb: &[u8; 16]) -> Result<&'static Self, Sense> {
        let first = usize::from(INDEX[usize::from(cdb[0])]);
        let row = TABLE.get(first).ok_or(Sense::INVALID_COMMAND_OPERATION_CODE)?;
        if row.service_action.is_none() {
            return Ok(row);
        }
        let wanted = Some(u16::from(cdb[1] & 0x1f));
        let rows = TABLE[first..].iter().take_while(|row| row.opcode() == cdb[0]);
        // SPC-4 4.3.4.2: an unsupported service action is a field of the CDB that is wrong.
        rows.into_iter().find(|row| row.service_action == wanted).ok_or(Sense::cdb(1, 4))
    }

    /// OPERATION CODE.
    pub(crate) fn opcode(&self) -> u8 {
        self.usage[0]
    }

    /// The backend can do what the command needs.
    #[inline]
    pub(crate) fn is_supported(&self, capabilities: &Capabilities, limits: &Limits) -> bool {
        match self.command {
            Command::Unmap | Command::GetLbaStatus => capabilities.unmap.is_some(),
            Command::CompareAndWrite => limits.compare_and_write > 0,
            _ => true,
        }
    }

    /// What a command gets that this unit doesn't have.
    #[cold]
    pub(crate) fn unsupported(&self) -> Sense {
        match self.service_action {
            Some(_) => Sense::cdb(1, 4),
            None => Sense::INVALID_COMMAND_OPERATION_CODE,
        }
    }

    /// CDB USAGE DATA on this unit: without deallocation the UNMAP bit isn't there either.
    pub(crate) fn usage(&self, capabilities: &Capabilities) -> [u8; 16] {
        let mut usage = self.usage;
        if self.command == Command::WriteSame && capabilities.unmap.is_none() {
            usage[1] &= !0x08;
        }
        usage
    }

    /// No reserved bit is set, and not NACA (SAM-5 5.2: NORMACA is zero).
    ///
    /// # Errors
    /// INVALID FIELD IN CDB, pointing at the first such bit.
    #[inline]
    pub(crate) fn check_reserved(&self, cdb: &[u8; 16]) -> Result<(), Sense> {
        let wrong = u128::from_ne_bytes(*cdb) & !self.allowed;
        if wrong == 0 { Ok(()) } else { Err(first_bit(wrong)) }
    }

    #[inline]
    pub(crate) fn writes(&self) -> bool {
        self.flags & WRITES != 0
    }

    #[inline]
    pub(crate) fn needs_medium(&self) -> bool {
        self.flags & MEDIUM != 0
    }

    pub(crate) fn is_read_capacity(&self) -> bool {
        matches!(self.command, Command::ReadCapacity10 | Command::ReadCapacity16)
    }

    #[inline]
    pub(crate) fn passes_unit_attention(&self) -> bool {
        self.flags & PASSES != 0
    }

    /// May be processed though another I_T nexus has the unit reserved.
    pub(crate) fn ignores_reservation(&self, cdb: &[u8; 16]) -> bool {
        match self.command {
            // SPC-2 table 9: PREVENT = 0; SBC-3 table 13: START = 1.
            Command::PreventAllowMediumRemoval => cdb[4] & 0x01 == 0,
            Command::StartStopUnit => cdb[4] & 0x01 == 1,
            _ => self.flags & SHARED != 0,
        }
    }
}

#[cold]
fn first_bit(wrong: u128) -> Sense {
    let bytes = wrong.to_ne_bytes();
    let byte = bytes.iter().position(|b| *b != 0).unwrap_or(0);
    Sense::cdb(byte as u16, 7 - bytes[byte].leading_zeros() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_complete() {
        for pair in TABLE.windows(2) {
            let key = |row: &Row| (row.opcode(), row.service_action);
            assert!(key(&pair[0]) < key(&pair[1]), "{} before {}", pair[0].name, pair[1].name);
        }
        for row in &TABLE {
            // SPC-4 4.2.5.1: the group code tells the CDB's length.
            let length = match row.opcode() >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                _ => 12,
            };
            assert_eq!(row.length, length, "{}", row.name);
            assert_eq!(row.service_action.is_some(), matches!(row.opcode(), 0x9e | 0xa3), "{}", row.name);
        }
    }

    #[test]
    fn every_row_is_found_by_its_own_cdb() {
        for row in &TABLE {
            let mut cdb = [0; 16];
            cdb[0] = row.opcode();
            cdb[1] = row.service_action.unwrap_or(0) as u8;
            assert_eq!(Row::of(&cdb).unwrap().name, row.name);
            assert!(row.check_reserved(&cdb).is_ok());
        }
    }

    #[test]
    fn reserved_bits_are_pointed_at() {
        let mut cdb = [0; 16];
        cdb[0] = 0x28;
        cdb[9] = 0x04; // NACA
        assert_eq!(Row::of(&cdb).unwrap().check_reserved(&cdb), Err(Sense::cdb(9, 2)));
        cdb[1] = 0x20; // RDPROTECT
        assert_eq!(Row::of(&cdb).unwrap().check_reserved(&cdb), Err(Sense::cdb(1, 5)));
        cdb[1] = 0;
        cdb[9] = 0;
        cdb[10..].fill(0xff); // not part of a 10-byte CDB
        assert_eq!(Row::of(&cdb).unwrap().check_reserved(&cdb), Ok(()));
    }

    #[test]
    fn fault_23_request_sense_is_03h() {
        let opcode = TABLE.iter().find(|row| row.command == Command::RequestSense).unwrap().opcode();
        assert_eq!(opcode, 0x03);
        assert_eq!(Row::of(&[0x02; 16]).err(), Some(Sense::INVALID_COMMAND_OPERATION_CODE));
    }

    #[test]
    fn a_service_action_that_is_not_there_is_a_wrong_field() {
        let mut cdb = [0; 16];
        cdb[..2].copy_from_slice(&[0x9e, 0x11]);
        assert_eq!(Row::of(&cdb).err(), Some(Sense::cdb(1, 4)));
    }
}
