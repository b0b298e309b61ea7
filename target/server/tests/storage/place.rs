//! Places for images: on a disk, or on a file system of the test's own that goes with the program.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::Iesp;

/// A folder below cargo's own, which is on a disk where `/tmp` may be memory.
pub fn disk_folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder")
}

/// An image without holes; its path, and its contents: each block of 512 bytes says which one it is.
pub fn full_image(folder: &std::path::Path, len: usize) -> (String, Vec<u8>) {
    let path = folder.join("disk");
    let bytes: Vec<u8> = (0..len / 512).flat_map(|block| [(block as u64).to_be_bytes(); 64].concat()).collect();
    let mut file = File::create(&path).expect("an image");
    file.write_all(&bytes).and_then(|()| file.sync_all()).expect("room");
    (path.to_str().expect("a plain path").to_owned(), bytes)
}

/// Has the kernel forget what it cached of a file.
pub fn forget(path: &str) {
    let file = File::open(path).expect("the image");
    file.sync_all().expect("synced");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
}

/// Whether tests may mount and make loop devices.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: it needs root");
    }
    root
}

/// Runs iesp in a mount namespace of its own, after a shell has made `$1` what it is to be: what is mounted goes with it.
pub fn in_namespace(prepare: &str, folder: &str, args: &[&str]) -> Iesp {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-ec", &format!("{prepare}\nshift\nexec \"$@\""), "sh", folder]);
    command
        .arg(crate::support::process::program())
        .args(args)
        .args(["-i", "127.0.0.1", "-p", "0"])
        .env_remove("RUST_LOG");
    Iesp::spawn(command)
}

/// iesp that may make no file larger than this.
pub fn limited(bytes: u64, args: &[&str]) -> Iesp {
    let mut command = crate::support::process::command(args);
    command.args(["-i", "127.0.0.1", "-p", "0"]);
    let limit = rustix::process::Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // SAFETY: between fork and exec only a system call is made.
    unsafe {
        command.pre_exec(move || Ok(rustix::process::setrlimit(rustix::process::Resource::Fsize, limit)?));
    }
    Iesp::spawn(command)
}
