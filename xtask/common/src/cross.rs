//! Building for other systems: with the standard library that rustup has for them, or, where it has none, with one that
//! Debian's cargo builds from source. What is built stays in the user's cache folder, so that it is built once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::compiler::{self, DEBIAN_CARGO, DEBIAN_RUSTC};
use crate::{outputs, workspace};

/// Another system, and what building for it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Linux without any library of the machine's.
    Musl,
    /// Windows, by mingw-w64.
    Windows,
    /// FreeBSD: type checks.
    FreeBsd,
    /// macOS on Apple's processors: type checks.
    MacOs,
}

impl Target {
    /// rustc's name for it.
    pub fn triple(self) -> &'static str {
        match self {
            Target::Musl if cfg!(target_arch = "aarch64") => "aarch64-unknown-linux-musl",
            Target::Musl => "x86_64-unknown-linux-musl",
            Target::Windows => "x86_64-pc-windows-gnu",
            Target::FreeBsd => "x86_64-unknown-freebsd",
            Target::MacOs => "aarch64-apple-darwin",
        }
    }

    /// The linker that it needs beyond the machine's own: the variable that names it to cargo, and its program.
    fn linker(self) -> Option<(&'static str, &'static str)> {
        (self == Target::Windows).then_some(("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", MINGW))
    }
}

/// The linker for Windows.
pub const MINGW: &str = "x86_64-w64-mingw32-gcc";

/// Where the standard library comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The toolchain of this workspace has it, by `rustup target add`.
    Toolchain,
    /// Debian's compiler (rustc-web, cargo-web) and its source (rust-web-src).
    Debian,
}

/// Where the standard library for a target comes from; `None` where there is none.
pub fn source(target: Target) -> Option<Source> {
    if compiler::has_library(&compiler::own(), target.triple(), "std") {
        return Some(Source::Toolchain);
    }
    has_debians().then_some(Source::Debian)
}

fn has_debians() -> bool {
    Path::new(DEBIAN_CARGO).exists() && compiler::has_sources(Path::new(DEBIAN_RUSTC))
}

/// A cargo that builds for a target into a folder of the user's cache, with its words (`build`, `check`) still to come.
#[derive(Debug)]
pub struct Cargo {
    /// Where its output goes.
    pub folder: PathBuf,
    target: Target,
    source: Source,
}

impl Cargo {
    /// For a target; `from_source` takes Debian's compiler though the toolchain has a standard library.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub fn new(target: Target, from_source: bool) -> Result<Self> {
        let triple = target.triple();
        let source = match source(target) {
            Some(Source::Toolchain) if !from_source => Source::Toolchain,
            _ if has_debians() => Source::Debian,
            _ => bail!(
                "no standard library for {triple}: `rustup target add {triple}`, or `cargo xtask setup{}` (on Debian: apt-get \
                 install rustc-web cargo-web rust-web-src)",
                if target == Target::Musl { "" } else { " --full" }
            ),
        };
        if let Some((_, program)) = target.linker()
            && workspace::find_program(program).is_none()
        {
            bail!("no {program}: `cargo xtask setup --full` installs it (on Debian: gcc-mingw-w64-x86-64-win32)");
        }
        let folder = outputs::folder("cross")?.join(if source == Source::Debian { "source" } else { "rustup" });
        Ok(Cargo { folder, target, source })
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let from = match self.source {
            Source::Toolchain => "rustup's standard library",
            Source::Debian => "Debian's compiler and the standard library from source",
        };
        format!("{} with {from}", self.target.triple())
    }

    /// Runs cargo: `words` are the command and its arguments, such as `build --release`.
    ///
    /// # Errors
    /// When it fails; it has said why.
    pub fn run(&self, words: &[&str], rustflags: &[&str]) -> Result<()> {
        self.run_with(words, rustflags, &[])
    }

    /// As [`Cargo::run`], for type checks: what a dependency has in C is not compiled, as that takes the other system's headers.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, words: &[&str], rustflags: &[&str]) -> Result<()> {
        let name = |tool: &str| format!("{tool}_{}", self.target.triple().replace('-', "_"));
        self.run_with(words, rustflags, &["CC", "CXX", "AR"].map(|tool| (name(tool), "true".to_owned())))
    }

    fn run_with(&self, words: &[&str], rustflags: &[&str], variables: &[(String, String)]) -> Result<()> {
        let mut command = match self.source {
            Source::Toolchain => workspace::cargo(),
            Source::Debian => {
                let mut command = Command::new(DEBIAN_CARGO);
                compiler::forget_own(&mut command);
                command.env_remove("RUSTUP_TOOLCHAIN");
                command.current_dir(workspace::root()).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        command.args(words).args(["--locked", "--target", self.target.triple()]);
        if self.source == Source::Debian {
            command.arg("-Zbuild-std=std,panic_abort,panic_unwind");
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        // Each has a folder of its own: a type check has other C than a build.
        let folder = if variables.is_empty() { self.folder.clone() } else { self.folder.join("check") };
        command.env("CARGO_TARGET_DIR", folder);
        if let Some((variable, program)) = self.target.linker() {
            command.env(variable, program);
        }
        let mut flags: Vec<&str> = rustflags.to_vec();
        let libraries = self.libraries()?;
        flags.extend(libraries.iter().map(String::as_str));
        if !flags.is_empty() {
            command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        }
        let status = command.stdin(Stdio::null()).status().context("cargo cannot be started")?;
        if !status.success() {
            bail!("`cargo {}` for {} failed", words.join(" "), self.target.triple());
        }
        Ok(())
    }

    /// What the linker needs where the standard library brings none of the C side with it.
    fn libraries(&self) -> Result<Vec<String>> {
        if self.target != Target::Musl {
            return Ok(Vec::new());
        }
        // For what dependencies have in C, whoever has made the standard library.
        if workspace::find_program("musl-gcc").is_none() {
            bail!("no musl-gcc: `cargo xtask setup` installs it (on Debian: musl-tools)");
        }
        if self.source == Source::Toolchain {
            return Ok(Vec::new());
        }
        // The unwinder of gcc, by the name that the standard library asks for: it needs nothing of glibc.
        let folder = self.folder.join("musl-libraries");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let output =
            Command::new("gcc").arg("-print-file-name=libgcc_eh.a").output().context("gcc cannot be started")?;
        let unwinder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        std::fs::copy(&unwinder, folder.join("libunwind.a")).with_context(|| format!("cannot copy {unwinder}"))?;
        Ok(vec![
            "-Clinker=musl-gcc".to_owned(),
            "-Clink-self-contained=no".to_owned(),
            "-Crelocation-model=static".to_owned(),
            format!("-Lnative={}", folder.display()),
        ])
    }

    /// Builds the server as a release; answers with its program.
    ///
    /// # Errors
    /// When it does not build.
    pub fn build_iesp(&self, rustflags: &[&str]) -> Result<PathBuf> {
        self.run(&["build", "--release", "--package", "iesp", "--bin", "iesp"], rustflags)?;
        let name = if self.target == Target::Windows { "iesp.exe" } else { "iesp" };
        let program = self.folder.join(self.target.triple()).join("release").join(name);
        if !program.is_file() {
            bail!("cargo built no {}", program.display());
        }
        Ok(program)
    }
}
