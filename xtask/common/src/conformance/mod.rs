//! What a conformance run leaves behind: a table for people, JSON and JUnit for programs.

mod outcome;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use quick_junit::{NonSuccessKind, Report as JUnit, TestCase, TestCaseStatus, TestSuite};
use serde::{Deserialize, Serialize};

pub use self::outcome::{Outcome, Verdict};
use crate::process::spell;

/// A whole run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The test-tool's path.
    pub tool: String,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// The disks in their order.
    pub disks: Vec<DiskReport>,
    /// Each missing feature, with the tests that no disk could run for want of it.
    pub missing_features: BTreeMap<String, Vec<String>>,
    /// What is wrong beyond single results.
    pub problems: Vec<String>,
}

/// The tests of one disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskReport {
    /// Its name.
    pub name: String,
    /// What is special about it.
    pub about: String,
    /// The tests in the tool's order.
    pub tests: Vec<TestReport>,
    /// The tests that are not run here, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
}

/// One test on one disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TestReport {
    /// The test's name.
    pub test: String,
    /// What happened.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What is thought of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What was wrong with the target itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_fault: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl TestReport {
    /// What makes the run fail here, if anything does.
    pub fn complaint(&self) -> Option<String> {
        let verdict = match &self.verdict {
            Verdict::Bad { why } => Some(format!("{}: {why}", self.outcome.word())),
            _ => None,
        };
        match (&self.target_fault, verdict) {
            (Some(fault), Some(verdict)) => Some(format!("{verdict}; {fault}")),
            (Some(fault), None) => Some(fault.clone()),
            (None, verdict) => verdict,
        }
    }
}

/// How many results there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed, as they should.
    pub passed: usize,
    /// Skipped, and accepted.
    pub skipped: usize,
    /// All that makes the run fail, problems beyond single results included.
    pub failed: usize,
}

impl Report {
    /// Counts the results.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { failed: self.problems.len(), ..Counts::default() };
        for test in self.disks.iter().flat_map(|disk| &disk.tests) {
            match (test.complaint(), &test.outcome) {
                (Some(_), _) => counts.failed += 1,
                (None, Outcome::Passed) => counts.passed += 1,
                (None, _) => counts.skipped += 1,
            }
        }
        counts
    }

    /// What makes the run fail: tests by disk and name, and problems beyond them.
    pub fn failed_tests(&self) -> Vec<String> {
        let of = |disk: &DiskReport| {
            let bad = disk.tests.iter().filter(|test| test.complaint().is_some());
            bad.map(|test| format!("{} {}", disk.name, test.test)).collect::<Vec<_>>()
        };
        self.disks.iter().flat_map(of).chain(self.problems.iter().cloned()).collect()
    }

    /// The table of disks.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "disk", "about", "tests", "passed", "skipped", "failed", "crashed", "hung", "left out", "time",
        ]);
        for disk in &self.disks {
            let count = |word: &str| disk.tests.iter().filter(|test| test.outcome.word() == word).count().to_string();
            let failed = disk.tests.iter().filter(|test| matches!(test.outcome.word(), "failed" | "not run")).count();
            let seconds: f64 = disk.tests.iter().map(|test| test.seconds).sum();
            table.add_row([
                disk.name.clone(),
                disk.about.clone(),
                disk.tests.len().to_string(),
                count("passed"),
                count("skipped"),
                failed.to_string(),
                count("crashed"),
                count("hung"),
                disk.left_out.len().to_string(),
                spell(Duration::from_secs_f64(seconds)),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }

    /// Writes the report as JUnit's XML, a suite for each disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_junit(&self, file: &Path) -> Result<()> {
        let mut junit = JUnit::new("conformance");
        junit.add_test_suites(self.junit_suites());
        std::fs::write(file, junit.to_string()?).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The suites for JUnit: one for each disk, and one for what is wrong beyond single results.
    pub fn junit_suites(&self) -> Vec<TestSuite> {
        let mut suites = Vec::new();
        for disk in &self.disks {
            let mut suite = TestSuite::new(format!("conformance.{}", disk.name));
            suite.add_test_cases(disk.tests.iter().map(junit_case));
            suites.push(suite);
        }
        if !self.problems.is_empty() {
            let mut suite = TestSuite::new("conformance.expectations");
            for problem in &self.problems {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(problem);
                suite.add_test_case(TestCase::new(problem, status));
            }
            suites.push(suite);
        }
        suites
    }
}

fn junit_case(test: &TestReport) -> TestCase {
    let status = match (test.complaint(), &test.outcome) {
        (Some(why), _) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(why).set_type(test.outcome.word());
            status
        }
        (None, Outcome::Passed) => TestCaseStatus::success(),
        (None, _) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(test.outcome.detail());
            status
        }
    };
    let mut case = TestCase::new(&test.test, status);
    case.set_time(Duration::from_secs_f64(test.seconds));
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let test = |name: &str, outcome: Outcome, verdict: Verdict, fault: Option<&str>| TestReport {
            test: name.into(),
            outcome,
            verdict,
            target_fault: fault.map(str::to_owned),
            seconds: 0.25,
        };
        let skipped = Outcome::Skipped { reasons: vec!["ORWRITE is not implemented.".into()] };
        let failed = Outcome::Failed { evidence: vec!["a.c:1 <x>".into()] };
        Report {
            tool: "/usr/bin/iscsi-test-cu".into(),
            seconds: 1.0,
            disks: vec![DiskReport {
                name: "512".into(),
                about: "plain".into(),
                tests: vec![
                    test("SCSI.A.Passes", Outcome::Passed, Verdict::Good, None),
                    test("SCSI.A.Kills", Outcome::Passed, Verdict::Good, Some("iesp panicked: x")),
                    test("SCSI.A.Skips", skipped, Verdict::AcceptedSkip { because: "orwrite".into() }, None),
                    test("SCSI.A.Fails", failed, Verdict::Bad { why: "a.c:1 <x>".into() }, None),
                ],
                left_out: BTreeMap::new(),
            }],
            missing_features: BTreeMap::new(),
            problems: vec!["an idle rule".into()],
        }
    }

    #[test]
    fn a_target_that_dies_makes_a_passed_test_fail() {
        assert_eq!(report().counts(), Counts { passed: 1, skipped: 1, failed: 3 });
    }

    #[test]
    fn json_comes_back_as_it_was() {
        let text = serde_json::to_string(&report()).unwrap();
        let back: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(back.counts(), report().counts());
        assert_eq!(back.disks[0].tests[3].outcome, report().disks[0].tests[3].outcome);
        assert!(text.contains(r#""test":"SCSI.A.Skips","result":"skipped""#), "{text}");
    }

    #[test]
    fn junit_counts_failures_and_skips() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("junit.xml");
        report().write_junit(&file).unwrap();
        let xml = std::fs::read_to_string(file).unwrap();
        assert!(
            xml.contains(r#"<testsuite name="conformance.512" tests="4" skipped="1" errors="0" failures="2""#),
            "{xml}"
        );
        assert!(xml.contains(r#"<failure message="failed: a.c:1 &lt;x&gt;" type="failed"/>"#), "{xml}");
    }

    #[test]
    fn the_table_has_a_row_a_disk() {
        let text = report().table().to_string();
        assert!(text.contains("512") && text.contains("1.0 s"), "{text}");
    }
}
