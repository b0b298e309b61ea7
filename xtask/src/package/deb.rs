//! `cargo xtask package deb`: Debian's package; installed, started, upgraded and purged in a Debian of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use xtask_common::workspace;

use super::chroot::Chroot;
use super::daemon::{Daemon, unit_value};
use super::exercise::{self, logged, output};
use super::tools::CARGO_DEB;
use super::{done, output_folder, pages, scratch_folder};

/// What the package brings, seen from its root.
const FILES: &[&str] = &[
    "usr/bin/iesp",
    "etc/iesp/iesp.toml",
    "usr/lib/systemd/system/iesp.service",
    "usr/lib/systemd/system/iesp.socket",
    "usr/share/man/man1/iesp.1.gz",
    "usr/share/bash-completion/completions/iesp",
    "usr/share/zsh/vendor-completions/_iesp",
    "usr/share/fish/vendor_completions.d/iesp.fish",
    "usr/share/doc/iesp/copyright",
];

/// The configuration, as dpkg knows it.
const CONFFILE: &str = "/etc/iesp/iesp.toml";

/// What the package can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Build it only
    #[arg(long)]
    no_check: bool,
    /// Check this package, and build none
    #[arg(long, value_name = "FILE", conflicts_with = "no_check")]
    check: Option<PathBuf>,
}

/// Builds the package and checks it.
///
/// # Errors
/// What does not build, or is not as it should be.
pub fn run(args: &Args) -> Result<()> {
    let package = match &args.check {
        Some(file) => file.canonicalize().with_context(|| format!("no {}", file.display()))?,
        None => build()?,
    };
    if args.no_check {
        println!("package: not checked, as --no-check says");
    } else if rustix::process::geteuid().is_root() {
        check(&package)?;
    } else {
        check_as_root(&package)?;
    }
    done(&package)
}

fn build() -> Result<PathBuf> {
    pages()?;
    let folder = output_folder()?;
    let mut command = Command::new(CARGO_DEB.program()?);
    command.current_dir(workspace::root()).args([
        "--package",
        "iesp",
        "--no-build",
        "--strip",
        "--no-dbgsym",
        "--quiet",
    ]);
    command.args(["--no-separate-debug-symbols", "--output"]).arg(&folder).stdin(Stdio::null());
    let output = command.stderr(Stdio::inherit()).output().context("cargo-deb cannot be started")?;
    ensure!(output.status.success(), "cargo-deb failed ({})", output.status);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let file = said.lines().map(str::trim).rfind(|line| line.ends_with(".deb"));
    let file = file.with_context(|| format!("cargo-deb names no package: {said}"))?;
    Ok(PathBuf::from(file))
}

/// Whether a chroot can be had, which takes root's rights: this user's, or those of a sudo that asks nothing.
pub fn may_check() -> bool {
    let sudo = || Command::new("sudo").args(["-n", "true"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    rustix::process::geteuid().is_root() || sudo()
}

fn check_as_root(package: &Path) -> Result<()> {
    if !may_check() {
        bail!(
            "{} is built, but not checked: a chroot takes root's rights. `sudo -v` first, or run this as root, or with --no-check",
            package.display()
        );
    }
    let mut command = Command::new("sudo");
    command.args(["-n", "env"]);
    for name in ["PATH", "HOME", "CARGO_TARGET_DIR", "XDG_CACHE_HOME"] {
        if let Ok(value) = std::env::var(name) {
            command.arg(format!("{name}={value}"));
        }
    }
    command.arg(std::env::current_exe()?).args(["package", "deb", "--check"]).arg(package).stdin(Stdio::null());
    let status = command.current_dir(workspace::root()).status().context("sudo cannot be started")?;
    ensure!(status.success(), "the check failed ({status})");
    Ok(())
}

fn check(package: &Path) -> Result<()> {
    let folder = scratch_folder("deb")?;
    unit_is_hardened(&folder)?;
    told("the unit is hardened", "systemd-analyze security");
    let chroot = Chroot::unpack(&folder)?;
    let before = chroot.files()?;
    let former = former(package, &folder)?;

    install(&chroot, &folder, &former)?;
    for file in FILES {
        ensure!(chroot.root().join(file).exists(), "the package brings no {file}");
    }
    manual_is_well(&chroot, &folder)?;
    ensure!(enabled(&chroot), "the unit is not enabled");
    told("installed", "files, user, unit, manual");
    let daemon = Daemon::start(&chroot, &folder)?;
    exercise::find(&folder, daemon.portal(), daemon.url(), 1 << 30)?;
    exercise::write(&folder, daemon.url())?;
    let status = logged(&folder, "iesp-status", chroot.command("/usr/bin/iesp").arg("status"))?;
    ensure!(status.contains("iqn.2026-01.local.iesp:disk"), "`iesp status` does not find the service: {status}");
    daemon.stop()?;
    told("started as the unit does it", "ready, watchdog, login, read, write, verify, status, stopped");

    let conffile = chroot.root().join(CONFFILE.trim_start_matches('/'));
    let own = std::fs::read_to_string(&conffile)? + "\n# a line of the administrator's\n";
    std::fs::write(&conffile, &own)?;
    install(&chroot, &folder, package)?;
    ensure!(std::fs::read_to_string(&conffile)? == own, "the upgrade has changed the administrator's {CONFFILE}");
    ensure!(conffile.with_extension("toml.dpkg-dist").exists(), "the package's own {CONFFILE} is not beside it");
    let daemon = Daemon::start(&chroot, &folder)?;
    exercise::verify(&folder, daemon.url())?;
    daemon.stop()?;
    told("upgraded", "the changed configuration and the disk are as they were");

    purge(&chroot, &folder)?;
    let image = chroot.root().join("var/lib/iesp/disk.img");
    exercise::verify_image(&image).context("a purge must not take away what was written")?;
    told("purged", "a disk with data stays");
    std::fs::remove_file(&image)?;
    std::fs::remove_file(image.with_extension("img.uuid"))?;
    install(&chroot, &folder, package)?;
    purge(&chroot, &folder)?;
    let after = chroot.files()?;
    let left: Vec<_> = after.keys().filter(|file| !before.contains_key(*file)).collect();
    ensure!(left.is_empty(), "a purge leaves {left:?}");
    let changed: Vec<_> = before.iter().filter(|(file, size)| after.get(*file) != Some(*size)).collect();
    ensure!(changed.is_empty(), "install and purge have changed {changed:?}");
    told("purged without a disk", "nothing is left behind");
    drop(chroot);
    Ok(std::fs::remove_dir_all(&folder)?)
}

fn told(what: &str, details: &str) {
    println!("package: {what} ({details})");
}

/// The same package as an older version, whose configuration was another one: so that an upgrade has to choose.
fn former(package: &Path, folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("former");
    logged(folder, "dpkg-deb", Command::new("dpkg-deb").arg("-R").arg(package).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control)?;
    let older =
        |line: &str| if line.starts_with("Version: ") { "Version: 0.0.1~former-1".into() } else { line.to_owned() };
    std::fs::write(&control, text.lines().map(older).collect::<Vec<_>>().join("\n") + "\n")?;
    let conffile = tree.join(CONFFILE.trim_start_matches('/'));
    let text = std::fs::read_to_string(&conffile)? + "\n# as it was\n";
    std::fs::write(&conffile, text)?;
    let file = folder.join("former.deb");
    logged(folder, "dpkg-deb", Command::new("dpkg-deb").args(["-Znone", "-b"]).arg(&tree).arg(&file))?;
    Ok(file)
}

fn install(chroot: &Chroot, folder: &Path, package: &Path) -> Result<()> {
    std::fs::copy(package, chroot.root().join("tmp/iesp.deb"))?;
    let mut command = chroot.command("dpkg");
    logged(folder, "dpkg", command.args(["--force-confdef", "--force-confold", "-i", "/tmp/iesp.deb"]))?;
    std::fs::remove_file(chroot.root().join("tmp/iesp.deb"))?;
    let state = logged(
        folder,
        "dpkg-query",
        chroot.command("dpkg-query").args(["-W", "-f", "${Status}|${Conffiles}", "iesp"]),
    )?;
    ensure!(state.starts_with("install ok installed|"), "dpkg says {state}");
    ensure!(state.contains(CONFFILE), "{CONFFILE} is no conffile: {state}");
    let user = logged(folder, "getent", chroot.command("getent").args(["passwd", "iesp"]))?;
    ensure!(user.contains(":/var/lib/iesp:/usr/sbin/nologin"), "the service's user: {user}");
    Ok(())
}

fn purge(chroot: &Chroot, folder: &Path) -> Result<()> {
    logged(folder, "dpkg", chroot.command("dpkg").args(["--purge", "iesp"])).map(drop)
}

fn enabled(chroot: &Chroot) -> bool {
    let wanted = chroot.root().join("etc/systemd/system/multi-user.target.wants/iesp.service");
    // It points into the chroot.
    wanted.symlink_metadata().is_ok()
}

/// The page is found, is roff without faults, and has every flag that the program itself tells of.
fn manual_is_well(chroot: &Chroot, folder: &Path) -> Result<()> {
    let page = chroot.root().join("usr/share/man/man1/iesp.1.gz");
    let page = page.to_str().context("a plain path")?;
    let shown = output(folder, "man", &["--warnings", "--local-file", page])?;
    ensure!(!shown.contains("warning:"), "groff: {shown}");
    let help = logged(folder, "iesp-help", chroot.command("/usr/bin/iesp").arg("--help"))?;
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    // The page breaks lines within long words.
    let shown: String = shown.split_whitespace().collect::<String>().replace(['\u{2010}', '-'], "");
    let missing: Vec<_> = words
        .filter(|word| word.starts_with("--") && word.len() > 2 && !shown.contains(&word.replace('-', "")))
        .collect();
    ensure!(missing.is_empty(), "the manual lacks {missing:?}");
    Ok(())
}

/// systemd's own judgement, without a running systemd. The exposure is at most 2.0.
fn unit_is_hardened(folder: &Path) -> Result<()> {
    let units = workspace::root().join("target/server/package/systemd");
    let unit = units.join("iesp.service");
    let text = std::fs::read_to_string(&unit)?;
    ensure!(unit_value(&text, "Type") == Some("notify"), "the unit does not wait for iesp");
    let path = unit.to_str().context("a plain path")?;
    let said = output(folder, "systemd-analyze", &["security", "--offline=yes", "--threshold=20", "--no-pager", path])?;
    let level = said.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
    println!("package: {}", level.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).trim());
    Ok(())
}
