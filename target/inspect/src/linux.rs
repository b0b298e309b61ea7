//! Linux: /sys/dev/block, mountinfo, /proc/swaps.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(super) fn who_uses(path: &Path) -> io::Result<Option<String>> {
    let metadata = fs::metadata(path)?;
    Ok(if metadata.file_type().is_block_device() { users_of_device(metadata.rdev()) } else { users_of_file(&metadata) })
}

pub(super) fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Ok(metadata) = fs::metadata(path)
        && metadata.file_type().is_block_device()
    {
        collect_below(&format!("/sys/dev/block/{}", number(metadata.rdev())), DEEPEST, &mut files);
    }
    files
}

/// Devices that are built on each other: more are not looked at.
const DEEPEST: u32 = 8;

fn collect_below(folder: &str, depth: u32, files: &mut Vec<PathBuf>) {
    // A partition's folder is in its disk's.
    for folder in [folder.to_owned(), format!("{folder}/..")] {
        let backing = fs::read_to_string(format!("{folder}/loop/backing_file"));
        files.extend(backing.map(|file| PathBuf::from(file.trim_end_matches('\n'))));
        for slave in names_in(&format!("{folder}/slaves")) {
            if depth > 0 {
                collect_below(&format!("{folder}/slaves/{slave}"), depth - 1, files);
            }
        }
    }
}

fn number(device: u64) -> String {
    format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
}

fn users_of_device(device: u64) -> Option<String> {
    let number = number(device);
    let folder = format!("/sys/dev/block/{number}");
    let mut numbers = vec![number];
    let mut holders = names_in(&format!("{folder}/holders"));
    // The partitions of a disk are folders in its own.
    for part in names_in(&folder) {
        if let Ok(number) = fs::read_to_string(format!("{folder}/{part}/dev")) {
            numbers.push(number.trim().to_owned());
            holders.extend(names_in(&format!("{folder}/{part}/holders")));
        }
    }
    if let Some(holder) = holders.first() {
        return Some(format!("the device {holder} is built on it"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(place) = mount_of(&mounts, &numbers) {
        return Some(format!("it is mounted on {place}"));
    }
    let ours = |file: &Metadata| file.file_type().is_block_device() && numbers.contains(&self::number(file.rdev()));
    is_swap(ours).or_else(|| loop_on(ours))
}

fn users_of_file(metadata: &Metadata) -> Option<String> {
    let ours = |file: &Metadata| (file.dev(), file.ino()) == (metadata.dev(), metadata.ino());
    loop_on(ours).or_else(|| is_swap(ours))
}

/// proc_swaps(5): the first field is a name, with what is not plain in octal.
fn is_swap(ours: impl Fn(&Metadata) -> bool) -> Option<String> {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let mut names = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names
        .any(|name| fs::metadata(plain(name)).is_ok_and(|file| ours(&file)))
        .then(|| "the system swaps to it".to_owned())
}

/// A loop device that is on it.
fn loop_on(ours: impl Fn(&Metadata) -> bool) -> Option<String> {
    let mut loops = names_in("/sys/block");
    loops.retain(|name| name.starts_with("loop"));
    loops.sort();
    loops.into_iter().find_map(|name| {
        let backing = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        let file = fs::metadata(backing.trim_end_matches('\n')).ok()?;
        ours(&file).then(|| format!("the loop device {name} is on it"))
    })
}

fn names_in(folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// proc_pid_mountinfo(5): the third field is major:minor, the fifth the mount point.
fn mount_of(mounts: &str, numbers: &[String]) -> Option<String> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let number = fields.nth(2)?;
        let place = fields.nth(1)?;
        numbers.iter().any(|ours| ours == number).then(|| plain(place))
    })
}

/// A name as it is, of one with spaces and the like as `\040`.
fn plain(escaped: &str) -> String {
    let mut name = Vec::new();
    let mut rest = escaped.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let code = others.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                name.push(byte);
                rest = &others[3..];
            }
            None => {
                name.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_number() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 8:17 /sub /mnt/a\\040b rw - xfs /dev/sdb1 rw\n";
        let numbers = |number: &str| vec![number.to_owned()];
        assert_eq!(mount_of(mounts, &numbers("8:17")), Some("/mnt/a b".to_owned()));
        assert_eq!(mount_of(mounts, &numbers("8:16")), None);
    }

    #[test]
    fn names_with_spaces() {
        assert_eq!(plain("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(plain("/a\\9"), "/a\\9");
    }

    #[test]
    fn a_file_that_nobody_uses() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(who_uses(file.path()).expect("asked"), None);
    }
}
