//! The programs that run in the guest but come from no Debian package.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use xtask_common::workspace;

use super::image::cache_folder;

/// The version of the crate `fsx` that runs use.
const FSX: &str = "0.3.2";

/// The file system exerciser, from the cache folder; installed there with cargo when it is missing.
///
/// # Errors
/// When it cannot be installed.
pub fn fsx() -> Result<PathBuf> {
    let root = cache_folder()?.join(format!("fsx-{FSX}"));
    let program = root.join("bin/fsx");
    if !program.exists() {
        println!("installing fsx {FSX}; this takes some minutes, once");
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // In its own folder, so that nothing of this workspace's configuration applies to it.
        command.args(["install", "--quiet", "--locked", "fsx", "--version", FSX, "--root"]).arg(&root);
        command.current_dir(cache_folder()?).stdin(Stdio::null());
        let status = command.status().context("cargo cannot be started")?;
        if !status.success() {
            bail!("`cargo install fsx --version {FSX}` failed ({status})");
        }
    }
    Ok(program)
}

/// The verifier, built from this workspace.
///
/// # Errors
/// When it does not build.
pub fn verifier() -> Result<PathBuf> {
    workspace::build_binary("iesp-testkit", "test-blockdevice", true)
}

/// The verifier and the program that makes power cuts of a disk's log, as `cargo test` builds them, for the host.
///
/// # Errors
/// When they do not build.
pub fn on_the_host() -> Result<[PathBuf; 2]> {
    // Optimised in all profiles, and mostly there already.
    let build = |binary| workspace::build_binary("iesp-testkit", binary, false);
    Ok([build("test-blockdevice")?, build("power-cuts")?])
}
