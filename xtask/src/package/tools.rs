//! Cargo's own packagers, from the user's cache folder.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use xtask_common::workspace;

/// A program that cargo can install, in one version.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The crate and its program.
    pub name: &'static str,
    /// Exactly this one.
    pub version: &'static str,
}

/// Makes .deb files.
pub const CARGO_DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };
/// Makes .rpm files.
pub const CARGO_GENERATE_RPM: Tool = Tool { name: "cargo-generate-rpm", version: "0.21.1" };

impl Tool {
    /// The program, from the cache folder; installed there with cargo when it is missing.
    ///
    /// # Errors
    /// When it cannot be installed.
    pub fn program(self) -> Result<PathBuf> {
        let Tool { name, version } = self;
        let tools = workspace::cache_folder("tools")?;
        let root = tools.join(format!("{name}-{version}"));
        let program = root.join("bin").join(name);
        if program.exists() {
            return Ok(program);
        }
        println!("package: installing {name} {version}; this takes some minutes, once");
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["install", "--quiet", "--locked", name, "--version", &format!("={version}"), "--root"])
            .arg(&root);
        // It runs for seconds: what counts is how long it takes to build. What it has in C compresses, and builds quickly.
        let quickly = [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")];
        command.envs(quickly.map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)));
        command.env("CFLAGS", "-O2");
        // In its own folder, so that nothing of this workspace's configuration applies to it.
        let status = command.current_dir(&tools).stdin(Stdio::null()).status().context("cargo cannot be started")?;
        if !status.success() {
            bail!("`cargo install {name} --version {version}` failed ({status})");
        }
        Ok(program)
    }
}
