//! Where things are: the workspace's root, the build folder, the programs that cargo makes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root: the folder above `xtask/common`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or_else(|| Path::new("."))
}

/// Cargo's output folder, where reports, logs and scratch images go too (`build/` unless `CARGO_TARGET_DIR` says other).
pub fn build_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("build"),
    }
}

/// A folder for what takes long to make and is the same in every working copy: below `iesp` in the user's cache folder.
///
/// # Errors
/// When the user has no home, or the folder cannot be made.
pub fn cache_folder(name: &str) -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => std::env::home_dir().context("no home folder: set XDG_CACHE_HOME")?.join(".cache"),
    };
    let folder = base.join("iesp").join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Makes a folder that is empty: what was there is removed.
///
/// # Errors
/// When it cannot be emptied or made.
pub fn fresh_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// The cargo that runs this xtask, started in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds one binary of a package and answers with its path.
///
/// # Errors
/// When cargo cannot be started, when the build fails (cargo has said why on stderr), or when the package has no such
/// binary.
pub fn build_binary(package: &str, binary: &str, release: bool) -> Result<PathBuf> {
    build(package, binary, if release { &["--release"] } else { &[] })
}

/// As [`build_binary`], without a word where all is well.
///
/// # Errors
/// As there.
pub fn build_quietly(package: &str, binary: &str) -> Result<PathBuf> {
    build(package, binary, &["--quiet"])
}

fn build(package: &str, binary: &str, words: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", package, "--bin", binary, "--message-format=json-render-diagnostics"]);
    command.args(words);
    let output = command.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("`cargo build --package {package} --bin {binary}` failed");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable_in(&messages, binary).with_context(|| format!("cargo built no binary {binary} in package {package}"))
}

/// Looks for a binary's path among cargo's messages, one JSON object a line.
pub fn executable_in(messages: &str, binary: &str) -> Option<PathBuf> {
    messages.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|message| {
        let named = message["target"]["name"].as_str() == Some(binary);
        let path = message["executable"].as_str()?;
        named.then(|| PathBuf::from(path))
    })
}

/// The path of a program: an executable file of that name in one of the folders of `PATH`, or in the folders for the
/// system's administration that a plain user's `PATH` leaves out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let file_name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(&file_name)).find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(windows)]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_taken_from_the_message_that_names_the_binary() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"iesp-iscsi"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"iesp"},"executable":"/b/debug/iesp"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n",
        );
        assert_eq!(executable_in(messages, "iesp"), Some(PathBuf::from("/b/debug/iesp")));
        assert_eq!(executable_in(messages, "iesp-iscsi"), None);
    }

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("xtask/Cargo.toml").is_file());
    }

    #[test]
    fn a_program_is_found_by_its_name_alone() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program-anywhere"), None);
    }
}
