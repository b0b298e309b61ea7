//! `iscsi-load`: puts load on an iSCSI target and measures it. See `iesp_testkit::load`.
//!
//! Exit code 0: measured. 1: an operation failed. 2: could not run.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use iesp_testkit::load::{Args, LoadError, Plan, run};

fn main() -> ExitCode {
    let args = Args::parse();
    let report = match Plan::try_from(&args).and_then(|plan| run(&plan)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("iscsi-load: {error}");
            return ExitCode::from(if matches!(error, LoadError::Failed { .. }) { 1 } else { 2 });
        }
    };
    let text = if args.json {
        serde_json::to_string_pretty(&report).expect("numbers and strings become JSON")
    } else {
        report.to_string()
    };
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}
