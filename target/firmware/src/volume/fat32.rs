//! FAT32 (Microsoft's FAT specification of 2005): files of up to 4 GiB less one byte.

use super::directory::{Directory, same_unit};
use super::sectors::{Sectors, byte, u16_at, u32_at};
use super::{Clusters, File, VolumeError};
use crate::card::Card;

const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
/// Attributes of an entry that is a part of a long name.
const LONG: u8 = 0x0f;
/// Where the characters of such a part lie.
const CHARACTERS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A BPB without FAT12's and FAT16's root directory, and the signature.
pub(super) fn is_boot_sector(boot: &[u8; 512]) -> bool {
    matches!(byte(boot, 0), 0xeb | 0xe9)
        && u16_at(boot, 510) == 0xaa55
        && u16_at(boot, 17) == 0
        && u16_at(boot, 22) == 0
        && u32_at(boot, 36) != 0
        && byte(boot, 16) != 0
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Fat32 {
    clusters: Clusters,
    root: u32,
}

/// The long name before an entry.
#[derive(Clone, Copy, Debug, Default)]
struct Long {
    /// Parts that are still to come; the checksum of the short name.
    left: u8,
    checksum: u8,
    same: bool,
    /// Characters of the name: known from its last part, which comes first.
    len: usize,
}

impl Fat32 {
    pub(super) fn parse(boot: &[u8; 512], first: u32) -> Result<Self, VolumeError> {
        if u16_at(boot, 11) != 512 {
            return Err(VolumeError::SectorSize);
        }
        let damaged = VolumeError::Damaged("its boot sector");
        let per_cluster = u32::from(byte(boot, 13));
        let (reserved, fats) = (u32::from(u16_at(boot, 14)), u32::from(byte(boot, 16)));
        let tables = u32_at(boot, 36).checked_mul(fats).ok_or(damaged)?;
        let before = reserved.checked_add(tables).ok_or(damaged)?;
        let data = u32_at(boot, 32).checked_sub(before).ok_or(damaged)?;
        if !per_cluster.is_power_of_two() {
            return Err(damaged);
        }
        let clusters = Clusters {
            fat: first.checked_add(reserved).ok_or(damaged)?,
            heap: first.checked_add(before).ok_or(damaged)?,
            shift: per_cluster.trailing_zeros(),
            count: data / per_cluster,
            mask: 0x0fff_ffff,
            end: 0x0fff_fff8,
        };
        let root = u32_at(boot, 44);
        clusters.sector(root)?;
        Ok(Self { clusters, root })
    }

    /// A file of the root directory.
    pub(super) async fn find<C: Card>(
        &self,
        sectors: &mut Sectors<'_, '_, C>,
        name: &str,
    ) -> Result<File, VolumeError> {
        let mut long = Long::default();
        let mut directory = Directory::new(self.clusters, self.root);
        while let Some((_, entry)) = directory.next(sectors).await? {
            let attributes = byte(&entry, 11);
            match byte(&entry, 0) {
                0x00 => break,
                // It was deleted.
                0xe5 => long = Long::default(),
                _ if attributes & 0x3f == LONG => long.take(&entry, name),
                _ if attributes & LABEL != 0 => long = Long::default(),
                _ if long.is(&entry, name) || is_short(&entry, name) => {
                    return self.file(sectors, Found::of(&entry)).await;
                }
                _ => long = Long::default(),
            }
        }
        Err(VolumeError::NotFound)
    }

    async fn file<C: Card>(&self, sectors: &mut Sectors<'_, '_, C>, found: Found) -> Result<File, VolumeError> {
        if found.directory {
            return Err(VolumeError::IsDirectory);
        }
        let len = u64::from(found.len);
        let extents = self.clusters.extents(sectors, found.first, len, false).await?;
        Ok(File { extents, len, valid: len, entries: None })
    }
}

struct Found {
    directory: bool,
    first: u32,
    len: u32,
}

impl Found {
    fn of(entry: &[u8]) -> Self {
        Self {
            directory: byte(entry, 11) & DIRECTORY != 0,
            first: u32::from(u16_at(entry, 20)) << 16 | u32::from(u16_at(entry, 26)),
            len: u32_at(entry, 28),
        }
    }
}

impl Long {
    /// A part of a long name; the last part comes first.
    fn take(&mut self, entry: &[u8], name: &str) {
        let order = byte(entry, 0);
        let number = order & 0x3f;
        if order & 0x40 != 0 {
            *self = Self { left: number, checksum: byte(entry, 13), same: true, len: 0 };
        }
        if number == 0 || number != self.left || byte(entry, 13) != self.checksum {
            *self = Self::default();
            return;
        }
        self.left -= 1;
        let skip = usize::from(number - 1) * CHARACTERS.len();
        let mut wanted = name.encode_utf16().skip(skip);
        for at in CHARACTERS {
            let here = u16_at(entry, at);
            if here == 0 || here == 0xffff {
                break;
            }
            self.len += 1;
            self.same &= wanted.next().is_some_and(|wanted| same_unit(here, wanted));
        }
    }

    /// Whether this long name is the wanted one, and belongs to this entry.
    fn is(&self, entry: &[u8], name: &str) -> bool {
        let short = entry.get(..11).unwrap_or_default();
        let checksum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        self.len > 0
            && self.left == 0
            && self.same
            && checksum == self.checksum
            && name.encode_utf16().count() == self.len
    }
}

/// Whether an entry's short name is the wanted one.
fn is_short(entry: &[u8], name: &str) -> bool {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let matches = |field: Option<&[u8]>, text: &str| {
        let field = field.unwrap_or_default();
        text.len() <= field.len()
            && field
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == text.as_bytes().get(at).map_or(b' ', u8::to_ascii_uppercase))
    };
    !base.is_empty() && matches(entry.get(..8), base) && matches(entry.get(8..11), extension)
}
