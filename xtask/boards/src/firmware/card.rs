//! An image of an SD card: exFAT, as `mkfs.exfat` makes it, with the disk's file in one piece.
//!
//! Files are put there by hand, for nothing else can without a mount. The blocks of the disk's are those that the image was made
//! with, zeros that take no room.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use xtask_common::process::{Ended, last_lines, run_logged};
use xtask_common::workspace::find_program;

/// The disk's file.
pub const DISK: &str = "test.dat";
/// Bytes of a card: QEMU wants a power of two, and one of high capacity is larger than 2 GiB.
const CARD_BYTES: u64 = 4 << 30;
/// Bytes of a directory entry (exFAT specification 6).
const ENTRY: usize = 32;

/// What the owner of a board says, beside it.
const CONFIG: &str = "cfg-iESP.json";

/// Makes the image of a card with a disk of `bytes` bytes on it and, where there is one, a configuration.
///
/// # Errors
/// When `mkfs.exfat` is missing, or the disk does not fit.
pub fn make(image: &Path, bytes: u64, config: Option<&str>) -> Result<()> {
    let file = File::create(image).with_context(|| format!("cannot write {}", image.display()))?;
    file.set_len(CARD_BYTES)?;
    drop(file);
    let program = find_program("mkfs.exfat").context("no mkfs.exfat here: `cargo xtask setup` installs it")?;
    let output = Command::new(program).arg(image).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "mkfs.exfat failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let file = OpenOptions::new().read(true).write(true).open(image)?;
    let failed = |name| format!("cannot put {name} on {}", image.display());
    add_file(&file, DISK, bytes).with_context(|| failed(DISK))?;
    let Some(config) = config else { return Ok(()) };
    let at = add_file(&file, CONFIG, config.len() as u64).with_context(|| failed(CONFIG))?;
    file.write_all_at(config.as_bytes(), at).with_context(|| failed(CONFIG))
}

/// Has the card's file system checked, without repairs.
///
/// # Errors
/// When it is not clean, or cannot be checked.
pub fn check(image: &Path, log: &Path) -> Result<()> {
    let program = find_program("fsck.exfat").context("no fsck.exfat here: `cargo xtask setup` installs it")?;
    let mut command = Command::new(program);
    match run_logged(command.arg("-n").arg(image), log, std::time::Duration::from_secs(60))? {
        Ended::Exit(0) => Ok(()),
        ended => bail!("fsck.exfat ({ended}): {}", last_lines(log, 5).join(" | ")),
    }
}

/// What the boot sector says (exFAT specification 3.1), in bytes.
struct Volume {
    cluster: u64,
    heap: u64,
    clusters: u32,
    root: u32,
    fat: u64,
}

impl Volume {
    fn read(file: &File) -> Result<Self> {
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, 0)?;
        ensure!(&sector[3..11] == b"EXFAT   ", "no exFAT");
        let word = |at: usize| u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
        let bytes_per_sector = 1_u64 << sector[108];
        Ok(Volume {
            cluster: bytes_per_sector << sector[109],
            heap: u64::from(word(88)) * bytes_per_sector,
            clusters: word(92),
            root: word(96),
            fat: u64::from(word(80)) * bytes_per_sector,
        })
    }

    /// Where a cluster lies; the first one is number 2.
    fn at(&self, cluster: u32) -> u64 {
        self.heap + u64::from(cluster - 2) * self.cluster
    }

    /// Where the cluster after this one is, by the table.
    fn next(&self, file: &File, cluster: u32) -> Result<u32> {
        let mut entry = [0; 4];
        file.read_exact_at(&mut entry, self.fat + u64::from(cluster) * 4)?;
        Ok(u32::from_le_bytes(entry))
    }
}

/// Adds a file of one piece to the root folder of a fresh volume; answers with where its bytes are.
fn add_file(image: &File, name: &str, bytes: u64) -> Result<u64> {
    let volume = Volume::read(image)?;
    let mut folder = vec![0; usize::try_from(volume.cluster)?];
    image.read_exact_at(&mut folder, volume.at(volume.root))?;
    let entries: Vec<&[u8]> = folder.chunks(ENTRY).take_while(|entry| entry[0] != 0).collect();
    let bitmap_entry = entries.iter().find(|entry| entry[0] == 0x81).context("no allocation bitmap")?;
    let bitmap_at = volume.at(u32::from_le_bytes(bitmap_entry[20..24].try_into()?));
    ensure!(volume.next(image, volume.root)? >= 0xffff_fff8, "a root folder of several clusters");

    let count = u32::try_from(bytes.div_ceil(volume.cluster))?;
    let mut bitmap = vec![0; usize::try_from(volume.clusters.div_ceil(8))?];
    image.read_exact_at(&mut bitmap, bitmap_at)?;
    let is_used = |bitmap: &[u8], index: u32| bitmap[index as usize / 8] & 1 << (index % 8) != 0;
    // On a fresh volume everything behind what is used is free.
    let first = (0..volume.clusters).rev().find(|index| is_used(&bitmap, *index)).map_or(0, |last| last + 1);
    ensure!(
        count > 0 && u64::from(first) + u64::from(count) <= u64::from(volume.clusters),
        "no room for {bytes} bytes"
    );
    (first..first + count).for_each(|index| bitmap[index as usize / 8] |= 1 << (index % 8));

    let set = entry_set(name, first + 2, bytes)?;
    let used = entries.len() * ENTRY;
    ensure!(used + set.len() < folder.len(), "the root folder is full");
    image.write_all_at(&bitmap, bitmap_at)?;
    image.write_all_at(&set, volume.at(volume.root) + used as u64)?;
    Ok(volume.at(first + 2))
}

/// File, stream extension and name entries (exFAT specification 7.4, 7.6, 7.7).
fn entry_set(name: &str, first_cluster: u32, bytes: u64) -> Result<Vec<u8>> {
    ensure!(name.is_ascii() && (1..=15).contains(&name.len()), "a name of up to 15 letters of ASCII");
    let mut set = vec![0; 3 * ENTRY];
    set[0] = 0x85;
    set[1] = 2;
    // Archive; 1 January 2026, created, changed and read.
    set[4] = 0x20;
    let date = ((2026_u32 - 1980) << 25 | 1 << 21 | 1 << 16).to_le_bytes();
    [8, 12, 16].iter().for_each(|at| set[*at..at + 4].copy_from_slice(&date));

    set[32] = 0xc0;
    // AllocationPossible, NoFatChain.
    set[33] = 0x03;
    set[35] = name.len() as u8;
    let hash = name.to_ascii_uppercase().encode_utf16().flat_map(u16::to_le_bytes).fold(0, rotate_16);
    set[36..38].copy_from_slice(&hash.to_le_bytes());
    set[40..48].copy_from_slice(&bytes.to_le_bytes());
    set[52..56].copy_from_slice(&first_cluster.to_le_bytes());
    set[56..64].copy_from_slice(&bytes.to_le_bytes());

    set[64] = 0xc1;
    let letters = name.encode_utf16().flat_map(u16::to_le_bytes);
    set[66..96].iter_mut().zip(letters).for_each(|(to, from)| *to = from);

    // 6.3.3: over all of the set but the place of the sum itself.
    let sum =
        set.iter().enumerate().filter(|(at, _)| *at != 2 && *at != 3).fold(0, |sum, (_, byte)| rotate_16(sum, *byte));
    set[2..4].copy_from_slice(&sum.to_le_bytes());
    Ok(set)
}

fn rotate_16(sum: u16, byte: u8) -> u16 {
    sum.rotate_right(1).wrapping_add(u16::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_clean_with_its_file() {
        if find_program("mkfs.exfat").is_none() {
            println!("skipped: mkfs.exfat is not installed");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (image, log) = (dir.path().join("card.img"), dir.path().join("fsck.log"));
        make(&image, 48 << 20, Some("{}")).unwrap();
        check(&image, &log).unwrap();
        assert!(std::fs::read_to_string(&log).unwrap().contains("files 2"));

        // A broken sum is noticed.
        let file = OpenOptions::new().read(true).write(true).open(&image).unwrap();
        let volume = Volume::read(&file).unwrap();
        let mut folder = vec![0; 512];
        file.read_exact_at(&mut folder, volume.at(volume.root)).unwrap();
        let at = folder.chunks(ENTRY).position(|entry| entry[0] == 0x85).unwrap() * ENTRY;
        file.write_all_at(&[folder[at + 2] ^ 1], volume.at(volume.root) + at as u64 + 2).unwrap();
        assert!(check(&image, &log).is_err());
        assert!(make(&image, 5 << 30, None).unwrap_err().to_string().contains("cannot put test.dat"));
    }
}
