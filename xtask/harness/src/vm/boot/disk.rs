//! A disk that BIOS and UEFI boot: GPT, GRUB for both, and an ext4 root; made without privileges.

use std::fs::File;
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types;
use xtask_common::workspace::{self, find_program};

use super::super::image::{self, Tree};

const SECTOR: u64 = 512;
/// The whole disk, in sectors: 106 MiB.
const DISK: u64 = 106 << 11;
/// First sector and number of sectors of each partition.
const BIOS_BOOT: (u64, u64) = (40, 2008);
const EFI_SYSTEM: (u64, u64) = (2048, 16384);
const ROOT: (u64, u64) = (18432, DISK - 18432 - 2048);
const ROOT_UUID: &str = "5ea1ab1e-0000-4000-8000-000000000001";
/// GRUB for BIOS is loaded to this segment.
const GRUB_SEGMENT: u16 = 0x0820;

/// Makes the disk as a sparse file; `scratch` is a folder for what it is made of.
///
/// # Errors
/// When a package, a tool or space is missing.
pub fn make(disk: &Path, scratch: &Path) -> Result<()> {
    let (recipe, all) = image::unpack("boot.toml")?;
    let system = image::select(&recipe, &all)?;
    let folder = scratch.join("grub");
    grub_files(&all)?.write_to(&folder)?;
    let bios = grub_image(&folder, "i386-pc", &["biosdisk"])?;
    let efi = grub_image(&folder, "x86_64-efi", &[])?;
    let boot_sector = all.data("usr/lib/grub/i386-pc/boot.img").context("GRUB has no boot.img")?;

    let mut file = File::options().read(true).write(true).create_new(true).open(disk)?;
    file.set_len(DISK * SECTOR)?;
    partition(&mut file)?;
    put(&mut file, 0, &boot_code(boot_sector)?)?;
    put(&mut file, BIOS_BOOT.0, &core_image(bios)?)?;
    put(&mut file, EFI_SYSTEM.0, &efi_system(&efi)?)?;
    file.sync_all()?;
    drop(file);

    let root = scratch.join("root");
    root_tree(&system, image::kernel_of(&all)?)?.write_to(&root)?;
    let offset = format!("root_owner=0:0,offset={}", ROOT.0 * SECTOR);
    let mut command = tool("mke2fs")?;
    command.args(["-q", "-F", "-t", "ext4", "-U", ROOT_UUID, "-E", &offset, "-d"]).arg(&root).arg(disk);
    finish(command.arg(format!("{}k", ROOT.1 / 2)))
}

/// Holds the root file system against what it should be, after the guest has ended.
///
/// # Errors
/// When it is damaged.
pub fn check(disk: &Path) -> Result<()> {
    let file = format!("{}?offset={}", disk.display(), ROOT.0 * SECTOR);
    finish(tool("e2fsck")?.args(["-f", "-n", &file]))
}

/// The system on the disk: what runs, the kernel, and the initramfs that finds the disk again.
fn root_tree(system: &Tree, kernel: &[u8]) -> Result<Tree> {
    let script = |name: &str| {
        let file = workspace::root().join("ci/guest").join(name);
        std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let mut initramfs = system.clone();
    initramfs.add_file("init", 0o755, script("boot-initramfs")?);
    initramfs.add_file("vm/boot.conf", 0o644, format!("ROOT_UUID={ROOT_UUID}\n"));

    let mut root = system.clone();
    root.add_file("sbin/init", 0o755, script("boot-root")?);
    root.add_file("etc/iscsi/iscsid.conf", 0o600, script("iscsid.conf")?);
    root.add_file("etc/passwd", 0o644, script("passwd")?);
    root.add_file("etc/group", 0o644, script("group")?);
    root.add_file("vmlinuz", 0o644, kernel);
    root.add_file("initrd", 0o644, image::archive_of(&initramfs)?);
    Ok(root)
}

/// GRUB's modules for both firmwares, and the program that links them.
fn grub_files(all: &Tree) -> Result<Tree> {
    let mut files = Tree::default();
    for pattern in ["usr/lib/grub/i386-pc/*", "usr/lib/grub/x86_64-efi/*", "usr/bin/grub-mkimage"] {
        for path in all.matching(pattern)? {
            files.take(all, &path)?;
        }
    }
    Ok(files)
}

fn grub_image(folder: &Path, format: &str, more: &[&str]) -> Result<Vec<u8>> {
    let (config, out) = (folder.join("grub.cfg"), folder.join(format!("{format}.img")));
    let text = format!(
        "search.fs_uuid {ROOT_UUID} root\necho ==GRUB==\nlinux /vmlinuz console=ttyS0 net.ifnames=0 panic=-1\n\
         initrd /initrd\nboot\n"
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(folder.join("usr/bin/grub-mkimage"));
    command.arg("-d").arg(folder.join("usr/lib/grub").join(format)).args(["-O", format, "-p", "/boot/grub", "-c"]);
    command.arg(&config).arg("-o").arg(&out);
    command.args(["part_gpt", "ext2", "search_fs_uuid", "linux", "boot", "echo"]).args(more);
    finish(&mut command)?;
    Ok(std::fs::read(out)?)
}

fn partition(file: &mut File) -> Result<()> {
    let mbr = ProtectiveMBR::with_lb_size(u32::try_from(DISK - 1)?);
    mbr.overwrite_lba0(file)?;
    let config = gpt::GptConfig::new().writable(true).logical_block_size(LogicalBlockSize::Lb512);
    let mut table = config.create_from_device(file, None)?;
    let parts = [
        ("bios", BIOS_BOOT, partition_types::BIOS),
        ("efi", EFI_SYSTEM, partition_types::EFI),
        ("root", ROOT, partition_types::LINUX_FS),
    ];
    for (number, (name, (first, length), kind)) in (1..).zip(parts) {
        table.add_partition_at(name, number, first, length, kind, 0)?;
    }
    table.write()?;
    Ok(())
}

/// GRUB's boot sector, up to the partition table: it loads the sector that the core image begins with.
fn boot_code(boot_sector: &[u8]) -> Result<Vec<u8>> {
    let mut code = boot_sector.get(..440).context("GRUB's boot.img is cut short")?.to_vec();
    overwrite(&mut code, 0x5c, &BIOS_BOOT.0.to_le_bytes())?;
    // As grub-install does it for hard disks: the jump over the check of the drive's number goes away.
    overwrite(&mut code, 0x66, &[0x90, 0x90])?;
    Ok(code)
}

/// GRUB's core image: its first sector holds the list of the others.
fn core_image(mut core: Vec<u8>) -> Result<Vec<u8>> {
    let sectors = u64::try_from(core.len())?.div_ceil(SECTOR);
    ensure!(sectors <= BIOS_BOOT.1, "GRUB's core image has {sectors} sectors");
    overwrite(&mut core, 488, &[0; 12])?;
    overwrite(&mut core, 500, &(BIOS_BOOT.0 + 1).to_le_bytes())?;
    overwrite(&mut core, 508, &u16::try_from(sectors - 1)?.to_le_bytes())?;
    overwrite(&mut core, 510, &GRUB_SEGMENT.to_le_bytes())?;
    Ok(core)
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) -> Result<()> {
    bytes.get_mut(at..at + with.len()).context("GRUB's image is cut short")?.copy_from_slice(with);
    Ok(())
}

/// A FAT file system with GRUB where UEFI looks for a loader.
fn efi_system(loader: &[u8]) -> Result<Vec<u8>> {
    let mut volume = Cursor::new(vec![0; usize::try_from(EFI_SYSTEM.1 * SECTOR)?]);
    let options = fatfs::FormatVolumeOptions::new().fat_type(fatfs::FatType::Fat16).bytes_per_cluster(512);
    fatfs::format_volume(&mut volume, options)?;
    let system = fatfs::FileSystem::new(&mut volume, fatfs::FsOptions::new())?;
    let folder = system.root_dir().create_dir("EFI")?.create_dir("BOOT")?;
    let mut file = folder.create_file("BOOTX64.EFI")?;
    file.write_all(loader)?;
    file.flush()?;
    drop((file, folder));
    system.unmount()?;
    Ok(volume.into_inner())
}

fn put(file: &mut File, sector: u64, bytes: &[u8]) -> Result<()> {
    file.seek(SeekFrom::Start(sector * SECTOR))?;
    Ok(file.write_all(bytes)?)
}

fn tool(name: &str) -> Result<Command> {
    let program = find_program(name).with_context(|| format!("{name} is not installed (Debian: e2fsprogs)"))?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    Ok(command)
}

fn finish(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{:?} cannot be started", command.get_program()))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).lines().collect::<Vec<_>>().join(" | ");
        bail!("{:?} failed ({}): {said}", command.get_program(), output.status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_boot_sector_leads_to_the_core_image_and_that_to_its_rest() {
        let code = boot_code(&[0xee; 512]).unwrap();
        assert_eq!(
            (code.len(), &code[0x5c..0x64], &code[0x66..0x68]),
            (440, &[40, 0, 0, 0, 0, 0, 0, 0][..], &[0x90, 0x90][..])
        );
        let core = core_image(vec![0xee; 1300]).unwrap();
        assert_eq!(core[488..512], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x20, 0x08]);
        assert!(core_image(vec![0; 2 << 20]).is_err());
        assert!(boot_code(&[0; 100]).is_err());
    }

    #[test]
    fn uefi_finds_its_loader() {
        let volume = efi_system(b"MZ loader").unwrap();
        let system = fatfs::FileSystem::new(Cursor::new(volume), fatfs::FsOptions::new()).unwrap();
        let mut text = String::new();
        system.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "MZ loader");
    }

    #[test]
    fn the_partitions_are_where_the_loaders_look() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(DISK * SECTOR).unwrap();
        partition(&mut file).unwrap();
        let table = gpt::GptConfig::new().writable(false).open(&path).unwrap();
        let firsts: Vec<(u64, u64)> =
            table.partitions().values().filter(|one| one.is_used()).map(|one| (one.first_lba, one.last_lba)).collect();
        assert_eq!(firsts, [BIOS_BOOT, EFI_SYSTEM, ROOT].map(|(first, length)| (first, first + length - 1)));
    }
}
