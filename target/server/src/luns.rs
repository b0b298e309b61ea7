//! Logical units and the table by which a session finds them.

use std::sync::Arc;

use iesp_scsi::{Identity, NexusId, Path};

use crate::backend::Backend;
use crate::config::DiskConfig;
use crate::disk::{DiskPath, Trouble, UNIT_NEXUSES, Unit};

/// A logical unit with what it stands on.
#[derive(Debug)]
pub struct Lun {
    /// Logical unit number.
    pub number: u16,
    /// Which row of the totals counts for it: for the whole life of the program.
    pub row: u16,
    /// What it was made from.
    pub config: DiskConfig,
    /// Who it is, with this number and target.
    pub identity: Identity,
    /// The device server of the disk, which others of its paths share.
    pub unit: Arc<Unit>,
    /// Its blocks.
    pub backend: Arc<dyn Backend>,
    /// log2 of a block's bytes.
    pub block_shift: u32,
    /// What was told of its failures.
    pub trouble: Trouble,
    /// Which of the disk's paths it is.
    pub path: DiskPath,
}

impl Lun {
    /// Blocks in bytes.
    #[inline]
    pub const fn bytes(&self, blocks: u64) -> u64 {
        blocks << self.block_shift
    }

    /// The disk as it is reached by this number.
    #[inline]
    pub fn reached(&self) -> Path<'_, UNIT_NEXUSES> {
        Path { unit: &self.unit, identity: &self.identity }
    }

    /// The number that a nexus of its target has at the disk.
    #[inline]
    pub fn nexus(&self, nexus: NexusId) -> NexusId {
        self.path.nexus(nexus)
    }

    /// Bytes in a block.
    pub const fn block_size(&self) -> u32 {
        1 << self.block_shift
    }
}

/// The logical units of a target, by number. A table is never changed: a session is given another one.
#[derive(Debug, Clone, Default)]
pub struct Luns {
    by_number: Box<[Option<Arc<Lun>>]>,
    inventory: Box<[u16]>,
    /// Numbers that logical units are to have of which nothing is known yet.
    awaited: Box<[u16]>,
}

impl Luns {
    /// The table of these.
    pub fn new(luns: impl IntoIterator<Item = Arc<Lun>>) -> Self {
        let mut by_number = Vec::new();
        for lun in luns {
            let number = usize::from(lun.number);
            if by_number.len() <= number {
                by_number.resize(number + 1, None);
            }
            by_number[number] = Some(lun);
        }
        let inventory = by_number.iter().flatten().map(|lun| lun.number).collect();
        Self { by_number: by_number.into(), inventory, awaited: Box::default() }
    }

    /// The same table, with numbers that logical units are to have that are not there yet.
    #[must_use]
    pub fn awaiting(self, numbers: impl Iterator<Item = u16>) -> Self {
        let awaited = numbers.filter(|number| self.get(*number).is_none()).collect();
        Self { awaited, ..self }
    }

    /// Whether a logical unit is to have this number that is not there yet.
    pub fn is_awaited(&self, number: u16) -> bool {
        self.awaited.contains(&number)
    }

    /// Numbers that logical units are to have that are not there yet.
    pub fn awaited(&self) -> impl Iterator<Item = u16> {
        self.awaited.iter().copied()
    }

    /// The logical unit of this number.
    #[inline]
    pub fn get(&self, number: u16) -> Option<&Arc<Lun>> {
        self.by_number.get(usize::from(number))?.as_ref()
    }

    /// All logical unit numbers, ascending.
    #[inline]
    pub fn inventory(&self) -> &[u16] {
        &self.inventory
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Lun>> {
        self.by_number.iter().flatten()
    }

    /// The row of the totals of each, by number.
    pub fn rows(&self) -> Box<[Option<u16>]> {
        self.by_number.iter().map(|lun| lun.as_ref().map(|lun| lun.row)).collect()
    }
}
