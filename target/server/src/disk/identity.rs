//! Who a disk is: a UUID that belongs to it and goes where it goes. Serial number and NAA come from it, so that multipath
//! never takes two disks for one, nor one for two.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::backend::NbdAddress;
use crate::config::data_folder;
use crate::failure::Failure;
use crate::system;

/// The UUID of the disk at `path`: kept in `FILE.uuid` beside the file itself, whatever link leads to it; for a block
/// device in the data folder of the system, by the best of the names that the device has.
///
/// A file that had to be made for it is added to `made`.
///
/// # Errors
/// What keeps it from being read or written, and what to do.
pub fn of(path: &Path, made: &mut Vec<PathBuf>) -> Result<Uuid, Failure> {
    kept_in(place(path), made)
}

/// The UUID of the disk at `path`, where it has one already.
///
/// # Errors
/// What keeps it from being read, and what to do.
pub fn known(path: &Path) -> Result<Option<Uuid>, Failure> {
    read(&place(path))
}

/// The UUID of an NBD export: kept in the state folder, by the export's URI. Another machine that serves the same export
/// has to be given the same one.
///
/// # Errors
/// What keeps it from being read or written, and what to do.
pub fn of_export(address: &NbdAddress, made: &mut Vec<PathBuf>) -> Result<Uuid, Failure> {
    kept_in(place_of_export(address)?, made)
}

/// The UUID of an NBD export, where it has one already.
///
/// # Errors
/// What keeps it from being read, and what to do.
pub fn known_of_export(address: &NbdAddress) -> Result<Option<Uuid>, Failure> {
    read(&place_of_export(address)?)
}

/// Where the identity of an NBD export is, or is to be kept.
///
/// # Errors
/// Where there is no state folder.
pub fn place_of_export(address: &NbdAddress) -> Result<PathBuf, Failure> {
    let folder = state_folder()?.join(EXPORTS);
    let own = folder.join(address.file_name() + ".uuid");
    if own.exists() {
        return Ok(own);
    }
    // The same export may have been served by another of its names, which initiators know by that identity.
    let key = address.key();
    let mut others: Vec<_> =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
    others.sort();
    let is_same = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".uuid"));
        let other = name.and_then(NbdAddress::of_file_name).filter(|other| other.export == address.export);
        other.is_some_and(|other| other.key().is_same(&key))
    };
    Ok(others.into_iter().find(is_same).unwrap_or(own))
}

fn kept_in(beside: PathBuf, made: &mut Vec<PathBuf>) -> Result<Uuid, Failure> {
    if let Some(uuid) = read(&beside)? {
        return Ok(uuid);
    }
    let uuid = keep_new(&beside)?;
    made.push(beside);
    Ok(uuid)
}

fn read(beside: &Path) -> Result<Option<Uuid>, Failure> {
    match std::fs::read_to_string(beside) {
        Ok(text) => parse(&text).map(Some).map_err(|unknown| {
            let file = beside.display();
            Failure::runtime(match unknown {
                Unknown::Version(version) => format!(
                    "{file} was written by a newer iesp (version {version} of this file): serve the disk by that one"
                ),
                Unknown::Text => format!(
                    "{file} holds no UUID: put the disk's back, or remove the file to give the disk a new identity"
                ),
            })
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::runtime(format!("{} cannot be read: {error}", beside.display()))),
    }
}

/// Why a file holds no identity that is understood here.
#[derive(Debug, PartialEq, Eq)]
enum Unknown {
    /// A newer version of the file.
    Version(String),
    Text,
}

/// An identity as it is kept: the UUID, in a line. That is version 1; a later one says so in a line `version N`, and may
/// mean what this program would do wrong.
fn parse(text: &str) -> Result<Uuid, Unknown> {
    let mut versions = text.lines().filter_map(|line| line.trim().strip_prefix("version "));
    if let Some(version) = versions.find(|version| *version != "1") {
        return Err(Unknown::Version(version.to_owned()));
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "version 1");
    let uuid = lines.next().and_then(|line| Uuid::try_parse(line).ok());
    uuid.filter(|_| lines.next().is_none()).ok_or(Unknown::Text)
}

fn keep_new(beside: &Path) -> Result<Uuid, Failure> {
    let uuid = Uuid::new_v4();
    let write = || {
        if let Some(folder) = beside.parent().filter(|folder| folder.starts_with(DEVICES) || folder.ends_with(EXPORTS))
        {
            std::fs::create_dir_all(folder)?;
        }
        keep(beside, &format!("{uuid}\n"))
    };
    write().map(|()| uuid).map_err(|error| {
        Failure::runtime(format!(
            "the disk's identity cannot be kept in {}: {error}; make the folder writable, or give the disk one with --uuid {uuid}",
            beside.display()
        ))
    })
}

/// Writes a small file whole or not at all, there after a power cut.
pub(super) fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    // The new name is the folder's.
    system::sync_folder(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Where block devices' identities are kept: /dev itself does not last.
const DEVICES: &str = "/var/lib/iesp/devices";

/// Where udev names devices for what they are.
const BY_ID: &str = "/dev/disk/by-id";

/// Where NBD exports' identities are kept, in the state folder.
const EXPORTS: &str = "exports";

/// The service manager's word (systemd.exec(5)), the system's folder, or the user's own.
pub fn state_folder() -> Result<PathBuf, Failure> {
    let given = std::env::var_os("STATE_DIRECTORY").filter(|folder| !folder.is_empty());
    match given {
        Some(given) => Ok(std::env::split_paths(&given).next().unwrap_or_default()),
        None if system::is_privileged() => Ok(PathBuf::from("/var/lib/iesp")),
        None => data_folder(),
    }
}

/// Where the identity of a disk is, or is to be kept.
pub fn place(path: &Path) -> PathBuf {
    let real = real(path);
    if system::is_device(path) {
        return place_of_device(&real, Path::new(BY_ID), Path::new(DEVICES));
    }
    let beside = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".uuid");
        PathBuf::from(name)
    };
    let (own, by_this_name) = (beside(&real), beside(path));
    // Kept beside a link in earlier versions: initiators know the disk by it.
    if !own.exists() && by_this_name.exists() { by_this_name } else { own }
}

/// The file or device itself, past all links. Of one that is missing, where it would be.
pub(super) fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| {
        let folder = path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        match (folder.and_then(|folder| std::fs::canonicalize(folder).ok()), path.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => path.to_owned(),
        }
    })
}

/// Where a device's identity is kept: by the best name that has one, or else by the best name.
fn place_of_device(real: &Path, by_id: &Path, kept: &Path) -> PathBuf {
    let plain = real.to_string_lossy().trim_start_matches('/').replace('/', "-");
    let is_array = real.file_name().is_some_and(|name| name.to_string_lossy().starts_with("md"));
    let mut names: Vec<_> = names_of(real, by_id).into_iter().map(|name| (rank(&name, is_array), name)).collect();
    names.push((Rank::Plain, plain));
    names.sort();
    let file = |name: &str| kept.join(name.to_owned() + ".uuid");
    let with_one = names.iter().find(|(_, name)| file(name).exists());
    file(with_one.or(names.first()).map_or("device", |(_, name)| name))
}

/// How well a name says which device it is; the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The device's own number in the world.
    World,
    /// Maker, model and serial number.
    Serial,
    /// The kernel's name, which another device may have after the next start.
    Plain,
    /// What is written on the device says so, not the device: a copy has it, too, and it may go.
    Content,
}

fn rank(name: &str, is_array: bool) -> Rank {
    let begins = |with: &[&str]| with.iter().any(|with| name.starts_with(with));
    match () {
        () if begins(&["wwn-", "nvme-eui.", "nvme-uuid."]) => Rank::World,
        () if begins(&["lvm-"]) || begins(&["md-"]) && !is_array => Rank::Content,
        () => Rank::Serial,
    }
}

/// The names by which udev knows a device for what it is, wherever it is plugged in.
fn names_of(device: &Path, by_id: &Path) -> Vec<String> {
    let Ok(links) = std::fs::read_dir(by_id) else { return Vec::new() };
    let same = links.flatten().filter(|link| std::fs::canonicalize(link.path()).is_ok_and(|real| real == device));
    same.map(|link| link.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_11_each_disk_has_its_own_and_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (folder.path().join("one.img"), folder.path().join("two.img"));
        let mut made = Vec::new();
        let first = of(&one, &mut made).expect("an identity");
        assert_ne!(first, of(&two, &mut made).expect("an identity"));
        assert_eq!(first, of(&one, &mut made).expect("the same"));
        assert_eq!(made, [place(&one), place(&two)]);
    }

    #[test]
    fn a_newer_version_of_the_file_is_refused_by_name() {
        let uuid = Uuid::new_v4();
        for text in [format!("{uuid}\n"), uuid.to_string(), format!("version 1\n{uuid}\n")] {
            assert_eq!(parse(&text), Ok(uuid), "{text}");
        }
        for text in [format!("version 2\n{uuid}\n"), format!("{uuid}\nversion 2\nkey = 1\n")] {
            assert_eq!(parse(&text), Err(Unknown::Version("2".to_owned())), "{text}");
        }
        for text in ["", "version 1\n", "nonsense", &format!("{uuid}\n{uuid}\n")] {
            assert_eq!(parse(text), Err(Unknown::Text), "{text}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("disk.img");
        std::fs::write(place(&image), format!("version 7\n{uuid}\n")).expect("written");
        let message = of(&image, &mut Vec::new()).expect_err("newer").to_string();
        assert!(message.contains("disk.img.uuid") && message.contains("version 7"), "{message}");
    }

    #[test]
    fn a_spoilt_identity_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("disk.img");
        std::fs::write(place(&image), "nonsense").expect("written");
        let message = of(&image, &mut Vec::new()).expect_err("spoilt").to_string();
        assert!(message.contains("disk.img.uuid") && message.contains("remove"), "{message}");
        assert_eq!(std::fs::read_to_string(place(&image)).expect("there"), "nonsense");
    }

    /// What udev may know a device by, as links to a file that stands for it.
    #[cfg(unix)]
    #[test]
    fn a_device_keeps_its_identity_when_it_gets_another_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (by_id, kept) = (folder.path().join("by-id"), folder.path().join("kept"));
        std::fs::create_dir(&by_id).and_then(|()| std::fs::create_dir(&kept)).expect("folders");
        let device = real(folder.path()).join("nvme0n1");
        std::fs::write(&device, "").expect("a file");
        let name = |name: &str| std::os::unix::fs::symlink(&device, by_id.join(name)).expect("a link");
        let place = || place_of_device(&device, &by_id, &kept);
        assert!(place().ends_with(device.to_string_lossy().trim_start_matches('/').replace('/', "-") + ".uuid"));
        name("lvm-pv-uuid-abc");
        name("md-name-host:0");
        assert!(!place().to_string_lossy().contains("by-id/") && !place().ends_with("lvm-pv-uuid-abc.uuid"));
        name("nvme-Maker_Model_S123");
        assert_eq!(place(), kept.join("nvme-Maker_Model_S123.uuid"));
        std::fs::write(place(), "").expect("kept");
        name("ata-Aaa");
        name("nvme-eui.0025385b");
        assert_eq!(place(), kept.join("nvme-Maker_Model_S123.uuid"), "a name that has one stays");
        std::fs::remove_file(place()).expect("removed");
        assert_eq!(place(), kept.join("nvme-eui.0025385b.uuid"));
        // An earlier version took the first in order.
        std::fs::write(kept.join("lvm-pv-uuid-abc.uuid"), "").expect("kept");
        assert_eq!(place(), kept.join("lvm-pv-uuid-abc.uuid"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_has_the_identity_of_the_file_that_it_leads_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let (image, link) = (folder.path().join("disk.img"), folder.path().join("link"));
        std::fs::write(&image, "").expect("a file");
        std::os::unix::fs::symlink(&image, &link).expect("a link");
        let first = of(&link, &mut Vec::new()).expect("an identity");
        assert_eq!(of(&image, &mut Vec::new()).expect("the same"), first);
        assert!(!folder.path().join("link.uuid").exists());
        // An earlier version kept it beside the link.
        std::fs::rename(folder.path().join("disk.img.uuid"), folder.path().join("link.uuid")).expect("moved");
        assert_eq!(of(&link, &mut Vec::new()).expect("the same"), first);
    }
}
