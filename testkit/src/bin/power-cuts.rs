//! Cuts the power of a host afterwards, thousands of times.

use std::process::ExitCode;

use clap::Parser;
use iesp_testkit::powercut::cli::{Options, main as run};

fn main() -> ExitCode {
    run(&Options::parse())
}
