//! Finds the C library by pkg-config and says which package brings it when it is missing.

use std::process::exit;

/// The oldest version with the task statuses and the reconnect switch that the bindings rely on.
const OLDEST: &str = "1.19.0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Err(error) = pkg_config::Config::new().atleast_version(OLDEST).probe("libiscsi") else { return };
    eprintln!("{error}\n");
    eprintln!("libiscsi {OLDEST} or newer was not found. Install its development package:");
    eprintln!("    Debian, Ubuntu:  apt-get install libiscsi-dev pkg-config");
    eprintln!("    Fedora:          dnf install libiscsi-devel pkgconf-pkg-config");
    eprintln!("Only the test kit needs it; the server `iesp` builds without.");
    exit(1);
}
