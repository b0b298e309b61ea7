//! Where a disk's file lies on the card: partition table, file system, directory, clusters, read once at the start.
//!
//! An own walk rather than a file system's crate: it knows exFAT and FAT32 alike, needs one sector of memory, and
//! gives what no crate gives: the extents of a file. From then on the file system is off the data path.

mod directory;
mod exfat;
mod fat32;
mod sectors;
mod table;
mod unwritten;

use core::fmt;

use crate::card::{BLOCK, Card};
use crate::extents::{Extents, TooManyPieces};
use crate::sd::Error;
use crate::store::Store;
use crate::target::PIECES;
use sectors::Sectors;
pub use unwritten::write_to_its_end;

/// Why a disk was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeError {
    /// The card failed.
    Card(Error),
    /// There is no partition of this number.
    NoPartition(usize),
    /// No exFAT or FAT32 file system is on the card.
    NoFileSystem,
    /// A file system is there, and contradicts itself: what is wrong.
    Damaged(&'static str),
    /// Its sectors are not of 512 bytes.
    SectorSize,
    /// No file of this name is there.
    NotFound,
    /// The name is a directory's.
    IsDirectory,
    /// The file lies in more than [`PIECES`] pieces.
    Fragmented,
    /// The file has less than one block.
    Empty,
    /// Some of the file was never written, and may not be.
    Unwritten,
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card(error) => write!(f, "card: {error}"),
            Self::NoPartition(number) => write!(f, "there is no partition {number}"),
            Self::NoFileSystem => f.write_str("no exFAT or FAT32 file system on the card: format it as exFAT"),
            Self::Damaged(what) => write!(f, "the file system is damaged ({what}): check it on a PC"),
            Self::SectorSize => {
                f.write_str("a file system with sectors that are not of 512 bytes: format the card anew")
            }
            Self::NotFound => f.write_str("there is no such file: put it on the card, or correct disk-name"),
            Self::IsDirectory => f.write_str("this is a directory, not a file"),
            Self::Fragmented => write!(
                f,
                "the file lies in more than {PIECES} pieces: move it away, and copy it back to the empty card"
            ),
            Self::Unwritten => f.write_str(
                "the file was never written to its end, which a board does at its first start: start it once without read-only",
            ),
            Self::Empty => f.write_str("the file is empty: make it as large as the disk is to be"),
        }
    }
}

impl From<Error> for VolumeError {
    fn from(error: Error) -> Self {
        Self::Card(error)
    }
}

impl From<TooManyPieces> for VolumeError {
    fn from(_: TooManyPieces) -> Self {
        Self::Fragmented
    }
}

/// A file that was found.
#[derive(Clone, Debug)]
pub struct File {
    /// Where its blocks lie.
    pub extents: Extents<PIECES>,
    /// Its length in bytes.
    pub len: u64,
    /// Bytes from its start that the file system says were written: what is behind them reads as zeros, whatever is on the
    /// card (exFAT 7.6.5).
    pub valid: u64,
    /// Its entries, where `valid` can be less than `len`.
    entries: Option<exfat::Entries>,
}

impl File {
    /// Whether some of its blocks were never written.
    pub fn is_unwritten(&self) -> bool {
        self.valid < self.extents.blocks() * BLOCK as u64
    }
}

/// Clusters of a volume: what both file systems have in common.
#[derive(Clone, Copy, Debug)]
struct Clusters {
    /// First sector of the file allocation table.
    fat: u32,
    /// First sector of cluster 2.
    heap: u32,
    /// log2 of the sectors in a cluster.
    shift: u32,
    /// Clusters in all: numbers are 2 to `count + 1`.
    count: u32,
    /// Bits of a table entry that count.
    mask: u32,
    /// Entries from this one on end a chain.
    end: u32,
}

impl Clusters {
    const fn is_cluster(&self, number: u32) -> bool {
        number >= 2 && number - 2 < self.count
    }

    /// First sector of a cluster.
    fn sector(&self, number: u32) -> Result<u32, VolumeError> {
        if !self.is_cluster(number) {
            return Err(VolumeError::Damaged("a cluster that there is not"));
        }
        let offset = u64::from(number - 2) << self.shift;
        u32::try_from(u64::from(self.heap) + offset).map_err(|_| VolumeError::Damaged("a cluster behind the card"))
    }

    const fn sectors(&self) -> u32 {
        1 << self.shift
    }

    /// The cluster behind this one; `None` at the end of the chain.
    async fn next<C: Card>(&self, sectors: &mut Sectors<'_, '_, C>, number: u32) -> Result<Option<u32>, VolumeError> {
        let sector = sectors.get(self.fat.saturating_add(number / 128)).await?;
        let entry = sectors::u32_at(sector, (number % 128) as usize * 4) & self.mask;
        match entry {
            end if end >= self.end => Ok(None),
            next if self.is_cluster(next) => Ok(Some(next)),
            _ => Err(VolumeError::Damaged("a chain of clusters that leads nowhere")),
        }
    }

    /// The pieces of a file of `len` bytes. `contiguous`: the table says nothing of it.
    async fn extents<C: Card>(
        &self,
        sectors: &mut Sectors<'_, '_, C>,
        first: u32,
        len: u64,
        contiguous: bool,
    ) -> Result<Extents<PIECES>, VolumeError> {
        let blocks = len.div_ceil(512);
        if blocks == 0 {
            return Ok(Extents::default());
        }
        let wanted = blocks.div_ceil(u64::from(self.sectors()));
        if wanted > u64::from(self.count) {
            return Err(VolumeError::Damaged("a file larger than its volume"));
        }
        let mut extents = Extents::default();
        if contiguous {
            self.sector(first.saturating_add(wanted as u32 - 1))?;
            let count = u32::try_from(blocks).map_err(|_| VolumeError::Damaged("a file larger than a card"))?;
            extents.push(crate::extents::Extent { first: self.sector(first)?, count })?;
            return Ok(extents);
        }
        let mut cluster = first;
        for number in 1..=wanted {
            extents.push(crate::extents::Extent { first: self.sector(cluster)?, count: self.sectors() })?;
            if number < wanted {
                let next = self.next(sectors, cluster).await?;
                cluster = next.ok_or(VolumeError::Damaged("a file whose clusters end before it does"))?;
            }
        }
        extents.truncate(blocks);
        Ok(extents)
    }
}

/// A volume that can be looked into.
#[derive(Clone, Copy, Debug)]
enum Volume {
    ExFat(exfat::ExFat),
    Fat32(fat32::Fat32),
}

impl Volume {
    async fn mount<C: Card>(sectors: &mut Sectors<'_, '_, C>, first: u32) -> Result<Option<Self>, VolumeError> {
        let boot = sectors.get(first).await?;
        if exfat::is_boot_sector(boot) {
            return exfat::ExFat::parse(boot, first).map(|volume| Some(Self::ExFat(volume)));
        }
        if fat32::is_boot_sector(boot) {
            return fat32::Fat32::parse(boot, first).map(|volume| Some(Self::Fat32(volume)));
        }
        Ok(None)
    }

    async fn find<C: Card>(&self, sectors: &mut Sectors<'_, '_, C>, name: &str) -> Result<File, VolumeError> {
        match self {
            Self::ExFat(volume) => volume.find(sectors, name).await,
            Self::Fat32(volume) => volume.find(sectors, name).await,
        }
    }
}

/// Finds what a disk's name says: a file in the root directory of the first volume that has it; `@card` is the whole card,
/// `@1` its first partition.
///
/// # Errors
/// Why it was not found, with what to do.
pub async fn find<C: Card>(store: &mut Store<'_, C>, name: &str) -> Result<File, VolumeError> {
    let mut file = locate(store, name).await?;
    file.extents.truncate(file.len / 512);
    if file.extents.blocks() == 0 { Err(VolumeError::Empty) } else { Ok(file) }
}

/// As [`find`], with the last block where that is not whole.
async fn locate<C: Card>(store: &mut Store<'_, C>, name: &str) -> Result<File, VolumeError> {
    let blocks = store.facts().map_or(0, |facts| facts.blocks);
    let mut sectors = Sectors::new(store);
    let whole = |first: u32, count: u64| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let len = u64::from(count) * 512;
        File { extents: Extents::of(first, count), len, valid: len, entries: None }
    };
    if name == "@card" {
        return Ok(whole(0, blocks));
    }
    let is_volume = Volume::mount(&mut sectors, 0).await?;
    if let Some(number) = name.strip_prefix('@').and_then(|number| number.parse::<usize>().ok()) {
        let none = VolumeError::NoPartition(number);
        let index = number.checked_sub(1).filter(|_| is_volume.is_none()).ok_or(none)?;
        let (first, count) = table::partition(&mut sectors, blocks, index).await?.ok_or(none)?;
        return Ok(whole(first, count));
    }
    if let Some(volume) = is_volume {
        return volume.find(&mut sectors, name).await;
    }
    let mut answer = VolumeError::NoFileSystem;
    for index in 0..table::MOST {
        let Some((first, _)) = table::partition(&mut sectors, blocks, index).await? else { continue };
        match Volume::mount(&mut sectors, first).await? {
            Some(volume) => match volume.find(&mut sectors, name).await {
                Err(VolumeError::NotFound) => answer = VolumeError::NotFound,
                other => return other,
            },
            None => continue,
        }
    }
    Err(answer)
}

/// Reads a small file, as far as there is room.
///
/// # Errors
/// As for [`find`].
pub async fn read<'b, C: Card>(
    store: &mut Store<'_, C>,
    name: &str,
    room: &'b mut [u8],
) -> Result<&'b [u8], VolumeError> {
    let file = locate(store, name).await?;
    let len = usize::try_from(file.len).unwrap_or(usize::MAX).min(room.len());
    let valid = usize::try_from(file.valid).unwrap_or(usize::MAX);
    let mut sectors = Sectors::new(store);
    for (number, part) in room.get_mut(..len).unwrap_or_default().chunks_mut(512).enumerate() {
        let Some(at) = file.extents.find(number as u64, 1) else { break };
        let sector = sectors.get(at.first).await?;
        part.copy_from_slice(sector.get(..part.len()).unwrap_or_default());
    }
    room.get_mut(valid..len).unwrap_or_default().fill(0);
    Ok(room.get(..len).unwrap_or_default())
}
