//! iesp as it was at a commit, built once for each and kept in the user's cache folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use xtask_common::process::{Ended, Running};
use xtask_common::workspace::{cache_folder, cargo, root};
use xtask_common::{compiler, outputs};

use crate::checksum::hex;

/// How long a build may take.
const BUILD: Duration = Duration::from_secs(3600);
/// The same for one of git's commands.
const GIT: Duration = Duration::from_secs(120);

/// A commit of this project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    hash: String,
    /// Its short name and its subject.
    pub about: String,
}

impl Commit {
    /// Finds what a name such as `HEAD~3`, a branch or a hash stands for.
    ///
    /// # Errors
    /// When git knows no such commit.
    pub fn find(name: &str) -> Result<Self> {
        let commit = format!("{name}^{{commit}}");
        let hash = git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])
            .with_context(|| format!("{name} is neither a file nor a commit"))?;
        let about = git(&["log", "-1", "--format=%h %s", &hash])?;
        Ok(Commit { hash, about })
    }

    /// The program at this commit: from the cache folder, or built into it.
    ///
    /// # Errors
    /// When it does not build.
    pub fn iesp(&self) -> Result<PathBuf> {
        let programs = cache_folder("commits")?;
        let program = programs.join(self.key()?);
        if program.is_file() {
            return Ok(program);
        }
        println!("building iesp at {}; this takes some minutes, once", self.about);
        let copy = Copy::make(&programs, &self.hash)?;
        let output = outputs::folder("commits-build")?;
        let mut command = cargo();
        command.current_dir(&copy.0).env("CARGO_TARGET_DIR", &output).stdin(Stdio::null());
        command.args(["build", "--quiet", "--locked", "--release", "--package", "iesp", "--bin", "iesp"]);
        let ended = Running::start(&mut command)?.wait(BUILD)?;
        ensure!(ended == Ended::Exit(0), "iesp at {} does not build ({ended})", self.about);
        // Complete or not there at all.
        let partial = tempfile::NamedTempFile::new_in(&programs)?;
        std::fs::copy(output.join("release/iesp"), partial.path()).context("cargo built no iesp")?;
        partial.persist(&program)?;
        Ok(program)
    }

    /// The name of its program: another compiler, or other flags of it, make another one.
    fn key(&self) -> Result<String> {
        let mut rustc = Command::new(compiler::own());
        let version = rustc.arg("-vV").current_dir(root()).stdin(Stdio::null()).output().context("no rustc")?;
        let mut hash = Sha256::new();
        hash.update(version.stdout);
        hash.update(std::env::var("RUSTFLAGS").unwrap_or_default());
        Ok(format!("iesp-{}-{}", self.hash, &hex(&hash.finalize())[..8]))
    }
}

/// A working copy of a commit, in the cache folder; it is removed with this value.
struct Copy(PathBuf);

impl Copy {
    fn make(folder: &Path, hash: &str) -> Result<Self> {
        // Of this process: another run may build the same commit.
        let path = folder.join(format!("copy-{}-{}", &hash[..hash.len().min(12)], std::process::id()));
        let text = path.to_str().context("the cache folder's name is not UTF-8")?;
        // What a killed run left at the same place, or in git's list of working copies, is taken
        // over.
        git(&["worktree", "add", "--quiet", "--detach", "--force", "--force", text, hash])?;
        Ok(Copy(path))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let path = self.0.to_string_lossy();
        let _ = git(&["worktree", "remove", "--force", &path]);
    }
}

/// What git prints, in the project's folder.
fn git(arguments: &[&str]) -> Result<String> {
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("git");
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command.stdout(log.reopen()?).stderr(Stdio::inherit());
    let ended = Running::start(&mut command)?.wait(GIT)?;
    if ended != Ended::Exit(0) {
        bail!("`git {}`: {ended}", arguments.join(" "));
    }
    Ok(std::fs::read_to_string(log.path())?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_has_a_name_and_nothing_else_is_one() {
        let Ok(head) = Commit::find("HEAD") else {
            return assert!(!root().join(".git").exists(), "HEAD is not found in a repository");
        };
        assert_eq!(Commit::find(&head.hash).unwrap(), head);
        assert!(head.key().unwrap().contains(&head.hash));
        for nothing in ["no-such-branch", "--all", ""] {
            assert!(Commit::find(nothing).is_err(), "{nothing:?}");
        }
    }
}
