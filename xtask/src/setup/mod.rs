//! `cargo xtask setup`: installs what the tests need with the system's own package manager.

mod nextest;
mod targets;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use xtask_common::requirements::{
    OPTIONAL, Packager, Part, Probe, REQUIREMENTS, Requirement, describe, is_met, missing, missing_of,
};
use xtask_common::workspace::{self, find_program};

/// What `cargo xtask setup` can be told.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Args {
    /// Only report what is missing, with the command that installs it; exit code 1 when something is that all runs need
    #[arg(long)]
    pub check: bool,
    /// Do not ask before using sudo
    #[arg(short, long)]
    pub yes: bool,
    /// What only `cargo xtask ci --full` needs, too: Wine, compilers for other systems
    #[arg(long)]
    pub full: bool,
}

impl Args {
    fn parts(&self) -> Vec<Part> {
        Part::ALL.into_iter().filter(|part| self.full || !part.is_for_full()).collect()
    }
}

/// Installs what is missing, or only says what is.
///
/// # Errors
/// When something is missing and was not, or could not be, installed.
pub fn run(args: &Args) -> Result<()> {
    let parts = args.parts();
    if !args.check {
        targets::add(&missing_of(&parts));
    }
    nextest::ensure(args.check);
    let needed = missing();
    let optional = missing_of(&parts);
    let missing = [needed.clone(), optional].concat();
    if missing.is_empty() {
        told(&parts);
        return Ok(());
    }
    for requirement in &missing {
        println!("setup: missing {} ({})", describe(requirement.probe), requirement.why);
    }
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let Some(packager) = packager_of(&os_release) else {
        bail!("this system's package manager is not known; install what is named above by hand");
    };
    let unpackaged: Vec<String> =
        missing.iter().filter(|r| r.packages(packager).is_empty()).map(|r| describe(r.probe)).collect();
    if !unpackaged.is_empty() {
        println!("setup: this distribution has no package for {}: install by hand", unpackaged.join(", "));
    }
    if !needed.is_empty() {
        install_all(args, packager, &needed)?;
    }
    install_optional(args, packager, &parts);
    for note in missing.iter().filter_map(|requirement| requirement.note) {
        println!("setup: note: {note}");
    }
    if self::missing().is_empty() && missing_of(&parts).is_empty() {
        told(&parts);
    }
    Ok(())
}

/// All is there; and what was not asked for, where it is not.
fn told(parts: &[Part]) {
    println!("setup: all {} requirements are met", count(parts));
    for part in Part::ALL.into_iter().filter(|part| !parts.contains(part)) {
        let missing = missing_of(&[part]);
        if !missing.is_empty() {
            let missing: Vec<_> = missing.iter().map(|requirement| describe(requirement.probe)).collect();
            println!("setup: not for {} ({}): `cargo xtask setup --full` is", part.about(), missing.join(", "));
        }
    }
}

/// How many requirements these parts have, with those of all runs.
fn count(parts: &[Part]) -> usize {
    REQUIREMENTS.len() + OPTIONAL.iter().filter(|(part, _)| parts.contains(part)).count()
}

/// Installs until nothing is missing. Once is not always enough: where a program is there in a version that the
/// package lists do not have (qemu-img of Debian's backports, say), the package manager may remove it for a module that belongs to the
/// version that they have, and the program's own package is missing only then.
fn install_all(args: &Args, packager: Packager, missing: &[&'static Requirement]) -> Result<()> {
    let mut packages = packages_for(missing, packager);
    if packages.is_empty() {
        bail!("nothing that could be installed is left");
    }
    let privilege = Privilege::here();
    loop {
        let install = [privilege.prefix(), &install_command(packager), &packages].concat();
        if args.check {
            println!("setup: `cargo xtask setup` would run: {}", install.join(" "));
            bail!("{} of {} requirements are missing", missing.len(), count(&args.parts()));
        }
        permit(privilege, args.yes, &install)?;
        install_packages(packager, privilege, &install)?;
        // What was asked for, and what was there before and had to go.
        let optional = missing.iter().copied().filter(|one| REQUIREMENTS.iter().all(|known| known.probe != one.probe));
        let left = [self::missing(), optional.filter(|one| !is_met(one.probe)).collect()].concat();
        let Some(first) = left.first() else { return Ok(()) };
        let next = packages_for(&left, packager);
        // What was asked for already does not come by asking again.
        if next.is_empty() || next.iter().any(|package| packages.contains(package)) {
            bail!("{} of the requirements are still missing, first {}", left.len(), describe(first.probe));
        }
        packages = next;
    }
}

/// Installs what single parts of the runs need, each by itself: a distribution that has no such package has the others.
fn install_optional(args: &Args, packager: Packager, parts: &[Part]) {
    for part in parts {
        let mut missing = missing_of(&[*part]);
        if !args.check && missing.iter().any(|requirement| add_processors(requirement.probe)) {
            missing = missing_of(&[*part]);
        }
        if missing.is_empty() {
            continue;
        }
        let outcome = install_all(args, packager, &missing);
        if args.check || outcome.is_err() {
            println!("setup: without it `cargo xtask ci` leaves out {}", part.about());
        }
        if let (Err(error), false) = (outcome, args.check) {
            println!("setup: {error:#}");
        }
    }
}

/// Has rustup, where it is, install the core libraries of other processors: whether it did. They are the user's own, and small.
fn add_processors(probe: Probe) -> bool {
    let Probe::Compiler(targets) = probe else { return false };
    let Some(rustup) = find_program("rustup") else { return false };
    println!("setup: rustup target add {}", targets.join(" "));
    let mut command = Command::new(rustup);
    command.args(["target", "add"]).args(targets).current_dir(workspace::root()).stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether packages can be installed without asking anyone: by root, or in CI.
pub fn is_unattended() -> bool {
    rustix::process::geteuid().is_root() || is_ci()
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// The family that `/etc/os-release` tells: `ID` first, then what the distribution says it is like.
fn packager_of(os_release: &str) -> Option<Packager> {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let names = format!("{} {}", value("ID"), value("ID_LIKE"));
    names.split_whitespace().find_map(|name| match name {
        "debian" | "ubuntu" => Some(Packager::Apt),
        "fedora" | "rhel" | "centos" => Some(Packager::Dnf),
        "arch" => Some(Packager::Pacman),
        _ => None,
    })
}

/// The packages that bring what is missing, each once, in the table's order.
fn packages_for(missing: &[&Requirement], packager: Packager) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    for package in missing.iter().flat_map(|requirement| requirement.packages(packager)) {
        if !packages.iter().any(|known| known == package) {
            packages.push((*package).to_owned());
        }
    }
    packages
}

fn install_command(packager: Packager) -> Vec<String> {
    // Without what is only recommended: qemu-block-extra would bring half a desktop.
    let words: &[&str] = match packager {
        Packager::Apt => {
            &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends"]
        }
        Packager::Dnf => &["dnf", "install", "-y", "--setopt=install_weak_deps=False"],
        Packager::Pacman => &["pacman", "-S", "--noconfirm", "--needed"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The command that fetches the lists of packages anew.
fn refresh_command(packager: Packager) -> Option<Vec<String>> {
    match packager {
        Packager::Apt => Some(vec!["apt-get".into(), "update".into()]),
        // dnf does it by itself; on Arch, new lists without a full upgrade break the system.
        Packager::Dnf | Packager::Pacman => None,
    }
}

/// How the package manager gets its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privilege {
    Root,
    /// `sudo` may ask for a password.
    Sudo,
    /// In CI nobody could answer.
    SudoUnattended,
}

impl Privilege {
    fn here() -> Self {
        if rustix::process::geteuid().is_root() {
            Privilege::Root
        } else if is_ci() {
            Privilege::SudoUnattended
        } else {
            Privilege::Sudo
        }
    }

    fn prefix(self) -> &'static [String] {
        static SUDO: std::sync::LazyLock<[String; 2]> = std::sync::LazyLock::new(|| ["sudo".into(), "-n".into()]);
        match self {
            Privilege::Root => &[],
            Privilege::Sudo => &SUDO[..1],
            Privilege::SudoUnattended => &SUDO[..],
        }
    }
}

/// Says what is about to run, and asks where it is not ours to decide.
fn permit(privilege: Privilege, yes: bool, install: &[String]) -> Result<()> {
    println!("setup: {}", install.join(" "));
    if privilege != Privilege::Sudo || yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("this needs root: run the command above, or `cargo xtask setup --yes`");
    }
    print!("setup: this uses sudo. Go on? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was installed");
    }
    Ok(())
}

fn install_packages(packager: Packager, privilege: Privilege, install: &[String]) -> Result<()> {
    let refresh = refresh_command(packager).map(|command| [privilege.prefix(), &command].concat());
    if let Some(refresh) = &refresh
        && !has_package_lists(Path::new("/var/lib/apt/lists"))
    {
        execute(refresh)?;
    }
    let first = execute(install);
    match (first, refresh) {
        (Err(error), Some(refresh)) => {
            // Lists that are too old name versions that the mirror no longer has.
            println!("setup: {error}; once more with fresh package lists");
            execute(&refresh)?;
            execute(install)
        }
        (result, _) => result,
    }
}

fn has_package_lists(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn execute(words: &[String]) -> Result<()> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    println!("setup: $ {}", words.join(" "));
    let status = Command::new(program).args(arguments).stdin(Stdio::inherit()).status();
    let status = status.with_context(|| format!("{program} cannot be started"))?;
    if !status.success() {
        bail!("`{}` failed ({status})", words.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_by_their_own_name_or_by_what_they_are_like() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(packager_of(debian), Some(Packager::Apt));
        assert_eq!(packager_of("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Some(Packager::Apt));
        assert_eq!(packager_of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Some(Packager::Dnf));
        assert_eq!(packager_of("ID=endeavouros\nID_LIKE=arch\n"), Some(Packager::Pacman));
        assert_eq!(packager_of("ID=nixos\n"), None);
        assert_eq!(packager_of(""), None);
    }

    #[test]
    fn a_package_is_named_once() {
        let all: Vec<&Requirement> = REQUIREMENTS.iter().collect();
        let packages = packages_for(&all, Packager::Apt);
        assert_eq!(packages.iter().filter(|package| *package == "libiscsi-bin").count(), 1);
        assert_eq!(packages.first().map(String::as_str), Some("gcc"));
        assert!(packages_for(&[], Packager::Dnf).is_empty());
    }

    #[test]
    fn package_lists_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_package_lists(dir.path()));
        std::fs::write(dir.path().join("lock"), "").unwrap();
        assert!(!has_package_lists(dir.path()));
        std::fs::write(dir.path().join("deb.example_dists_x_main_binary-amd64_Packages.lz4"), "").unwrap();
        assert!(has_package_lists(dir.path()));
    }

    #[test]
    fn in_ci_sudo_does_not_ask() {
        assert_eq!(Privilege::SudoUnattended.prefix(), ["sudo", "-n"]);
        assert_eq!(Privilege::Sudo.prefix(), ["sudo"]);
        assert!(Privilege::Root.prefix().is_empty());
    }
}
