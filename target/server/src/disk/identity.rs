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

/// The UUID of the disk at `path`: kept in `PATH.uuid`; for a block device in the data folder of the system, by the
/// device's own name there is for it.
///
/// A file that had to be made for it is added to `made`.
///
/// # Errors
/// What keeps it from being read or written, and what to do.
pub fn of(path: &Path, made: &mut Vec<PathBuf>) -> Result<Uuid, Failure> {
    kept_in(place(path), made)
}

/// The UUID of an NBD export: kept in the state folder, by the export's URI. Another machine that serves the same export
/// has to be given the same one.
///
/// # Errors
/// What keeps it from being read or written, and what to do.
pub fn of_export(address: &NbdAddress, made: &mut Vec<PathBuf>) -> Result<Uuid, Failure> {
    kept_in(state_folder()?.join(EXPORTS).join(address.file_name() + ".uuid"), made)
}

fn kept_in(beside: PathBuf, made: &mut Vec<PathBuf>) -> Result<Uuid, Failure> {
    match std::fs::read_to_string(&beside) {
        Ok(text) => Uuid::try_parse(text.trim()).map_err(|_| {
            Failure::runtime(format!(
                "{} holds no UUID: put the disk's back, or remove the file to give the disk a new identity",
                beside.display()
            ))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let uuid = keep_new(&beside)?;
            made.push(beside);
            Ok(uuid)
        }
        Err(error) => Err(Failure::runtime(format!("{} cannot be read: {error}", beside.display()))),
    }
}

fn keep_new(beside: &Path) -> Result<Uuid, Failure> {
    let uuid = Uuid::new_v4();
    let write = || {
        if let Some(folder) = beside.parent().filter(|folder| folder.starts_with(DEVICES) || folder.ends_with(EXPORTS))
        {
            std::fs::create_dir_all(folder)?;
        }
        // Whole or not at all, and there after a power cut.
        let fresh = beside.with_extension("uuid.new");
        let mut file = File::create(&fresh)?;
        writeln!(file, "{uuid}")?;
        file.sync_all()?;
        std::fs::rename(&fresh, beside)
    };
    write().map(|()| uuid).map_err(|error| {
        Failure::runtime(format!(
            "the disk's identity cannot be kept in {}: {error}; make the folder writable, or give the disk one with --uuid {uuid}",
            beside.display()
        ))
    })
}

/// Where block devices' identities are kept: /dev itself does not last.
const DEVICES: &str = "/var/lib/iesp/devices";

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

fn place(path: &Path) -> PathBuf {
    if !system::is_device(path) {
        let mut name = path.as_os_str().to_owned();
        name.push(".uuid");
        return PathBuf::from(name);
    }
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lasting =
        lasting_name(&real).unwrap_or_else(|| real.to_string_lossy().trim_start_matches('/').replace('/', "-"));
    Path::new(DEVICES).join(lasting + ".uuid")
}

/// The first name (in order) by which udev knows a device for what it is, wherever it is plugged in.
fn lasting_name(device: &Path) -> Option<String> {
    let links = std::fs::read_dir("/dev/disk/by-id").ok()?.flatten();
    let same = links.filter(|link| std::fs::canonicalize(link.path()).is_ok_and(|real| real == device));
    same.map(|link| link.file_name().to_string_lossy().into_owned()).min()
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
    fn a_spoilt_identity_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("disk.img");
        std::fs::write(place(&image), "nonsense").expect("written");
        let message = of(&image, &mut Vec::new()).expect_err("spoilt").to_string();
        assert!(message.contains("disk.img.uuid") && message.contains("remove"), "{message}");
        assert_eq!(std::fs::read_to_string(place(&image)).expect("there"), "nonsense");
    }
}
