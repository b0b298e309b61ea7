//! `faulty-target`: a target with faults. See `iesp_testkit::planted`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    iesp_testkit::planted::cli::main(&iesp_testkit::planted::cli::Options::parse())
}
