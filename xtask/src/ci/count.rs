//! Counts results: in the words of test runners, and in the reports of our own steps.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use xtask_common::checks::CheckReport;
use xtask_common::conformance::Report as Conformance;
use xtask_common::report::{Tally, read_json};

use super::steps::Count;

/// Counts a step's results. Whatever they say: a step whose command failed has at least one failure, and one that
/// succeeded without any result is one result.
pub fn tally(count: Count, succeeded: bool, log: &str, reports: &Path) -> Tally {
    let counted = match count {
        Count::Whole => Tally { passed: usize::from(succeeded), ..Tally::default() },
        Count::Tests => tests(log),
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

/// Nextest names a test when it fails, and once more after its summary; libtest as `test a::b ... FAILED`. Where nextest
/// ran, libtest's lines are those of the tests that it shows.
fn failed_tests(log: &str) -> Vec<String> {
    let nextest: Vec<String> = log.lines().filter_map(nextest_failure).collect();
    if !nextest.is_empty() {
        return nextest;
    }
    log.lines().filter_map(|line| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned())).collect()
}

/// Takes `iesp::login refused` from `  FAIL [   0.172s] ( 3/41) iesp::login refused`; instead of FAIL there may be TIMEOUT, a
/// signal's name and more. Words that say that all is well are known, as are those of a test that still runs.
fn nextest_failure(line: &str) -> Option<String> {
    const OTHERS: [&str; 8] = ["PASS", "LEAK", "SLOW", "FLAKY", "SKIP", "TERMINATING", "SETUP", "Summary"];
    let (word, rest) = line.trim_start().split_once(" [")?;
    let word = word.split(' ').next()?;
    let (time, rest) = rest.split_once("] ")?;
    let is_time = time.ends_with('s') && time.trim_start().starts_with(|first: char| first.is_ascii_digit());
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_time || !is_word || OTHERS.contains(&word) {
        return None;
    }
    let name = match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(") ")?.1,
        None => rest,
    };
    Some(name.trim().to_owned())
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

/// Adds up the summaries of libtest, one for each binary; or takes nextest's, one for all. Nextest shows the output of
/// each test that failed, with libtest's summary of that one test in it: those are not counted again.
fn tests(log: &str) -> Tally {
    let lines = || log.lines().map(str::trim);
    // Summary [   1.234s] 53 tests run: 52 passed (1 slow), 1 failed, 1 timed out, 2 skipped
    let nextest = lines().filter_map(|line| Some(line.strip_prefix("Summary ")?.split_once(" run: ")?.1)).next_back();
    if let Some(summary) = nextest {
        return numbers(summary);
    }
    // test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.02s
    let mut tally = Tally::default();
    lines().filter_map(|line| line.strip_prefix("test result: ")).for_each(|summary| tally += numbers(summary));
    tally
}

/// Reads `52 passed (1 slow), 1 failed` and the like.
fn numbers(summary: &str) -> Tally {
    let mut tally = Tally::default();
    for part in summary.split([',', ';', '.', '(']) {
        let (number, word) = part.trim().split_once(' ').unwrap_or_default();
        let Ok(number) = number.parse::<usize>() else { continue };
        match word.split_whitespace().next().unwrap_or_default() {
            "passed" => tally.passed += number,
            "failed" | "timed" | "exec" => tally.failed += number,
            "skipped" | "ignored" => tally.skipped += number,
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
    fn nextest_has_one() {
        let log = "        PASS [   0.006s] xtask::bin/xtask a\n     Summary [   0.873s] 58 tests run: 58 passed, 0 skipped\n";
        assert_eq!(tests(log), of(58, 0, 0));
        let log = "Summary [   9.1s] 58 tests run: 50 passed (2 slow, 1 leaky), 5 failed, 3 timed out, 7 skipped";
        assert_eq!(tests(log), of(50, 8, 7));
        // The output of a test that failed, and nextest's list of failures after its summary.
        let log = "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s\n\
            Summary [   1.1s] 10 tests run: 9 passed, 1 failed, 0 skipped\n        FAIL [   0.2s] (10/10) x y\n";
        assert_eq!(tests(log), of(9, 1, 0));
        // Stopped early: "40/58 tests run".
        assert_eq!(tests("Summary [ 1.0s] 40/58 tests run: 39 passed, 1 exec failed, 0 skipped"), of(39, 1, 0));
    }

    #[test]
    fn failed_tests_are_named_once() {
        // Nextest 0.9.143, as it writes into a file.
        let log = "    Starting 6 tests across 2 binaries\n     SIGABRT [   0.009s] (1/6) nt m::aborts\n  stdout \u{2500}\n\n\
            \x20   test m::aborts ... FAILED\n        PASS [   0.012s] (2/6) nt m::good\n\
            \x20       FAIL [   0.172s] (3/6) iesp::login is refused\n TERMINATING [>  1.000s] (\u{2500}) nt m::hangs\n\
            \x20    TIMEOUT [   1.015s] (4/6) nt m::hangs\n        SLOW [> 60.000s] (\u{2500}) nt m::slow\n\
            \x20    Summary [   1.037s] 6 tests run: 2 passed, 3 failed, 1 timed out, 0 skipped\n\
            \x20    SIGABRT [   0.009s] ( 1/6) nt m::aborts\n        FAIL [   0.172s] ( 3/6) iesp::login is refused\n\
            \x20    TIMEOUT [   1.015s] ( 4/6) nt m::hangs\n  FLAKY 2/2 [   1.015s] ( 5/6) nt m::flaky\n\
            \x20 LEAK-FAIL [   1.015s] nt m::leaks\nerror: test run failed\n";
        let nowhere = Path::new("/nowhere");
        let names = |log: &str| failures(Count::Tests, log, nowhere);
        assert_eq!(names(log), ["nt m::aborts", "iesp::login is refused", "nt m::hangs", "nt m::leaks"]);
        let log = "test a::b ... ok\ntest a::c ... FAILED\ntest a::d - should panic ... FAILED\n";
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
