//! What nextest says of the tests, by the report that `.config/nextest.toml` has it write.

use std::path::PathBuf;

use anyhow::{Context, Result};
use quick_junit::{Report, TestCaseStatus};
use xtask_common::report::Tally;
use xtask_common::workspace;

/// Its profile there.
pub const PROFILE: &str = "ci";

/// Where the report is.
fn file() -> PathBuf {
    workspace::root().join("build/nextest").join(PROFILE).join("junit.xml")
}

/// Removes the report of an earlier run.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn forget() -> Result<()> {
    match std::fs::remove_file(file()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file().display()))
        }
        _ => Ok(()),
    }
}

/// The results of the run, and the names of the tests that failed.
///
/// # Errors
/// When there is no report: the tests did not build, or the run did not come to its end.
pub fn results() -> Result<(Tally, Vec<String>)> {
    let text = std::fs::read_to_string(file()).with_context(|| format!("no {}", file().display()))?;
    read(&text)
}

fn read(text: &str) -> Result<(Tally, Vec<String>)> {
    let report = Report::deserialize_from_str(text).context("nextest's report is no JUnit")?;
    let (mut tally, mut failed) = (Tally::default(), Vec::new());
    for suite in &report.test_suites {
        for case in &suite.test_cases {
            match case.status {
                TestCaseStatus::Success { .. } => tally.passed += 1,
                TestCaseStatus::Skipped { .. } => tally.skipped += 1,
                TestCaseStatus::NonSuccess { .. } => {
                    tally.failed += 1;
                    failed.push(format!("{} {}", suite.name.as_str(), case.name.as_str()));
                }
            }
        }
    }
    Ok((tally, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_named_with_their_binary() {
        // Nextest 0.9.143.
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="nextest-run" tests="4" skipped="1" failures="2" errors="0" time="1.015">
            <testsuite name="iesp::login" tests="3" skipped="0" errors="0" failures="2">
            <testcase name="is_refused" classname="iesp::login" time="0.172">
            <failure message="thread panicked at x.rs:1:2" type="test failure">text &lt;&gt;</failure></testcase>
            <testcase name="hangs" classname="iesp::login" time="1.015"><failure type="test timeout"/></testcase>
            <testcase name="good" classname="iesp::login" time="0.012"/>
            </testsuite>
            <testsuite name="nt" tests="1" skipped="1" errors="0" failures="0">
            <testcase name="m::slow" classname="nt" time="0"><skipped message="ignored"/></testcase>
            </testsuite></testsuites>"#;
        let (tally, failed) = read(text).unwrap();
        assert_eq!(tally, Tally { passed: 1, failed: 2, skipped: 1 });
        assert_eq!(failed, ["iesp::login is_refused", "iesp::login hangs"]);
        assert!(read("error: could not compile").is_err());
    }

    #[test]
    fn the_profile_is_in_nextests_configuration() {
        let text = std::fs::read_to_string(workspace::root().join(".config/nextest.toml")).unwrap();
        let config: toml::Table = text.parse().unwrap();
        assert_eq!(config["profile"][PROFILE]["junit"]["path"].as_str(), Some("junit.xml"));
        assert_eq!(config["store"]["dir"].as_str(), Some("build/nextest"));
    }
}
