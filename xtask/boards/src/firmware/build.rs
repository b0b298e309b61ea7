//! Builds a board's program, with its output in the user's cache folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use xtask_common::toolchain::Toolchain;
use xtask_common::{outputs, workspace};

use super::board::Board;

/// Builds the program; answers with its ELF file.
///
/// # Errors
/// When there is no compiler for the board, or the program does not build (cargo has said why on stderr).
pub fn build(board: &Board) -> Result<PathBuf> {
    program(board, board.name)
}

/// As [`build`], for another program of the board's crate.
///
/// # Errors
/// As there.
pub fn program(board: &Board, name: &str) -> Result<PathBuf> {
    let words = ["build", "--release", "--locked", "--quiet", "--message-format=json-render-diagnostics"];
    let output = cargo(board, &words)?.stdout(Stdio::piped()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the program of {} does not build", board.name);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    workspace::executable_in(&messages, name).with_context(|| format!("cargo built no binary {name}"))
}

/// Has the compiler check the program, and clippy where it came with it: a warning is an error.
///
/// # Errors
/// When there is no compiler for the board, or it finds an error.
pub fn typecheck(board: &Board) -> Result<()> {
    let toolchain = Toolchain::find(board.target)?;
    let (word, by) = if toolchain.has_clippy() { ("clippy", "linted") } else { ("check", "type-checked") };
    let mut command = cargo_of(&toolchain, board, &[word, "--release", "--locked", "--quiet"])?;
    if word == "clippy" {
        command.args(["--", "-D", "warnings"]);
    }
    if !command.status()?.success() {
        bail!("the program of {} has errors, or warnings", board.name);
    }
    println!("{}: {by} for {}", board.name, board.target);
    Ok(())
}

fn cargo(board: &Board, words: &[&str]) -> Result<Command> {
    cargo_of(&Toolchain::find(board.target)?, board, words)
}

fn cargo_of(toolchain: &Toolchain, board: &Board, words: &[&str]) -> Result<Command> {
    let folder = workspace::root().join(board.workspace);
    let output = outputs::folder("firmware")?;
    let words = [words, &["--package", board.package], board.options].concat();
    let mut command = toolchain.cargo(board.target, &folder, &output, &words);
    command.stdin(Stdio::null()).env("IESP_BUILD_DATE", build_date());
    Ok(command)
}

/// The date that a program says it was built at, the same for the same sources: what `SOURCE_DATE_EPOCH` says
/// (<https://reproducible-builds.org/specs/source-date-epoch/>), or that of the last commit to what boards are made of; else empty.
pub fn build_date() -> String {
    let told = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    if let Some(date) = told.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0)) {
        return date.format("%Y-%m-%d").to_string();
    }
    let mut git = Command::new("git");
    git.current_dir(workspace::root()).args(["log", "-1", "--format=%cs", "--", "target", "Cargo.lock"]);
    let said = git.stderr(Stdio::null()).output().ok().filter(|output| output.status.success());
    said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Copies the program to the folder `build/firmware`, and makes what the board's tool takes of it; answers with that file.
///
/// # Errors
/// When it cannot be written.
pub fn output(board: &Board, elf: &Path) -> Result<PathBuf> {
    let folder = workspace::build_dir().join("firmware");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{}.elf", board.name));
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    std::fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    let Some(ending) = board.image.ending() else { return Ok(file) };
    let file = file.with_extension(ending);
    std::fs::write(&file, board.image.convert(&bytes)?).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
