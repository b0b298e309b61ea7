//! What a disk holds, and who uses it: asked before a disk is written to, by the target and by the tools that test it.

mod holds;
#[cfg(target_os = "linux")]
mod linux;

use std::io;
use std::path::{Path, PathBuf};

pub use holds::{LOOKED_AT, Signature, image_format, signature};

/// Who uses the block device or the file at `path` besides its reader, in words for people.
///
/// Of a device: a mount, swap space, or a device that is built on it or on one of its partitions, by whatever name it was
/// reached. Of a file: a loop device, or swap space.
///
/// # Errors
/// What asking the system met.
pub fn who_uses(path: &Path) -> io::Result<Option<String>> {
    #[cfg(target_os = "linux")]
    return linux::who_uses(path);
    #[cfg(not(target_os = "linux"))]
    std::fs::metadata(path).map(|_| None)
}

/// The files that the block device at `path` lies on: those of loop devices, below what is built on them, too.
pub fn files_below(path: &Path) -> Vec<PathBuf> {
    #[cfg(target_os = "linux")]
    return linux::files_below(path);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        Vec::new()
    }
}
