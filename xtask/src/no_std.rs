//! `cargo xtask no-std`: the crates for boards link without `std`.
//!
//! On a host every crate could reach `std` by accident, through a dependency's default feature for one. So a small
//! library is made that has no `std` and its own panic handler, and that links these crates: where one of them brings
//! `std` in, there are two panic handlers, and the compiler says so.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask_common::process::{Ended, run_logged};
use xtask_common::workspace;

/// A crate without `std`.
struct Crate {
    package: &'static str,
    folder: &'static str,
    features: &'static [&'static str],
}

const fn plain(package: &'static str, folder: &'static str) -> Crate {
    Crate { package, folder, features: &[] }
}

const CRATES: &[Crate] = &[
    plain("iesp-firmware", "target/firmware"),
    plain("iesp-iscsi", "target/iscsi"),
    plain("iesp-scsi", "target/scsi"),
    plain("iesp-session", "target/session"),
];

/// Those that need a heap.
const WITH_HEAP: &[Crate] = &[
    plain("iesp-snmp", "target/snmp"),
    Crate { features: &["names", "snmp"], ..plain("iesp-firmware", "target/firmware") },
];

/// A heap for the probe, which never has anything to give.
const HEAP: &str = "struct Heap;\n\
    unsafe impl core::alloc::GlobalAlloc for Heap {\n    \
    unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 { core::ptr::null_mut() }\n    \
    unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {}\n}\n\
    #[global_allocator]\nstatic HEAP: Heap = Heap;\n";

/// The error code for two definitions of one lang item, here the panic handler.
const DUPLICATE_LANG_ITEM: &str = "E0152";

/// Builds the probe with `std`, to see that it can fail, and then with the crates.
///
/// # Errors
/// When a crate needs `std` or an allocator, or when the probe does not notice `std`.
pub fn run() -> Result<()> {
    let dir = workspace::build_dir().join("no-std");
    let log = build_probe(&dir.join("with-std"), &[], "extern crate std;\n")?;
    ensure!(log.contains(DUPLICATE_LANG_ITEM), "the probe does not notice `std`:\n{log}");
    for Crate { package, folder, .. } in CRATES.iter().chain(WITH_HEAP) {
        let text = std::fs::read_to_string(workspace::root().join(folder).join("src/lib.rs"))?;
        ensure!(text.contains("no_std"), "{folder}/src/lib.rs does not say no_std");
        println!("no-std: {package} says no_std");
    }
    let log = build_probe(&dir.join("crates"), CRATES, "")?;
    if !log.is_empty() {
        bail!("the crates do not link without std:\n{log}");
    }
    println!("no-std: {} crates link without std and without an allocator", CRATES.len());
    let log = build_probe(&dir.join("with-heap"), WITH_HEAP, HEAP)?;
    if !log.is_empty() {
        bail!("the crates with a heap do not link without std:\n{log}");
    }
    println!("no-std: {} crates link without std, with an allocator", WITH_HEAP.len());
    Ok(())
}

/// Builds a static library that has everything but `std`; answers with the compiler's complaints, empty when there are
/// none.
fn build_probe(dir: &Path, crates: &[Crate], extra: &str) -> Result<String> {
    let source = dir.join("src");
    std::fs::create_dir_all(&source).with_context(|| format!("cannot make {}", source.display()))?;
    std::fs::write(dir.join("Cargo.toml"), manifest(workspace::root(), crates))?;
    std::fs::write(source.join("lib.rs"), probe(crates, extra))?;
    // The versions that the workspace is built with.
    std::fs::copy(workspace::root().join("Cargo.lock"), dir.join("Cargo.lock"))?;

    let log = dir.join("build.log");
    let mut command: Command = workspace::cargo();
    command.current_dir(dir).args(["build", "--quiet", "--color=never"]);
    command.env("CARGO_TARGET_DIR", workspace::build_dir().join("no-std/build"));
    match run_logged(&mut command, &log, Duration::from_secs(600))? {
        Ended::Exit(0) => Ok(String::new()),
        ended => {
            let text = std::fs::read_to_string(&log)?;
            Ok(if text.is_empty() { ended.to_string() } else { text })
        }
    }
}

fn manifest(root: &Path, crates: &[Crate]) -> String {
    let mut text = String::from(
        "[package]\nname = \"no-std-probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[lib]\ncrate-type = [\"staticlib\"]\n\n[profile.dev]\npanic = \"abort\"\n\n[dependencies]\n",
    );
    for Crate { package, folder, features } in crates {
        let path = root.join(folder);
        let _ = writeln!(text, "{package} = {{ path = {path:?}, default-features = false, features = {features:?} }}");
    }
    text
}

fn probe(crates: &[Crate], extra: &str) -> String {
    let mut text = format!("#![no_std]\n{extra}");
    for Crate { package, .. } in crates {
        let _ = writeln!(text, "extern crate {};", package.replace('-', "_"));
    }
    text + "#[panic_handler]\nfn panic(_: &core::panic::PanicInfo<'_>) -> ! {\n    loop {}\n}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_are_where_the_table_says() {
        for Crate { package, folder, .. } in CRATES.iter().chain(WITH_HEAP) {
            let manifest = std::fs::read_to_string(workspace::root().join(folder).join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{package}\"")), "{folder}");
        }
    }

    #[test]
    fn the_probe_is_a_crate_of_its_own() {
        let manifest: toml::Table = manifest(Path::new("/w"), CRATES).parse().unwrap();
        assert!(manifest.contains_key("workspace"));
        assert_eq!(manifest["dependencies"]["iesp-scsi"]["path"].as_str(), Some("/w/target/scsi"));
        let probe = probe(CRATES, "extern crate std;\n");
        assert!(probe.starts_with("#![no_std]\nextern crate std;\nextern crate "));
        for package in ["iesp_firmware", "iesp_iscsi", "iesp_scsi"] {
            assert!(probe.contains(&format!("\nextern crate {package};\n")), "{package}");
        }
    }
}
