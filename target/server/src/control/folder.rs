//! Where the sockets are.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The service manager's folder (systemd.exec(5)).
fn given() -> Option<PathBuf> {
    let given = std::env::var_os("RUNTIME_DIRECTORY").filter(|folder| !folder.is_empty())?;
    std::env::split_paths(&given).next()
}

/// The system's folder.
const SYSTEM: &str = "/run/iesp";

/// The user's folder (XDG base directory specification); where there is none, one in the temporary folder.
fn of_user() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    match runtime {
        Some(runtime) => runtime.join("iesp"),
        None => PathBuf::from(format!("/tmp/iesp-{}", rustix::process::geteuid().as_raw())),
    }
}

/// All folders where sockets may be that this user may ask by.
pub fn all() -> Vec<PathBuf> {
    let mut folders: Vec<_> = given().into_iter().chain([SYSTEM.into(), of_user()]).collect();
    folders.dedup();
    folders
}

/// The folder for this process's own socket. It is made where it is missing.
///
/// # Errors
/// Where it cannot be made, or belongs to somebody else.
pub fn own() -> io::Result<PathBuf> {
    match given() {
        Some(given) => usable(given),
        // A service that runs as another user may have made the system's folder its own.
        None if rustix::process::geteuid().is_root() => usable(SYSTEM.into()).or_else(|_| usable(of_user())),
        None => usable(of_user()),
    }
}

/// A folder that is this user's alone to write. It is made where it is missing.
fn usable(folder: PathBuf) -> io::Result<PathBuf> {
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Not one that somebody else has put there, nor a link to another.
    let metadata = std::fs::symlink_metadata(&folder)?;
    let is_mine = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    if is_mine && metadata.mode() & 0o022 == 0 {
        return Ok(folder);
    }
    let message =
        format!("{} must be a folder that belongs to this user, and that nobody else can write", folder.display());
    Err(io::Error::other(message))
}

/// Whether a socket is there that nobody listens at.
pub fn is_dead(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
