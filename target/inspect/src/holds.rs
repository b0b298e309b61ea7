//! What the first bytes of a disk say of the rest.

/// How much of the beginning is looked at: Btrfs has its superblock at 64 KiB.
pub const LOOKED_AT: usize = 68 << 10;

/// What begins like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Where the bytes are.
    pub offset: usize,
    /// The bytes.
    pub bytes: &'static [u8],
    /// What they stand for, with its article.
    pub name: &'static str,
    /// The format of an image of a virtual machine's disk, as qemu-img calls it: the disk is inside.
    pub format: Option<&'static str>,
}

const fn holds(offset: usize, bytes: &'static [u8], name: &'static str) -> Signature {
    Signature { offset, bytes, name, format: None }
}

const fn image(bytes: &'static [u8], name: &'static str, format: &'static str) -> Signature {
    Signature { offset: 0, bytes, name, format: Some(format) }
}

/// All that are known.
pub(crate) const SIGNATURES: &[Signature] = &[
    holds(0x438, &[0x53, 0xef], "an ext2, ext3 or ext4 file system"),
    holds(0, b"XFSB", "an XFS file system"),
    holds(0x10040, b"_BHRfS_M", "a Btrfs file system"),
    holds(3, b"NTFS    ", "an NTFS file system"),
    holds(3, b"EXFAT   ", "an exFAT file system"),
    holds(3, b"-FVE-FS-", "a BitLocker volume"),
    holds(0x36, b"FAT12   ", "a FAT file system"),
    holds(0x36, b"FAT16   ", "a FAT file system"),
    holds(0x52, b"FAT32   ", "a FAT file system"),
    holds(512, b"EFI PART", "a GUID partition table"),
    holds(4096, b"EFI PART", "a GUID partition table"),
    holds(0, b"LUKS\xba\xbe", "a LUKS encrypted volume"),
    holds(0, b"SKUL\xba\xbe", "a LUKS encrypted volume"),
    holds(512 + 24, b"LVM2 001", "an LVM physical volume"),
    holds(24, b"LVM2 001", "an LVM physical volume"),
    holds(4096, b"\xfc\x4e\x2b\xa9", "a Linux RAID member"),
    holds(0, b"\xfc\x4e\x2b\xa9", "a Linux RAID member"),
    holds(4086, b"SWAPSPACE2", "swap space"),
    holds(4086, b"SWAP-SPACE", "swap space"),
    holds(0x400, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    holds(0, b"hsqs", "a SquashFS file system"),
    holds(0x8001, b"CD001", "an ISO 9660 file system"),
    holds(0x10034, b"ReIsEr", "a ReiserFS file system"),
    holds(0x20000 - 0x10000, b"\x19\x01\x54\x19", "a UFS file system"),
    holds(0x1000, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcache device"),
    holds(0, b"\x0d\xf0\x01\xc0", "a VMFS volume"),
    image(b"QFI\xfb", "a QCOW2 image", "qcow2"),
    image(b"KDMV", "a VMDK image", "vmdk"),
    image(b"COWD", "a VMDK image", "vmdk"),
    image(b"# Disk DescriptorFile", "a VMDK descriptor", "vmdk"),
    image(b"vhdxfile", "a VHDX image", "vhdx"),
    // A dynamic VHD has a copy of its footer at its beginning; a fixed one is raw, with a footer behind it.
    image(b"conectix", "a VHD image", "vpc"),
    image(b"QED\0", "a QED image", "qed"),
    image(b"WithoutFreeSpace", "a Parallels image", "parallels"),
    image(b"WithouFreSpacExt", "a Parallels image", "parallels"),
    image(b"#!/bin/sh\n#V2.0 Format\n", "a compressed loop (cloop) image", "cloop"),
    Signature { offset: 0x40, bytes: b"\x7f\x10\xda\xbe", name: "a VDI image", format: Some("vdi") },
];

/// What begins like these bytes of a disk's beginning; a partition table has no fixed bytes.
pub fn signature(beginning: &[u8]) -> Option<&'static str> {
    let found = SIGNATURES.iter().find(|signature| signature.is_at(beginning));
    found.map(|signature| signature.name).or_else(|| has_partitions(beginning).then_some("a partition table"))
}

/// The image of a virtual machine's disk that begins like these bytes.
pub fn image_format(beginning: &[u8]) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.format.is_some() && signature.is_at(beginning))
}

impl Signature {
    fn is_at(&self, beginning: &[u8]) -> bool {
        beginning.get(self.offset..self.offset + self.bytes.len()) == Some(self.bytes)
    }
}

/// A master boot record: its mark alone is two bytes, so at least one entry must be sensible too and none absurd.
fn has_partitions(data: &[u8]) -> bool {
    let (Some(mark), Some(table)) = (data.get(510..512), data.get(446..510)) else { return false };
    let entries = table.as_chunks::<16>().0;
    let used = |entry: &[u8; 16]| entry[4] != 0 && entry[8..16].iter().any(|&byte| byte != 0);
    mark == [0x55, 0xaa] && entries.iter().all(|entry| entry[0] == 0 || entry[0] == 0x80) && entries.iter().any(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signature_is_seen() {
        for wanted in SIGNATURES {
            let mut start = vec![0; LOOKED_AT];
            start[wanted.offset..wanted.offset + wanted.bytes.len()].copy_from_slice(wanted.bytes);
            assert_eq!(signature(&start), Some(wanted.name));
            assert_eq!(image_format(&start).map(|found| found.name), wanted.format.map(|_| wanted.name));
        }
        assert_eq!((signature(&[]), image_format(&[0; 512])), (None, None));
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
}
