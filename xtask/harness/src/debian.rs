//! Debian's packages, through apt: their versions, and the files themselves. It needs no
//! privileges.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use xtask_common::workspace::find_program;

/// A package in one version, as apt would fetch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The file name, which holds the version: `udev_252.39-1_amd64.deb`.
    pub file: String,
    /// Its checksum, as apt names it: `SHA256:…`.
    pub checksum: String,
}

/// The packages of these names, and the kernel that a package without contents
/// (`linux-image-amd64`) stands for, in the versions that apt knows here, in the order of their
/// names.
///
/// # Errors
/// When apt is not there, or does not know one of them.
pub fn resolve(kernel: &str, names: &[String]) -> Result<Vec<Package>> {
    if find_program("apt-get").is_none() {
        bail!("the guest is made of Debian's packages, and this system has no apt-get");
    }
    let depends = output(Command::new("apt-cache").args(["depends", kernel]))?;
    let kernel = first_dependency(&depends)
        .with_context(|| format!("apt does not say which kernel {kernel} stands for; try `apt-get update`"))?;
    // In an empty folder: apt says nothing of files that are there already.
    let empty = tempfile::tempdir()?;
    let mut command = Command::new("apt-get");
    command.args(["download", "--print-uris"]).args(names).arg(kernel).current_dir(empty.path());
    let mut packages = parse_uris(&output(&mut command)?)?;
    if packages.len() != names.len() + 1 {
        bail!("apt knows {} packages of {}", packages.len(), names.len() + 1);
    }
    packages.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(packages)
}

/// The package's name in the file's name: what stands before the first underscore.
fn name(file: &str) -> &str {
    file.split('_').next().unwrap_or(file)
}

/// Fetches the packages into a folder; those that are there are not fetched again. apt holds them
/// against its checksums.
///
/// # Errors
/// When apt fails, for example without a network.
pub fn fetch(packages: &[Package], folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let missing: Vec<&Package> = packages.iter().filter(|package| !folder.join(&package.file).exists()).collect();
    if !missing.is_empty() {
        // Into a folder of its own first: an interrupted download leaves no half a file behind.
        let partial = tempfile::tempdir_in(folder)?;
        let mut command = Command::new("apt-get");
        command.args(["download", "-q", "-o", "APT::Sandbox::User=root"]);
        command.args(missing.iter().map(|package| name(&package.file))).current_dir(partial.path());
        output(&mut command)?;
        for package in missing {
            let from = partial.path().join(&package.file);
            std::fs::rename(&from, folder.join(&package.file)).with_context(|| {
                format!("apt did not fetch {}; its lists may be old: `apt-get update`", package.file)
            })?;
        }
    }
    Ok(packages.iter().map(|package| folder.join(&package.file)).collect())
}

/// Fetches a file of a source package from one of these suites into a folder, and answers with its
/// path. Where packages come from is what the system's own apt is told; its lists and its
/// configuration stay as they are. Who needs the file knows its checksum.
///
/// # Errors
/// When apt is not there, or none of its places has that file in these suites.
pub fn fetch_source(package: &str, file: &str, suites: &[String], folder: &Path) -> Result<PathBuf> {
    if find_program("apt-get").is_none() {
        bail!("this system has no apt-get");
    }
    let format = "$(REPO_URI) $(COMPONENT)";
    let places = output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    let mut said = String::from("apt is told of no place for packages");
    for suite in suites {
        // A state of its own: these lists are nobody else's.
        let own = tempfile::tempdir_in(folder)?;
        for part in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(own.path().join(part))?;
        }
        let list = own.path().join("sources.list");
        std::fs::write(&list, source_lines(&places, suite))
            .with_context(|| format!("cannot write {}", list.display()))?;
        // Not every place has every suite: what counts is whether the file comes.
        let mut update = with_state(own.path());
        let updated = output(update.arg("update"));
        let mut source = with_state(own.path());
        source.args(["source", "--download-only", "--tar-only"]).arg(format!("{package}/{suite}")).current_dir(folder);
        let fetched = output(&mut source);
        let path = folder.join(file);
        if path.is_file() {
            return Ok(path);
        }
        if let Some(error) = fetched.err().or(updated.err()) {
            said = format!("{error:#}");
        }
    }
    bail!("apt finds no {file} in {}: {said}", suites.join(" or "))
}

/// What is configured as `PLACE COMPONENT`, as lines for the sources of another suite there: each
/// place once.
fn source_lines(places: &str, suite: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (place, component) in places.lines().filter_map(|line| line.split_once(' ')) {
        let line = format!("deb-src {place} {suite} {component}\n");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

/// apt-get with sources and state of its own, and this system's keys.
fn with_state(folder: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let folder = folder.display();
    for option in [
        format!("Dir::Etc::sourcelist={folder}/sources.list"),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        format!("Dir::State::lists={folder}/lists"),
        format!("Dir::Cache={folder}/cache"),
        "APT::Sandbox::User=".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    command.arg("-q");
    command
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{program} cannot be started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed: {}", said.lines().collect::<Vec<_>>().join(" | "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn first_dependency(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.trim().strip_prefix("Depends: "))
}

/// Lines such as `'http://…/udev_1.deb' udev_1_amd64.deb 1234 SHA256:…`.
fn parse_uris(text: &str) -> Result<Vec<Package>> {
    let lines = text.lines().filter(|line| line.starts_with('\''));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (file, _size, checksum) = (words.next(), words.next(), words.next());
            let file = file.with_context(|| format!("apt says {line:?}"))?.to_owned();
            Ok(Package { file, checksum: checksum.unwrap_or_default().to_owned() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_metapackage_depends_on() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Depends: other\n";
        assert_eq!(first_dependency(text), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(first_dependency("x\n  PreDepends: y\n"), None);
    }

    #[test]
    fn another_suites_sources_are_where_the_packages_are() {
        let places = "mirror:/d main\nmirror:/d main\nmirror:/s main\n";
        assert_eq!(source_lines(places, "x"), "deb-src mirror:/d x main\ndeb-src mirror:/s x main\n");
        assert_eq!(source_lines("", "x"), "");
    }

    #[test]
    fn addresses_name_file_and_checksum() {
        let text =
            "'http://d/pool/u/udev/udev_252_amd64.deb' udev_252%2b1_amd64.deb 1720824 SHA256:ab12\nW: a warning\n";
        let expected = Package { file: "udev_252%2b1_amd64.deb".into(), checksum: "SHA256:ab12".into() };
        assert_eq!(parse_uris(text).unwrap(), [expected]);
        assert_eq!(name("libstdc++6_12.2.0-14_amd64.deb"), "libstdc++6");
    }
}
