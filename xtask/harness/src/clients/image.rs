//! A disk image with holes, the same bytes for the same seed.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail};

const MIB: u64 = 1 << 20;

/// Where there is data: offset and length in bytes, sorted, apart from each other, in whole 4096-byte blocks.
pub fn extents(seed: u64, size: u64) -> Vec<(u64, u64)> {
    let mut random = SplitMix(seed);
    // Both ends and a long one; between them, small pieces with holes of all sizes.
    let mut extents = vec![(0, MIB)];
    let mut next = 2 * MIB;
    while next < size - 20 * MIB {
        let length = (1 + random.next() % 64) * 4096;
        extents.push((next, length));
        next += length + (1 + random.next() % 2048) * 4096;
    }
    extents.push((size - 16 * MIB, 8 * MIB));
    extents.push((size - 4096, 4096));
    extents
}

/// Makes the image: data in the extents, holes elsewhere.
///
/// # Errors
/// When the file cannot be written.
pub fn make(file: &Path, seed: u64, size: u64) -> Result<()> {
    let out = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    out.set_len(size)?;
    let mut random = SplitMix(!seed);
    for (offset, length) in extents(seed, size) {
        let words = (0..length / 8).flat_map(|_| random.next().to_le_bytes());
        out.write_all_at(&words.collect::<Vec<u8>>(), offset)?;
    }
    Ok(())
}

/// Fills stretches of the disk with old data, so that holes have to be written, not only left alone.
///
/// # Errors
/// When the file cannot be written.
pub fn soil(file: &Path, size: u64) -> Result<()> {
    let out = File::options().write(true).open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let old = vec![0xa5_u8; MIB as usize];
    for offset in (0..size).step_by((32 * MIB) as usize) {
        (0..4).try_for_each(|part| out.write_all_at(&old, offset + part * MIB))?;
    }
    Ok(())
}

/// Compares two files byte by byte.
///
/// # Errors
/// At the first difference, which the message names; or when one cannot be read.
pub fn compare(one: &Path, other: &Path) -> Result<()> {
    let open = |path: &Path| File::open(path).with_context(|| format!("cannot open {}", path.display()));
    let (first, second) = (open(one)?, open(other)?);
    let size = first.metadata()?.len();
    if second.metadata()?.len() != size {
        bail!("{} has {} bytes, {} has {size}", other.display(), second.metadata()?.len(), one.display());
    }
    let (mut a, mut b) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    for offset in (0..size).step_by(MIB as usize) {
        let length = (size - offset).min(MIB) as usize;
        first.read_exact_at(&mut a[..length], offset)?;
        second.read_exact_at(&mut b[..length], offset)?;
        if a[..length] != b[..length] {
            let at = (0..length).find(|&at| a[at] != b[at]).unwrap_or_default();
            bail!("{} and {} differ at byte {}", one.display(), other.display(), offset + at as u64);
        }
    }
    Ok(())
}

/// How many bytes of the file take room on the disk.
///
/// # Errors
/// When there is no such file.
pub fn allocated(file: &Path) -> Result<u64> {
    Ok(file.metadata().with_context(|| format!("no {}", file.display()))?.blocks() * 512)
}

/// A small generator of numbers (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_apart_and_inside() {
        for seed in 0..20 {
            let size = 64 * MIB;
            let extents = extents(seed, size);
            assert!(extents.len() > 8);
            for pair in extents.windows(2) {
                assert!(pair[0].0 + pair[0].1 < pair[1].0, "seed {seed}: {pair:?}");
            }
            assert_eq!(extents.last().map(|last| last.0 + last.1), Some(size));
            assert!(extents.iter().all(|extent| extent.0 % 4096 == 0 && extent.1 % 4096 == 0));
        }
    }

    #[test]
    fn one_wrong_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let size = 32 * MIB;
        make(&one, 7, size).unwrap();
        make(&other, 7, size).unwrap();
        compare(&one, &other).unwrap();
        File::options().write(true).open(&other).unwrap().write_all_at(&[1], 1_500_000).unwrap();
        assert!(compare(&one, &other).unwrap_err().to_string().contains("byte 1500000"));
    }

    #[test]
    fn holes_take_no_room_and_dirt_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image");
        let size = 256 * MIB;
        make(&file, 7, size).unwrap();
        let before = allocated(&file).unwrap();
        assert!(before < size / 4, "{before}");
        soil(&file, size).unwrap();
        assert!(allocated(&file).unwrap() > before + 16 * MIB);
    }
}
