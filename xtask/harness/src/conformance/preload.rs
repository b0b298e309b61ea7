//! The small C library that goes between the test-tool and libiscsi, for what the tool has no option for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What the library can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Each login offers `HeaderDigest=CRC32C` alone.
    HeaderDigest,
    /// `iSCSITMF.LUNResetSimpleAsync` waits for the answer instead of failing before it.
    LunReset,
}

impl Effect {
    /// The variable that asks the library for it.
    fn variable(self) -> &'static str {
        match self {
            Effect::HeaderDigest => "XTASK_HEADER_DIGEST",
            Effect::LunReset => "XTASK_LUN_RESET",
        }
    }

    /// What the library prints once it has done it.
    fn proof(self) -> &'static str {
        match self {
            Effect::HeaderDigest => "xtask: HeaderDigest=CRC32C asked",
            Effect::LunReset => "xtask: LUN RESET repaired",
        }
    }
}

/// The library, compiled.
#[derive(Debug)]
pub struct Preload {
    library: PathBuf,
}

impl Preload {
    /// Compiles the library.
    ///
    /// # Errors
    /// When there is no C compiler, or libiscsi's headers are missing.
    pub fn build(dir: &Path) -> Result<Self> {
        let (source, library) = (dir.join("preload.c"), dir.join("preload.so"));
        std::fs::write(&source, include_str!("preload.c"))?;
        let compiler = std::env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let output = command.output().context("no C compiler: `cargo xtask setup` installs one")?;
        if !output.status.success() {
            bail!("preload.c does not compile: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Preload { library })
    }

    /// Makes a command use the library, to these effects.
    pub fn apply(&self, command: &mut Command, effects: &[Effect]) {
        command.env("LD_PRELOAD", &self.library);
        command.envs(effects.iter().map(|effect| (effect.variable(), "1")));
    }
}

/// Of the effects, one that the output does not prove.
pub fn unproven(effects: &[Effect], output: &str) -> Option<Effect> {
    effects.iter().copied().find(|effect| !output.contains(effect.proof()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_source_has_every_variable_and_every_proof() {
        let source = include_str!("preload.c");
        for effect in [Effect::HeaderDigest, Effect::LunReset] {
            assert!(source.contains(&format!("getenv(\"{}\")", effect.variable())));
            assert!(source.contains(&format!("\"{}\\n\"", effect.proof())));
        }
    }

    #[test]
    fn an_effect_that_is_not_proven_is_named() {
        let effects = [Effect::HeaderDigest, Effect::LunReset];
        assert_eq!(unproven(&effects, "xtask: HeaderDigest=CRC32C asked\n"), Some(Effect::LunReset));
        assert_eq!(unproven(&[], ""), None);
    }
}
