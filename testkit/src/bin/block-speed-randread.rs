//! Measures a disk: see the module `speed::random`.

use std::process::ExitCode;

use clap::Parser;
use iesp_testkit::speed::random::{Options, main as run};

fn main() -> ExitCode {
    run(&Options::parse())
}
