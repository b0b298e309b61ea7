//! Counts results: in the words of test runners, and in the reports of our own steps.

use std::path::Path;

use anyhow::{Context, Result};

use super::steps::Count;
use crate::clients::CheckReport;
use crate::conformance::report::Report as Conformance;

/// How many results of a step are good, and how many are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Good ones.
    pub passed: usize,
    /// Others.
    pub failed: usize,
    /// Neither: skipped or ignored.
    pub skipped: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

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

fn conformance(file: &Path) -> Result<Tally> {
    let counts = read_json::<Conformance>(file)?.counts();
    Ok(Tally { passed: counts.passed, failed: counts.failed, skipped: counts.skipped })
}

fn clients(file: &Path) -> Result<Tally> {
    let checks = read_json::<Vec<CheckReport>>(file)?;
    let failed = checks.iter().filter(|check| check.failure.is_some()).count();
    Ok(Tally { passed: checks.len() - failed, failed, skipped: 0 })
}

/// Reads a report that a step has written.
///
/// # Errors
/// When there is none or it is not what it should be.
pub fn read_json<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("no {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not the report that it should be", file.display()))
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
    fn a_failed_command_is_a_failure_whatever_was_counted() {
        let nowhere = Path::new("/nowhere");
        assert_eq!(tally(Count::Tests, false, "error: could not compile", nowhere), of(0, 1, 0));
        assert_eq!(tally(Count::Whole, false, "", nowhere), of(0, 1, 0));
        assert_eq!(tally(Count::Whole, true, "", nowhere), of(1, 0, 0));
        assert_eq!(tally(Count::Conformance("x.json"), false, "", nowhere), of(0, 1, 0));
    }
}
