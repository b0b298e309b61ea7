//! `cargo xtask package …`: what people install, built and checked by one command each.

mod chroot;
mod daemon;
mod deb;
mod exercise;
mod musl;
mod rpm;
mod tools;
mod windows;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
pub use deb::may_check as may_check_deb;
use xtask_common::workspace;

/// What can be packaged.
#[derive(Subcommand, Debug, Clone)]
pub enum Task {
    /// Debian's package: installed, started, upgraded and purged in a Debian of its own
    Deb(deb::Args),
    /// Fedora's and openSUSE's package: its contents, requirements and scripts
    Rpm,
    /// One static file for Linux: proven to need no library, and serving
    Musl(CrossArgs),
    /// One iesp.exe: proven to need Windows' own libraries alone; serving, and as a service, under Wine
    Windows(CrossArgs),
}

/// What a build for another system can be told.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct CrossArgs {
    /// Build the standard library from Debian's source, though the toolchain has one for this system
    #[arg(long)]
    from_source: bool,
}

/// Builds and checks a package.
///
/// # Errors
/// What does not build, or is not as it should be.
pub fn run(task: Task) -> Result<()> {
    match task {
        Task::Deb(args) => deb::run(&args),
        Task::Rpm => rpm::run(),
        Task::Windows(args) => windows::run(args.from_source),
        Task::Musl(args) => musl::run(args.from_source),
    }
}

/// Bytes of the disk that is served for a check, where the configuration does not say other.
const DISK_BYTES: u64 = 64 << 20;

/// Builds the server as a release, and beside it its manual page and completions (`pages/`), where the packagers look.
fn pages() -> Result<PathBuf> {
    let iesp = workspace::build_binary("iesp", "iesp", true)?;
    let folder = iesp.with_file_name("pages");
    // Without pages of commands that are no more.
    workspace::fresh_folder(&folder)?;
    let status = Command::new(&iesp).arg("pages").arg(&folder).status().context("iesp cannot be started")?;
    ensure!(status.success(), "`iesp pages` failed ({status})");
    // Debian wants them compressed, rpm does that by itself.
    let pages: Vec<_> = glob::glob(&format!("{}/*.1", folder.display()))?.flatten().collect();
    let status = Command::new("gzip").args(["-9", "-n", "-k", "-f"]).args(pages).status();
    ensure!(status.context("gzip cannot be started")?.success(), "the manual pages cannot be compressed");
    Ok(iesp)
}

/// Where packages go: `build/package`.
fn output_folder() -> Result<PathBuf> {
    let folder = workspace::build_dir().join("package");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// An empty folder for a check's images and logs; it stays when the check fails.
fn scratch_folder(name: &str) -> Result<PathBuf> {
    let folder = output_folder()?.join("check").join(name);
    workspace::fresh_folder(&folder)?;
    Ok(folder)
}

/// What a tool of the linker's says of a program.
fn said_by(tool: &str, arguments: &[&str], program: &Path) -> Result<String> {
    let mut command = Command::new(tool);
    command.args(arguments).arg(program).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output =
        command.output().with_context(|| format!("{tool} cannot be started: `cargo xtask setup` installs it"))?;
    ensure!(output.status.success(), "{tool} does not read {} ({})", program.display(), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says what was made.
fn done(file: &Path) -> Result<()> {
    let bytes = file.metadata()?.len();
    println!("package: {} ({:.1} MiB)", file.display(), bytes as f64 / f64::from(1 << 20));
    Ok(())
}
