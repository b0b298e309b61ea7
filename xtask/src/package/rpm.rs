//! `cargo xtask package rpm`: for Fedora, RHEL and openSUSE; checked by rpm's own words.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use xtask_common::workspace;

use super::exercise::output;
use super::tools::CARGO_GENERATE_RPM;
use super::{done, output_folder, pages, scratch_folder};

/// What the package brings.
const FILES: &[&str] = &[
    "/usr/bin/iesp",
    "/etc/iesp/iesp.toml",
    "/usr/lib/systemd/system/iesp.service",
    "/usr/lib/systemd/system/iesp.socket",
    "/usr/share/man/man1/iesp.1",
    "/usr/share/bash-completion/completions/iesp",
    "/usr/share/zsh/site-functions/_iesp",
    "/usr/share/fish/vendor_completions.d/iesp.fish",
    "/usr/share/licenses/iesp/LICENSE",
];

/// The newest glibc that it may ask for: what RHEL 9 has.
const GLIBC: (u32, u32) = (2, 34);

/// Builds the package and checks it.
///
/// # Errors
/// What does not build, or is not as it should be.
pub fn run() -> Result<()> {
    let package = build()?;
    check(&package)?;
    done(&package)
}

fn build() -> Result<PathBuf> {
    let iesp = pages()?;
    let folder = output_folder()?;
    // The packager takes the program as it is: without its debugging information, beside the other one.
    let stripped = iesp.with_file_name("pages").join("iesp");
    let status = Command::new("strip").arg("--strip-all").arg("-o").arg(&stripped).arg(&iesp).status();
    ensure!(status.context("strip cannot be started")?.success(), "{} cannot be stripped", iesp.display());
    let package = folder.join(format!("iesp-{}-1.{}.rpm", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH));
    let mut command = Command::new(CARGO_GENERATE_RPM.program()?);
    command.current_dir(workspace::root()).args([
        "generate-rpm",
        "--package",
        "target/server",
        "--auto-req",
        "builtin",
    ]);
    command.arg("--target-dir").arg(workspace::build_dir()).arg("--output").arg(&package).stdin(Stdio::null());
    let status = command.status().context("cargo-generate-rpm cannot be started")?;
    ensure!(status.success(), "cargo-generate-rpm failed ({status})");
    Ok(package)
}

fn check(package: &Path) -> Result<()> {
    let folder = scratch_folder("rpm")?;
    let path = package.to_str().context("a plain path")?;
    let query = |what: &[&str]| output(&folder, "rpm", &[&["-qp"], what, &[path]].concat());

    let files = query(&["--list"])?;
    let missing: Vec<_> = FILES.iter().filter(|file| files.lines().all(|line| line != **file)).collect();
    ensure!(missing.is_empty(), "the package lacks {missing:?}: {files}");
    let config = query(&["--configfiles"])?;
    ensure!(config.trim() == "/etc/iesp/iesp.toml", "configuration files: {config}");
    // Flags: c = %config, n = noreplace.
    let flags = query(&["--queryformat", "[%{FILENAMES} %{FILEFLAGS:fflags} %{FILEUSERNAME} %{FILEMODES:perms}\\n]"])?;
    let line = |name: &str| flags.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    ensure!(line("/etc/iesp/iesp.toml").contains(" cn "), "a changed configuration is not kept: {flags}");
    ensure!(line("/usr/bin/iesp ").ends_with("root -rwxr-xr-x"), "the program: {}", line("/usr/bin/iesp "));

    let requires = query(&["--requires"])?;
    ensure!(requires.contains("libc.so.6") && requires.contains("shadow-utils"), "requirements: {requires}");
    for version in requires.split("(GLIBC_").skip(1).filter_map(|rest| rest.split(')').next()) {
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(u32::MAX));
        let version = (parts.next().unwrap_or(u32::MAX), parts.next().unwrap_or(0));
        ensure!(version <= GLIBC, "it asks for glibc {version:?}, newer than {GLIBC:?}");
    }
    let scripts = query(&["--scripts"])?;
    for wanted in ["useradd --system", "install-system-units iesp.service", "remove-system-units", "mark-restart"] {
        ensure!(scripts.contains(wanted), "no `{wanted}` in the scripts: {scripts}");
    }
    let info = query(&["--info"])?;
    ensure!(info.contains("License     : MIT"), "{info}");
    // rpm's own checksums, of the header and of the payload.
    let sums = output(&folder, "rpm", &["--checksig", "--nosignature", path])?;
    ensure!(sums.trim_end().ends_with("OK"), "checksums: {sums}");
    println!(
        "package: files, configuration, requirements (glibc {}.{} at most), scripts: as rpm sees them",
        GLIBC.0, GLIBC.1
    );
    unpacked(&folder, path)?;
    println!("package: unpacked by rpm, the program runs");
    Ok(std::fs::remove_dir_all(&folder)?)
}

/// rpm unpacks it into a folder of its own (without its scripts, which change the system's users), and verifies it there.
fn unpacked(folder: &Path, package: &str) -> Result<()> {
    let root = folder.join("root");
    std::fs::create_dir(&root)?;
    let root = root.canonicalize()?;
    let place = root.to_str().context("a plain path")?;
    // Without root's rights nothing can be given to others, nor a root folder be changed to.
    if rustix::process::geteuid().is_root() {
        let arguments = ["--root", place, "--install", "--nodeps", "--noscripts", "--noplugins", package];
        output(folder, "rpm", &arguments)?;
        let program = root.join("usr/bin/iesp");
        let said = super::exercise::logged(folder, "iesp", Command::new(program).arg("--version"));
        ensure!(said?.starts_with("iesp "), "the program does not run");
    }
    Ok(())
}
