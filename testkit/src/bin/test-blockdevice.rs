//! Tests whether what is written to a disk can be read later.

use std::process::ExitCode;

use clap::Parser;
use iesp_testkit::verify::{cli, options::Options};

fn main() -> ExitCode {
    cli::main(&Options::parse())
}
