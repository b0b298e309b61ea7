//! Cargo's output folders for other machines, in the user's cache folder: what is built there takes long, and a copy of the
//! project that is made anew each time should not have to wait for it each time.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::workspace;

/// The file in an output folder that names the working copy whose it is, written anew each time that it is used.
const OWNER: &str = "working-copy";

/// What a working copy that is gone left is kept so long: it may be made again at the same place.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// This working copy's folder of that kind. Each has its own: cargo tells what is fresh by the files' times only, and by
/// their paths below the working copy, so what another one built of other files would pass for this one's.
///
/// # Errors
/// When the user has no home, or the folder cannot be made.
pub fn folder(kind: &str) -> Result<PathBuf> {
    let base = workspace::cache_folder(kind)?;
    forget_gone(&base);
    let root = workspace::root().as_os_str().as_encoded_bytes();
    let folder = base.join(name(root));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let owner = folder.join(OWNER);
    std::fs::write(&owner, root).with_context(|| format!("cannot write {}", owner.display()))?;
    Ok(folder)
}

/// A working copy's own name. Another release of the standard library may make another one: its compiler starts anew anyway.
fn name(root: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(root);
    format!("{:016x}", hasher.finish())
}

/// Removes the folders of working copies that have been gone for long. What cannot be removed stays.
fn forget_gone(base: &Path) {
    for folder in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let owner = folder.path().join(OWNER);
        let Ok(root) = std::fs::read(&owner) else { continue };
        let used = owner.metadata().and_then(|owner| owner.modified()).unwrap_or(SystemTime::now());
        let long_ago = used.elapsed().is_ok_and(|since| since > KEPT);
        if long_ago && is_gone(&root) {
            let _ = std::fs::remove_dir_all(folder.path());
        }
    }
}

fn is_gone(root: &[u8]) -> bool {
    std::str::from_utf8(root).is_ok_and(|root| !Path::new(root).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_gone_for_long_is_forgotten() {
        let base = tempfile::tempdir().unwrap();
        let there = base.path().join("there");
        std::fs::create_dir(&there).unwrap();
        let make = |root: &Path, since: Duration| {
            let root = root.to_str().unwrap().as_bytes();
            let folder = base.path().join(name(root));
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join(OWNER), root).unwrap();
            let owner = std::fs::File::options().write(true).open(folder.join(OWNER)).unwrap();
            owner.set_modified(SystemTime::now() - since).unwrap();
            folder
        };
        let kept = [make(&there, 2 * KEPT), make(&base.path().join("gone today"), Duration::ZERO), there.clone()];
        let forgotten = make(&base.path().join("gone"), 2 * KEPT);
        forget_gone(base.path());
        assert!(kept.iter().all(|folder| folder.exists()));
        assert!(!forgotten.exists());
    }
}
