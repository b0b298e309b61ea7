//! Measures a disk: see the module `speed::bs_read`.

use std::process::ExitCode;

use clap::Parser;
use iesp_testkit::speed::bs_read::{Options, main as run};

fn main() -> ExitCode {
    run(&Options::parse())
}
