//! Card images: an exFAT volume (Microsoft's specification, version 1.00) with files that lie in one piece.

use crate::card::{BLOCK, Medium};

/// Where the volume of a card lies: cards come with an MBR, whose partition begins at 4 MiB or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// No partition table.
    None,
    /// MBR.
    Mbr,
    /// GPT.
    Gpt,
}

/// A file to be put on the card.
#[derive(Clone, Debug)]
pub struct FileSpec {
    /// Up to 60 characters.
    pub name: String,
    /// What it begins with.
    pub start: Vec<u8>,
    /// Its length in bytes; what is behind `start` is as it is on the card: zeros on a new one.
    pub len: u64,
}

impl FileSpec {
    /// A disk of so many bytes.
    pub fn disk(name: &str, len: u64) -> Self {
        Self { name: name.into(), start: Vec::new(), len }
    }

    /// A file of text.
    pub fn text(name: &str, text: &str) -> Self {
        Self { name: name.into(), start: text.as_bytes().to_vec(), len: text.len() as u64 }
    }
}

/// Why a card cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The files have no room: bytes that are wanted, and that there are.
    NoRoom(u64, u64),
    /// A name that exFAT does not allow, or of more than 60 characters.
    Name(String),
    /// A card of less than 16 MiB.
    TooSmall,
}

impl std::fmt::Display for ImageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoRoom(wanted, there) => {
                write!(f, "the files want {wanted} bytes, and the card has {there}: make the card larger")
            }
            Self::Name(name) => write!(f, "{name:?} is no name for a file on a card"),
            Self::TooSmall => f.write_str("a card of less than 16 MiB: make it larger"),
        }
    }
}

impl std::error::Error for ImageError {}

const SECTOR: u64 = BLOCK as u64;
/// Sectors before the volume: 4 MiB, the erase unit of most cards.
const VOLUME_AT: u32 = 8192;
/// Sectors of a boot region.
const BOOT: u32 = 12;
/// Sectors before the FAT.
const FAT_AT: u32 = 128;
const END: u32 = u32::MAX;

struct Writer<'m> {
    medium: &'m mut dyn Medium,
    erased: u8,
    first: u32,
}

impl Writer<'_> {
    /// Writes bytes from a sector of the volume on; the last sector is filled with zeros.
    fn put(&mut self, sector: u32, bytes: &[u8]) {
        for (number, part) in bytes.chunks(BLOCK).enumerate() {
            let mut block = [0; BLOCK];
            block[..part.len()].copy_from_slice(part);
            self.medium.write(self.first + sector + number as u32, &block, self.erased);
        }
    }
}

/// Formats a card of `blocks` sectors. `erased`: what its blocks read as that were never written.
///
/// # Errors
/// When the files have no room.
pub fn format(
    medium: &mut dyn Medium,
    erased: u8,
    blocks: u64,
    table: Table,
    files: &[FileSpec],
) -> Result<(), ImageError> {
    let first = if table == Table::None { 0 } else { VOLUME_AT };
    let behind = if table == Table::Gpt { 33 } else { 0 };
    let sectors = blocks.saturating_sub(u64::from(first) + behind);
    if blocks < 32 << 11 >> 1 || sectors < 8 << 11 {
        return Err(ImageError::TooSmall);
    }
    // 4 KiB clusters on small volumes, 32 KiB up to 32 GiB, 128 KiB above: as cards are sold.
    let cluster_shift: u32 = if sectors < 512 << 11 {
        3
    } else if sectors < 32 << 21 {
        6
    } else {
        8
    };
    let per_cluster = 1u64 << cluster_shift;
    let fat_len = ((sectors >> cluster_shift) * 4).div_ceil(SECTOR).next_multiple_of(128) as u32;
    let heap = (FAT_AT + fat_len).next_multiple_of(1 << cluster_shift.max(7));
    let count = ((sectors - u64::from(heap)) >> cluster_shift).min(u64::from(u32::MAX - 16)) as u32;

    let bytes_per_cluster = per_cluster * SECTOR;
    let clusters_of = |len: u64| len.div_ceil(bytes_per_cluster) as u32;
    let bitmap_len = u64::from(count.div_ceil(8));
    let upcase = upcase();
    let bitmap_at = 2;
    let upcase_at = bitmap_at + clusters_of(bitmap_len);
    let root_at = upcase_at + clusters_of(upcase.len() as u64);
    let mut next = root_at + 1;
    let mut entries = vec![bitmap_entry(bitmap_at, bitmap_len), upcase_entry(upcase_at, &upcase), label_entry("IESP")];
    let mut placed = Vec::new();
    let wanted: u64 = files.iter().map(|file| file.len.div_ceil(bytes_per_cluster)).sum();
    if wanted + u64::from(next - 2) > u64::from(count) {
        let there = u64::from(count.saturating_sub(next - 2)) * bytes_per_cluster;
        return Err(ImageError::NoRoom(files.iter().map(|file| file.len).sum(), there));
    }
    for file in files {
        let at = if file.len == 0 { 0 } else { next };
        entries.extend(file_entries(&file.name, at, file.len)?);
        placed.push((at, file));
        next += clusters_of(file.len);
    }
    if entries.len() as u64 * 32 > bytes_per_cluster {
        return Err(ImageError::NoRoom(entries.len() as u64 * 32, bytes_per_cluster));
    }

    put_table(medium, erased, blocks, table, first, sectors);
    let mut volume = Writer { medium, erased, first };
    let boot = boot_region(first, sectors, fat_len, heap, count, root_at, cluster_shift);
    volume.put(0, &boot);
    volume.put(BOOT, &boot);

    let mut fat = vec![0xffff_fff8, END];
    for (from, to) in [(bitmap_at, upcase_at), (upcase_at, root_at), (root_at, root_at + 1)] {
        fat.extend((from + 1..to).chain([END]));
    }
    volume.put(FAT_AT, &fat.iter().flat_map(|entry| entry.to_le_bytes()).collect::<Vec<u8>>());

    let sector_of = |cluster: u32| heap + (cluster - 2) * per_cluster as u32;
    let mut bitmap = vec![0u8; bitmap_len as usize];
    for used in 0..next - 2 {
        bitmap[used as usize / 8] |= 1 << (used % 8);
    }
    volume.put(sector_of(bitmap_at), &bitmap);
    volume.put(sector_of(upcase_at), &upcase);
    let mut root: Vec<u8> = entries.concat();
    root.resize(bytes_per_cluster as usize, 0);
    volume.put(sector_of(root_at), &root);
    for (at, file) in placed {
        if !file.start.is_empty() {
            volume.put(sector_of(at), &file.start);
        }
    }
    Ok(())
}

fn boot_region(
    first: u32,
    sectors: u64,
    fat_len: u32,
    heap: u32,
    count: u32,
    root: u32,
    cluster_shift: u32,
) -> Vec<u8> {
    let mut region = vec![0; BOOT as usize * BLOCK];
    let mut put = |at: usize, bytes: &[u8]| region[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0xeb, 0x76, 0x90]);
    put(3, b"EXFAT   ");
    put(64, &u64::from(first).to_le_bytes());
    put(72, &sectors.to_le_bytes());
    put(80, &FAT_AT.to_le_bytes());
    put(84, &fat_len.to_le_bytes());
    put(88, &heap.to_le_bytes());
    put(92, &count.to_le_bytes());
    put(96, &root.to_le_bytes());
    put(100, &0x6945_5350_u32.to_le_bytes());
    put(104, &[0, 1]);
    // Sectors of 512 bytes; one FAT; drive 80h; percent in use: unknown.
    put(108, &[9, cluster_shift as u8, 1, 0x80, 0xff]);
    put(120, &[0xf4; 390]);
    put(510, &[0x55, 0xaa]);
    for sector in 1..9 {
        put(sector * BLOCK + 508, &[0, 0, 0x55, 0xaa]);
    }
    // 3.4: all but VolumeFlags and PercentInUse.
    let covered = region[..11 * BLOCK].iter().enumerate().filter(|(at, _)| !matches!(at, 106 | 107 | 112));
    let sum = covered.fold(0u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    for chunk in region[11 * BLOCK..].chunks_mut(4) {
        chunk.copy_from_slice(&sum.to_le_bytes());
    }
    region
}

/// 7.2: the table that tells upper case, compressed: letters of ASCII, all else is itself.
fn upcase() -> Vec<u8> {
    let mut words: Vec<u16> = vec![0xffff, 0x61];
    words.extend(u16::from(b'A')..=u16::from(b'Z'));
    words.extend([0xffff, (0x1_0000_u32 - 0x7b) as u16]);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn bitmap_entry(at: u32, len: u64) -> Vec<u8> {
    let mut entry = vec![0; 32];
    entry[0] = 0x81;
    entry[20..24].copy_from_slice(&at.to_le_bytes());
    entry[24..32].copy_from_slice(&len.to_le_bytes());
    entry
}

fn upcase_entry(at: u32, table: &[u8]) -> Vec<u8> {
    let mut entry = vec![0; 32];
    entry[0] = 0x82;
    let sum = table.iter().fold(0u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    entry[4..8].copy_from_slice(&sum.to_le_bytes());
    entry[20..24].copy_from_slice(&at.to_le_bytes());
    entry[24..32].copy_from_slice(&(table.len() as u64).to_le_bytes());
    entry
}

fn label_entry(label: &str) -> Vec<u8> {
    let mut entry = vec![0; 32];
    entry[0] = 0x83;
    entry[1] = label.len() as u8;
    for (at, unit) in label.encode_utf16().enumerate() {
        entry[2 + 2 * at..4 + 2 * at].copy_from_slice(&unit.to_le_bytes());
    }
    entry
}

/// A file's entries: itself, its stream, its name. It lies in one piece from cluster `at` on.
///
/// # Errors
/// When exFAT does not allow the name.
pub fn file_entries(name: &str, at: u32, len: u64) -> Result<Vec<Vec<u8>>, ImageError> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let forbidden = |c: char| c < ' ' || "\"*/:<>?\\|".contains(c);
    if units.is_empty() || units.len() > 60 || name.chars().any(forbidden) {
        return Err(ImageError::Name(name.into()));
    }
    let names = units.chunks(15).count();
    let mut file = vec![0; 32];
    file[0] = 0x85;
    file[1] = 1 + names as u8;
    // ATTR_ARCHIVE; times: 1 January 2026, in UTC.
    file[4] = 0x20;
    let time = ((2026_u32 - 1980) << 25 | 1 << 21 | 1 << 16).to_le_bytes();
    for place in [8, 12, 16] {
        file[place..place + 4].copy_from_slice(&time);
    }
    file[22..25].copy_from_slice(&[0x80; 3]);
    let mut stream = vec![0; 32];
    stream[0] = 0xc0;
    // AllocationPossible, NoFatChain.
    stream[1] = if len > 0 { 0x03 } else { 0x01 };
    stream[3] = units.len() as u8;
    let upper = units.iter().map(|unit| match unit {
        0x61..=0x7a => unit - 0x20,
        other => *other,
    });
    let hash = upper.flat_map(u16::to_le_bytes).fold(0u16, |sum, byte| sum.rotate_right(1).wrapping_add(byte.into()));
    stream[4..6].copy_from_slice(&hash.to_le_bytes());
    stream[8..16].copy_from_slice(&len.to_le_bytes());
    stream[20..24].copy_from_slice(&at.to_le_bytes());
    stream[24..32].copy_from_slice(&len.to_le_bytes());
    let mut set = vec![file, stream];
    for part in units.chunks(15) {
        let mut entry = vec![0; 32];
        entry[0] = 0xc1;
        for (at, unit) in part.iter().enumerate() {
            entry[2 + 2 * at..4 + 2 * at].copy_from_slice(&unit.to_le_bytes());
        }
        set.push(entry);
    }
    seal(&mut set);
    Ok(set)
}

/// 7.4.3: the checksum of a file's entries goes into the first of them.
pub fn seal(entries: &mut [Vec<u8>]) {
    let all = entries.concat();
    let covered = all.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
    let sum = covered.fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)));
    entries[0][2..4].copy_from_slice(&sum.to_le_bytes());
}

fn put_table(medium: &mut dyn Medium, erased: u8, blocks: u64, table: Table, first: u32, sectors: u64) {
    if table == Table::None {
        return;
    }
    let mut mbr = [0; BLOCK];
    let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let (kind, start, count) = match table {
        Table::Gpt => (0xee, 1, blocks - 1),
        _ => (0x07, u64::from(first), sectors),
    };
    mbr[446..462].copy_from_slice(&[0, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    mbr[454..458].copy_from_slice(&short(start));
    mbr[458..462].copy_from_slice(&short(count));
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    medium.write(0, &mbr, erased);
    if table != Table::Gpt {
        return;
    }
    // One entry: basic data (UEFI 2.10 5.3.3), in both tables.
    let mut entries = vec![0; 128 * 128];
    entries[..16].copy_from_slice(&[
        0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7,
    ]);
    entries[16..32].copy_from_slice(b"iESP partition 1");
    entries[32..40].copy_from_slice(&u64::from(first).to_le_bytes());
    entries[40..48].copy_from_slice(&(u64::from(first) + sectors - 1).to_le_bytes());
    let last = blocks - 1;
    let header = |own: u64, other: u64, table: u64| {
        let mut header = [0; BLOCK];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..16].copy_from_slice(&[0, 0, 1, 0, 92, 0, 0, 0]);
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[40..48].copy_from_slice(&34u64.to_le_bytes());
        header[48..56].copy_from_slice(&(last - 33).to_le_bytes());
        header[56..72].copy_from_slice(b"iESP card image.");
        header[72..80].copy_from_slice(&table.to_le_bytes());
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        let crc = crc32(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    };
    let mut card = Writer { medium, erased, first: 0 };
    card.put(1, &header(1, last, 2));
    card.put(2, &entries);
    card.put((last - 32) as u32, &entries);
    card.put(last as u32, &header(last, 1, last - 32));
}

/// CRC-32 of the UEFI specification.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}
