//! Logical units and the table by which a session finds them.

use std::sync::Arc;

use iesp_scsi::LogicalUnit;

use crate::backend::Backend;
use crate::config::DiskConfig;
use crate::disk::Trouble;
use crate::target::SESSIONS;

/// A logical unit with what it stands on.
#[derive(Debug)]
pub struct Lun {
    /// Logical unit number.
    pub number: u16,
    /// Which row of the totals counts for it: for the whole life of the program.
    pub row: u16,
    /// What it was made from.
    pub config: DiskConfig,
    /// The device server.
    pub unit: LogicalUnit<SESSIONS>,
    /// Its blocks.
    pub backend: Arc<dyn Backend>,
    /// log2 of a block's bytes.
    pub block_shift: u32,
    /// What was told of its failures.
    pub trouble: Trouble,
}

impl Lun {
    /// Blocks in bytes.
    #[inline]
    pub const fn bytes(&self, blocks: u64) -> u64 {
        blocks << self.block_shift
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
        Self { by_number: by_number.into(), inventory }
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
