//! Compilers of this machine: what they have of a standard library for other systems and processors.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workspace;

/// Debian's compiler: it has no libraries for others, and may have their sources.
pub const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// Sources and compiler belong together: this one in this version and no other.
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The compiler that the workspace is built by.
pub fn own() -> PathBuf {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()).into()
}

/// What a program prints when it is asked for a path.
pub fn ask(program: &Path, words: &[&str]) -> Option<PathBuf> {
    let mut command = Command::new(program);
    command.args(words).current_dir(workspace::root()).env_remove("LD_LIBRARY_PATH");
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// Whether a compiler has a library (`core`, `std`) for a target.
pub fn has_library(rustc: &Path, target: &str, library: &str) -> bool {
    let folder = ask(rustc, &["--print", "target-libdir", "--target", target]);
    let entries = folder.and_then(|folder| folder.read_dir().ok());
    let prefix = format!("lib{library}-");
    entries
        .is_some_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)))
}

/// Whether a compiler has the sources of its library, so that it can be built for a target.
pub fn has_sources(rustc: &Path) -> bool {
    let sysroot = ask(rustc, &["--print", "sysroot"]);
    sysroot.is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file())
}

/// For a cargo of another compiler: what was set for this very program would bring its own one back.
pub fn forget_own(command: &mut Command) {
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTC_WRAPPER", "LD_LIBRARY_PATH"] {
        command.env_remove(variable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_target_is_there_and_no_other_is_made_up() {
        let version = Command::new("rustc").arg("-vV").current_dir(workspace::root()).output().unwrap();
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        for library in ["core", "std"] {
            assert!(has_library(&own(), host, library), "{host}");
            assert!(!has_library(&own(), "no-such-target", library));
            assert!(!has_library(Path::new("/no/such/rustc"), host, library));
        }
        assert!(!has_sources(Path::new("/no/such/rustc")));
    }
}
