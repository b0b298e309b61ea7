//! Makes pictures of what the speed tools measured.

use std::process::ExitCode;

use clap::Parser;
use iesp_testkit::plot::cli::{Options, main as run};

fn main() -> ExitCode {
    run(&Options::parse())
}
