//! A small Debian in a folder, to install packages in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask_common::process::{Ended, last_lines, run_logged, spell, timed};
use xtask_common::workspace;

/// What is installed beyond the least: the package's dependencies that no small Debian has.
const INCLUDED: &str = "adduser";
/// To be changed along with how the base is made.
const LAYOUT: &str = "1";
/// How long debootstrap may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A Debian of its own in a folder, which is removed when this value is dropped.
#[derive(Debug)]
pub struct Chroot {
    root: PathBuf,
}

impl Chroot {
    /// Unpacks one below `folder`; the archive that it comes from is made first when the cache folder has none.
    ///
    /// # Errors
    /// When this is not root, the system is no Debian, or debootstrap fails.
    pub fn unpack(folder: &Path) -> Result<Self> {
        let base = base()?;
        let chroot = Chroot { root: folder.join("root") };
        std::fs::create_dir(&chroot.root).with_context(|| format!("cannot make {}", chroot.root.display()))?;
        let status = Command::new("tar").arg("-xf").arg(&base).arg("-C").arg(&chroot.root).status();
        ensure!(status.context("tar cannot be started")?.success(), "{} cannot be unpacked", base.display());
        // What maintainer scripts write to.
        let null = chroot.root.join("dev/null");
        let status = Command::new("mknod").args(["-m", "666"]).arg(&null).args(["c", "1", "3"]).status();
        ensure!(status.context("mknod cannot be started")?.success(), "{} cannot be made", null.display());
        Ok(chroot)
    }

    /// Where it is, seen from outside.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A program in it, with a clean environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program).stdin(Stdio::null()).env_clear();
        command.envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C.UTF-8")]);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Everything in it, with its size; but for what keeps account of packages and logs.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn files(&self) -> Result<BTreeMap<PathBuf, u64>> {
        let mut files = BTreeMap::new();
        let mut left = vec![self.root.clone()];
        while let Some(folder) = left.pop() {
            for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
                let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
                let name = path.strip_prefix(&self.root).unwrap_or(&path).to_owned();
                if ACCOUNTS.iter().any(|account| name.starts_with(account)) {
                    continue;
                }
                if metadata.is_dir() {
                    left.push(path);
                    files.insert(name, 0);
                } else {
                    files.insert(name, metadata.len());
                }
            }
        }
        Ok(files)
    }
}

/// What any installation changes: dpkg's own notes, logs, the copies that tools make of the list of users, and their locks.
const ACCOUNTS: &[&str] = &[
    "run/adduser",
    "var/lib/dpkg",
    "var/log",
    "var/cache",
    "etc/passwd-",
    "etc/shadow-",
    "etc/group-",
    "etc/gshadow-",
    "etc/.pwd.lock",
    "var/lib/systemd/deb-systemd-helper-enabled",
    "var/lib/systemd/deb-systemd-helper-masked",
];

impl Drop for Chroot {
    fn drop(&mut self) {
        // Nothing is mounted in it.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The archive of a small Debian of this machine's release, in the user's cache folder.
fn base() -> Result<PathBuf> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    let suite = suite.trim_matches('"');
    if suite.is_empty() || workspace::find_program("dpkg").is_none() {
        bail!("the package is checked on Debian and what comes of it; elsewhere `--no-check` builds it only");
    }
    let cache = workspace::cache_folder("chroot")?;
    let archive = cache.join(format!("{suite}-{}-{LAYOUT}.tar", std::env::consts::ARCH));
    if archive.exists() {
        return Ok(archive);
    }
    if workspace::find_program("debootstrap").is_none() {
        bail!("no debootstrap: `cargo xtask setup` installs it");
    }
    println!("package: making a small Debian ({suite}) for checks; once");
    let (made, took) = timed(|| make_base(suite, &cache, &archive));
    made?;
    println!("package: made in {}", spell(took));
    Ok(archive)
}

fn make_base(suite: &str, cache: &Path, archive: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(cache)?;
    let (root, log) = (scratch.path().join("root"), cache.join("debootstrap.log"));
    let mut command = Command::new(workspace::find_program("debootstrap").context("no debootstrap")?);
    command.args(["--variant=minbase", &format!("--include={INCLUDED}"), suite]).arg(&root);
    // Where this machine has its packages from; else debootstrap's own idea.
    command.args(mirror(suite));
    match run_logged(&mut command, &log, LIMIT)? {
        Ended::Exit(0) => {}
        ended => bail!("debootstrap: {ended}: {}", last_lines(&log, 5).join(" | ")),
    }
    for folder in ["var/cache/apt/archives", "var/lib/apt/lists"] {
        std::fs::remove_dir_all(root.join(folder))?;
    }
    // Nothing in it may start by itself, as it has no processes of its own.
    std::fs::write(root.join("usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n")?;
    let part = scratch.path().join("base.tar");
    let status =
        Command::new("tar").arg("-cf").arg(&part).arg("-C").arg(&root).args(["--exclude=./dev/*", "."]).status();
    ensure!(status.context("tar cannot be started")?.success(), "the base cannot be archived");
    Ok(std::fs::rename(&part, archive)?)
}

/// The place from which apt has this release's packages.
fn mirror(suite: &str) -> Option<String> {
    let arguments = ["indextargets", "--format", "$(CODENAME) $(RELEASE) $(SITE)", "Created-By: Packages"];
    let output = Command::new("apt-get").args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.split(' ').take(2).any(|name| name == suite))?;
    line.split(' ').nth(2).filter(|site| site.contains("://")).map(str::to_owned)
}
