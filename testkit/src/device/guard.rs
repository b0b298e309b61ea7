//! What must not be overwritten by mistake: a disk that is in use, or that holds something.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Device;
use super::buffer::Buffer;

/// Why a disk should not be overwritten, in words for the user; `None` when nothing speaks against it.
///
/// # Errors
/// What reading the beginning of the disk met.
pub fn what_it_holds(device: &dyn Device) -> io::Result<Option<String>> {
    let geometry = device.geometry();
    let block = u64::from(geometry.logical_block);
    let len = (LOOKED_AT as u64).min(geometry.size) / block * block;
    let mut data = Buffer::new(len as usize);
    device.read(0, &mut data)?;
    Ok(signature(&data).map(|name| format!("it holds {name}")))
}

/// How much of the beginning is looked at: Btrfs has its superblock at 64 KiB.
const LOOKED_AT: usize = 68 << 10;

/// Where what lies: offset, bytes, name.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0x438, &[0x53, 0xef], "an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "an XFS file system"),
    (0x10040, b"_BHRfS_M", "a Btrfs file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (3, b"-FVE-FS-", "a BitLocker volume"),
    (0x36, b"FAT12   ", "a FAT file system"),
    (0x36, b"FAT16   ", "a FAT file system"),
    (0x52, b"FAT32   ", "a FAT file system"),
    (512, b"EFI PART", "a GUID partition table"),
    (4096, b"EFI PART", "a GUID partition table"),
    (0, b"LUKS\xba\xbe", "a LUKS encrypted volume"),
    (0, b"SKUL\xba\xbe", "a LUKS encrypted volume"),
    (512 + 24, b"LVM2 001", "an LVM physical volume"),
    (24, b"LVM2 001", "an LVM physical volume"),
    (4096, b"\xfc\x4e\x2b\xa9", "a Linux RAID member"),
    (0, b"\xfc\x4e\x2b\xa9", "a Linux RAID member"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4086, b"SWAP-SPACE", "swap space"),
    (0x400, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (0, b"hsqs", "a SquashFS file system"),
    (0x8001, b"CD001", "an ISO 9660 file system"),
    (0x10034, b"ReIsEr", "a ReiserFS file system"),
    (0x20000 - 0x10000, b"\x19\x01\x54\x19", "a UFS file system"),
    (0, b"QFI\xfb", "a QCOW2 image"),
    (0, b"KDMV", "a VMDK image"),
    (0x1000, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcache device"),
    (0, b"\x0d\xf0\x01\xc0", "a VMFS volume"),
];

fn signature(data: &[u8]) -> Option<&'static str> {
    SIGNATURES
        .iter()
        .find(|(offset, bytes, _)| data.get(*offset..*offset + bytes.len()) == Some(*bytes))
        .map(|(_, _, name)| *name)
        .or_else(|| has_partitions(data).then_some("a partition table"))
}

/// A master boot record: its mark alone is two bytes, so at least one entry must be sensible too and none absurd.
fn has_partitions(data: &[u8]) -> bool {
    let (Some(mark), Some(table)) = (data.get(510..512), data.get(446..510)) else { return false };
    let entries = table.as_chunks::<16>().0;
    let used = |entry: &[u8; 16]| entry[4] != 0 && entry[8..16].iter().any(|&byte| byte != 0);
    mark == [0x55, 0xaa] && entries.iter().all(|entry| entry[0] == 0 || entry[0] == 0x80) && entries.iter().any(used)
}

/// Who uses the block device at `path`, in words for the user: a mount, swap, or a device on top of it.
///
/// # Errors
/// What asking the system met.
pub fn who_uses(path: &Path) -> io::Result<Option<String>> {
    let device = fs::metadata(path)?.rdev();
    #[cfg(target_os = "linux")]
    let users = linux::users(device);
    #[cfg(not(target_os = "linux"))]
    let users = {
        let _ = device;
        None
    };
    Ok(users)
}

#[cfg(target_os = "linux")]
mod linux {
    use super::fs;

    pub(super) fn users(device: u64) -> Option<String> {
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
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
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        let is_ours = |name: &str| {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(name).is_ok_and(|file| {
                numbers.contains(&format!("{}:{}", rustix::fs::major(file.rdev()), rustix::fs::minor(file.rdev())))
            })
        };
        swaps
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .any(is_ours)
            .then(|| "the system swaps to it".to_owned())
    }

    fn names_in(folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// proc_pid_mountinfo(5): the third field is major:minor, the fifth the mount point.
    pub(super) fn mount_of(mounts: &str, numbers: &[String]) -> Option<String> {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            let number = fields.nth(2)?;
            let place = fields.nth(1)?;
            numbers.iter().any(|ours| ours == number).then(|| place.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory::Memory;

    #[test]
    fn each_signature_is_seen() -> io::Result<()> {
        for (offset, bytes, name) in SIGNATURES {
            let mut start = vec![0; LOOKED_AT];
            start[*offset..*offset + bytes.len()].copy_from_slice(bytes);
            let disk = Memory::new(1 << 20, 512);
            disk.write(0, &start, false)?;
            assert_eq!(what_it_holds(&disk)?, Some(format!("it holds {name}")));
        }
        Ok(())
    }

    #[test]
    fn a_partition_table_is_seen_and_two_bytes_are_none() {
        let mut start = vec![0; 512];
        start[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(signature(&start), None);
        start[446 + 4] = 0x83;
        start[446 + 12] = 1;
        assert_eq!(signature(&start), Some("a partition table"));
        start[446] = 0x17;
        assert_eq!(signature(&start), None);
    }

    #[test]
    fn an_empty_disk_and_a_tiny_one_are_free() -> io::Result<()> {
        assert_eq!(what_it_holds(&Memory::new(1 << 20, 4096))?, None);
        assert_eq!(what_it_holds(&Memory::new(512, 512))?, None);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn mounts_are_found_by_number() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 8:17 /sub /mnt/a\\040b rw - xfs /dev/sdb1 rw\n";
        let numbers = |number: &str| vec![number.to_owned()];
        assert_eq!(linux::mount_of(mounts, &numbers("8:17")), Some("/mnt/a\\040b".to_owned()));
        assert_eq!(linux::mount_of(mounts, &numbers("8:16")), None);
    }
}
