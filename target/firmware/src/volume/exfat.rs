//! exFAT (Microsoft's exFAT file system specification, version 1.00).

use super::sectors::{Sectors, byte, u16_at, u32_at, u64_at};
use super::{Clusters, File, VolumeError, same_name};
use crate::card::Card;

/// Directory entries: a file, its stream extension, its name.
const FILE: u8 = 0x85;
const STREAM: u8 = 0xc0;
const NAME: u8 = 0xc1;
/// Bytes of an entry, and entries of a sector.
const ENTRY: usize = 32;
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

/// What the entries of a file say.
#[derive(Clone, Copy, Debug, Default)]
struct Set {
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
        let mut cluster = self.root;
        // A directory's chain is no longer than the volume.
        for _ in 0..self.clusters.count {
            let first = self.clusters.sector(cluster)?;
            for sector in 0..self.clusters.sectors() {
                let bytes = sectors.get(first + sector).await?;
                for entry in bytes.chunks_exact(ENTRY) {
                    match byte(entry, 0) {
                        // 7.1: the end of the directory.
                        0x00 => return Err(VolumeError::NotFound),
                        FILE => set = Set { directory: u16_at(entry, 4) & DIRECTORY != 0, ..Set::default() },
                        STREAM => set.take_stream(entry),
                        NAME => set.compare(entry, name),
                        _ => {}
                    }
                    if set.is_found(name) {
                        return self.file(sectors, set).await;
                    }
                }
            }
            match self.clusters.next(sectors, cluster).await? {
                Some(next) => cluster = next,
                None => break,
            }
        }
        Err(VolumeError::NotFound)
    }

    async fn file<C: Card>(&self, sectors: &mut Sectors<'_, '_, C>, set: Set) -> Result<File, VolumeError> {
        if set.directory {
            return Err(VolumeError::IsDirectory);
        }
        let extents = self.clusters.extents(sectors, set.first, set.len, set.contiguous).await?;
        Ok(File { extents, len: set.len, valid: set.valid })
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
            let same = wanted.next().is_some_and(|wanted| match (unit(here), unit(wanted)) {
                (Some(a), Some(b)) => same_name(a, b),
                _ => here == wanted,
            });
            self.same &= same;
            self.compared += 1;
        }
    }

    fn is_found(&self, name: &str) -> bool {
        self.name_len > 0 && self.same && self.compared == self.name_len && name.encode_utf16().count() == self.name_len
    }
}

/// A UTF-16 unit that is a character by itself.
fn unit(unit: u16) -> Option<char> {
    char::from_u32(u32::from(unit))
}
