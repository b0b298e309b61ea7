//! What commands do: each a small state machine over [`Step`]s.

mod compare;
mod flush;
mod lba_status;
mod simple;
mod transfer;
mod unmap;
mod write_same;

use crate::cdb;
use crate::commands::{Command, Row};
use crate::contract::{Buffers, Completion, NexusId, Outcome, Step, Transfer};
use crate::identity::Identity;
use crate::mode::{ModeSelect, parameter_list_length};
use crate::range::Hold;
use crate::sense::Sense;
use crate::unit::{Attention, Nexus, Unit};
use compare::{CompareAndWrite, Verify};
use flush::Flush;
use lba_status::LbaStatus;
use simple::{Inventory, Simple};
use transfer::{Prefetch, Read, Write};
use unmap::Unmap;
use write_same::WriteSame;

/// What a step may look at and work on.
pub(crate) struct Context<'a> {
    pub unit: &'a Unit,
    pub identity: &'a Identity,
    pub nexuses: &'a [Nexus],
    pub nexus: NexusId,
    pub buffers: Buffers<'a>,
}

impl Context<'_> {
    /// The state of the nexus that the command came by.
    pub(crate) fn own(&self) -> Option<&Nexus> {
        self.nexuses.get(usize::from(self.nexus.0))
    }

    /// A unit attention condition for all nexuses but the one that the command came by.
    pub(crate) fn attention_for_others(&self, attention: Attention) {
        for (index, state) in self.nexuses.iter().enumerate() {
            if index != usize::from(self.nexus.0) {
                state.attend(attention);
            }
        }
    }

    fn block_size(&self) -> usize {
        self.unit.capabilities.block_size as usize
    }

    /// Logical blocks that the scratch buffer has room for, as far as a step may use it.
    fn scratch_blocks(&self) -> u32 {
        (self.buffers.scratch.len() / self.block_size()).min(self.piece_blocks() as usize) as u32
    }

    /// The most logical blocks of a step.
    fn piece_blocks(&self) -> u32 {
        PIECE / self.unit.capabilities.block_size
    }

    /// How many of `blocks` blocks from `lba` on one step deallocates: up to a boundary of the backend's granules.
    fn unmap_blocks(&self, lba: u64, blocks: u64) -> u64 {
        let capabilities = &self.unit.capabilities;
        let (granule, first) = capabilities.unmap.map_or((1, 0), |unmap| (unmap.granularity.max(1), unmap.alignment));
        let granule = u64::from(granule);
        let most = (UNMAP_PIECE / u64::from(capabilities.block_size) / granule).max(1) * granule;
        let past = (lba % most + most - u64::from(first) % most) % most;
        blocks.min(most - past)
    }
}

/// What a state machine wants.
pub(crate) enum Next {
    /// I/O.
    Io(Step),
    /// The range of its next piece, in place of the one before; [`Work::piece`] is the I/O.
    Piece(Hold),
    /// To end.
    End(Completion),
}

/// The most bytes that a step reads, compares, fills or writes for a command over many blocks.
const PIECE: u32 = 1 << 20;

/// The most bytes that a step deallocates: nothing is moved for it.
const UNMAP_PIECE: u64 = 64 << 20;

/// A command as it was decoded.
pub(crate) struct Plan {
    pub work: Work,
    pub hold: Hold,
    pub data_out: u32,
    pub data_in: u32,
}

/// The state machines.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Decided: nothing is left to do.
    Ended(Completion),
    /// Done before WCE was cleared or the unit was stopped (SBC-3 6.4.5, 5.21): durable before its status all the same.
    Hardening(Completion),
    Read(Read),
    Write(Write),
    Verify(Verify),
    CompareAndWrite(CompareAndWrite),
    WriteSame(WriteSame),
    Unmap(Unmap),
    Flush(Flush),
    Prefetch(Prefetch),
    LbaStatus(LbaStatus),
    ModeSelect(ModeSelect),
    ReportLuns(Inventory),
    Simple(Simple),
}

impl Work {
    /// Its blocks are held piece by piece, each for its own I/O.
    #[inline]
    pub(crate) fn is_in_pieces(&self) -> bool {
        matches!(self, Self::Verify(_) | Self::WriteSame(_) | Self::Unmap(_))
    }

    /// The I/O of the piece that [`Next::Piece`] asked for; `again` where others had the scratch buffer since then.
    pub(crate) fn piece(&mut self, context: &mut Context<'_>, again: bool) -> Result<Step, Sense> {
        match self {
            Self::Verify(work) => Ok(work.piece(context)),
            Self::WriteSame(work) => work.piece(context, again),
            Self::Unmap(work) => Ok(work.piece()),
            _ => Err(Sense::INTERNAL_TARGET_FAILURE),
        }
    }

    #[inline]
    pub(crate) fn step(&mut self, context: &mut Context<'_>, outcome: Outcome) -> Result<Next, Sense> {
        match self {
            Self::Read(work) => Ok(work.step(outcome)),
            Self::Write(work) => work.step(context, outcome),
            Self::Ended(completion) | Self::Hardening(completion) => Ok(Next::End(*completion)),
            Self::Verify(work) => work.step(context, outcome),
            Self::CompareAndWrite(work) => work.step(context, outcome),
            Self::WriteSame(work) => work.step(context, outcome),
            Self::Unmap(work) => work.step(context, outcome),
            Self::Flush(work) => Ok(work.step(context, outcome)),
            Self::Prefetch(work) => Ok(work.step(context)),
            Self::LbaStatus(work) => work.step(context, outcome),
            Self::ModeSelect(work) => work.step(context, outcome),
            Self::ReportLuns(inventory) => simple::report_luns(inventory, context),
            Self::Simple(work) => work.step(context),
        }
    }

    /// The step under way, if there is one, changes the medium.
    pub(crate) fn is_writing(&self) -> bool {
        match self {
            Self::Write(_)
            | Self::WriteSame(_)
            | Self::Unmap(_)
            | Self::Flush(_)
            | Self::ModeSelect(_)
            | Self::Hardening(_) => true,
            Self::CompareAndWrite(work) => work.is_writing(),
            Self::Verify(work) => work.is_writing(),
            _ => false,
        }
    }
}

impl Plan {
    /// Checks the fields of the CDB and lays out the work.
    #[inline]
    pub(crate) fn of(unit: &Unit, row: &Row, luns: &[u16], cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        match row.command {
            Command::Read => Self::read(unit, cdb, transfer),
            Command::Write => Self::write(unit, cdb, transfer),
            _ => Self::other(unit, row, luns, cdb, transfer),
        }
    }

    fn other(unit: &Unit, row: &Row, luns: &[u16], cdb: &[u8; 16], transfer: Transfer) -> Result<Self, Sense> {
        match row.command {
            Command::WriteAndVerify => Self::write_and_verify(unit, cdb, transfer),
            Command::Verify => Self::verify(unit, cdb, transfer),
            Command::CompareAndWrite => Self::compare_and_write(unit, cdb, transfer),
            Command::WriteSame => Self::write_same(unit, cdb, transfer),
            Command::Unmap => Self::unmap(unit, cdb, transfer),
            Command::Prefetch => Self::prefetch(unit, cdb),
            Command::SynchronizeCache => Self::synchronize_cache(unit, cdb),
            Command::GetLbaStatus => Self::lba_status(unit, cdb),
            Command::StartStopUnit => Ok(Self::without_data(Work::Flush(Flush::start_stop(cdb)))),
            Command::ModeSelect => {
                let data_out = parameter_list_length(cdb);
                Ok(Self { data_out, ..Self::without_data(Work::ModeSelect(ModeSelect::new(cdb))) })
            }
            Command::ReportLuns => Ok(Self::without_data(Work::ReportLuns(Inventory::new(cdb, luns)))),
            command => Ok(Self::without_data(Work::Simple(Simple::new(command, cdb)))),
        }
    }

    /// Nothing but parameter data, if that.
    fn without_data(work: Work) -> Self {
        Self { work, hold: Hold::NONE, data_out: 0, data_in: 0 }
    }

    /// The command is done before it begins: no blocks.
    fn nothing() -> Self {
        Self::without_data(Work::Ended(Completion::GOOD))
    }
}

/// LOGICAL BLOCK ADDRESS and number of blocks, all of them there.
#[inline]
fn blocks_on_medium(unit: &Unit, cdb: &[u8; 16]) -> Result<(u64, u32), Sense> {
    let (lba, blocks) = cdb::range(cdb);
    check_range(unit, lba, u64::from(blocks))?;
    Ok((lba, blocks))
}

/// SBC-3 4.5: the first block that isn't there is told. Written so that nothing overflows: `lba` and `blocks` are any
/// numbers.
#[inline]
fn check_range(unit: &Unit, lba: u64, blocks: u64) -> Result<(), Sense> {
    let all = unit.blocks();
    match all.checked_sub(lba) {
        Some(left) if blocks <= left => Ok(()),
        _ => Err(Sense::LBA_OUT_OF_RANGE.with_information(lba.max(all))),
    }
}

/// As [`blocks_on_medium`], but 0 blocks mean all from there to the last one.
fn blocks_to_end(unit: &Unit, cdb: &[u8; 16]) -> Result<(u64, u64), Sense> {
    let (lba, blocks) = blocks_on_medium(unit, cdb)?;
    match (unit.blocks().saturating_sub(lba), u64::from(blocks)) {
        (0, _) => Err(Sense::LBA_OUT_OF_RANGE.with_information(lba)),
        (rest, 0) => Ok((lba, rest)),
        (_, blocks) => Ok((lba, blocks)),
    }
}

/// A write that is refused for what it asks for, or for the length of its data; but on a protected medium nothing that it
/// could ask for is right, and that is what the initiator has to know.
#[cold]
fn refuse_write(unit: &Unit, sense: Sense) -> Sense {
    if unit.is_write_protected() { Sense::WRITE_PROTECTED } else { sense }
}

/// SBC-3 6.5.3: no more than the MAXIMUM TRANSFER LENGTH.
#[inline]
fn check_transfer(unit: &Unit, cdb: &[u8; 16], blocks: u32) -> Result<(), Sense> {
    if blocks <= unit.limits.transfer {
        return Ok(());
    }
    Err(Sense::cdb(length_field(cdb[0]), 7))
}

/// First byte of the TRANSFER LENGTH field, by the CDB's group.
fn length_field(opcode: u8) -> u16 {
    match opcode >> 5 {
        0 => 4,
        1 | 2 => 7,
        4 => 10,
        _ => 6,
    }
}
