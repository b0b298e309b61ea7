//! nextest, which runs the tests: by cargo, as few distributions have a package of it.

use std::process::Stdio;

use xtask_common::workspace::{self, find_program};

/// The crate.
const CRATE: &str = "cargo-nextest";

/// Sees that it is there: where nobody has to be asked it is installed. Without it the tests are
/// run by `cargo test`.
pub fn ensure(only_check: bool) {
    if find_program(CRATE).is_some() {
        return;
    }
    let command = ["install", "--locked", CRATE];
    let words = command.join(" ");
    if only_check || !super::is_unattended() {
        println!("setup: no {CRATE}: the tests are run by `cargo test`; `cargo {words}` installs it");
        return;
    }
    println!("setup: $ cargo {words}; this takes some minutes, once");
    let mut cargo = workspace::cargo();
    // In no folder of this workspace's, so that nothing of its configuration applies.
    cargo.args(command).current_dir(std::env::temp_dir()).stdin(Stdio::null());
    // It runs for minutes and waits for tests: what counts is how long it takes to build.
    for (key, value) in [("OPT_LEVEL", "1"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    cargo.env_remove("CARGO_TARGET_DIR");
    if !cargo.status().is_ok_and(|status| status.success()) {
        println!("setup: {CRATE} CANNOT BE INSTALLED: the tests are run by `cargo test`");
    }
}
