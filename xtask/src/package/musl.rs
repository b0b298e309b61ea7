//! `cargo xtask package musl`: one file that runs on any Linux of this processor.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use xtask_common::cross::{Cargo, Target};
use xtask_common::target::{Launch, Served, sparse_image};

use super::{DISK_BYTES, exercise, output_folder, scratch_folder};

/// Builds it, proves that it needs nothing, and lets it serve.
///
/// # Errors
/// What is not as it should be.
pub fn run(from_source: bool) -> Result<()> {
    let cargo = Cargo::new(Target::Musl, from_source)?;
    println!("package: {}", cargo.describe());
    let built = cargo.build_iesp(&["-Ctarget-feature=+crt-static", "-Cstrip=symbols"])?;
    let program = output_folder()?.join(format!("iesp-{}", Target::Musl.triple()));
    std::fs::copy(&built, &program).with_context(|| format!("cannot write {}", program.display()))?;
    needs_nothing(&program)?;
    println!("package: it is static: no interpreter, no library");
    serves(&program)?;
    println!("package: it serves: login, read, write, verify");
    super::done(&program)
}

/// An ELF file that no loader has to complete.
fn needs_nothing(program: &Path) -> Result<()> {
    let said = super::said_by("readelf", &["--wide", "--program-headers", "--dynamic"], program)?;
    match needs(&said) {
        Some(what) => bail!("it needs {what}"),
        None => Ok(()),
    }
}

/// What `readelf` says that a program needs: its loader, or its libraries.
fn needs(said: &str) -> Option<String> {
    let mut lines = said.lines().map(str::trim);
    let needed = lines.find(|line| line.contains("(NEEDED)") || line.starts_with("INTERP "));
    needed.map(str::to_owned)
}

fn serves(program: &Path) -> Result<()> {
    let folder = scratch_folder("musl")?;
    let image: PathBuf = folder.join("disk.img");
    sparse_image(&image, DISK_BYTES)?;
    let launch =
        Launch { iesp: program, image: &image, address: "127.0.0.1", arguments: &[], chap: None, dir: &folder };
    let served = Served::start(&launch)?;
    let result = exercise::find(&folder, served.portal(), served.url(), DISK_BYTES)
        .and_then(|()| exercise::write(&folder, served.url()));
    let stopped = served.stop();
    result?;
    stopped?;
    exercise::verify_image(&image)?;
    alone(program, &folder)?;
    Ok(std::fs::remove_dir_all(&folder)?)
}

/// In a folder that holds nothing else, where that may be tried: by root.
fn alone(program: &Path, folder: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let root = folder.join("root");
    std::fs::create_dir(&root)?;
    std::fs::copy(program, root.join("iesp"))?;
    let status = Command::new("chroot").arg(&root).args(["/iesp", "--version"]).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "it does not run in an empty root folder ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_needs_is_seen() {
        let this = std::env::current_exe().unwrap();
        let error = needs_nothing(&this).unwrap_err().to_string();
        assert!(error.contains("INTERP") || error.contains("NEEDED"), "{error}");
        let fixed = "Program Headers:\n  LOAD 0x0\n  GNU_STACK 0x0\n\nThere is no dynamic section in this file.\n";
        assert_eq!(needs(fixed), None);
        assert!(needs_nothing(Path::new("/etc/passwd")).is_err());
    }
}
