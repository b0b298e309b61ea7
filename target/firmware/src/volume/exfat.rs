//! exFAT (Microsoft's exFAT file system specification, version 1.00).

use super::directory::{Directory, Place, same_unit};
use super::sectors::{Sectors, byte, u16_at, u32_at, u64_at};
use super::{Clusters, File, VolumeError};
use crate::card::Card;

/// Directory entries: a file, its stream extension, its name.
const FILE: u8 = 0x85;
const STREAM: u8 = 0xc0;
const NAME: u8 = 0xc1;
/// Bytes of a file's entry that its SetChecksum lies in, and those of a stream extension's ValidDataLength.
const CHECKSUM: core::ops::Range<usize> = 2..4;
const VALID: core::ops::Range<usize> = 8..16;
/// FileAttributes: Directory.
const DIRECTORY: u16 = 0x10;
/// GeneralSecondaryFlags: NoFatChain.
const NO_FAT_CHAIN: u8 = 0x02;

/// 3.1.2: FileSystemName, and the signature.
pub(super) fn is_boot_sector(boot: &[u8; 512]) -> bool {
    boot.get(3..11) == Some(b"EXFAT   ") && u16_at(boot, 510) == 0xaa55
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ExFat {
    clusters: Clusters,
    root: u32,
}

/// The entries of a file: where the first one is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    clusters: Clusters,
    first: Place,
}

/// What the entries of a file say.
#[derive(Clone, Copy, Debug, Default)]
struct Set {
    place: Option<Place>,
    directory: bool,
    contiguous: bool,
    name_len: usize,
    first: u32,
    len: u64,
    valid: u64,
    /// Characters of the name that were compared, and whether all were the same.
    compared: usize,
    same: bool,
}

impl ExFat {
    pub(super) fn parse(boot: &[u8; 512], first: u32) -> Result<Self, VolumeError> {
        if byte(boot, 108) != 9 {
            return Err(VolumeError::SectorSize);
        }
        let shift = u32::from(byte(boot, 109));
        let (fat, heap) = (first.checked_add(u32_at(boot, 80)), first.checked_add(u32_at(boot, 88)));
        let (Some(fat), Some(heap), 0..=16) = (fat, heap, shift) else {
            return Err(VolumeError::Damaged("its boot sector"));
        };
        let count = u32_at(boot, 92);
        let clusters = Clusters { fat, heap, shift, count, mask: u32::MAX, end: 0xffff_fff8 };
        let root = u32_at(boot, 96);
        clusters.sector(root)?;
        Ok(Self { clusters, root })
    }

    /// A file of the root directory.
    pub(super) async fn find<C: Card>(
        &self,
        sectors: &mut Sectors<'_, '_, C>,
        name: &str,
    ) -> Result<File, VolumeError> {
        let mut set = Set::default();
        let mut directory = Directory::new(self.clusters, self.root);
        while let Some((place, entry)) = directory.next(sectors).await? {
            match byte(&entry, 0) {
                // 7.1: the end of the directory.
                0x00 => break,
                FILE => {
                    let directory = u16_at(&entry, 4) & DIRECTORY != 0;
                    set = Set { place: Some(place), directory, ..Set::default() };
                }
                STREAM => set.take_stream(&entry),
                NAME => set.compare(&entry, name),
                _ => {}
            }
            if set.is_found(name) {
                return self.file(sectors, set).await;
            }
        }
        Err(VolumeError::NotFound)
    }

    async fn file<C: Card>(&self, sectors: &mut Sectors<'_, '_, C>, set: Set) -> Result<File, VolumeError> {
        if set.directory {
            return Err(VolumeError::IsDirectory);
        }
        // 7.6.5: "ValidDataLength […] shall be less than or equal to" DataLength.
        if set.valid > set.len {
            return Err(VolumeError::Damaged("a file with more valid data than it is long"));
        }
        let extents = self.clusters.extents(sectors, set.first, set.len, set.contiguous).await?;
        let entries = set.place.map(|first| Entries { clusters: self.clusters, first });
        Ok(File { extents, len: set.len, valid: set.valid, entries })
    }
}

impl Entries {
    /// Says that the first `valid` bytes of the file were written (7.6.5), with the checksum of all its entries (7.4.3).
    pub(super) async fn set_valid<C: Card>(
        &self,
        sectors: &mut Sectors<'_, '_, C>,
        valid: u64,
    ) -> Result<(), VolumeError> {
        let damaged = VolumeError::Damaged("the entries of a file");
        let valid = valid.to_le_bytes();
        let mut directory = Directory::from(self.clusters, self.first);
        let mut sum = 0u16;
        let mut stream = None;
        // 7.4.1: SecondaryCount, which is in the first entry.
        let mut count = 1;
        let mut number = 0;
        while number < count {
            let (place, mut entry) = directory.next(sectors).await?.ok_or(damaged)?;
            match number {
                0 if byte(&entry, 0) == FILE => count += usize::from(byte(&entry, 1)),
                1 if byte(&entry, 0) == STREAM => {
                    stream = Some(place);
                    entry.get_mut(VALID).ok_or(damaged)?.copy_from_slice(&valid);
                }
                0 | 1 => return Err(damaged),
                _ => {}
            }
            for (at, byte) in entry.iter().enumerate() {
                if number > 0 || !CHECKSUM.contains(&at) {
                    sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
                }
            }
            number += 1;
        }
        let stream = stream.ok_or(damaged)?;
        let changes = [(self.first, CHECKSUM, &sum.to_le_bytes()[..]), (stream, VALID, &valid[..])];
        for (at, (place, field, bytes)) in changes.iter().enumerate() {
            let sector = place.sector(&self.clusters)?;
            let place = sectors.get_mut(sector).await?.get_mut(place.at + field.start..place.at + field.end);
            place.ok_or(damaged)?.copy_from_slice(bytes);
            // As a rule both lie in one sector, which a card writes or does not.
            if at == 1 || stream.sector(&self.clusters)? != sector {
                sectors.put().await?;
            }
        }
        Ok(())
    }
}

impl Set {
    fn take_stream(&mut self, entry: &[u8]) {
        self.contiguous = byte(entry, 1) & NO_FAT_CHAIN != 0;
        self.name_len = usize::from(byte(entry, 3));
        self.valid = u64_at(entry, 8);
        self.first = u32_at(entry, 20);
        self.len = u64_at(entry, 24);
        self.compared = 0;
        self.same = true;
    }

    /// Fifteen characters of the name.
    fn compare(&mut self, entry: &[u8], name: &str) {
        let mut wanted = name.encode_utf16().skip(self.compared);
        for at in 0..15.min(self.name_len.saturating_sub(self.compared)) {
            let here = u16_at(entry, 2 + 2 * at);
            let same = wanted.next().is_some_and(|wanted| same_unit(here, wanted));
            self.same &= same;
            self.compared += 1;
        }
    }

    fn is_found(&self, name: &str) -> bool {
        self.name_len > 0 && self.same && self.compared == self.name_len && name.encode_utf16().count() == self.name_len
    }
}
