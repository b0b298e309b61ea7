//! `--newer`: the test-tool of a libiscsi that is newer than the distribution's, built from its source.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use xtask_common::workspace::cache_folder;

use crate::checksum::{checksum, hex};
use crate::debian;

/// Where the source is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Newer {
    /// libiscsi's version.
    pub version: String,
    /// Debian's suites that may have it: the first that does is taken.
    pub suites: Vec<String>,
    /// The archive's SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// What is wrong in it.
    #[serde(rename = "patch", default)]
    pub patches: Vec<Patch>,
}

impl Newer {
    /// The version, and what of the patches and of this file makes another build of it.
    fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(CONFIG);
        self.patches.iter().for_each(|patch| hash.update(format!("{:?}{}{}", patch.file, patch.from, patch.to)));
        format!("{}-{}", self.version, &hex(&hash.finalize())[..8])
    }
}

/// A mistake of the tool, and what should stand there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Patch {
    /// The file, below the source's folder.
    pub file: PathBuf,
    /// What stands there, once.
    pub from: String,
    /// What should.
    pub to: String,
    /// What is wrong.
    #[expect(dead_code, reason = "for readers of the file: every patch has to say why")]
    pub why: String,
}

impl Patch {
    fn apply(&self, source: &Path) -> Result<()> {
        let file = source.join(&self.file);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(text.matches(&self.from).count() == 1, "{} does not have {:?} once", file.display(), self.from);
        Ok(std::fs::write(&file, text.replace(&self.from, &self.to))?)
    }
}

/// What libiscsi's configure script finds on every Linux; neither iSER nor libgcrypt, so CHAP is MD5 alone.
const CONFIG: &str = "\
#define HAVE_ARPA_INET_H 1
#define HAVE_CLOCK_GETTIME 1
#define HAVE_CU_SUITEINFO_PSETUPFUNC 1
#define HAVE_DLFCN_H 1
#define HAVE_INTTYPES_H 1
#define HAVE_NETDB_H 1
#define HAVE_NETINET_IN_H 1
#define HAVE_NETINET_TCP_H 1
#define HAVE_POLL_H 1
#define HAVE_PTHREAD_H 1
#define HAVE_SG_IO 1
#define HAVE_SOCKADDR_IN6 1
#define HAVE_STDINT_H 1
#define HAVE_STDLIB_H 1
#define HAVE_STRING_H 1
#define HAVE_STRINGS_H 1
#define HAVE_SYS_IOCTL_H 1
#define HAVE_SYS_SOCKET_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_SYS_TIME_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_UIO_H 1
#define HAVE_UNISTD_H 1
";

/// Sources that need libraries which the tests do not.
const NOT_BUILT: &[&str] = &["iser.c"];

/// The tool, from the user's cache folder or built into it.
///
/// # Errors
/// When the source cannot be had, is not the one that is wanted, or does not compile.
pub fn build(newer: &Newer) -> Result<PathBuf> {
    // The folder's name is without "libiscsi": the library in front of the tool knows libiscsi's own functions by it.
    let cache = cache_folder("test-tool")?;
    let folder = cache.join(newer.id());
    let program = folder.join("iscsi-test-cu");
    if program.exists() {
        return Ok(program);
    }
    let partial = tempfile::tempdir_in(&cache)?;
    let source = fetch(newer, partial.path())?;
    println!("conformance: building the test-tool of libiscsi {}", newer.version);
    std::fs::write(source.join("config.h"), CONFIG)?;
    newer.patches.iter().try_for_each(|patch| patch.apply(&source))?;
    let built = partial.path().join("built");
    std::fs::create_dir(&built)?;
    // A library of its own, with every name visible: the tool uses private ones, and ours goes in between.
    let library = [OsString::from("-shared"), "-fPIC".into(), "-o".into(), built.join("libiscsi.so").into()];
    compile(&source, "lib", &library, &[])?;
    let tool = [OsString::from("-o"), built.join("iscsi-test-cu").into(), "-Wl,-rpath,$ORIGIN".into()];
    compile(&source, "test-tool", &tool, &[format!("-L{}", built.display()), "-liscsi".into(), "-lcunit".into()])?;
    match std::fs::rename(&built, &folder) {
        // Another run was quicker.
        Err(_) if program.exists() => Ok(program),
        renamed => renamed.map(|()| program).with_context(|| format!("cannot make {}", folder.display())),
    }
}

/// Fetches and unpacks the source, and answers with its folder.
fn fetch(newer: &Newer, folder: &Path) -> Result<PathBuf> {
    let name = format!("libiscsi_{}.orig.tar.gz", newer.version);
    let archive = debian::fetch_source("libiscsi", &name, &newer.suites, folder)
        .context("NOT RUN HERE: the newer test-tool's source cannot be had")?;
    let found = checksum(&archive)?;
    ensure!(found == newer.sha256, "libiscsi's source has the SHA-256 {found}, and not {}", newer.sha256);
    let status = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder).status();
    ensure!(status.context("tar cannot be started")?.success(), "libiscsi's source cannot be unpacked");
    let source = folder.join(format!("libiscsi-{}", newer.version));
    ensure!(source.join("lib/pdu.c").exists(), "the archive holds no libiscsi {}", newer.version);
    Ok(source)
}

/// Compiles all sources of one folder at once.
fn compile(source: &Path, part: &str, output: &[OsString], libraries: &[String]) -> Result<()> {
    let entries = source.join(part).read_dir().with_context(|| format!("libiscsi's source has no folder {part}"))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let files = files.filter(|file| file.extension().is_some_and(|end| end == "c"));
    let files = files.filter(|file| !NOT_BUILT.iter().any(|name| file.ends_with(name)));
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.current_dir(source).args(["-O1", "-w", "-D_GNU_SOURCE", "-DHAVE_CONFIG_H", "-I.", "-Iinclude"]);
    let output = command.args(output).args(files).args(libraries).arg("-ldl").stdin(Stdio::null()).output();
    let output = output.context("no C compiler: `cargo xtask setup` installs one")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| line.contains("error") || line.contains("cannot find"));
        bail!(
            "libiscsi's {part} does not compile (`cargo xtask setup --full` installs CUnit): {}",
            first.unwrap_or("the compiler does not say why")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(from: &str) -> Patch {
        Patch { file: "a.c".into(), from: from.into(), to: "==".into(), why: String::new() }
    }

    #[test]
    fn a_patch_changes_the_one_place_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.c"), "if (a != b) c = d;\n").unwrap();
        assert!(patch(">=").apply(folder.path()).unwrap_err().to_string().contains("\">=\" once"));
        patch("!=").apply(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("a.c")).unwrap(), "if (a == b) c = d;\n");
        assert!(patch("!=").apply(folder.path()).is_err());
    }

    #[test]
    fn another_patch_makes_another_build() {
        let newer = |patches| Newer { version: "1".into(), suites: Vec::new(), sha256: String::new(), patches };
        assert_eq!(newer(vec![patch("a")]).id(), newer(vec![patch("a")]).id());
        assert_ne!(newer(vec![patch("a")]).id(), newer(vec![patch("b")]).id());
        assert!(newer(Vec::new()).id().starts_with("1-"));
    }
}
