//! Which compiler builds for another processor: one that has its core library, or that has the sources to build it from.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::compiler::{self, DEBIAN_CARGO, DEBIAN_RUSTC, ask, has_sources};
use crate::workspace::find_program;

/// A compiler for a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// Its folder comes first in `PATH`; rustup's own does not need it.
    folder: Option<PathBuf>,
    from_source: bool,
    linker: Option<PathBuf>,
}

impl Toolchain {
    /// Looks for a compiler: the user's own with this processor installed, or any with the library's sources.
    ///
    /// # Errors
    /// When there is none: the message says what to install.
    pub fn find(target: &str) -> Result<Self> {
        if is_espressifs(target) {
            return Self::espressifs(target);
        }
        let candidates = [(PathBuf::from("rustc"), PathBuf::from("cargo"), None), debians()];
        for wants_source in [false, true] {
            for (rustc, cargo, folder) in &candidates {
                let there =
                    if wants_source { has_sources(rustc) } else { compiler::has_library(rustc, target, "core") };
                if !there {
                    continue;
                }
                let (rustc, cargo, folder) = (rustc.clone(), cargo.clone(), folder.clone());
                let linker = if has_linker(&rustc) {
                    None
                } else {
                    match system_linker() {
                        Some(linker) => Some(linker),
                        None => continue,
                    }
                };
                return Ok(Toolchain { cargo, rustc, folder, from_source: wants_source, linker });
            }
        }
        bail!(
            "no compiler with a linker for {target} here: `rustup target add {target}`, or `cargo xtask setup`, which installs the \
             distribution's compiler with the sources of its library"
        )
    }

    /// Espressif's, as `espup install` puts it beside rustup's own. Its linker is GCC, which the compiler finds in `PATH`.
    fn espressifs(target: &str) -> Result<Self> {
        let rustc = find_program("rustup").and_then(|rustup| ask(&rustup, &["which", "--toolchain", "esp", "rustc"]));
        let Some(rustc) = rustc.filter(|rustc| has_sources(rustc)) else {
            bail!(
                "NOT BUILT HERE: {target} takes Espressif's compiler: `cargo install espup --locked`, `espup install`, \
                 `. ~/export-esp.sh`"
            )
        };
        let linker = "xtensa-esp32-elf-gcc";
        ensure!(
            find_program(linker).is_some(),
            "NOT BUILT HERE: no {linker} in PATH: `. ~/export-esp.sh`, which espup made"
        );
        let folder = rustc.parent().map(Path::to_path_buf);
        Ok(Toolchain { cargo: rustc.with_file_name("cargo"), rustc, folder, from_source: true, linker: None })
    }

    /// The program that lints, where it came with the compiler.
    pub fn has_clippy(&self) -> bool {
        let cargo = self.folder.as_ref().map(|folder| folder.join("cargo-clippy"));
        cargo.or_else(|| find_program("cargo-clippy")).is_some_and(|program| program.is_file())
    }

    /// Whether any processor could be built for.
    pub fn is_there(targets: &[&str]) -> bool {
        targets.iter().all(|target| Self::find(target).is_ok())
    }

    /// Cargo for this processor, in a folder, with its output in another one.
    pub fn cargo(&self, target: &str, folder: &Path, output: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(folder).args(words).args(["--target", target]);
        compiler::forget_own(&mut command);
        // Flags and target of the host are of no use to a board.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
        command.env("CARGO_TARGET_DIR", output);
        if let Some(folder) = &self.folder {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(folder.clone()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(folders).unwrap_or(path));
            command.env("RUSTC", &self.rustc).env_remove("RUSTUP_TOOLCHAIN");
        }
        if self.from_source {
            command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core,alloc");
        }
        if let Some(linker) = &self.linker {
            command.arg("--config").arg(format!("target.{target}.linker={:?}", linker.display().to_string()));
        }
        command
    }
}

/// Whether a processor is one that only Espressif's compiler knows.
pub fn is_espressifs(target: &str) -> bool {
    target.starts_with("xtensa-")
}

/// The distribution's compiler.
fn debians() -> (PathBuf, PathBuf, Option<PathBuf>) {
    (DEBIAN_RUSTC.into(), DEBIAN_CARGO.into(), Some("/usr/bin".into()))
}

/// Rustup's compilers bring a linker for such processors.
fn has_linker(rustc: &Path) -> bool {
    let folder = ask(rustc, &["--print", "target-libdir"]);
    folder.and_then(|folder| Some(folder.parent()?.join("bin/rust-lld"))).is_some_and(|linker| linker.is_file())
}

/// LLVM's linker: the newest that there is.
fn system_linker() -> Option<PathBuf> {
    let version = |path: &PathBuf| path.to_string_lossy().rsplit('-').next().and_then(|text| text.parse::<u32>().ok());
    let numbered = glob::glob("/usr/bin/ld.lld-*").ok().into_iter().flatten().flatten();
    numbered.filter(|path| version(path).is_some()).max_by_key(version).or_else(|| find_program("ld.lld"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_nobody_has_is_told() {
        let error = match Toolchain::find("no-such-processor") {
            // With sources, any name is taken until it is built.
            Ok(toolchain) => return assert!(toolchain.from_source),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("rustup target add no-such-processor"), "{error}");
    }

    #[test]
    fn what_takes_another_compiler_is_told() {
        if let Err(error) = Toolchain::find("xtensa-esp32-none-elf") {
            assert!(error.to_string().starts_with("NOT BUILT HERE: "), "{error}");
        }
    }
}
