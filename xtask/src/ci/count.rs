//! Counts results: in the words of libtest, and in the reports of nextest and of our own steps.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use xtask_common::checks::CheckReport;
use xtask_common::conformance::Report as Conformance;
use xtask_common::report::{Tally, read_json};

use super::nextest;
use super::steps::Count;

/// Counts a step's results. Whatever they say: a step whose command failed has at least one failure, and one that
/// succeeded without any result is one result.
pub fn tally(count: Count, succeeded: bool, log: &str, reports: &Path) -> Tally {
    let counted = match count {
        Count::Whole => Tally { passed: usize::from(succeeded), ..Tally::default() },
        Count::Tests => tests(log),
        Count::Nextest => nextest::results().map(|(tally, _)| tally).unwrap_or_default(),
        Count::Conformance(file) => conformance(&reports.join(file)).unwrap_or_default(),
        Count::Clients(file) => clients(&reports.join(file)).unwrap_or_default(),
    };
    let mut tally = counted;
    if !succeeded {
        tally.failed = tally.failed.max(1);
    }
    tally
}

/// The names of a step's single results that failed, as far as its log or report has them: each once, in their order.
pub fn failures(count: Count, log: &str, reports: &Path) -> Vec<String> {
    let mut names = match count {
        Count::Whole => Vec::new(),
        Count::Tests => failed_tests(log),
        Count::Nextest => nextest::results().map(|(_, failed)| failed).unwrap_or_default(),
        Count::Conformance(file) => {
            read_json::<Conformance>(&reports.join(file)).map(|report| report.failed_tests()).unwrap_or_default()
        }
        Count::Clients(file) => {
            let checks = read_json::<Vec<CheckReport>>(&reports.join(file)).unwrap_or_default();
            checks.into_iter().filter(|check| check.failure.is_some()).map(|check| check.name).collect()
        }
    };
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Libtest names a test that fails as `test a::b ... FAILED`.
fn failed_tests(log: &str) -> Vec<String> {
    log.lines().filter_map(|line| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned())).collect()
}

fn conformance(file: &Path) -> Result<Tally> {
    let counts = read_json::<Conformance>(file)?.counts();
    Ok(Tally { passed: counts.passed, failed: counts.failed, skipped: counts.skipped })
}

fn clients(file: &Path) -> Result<Tally> {
    let checks = read_json::<Vec<CheckReport>>(file)?;
    let failed = checks.iter().filter(|check| check.failure.is_some()).count();
    Ok(Tally { passed: checks.len() - failed, failed, skipped: 0 })
}

/// Adds up the summaries of libtest, one for each binary.
fn tests(log: &str) -> Tally {
    // test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.02s
    let mut tally = Tally::default();
    let summaries = log.lines().filter_map(|line| line.trim().strip_prefix("test result: "));
    summaries.for_each(|summary| tally += numbers(summary));
    tally
}

/// Reads `52 passed; 1 failed` and the like.
fn numbers(summary: &str) -> Tally {
    let mut tally = Tally::default();
    for part in summary.split([';', '.']) {
        let (number, word) = part.trim().split_once(' ').unwrap_or_default();
        let Ok(number) = number.parse::<usize>() else { continue };
        match word.split_whitespace().next().unwrap_or_default() {
            "passed" => tally.passed += number,
            "failed" => tally.failed += number,
            "ignored" => tally.skipped += number,
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(passed: usize, failed: usize, skipped: usize) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn libtest_has_a_summary_for_each_binary() {
        let log = "running 3 tests\ntest a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s\n";
        assert_eq!(tests(log), of(13, 2, 1));
    }

    #[test]
    fn failed_tests_are_named_once() {
        let names = |log: &str| failures(Count::Tests, log, Path::new("/nowhere"));
        let log = "test a::b ... ok\ntest a::c ... FAILED\ntest a::d - should panic ... FAILED\ntest a::c ... FAILED\n";
        assert_eq!(names(log), ["a::c", "a::d - should panic"]);
        assert!(names("error: could not compile `x`\n").is_empty());
    }

    #[test]
    fn failed_checks_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let results =
            r#"[{"name":"qemu-img","failure":"no","seconds":1.0},{"name":"ls","failure":null,"seconds":1.0}]"#;
        std::fs::write(dir.path().join("checks.json"), results).unwrap();
        assert_eq!(failures(Count::Clients("checks.json"), "", dir.path()), ["qemu-img"]);
        assert!(failures(Count::Clients("none.json"), "", dir.path()).is_empty());
    }

    #[test]
    fn a_failed_command_is_a_failure_whatever_was_counted() {
        let nowhere = Path::new("/nowhere");
        assert_eq!(tally(Count::Tests, false, "error: could not compile", nowhere), of(0, 1, 0));
        assert_eq!(tally(Count::Whole, false, "", nowhere), of(0, 1, 0));
        assert_eq!(tally(Count::Whole, true, "", nowhere), of(1, 0, 0));
        assert_eq!(tally(Count::Conformance("x.json"), false, "", nowhere), of(0, 1, 0));
    }
}
