//! What a CI run leaves behind.

pub mod page;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use quick_junit::{NonSuccessKind, Report as JUnit, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use crate::checks::CheckReport;
use crate::conformance::Report as Conformance;
use crate::process::spell;

/// The whole run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The command that was run.
    #[serde(skip)]
    pub title: String,
    /// The steps in their order.
    pub steps: Vec<StepReport>,
}

/// One step and what came of it.
#[derive(Debug, Serialize)]
pub struct StepReport {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// What it ran.
    pub commands: Vec<String>,
    /// Which command failed and how; `None` when all was well.
    pub failure: Option<String>,
    /// The names of its single results that failed, as far as they are known.
    pub culprits: Vec<String>,
    /// Its results.
    #[serde(flatten)]
    pub tally: Tally,
    /// Why it was left out; `None` when it was not.
    pub skipped: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its log, relative to the report.
    pub log: String,
    /// The list of its single results, relative to the report, where it leaves one.
    #[serde(skip)]
    pub checks: Option<&'static str>,
    /// The command that repeats it alone.
    #[serde(skip)]
    pub again: String,
}

impl StepReport {
    /// Its verdict in a word.
    pub fn verdict(&self) -> &'static str {
        match (&self.failure, &self.skipped) {
            (Some(_), _) => "FAILED",
            (None, Some(_)) => "skipped",
            (None, None) => "passed",
        }
    }

    /// Why it failed, with the names of what failed in it: all of them, or the first few.
    pub fn reason(&self, most: usize) -> Option<String> {
        let failure = self.failure.as_deref()?;
        Some(match self.named_culprits(most) {
            Some(names) => format!("{failure}: {names}"),
            None => failure.to_owned(),
        })
    }

    fn named_culprits(&self, most: usize) -> Option<String> {
        let shown = self.culprits.get(..most).unwrap_or(&self.culprits).join(", ");
        let more = self.culprits.len().saturating_sub(most);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        (!shown.is_empty()).then(|| shown + &more)
    }

    /// Its single results below `reports`, where it has left them.
    pub fn results(&self, reports: &Path) -> Vec<CheckReport> {
        self.checks.and_then(|file| read_json(&reports.join(file)).ok()).unwrap_or_default()
    }
}

impl Report {
    /// All results together.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.steps.iter().for_each(|step| total += step.tally);
        total
    }

    /// The steps that failed.
    pub fn failed(&self) -> impl Iterator<Item = &StepReport> {
        self.steps.iter().filter(|step| step.failure.is_some())
    }

    /// The verdict in a line: what failed, by the names of single tests where there are such, or that nothing did; and what
    /// was left out.
    pub fn verdict(&self) -> String {
        let failed = self.failed().map(|step| match step.named_culprits(MOST_NAMES) {
            Some(names) => format!("{} ({names})", step.name),
            None => step.name.clone(),
        });
        let failed = failed.collect::<Vec<_>>().join(", ");
        let left_out = self.steps.iter().filter(|step| step.skipped.is_some());
        let left_out = left_out.map(|step| step.name.as_str()).collect::<Vec<_>>().join(", ");
        let verdict = if failed.is_empty() { "all steps passed".to_owned() } else { format!("failed: {failed}") };
        if left_out.is_empty() { verdict } else { format!("{verdict}; left out: {left_out}") }
    }

    /// The table of steps.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["step", "shows that", "passed", "failed", "skipped", "time", "verdict"]);
        for step in &self.steps {
            table.add_row([
                step.name.clone(),
                step.about.clone(),
                step.tally.passed.to_string(),
                step.tally.failed.to_string(),
                step.tally.skipped.to_string(),
                spell(Duration::from_secs_f64(step.seconds)),
                step.verdict().to_owned(),
            ]);
        }
        for column in table.column_iter_mut().skip(2).take(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct Whole<'a> {
            total: Tally,
            #[serde(flatten)]
            report: &'a Report,
        }
        let text = serde_json::to_string_pretty(&Whole { total: self.total(), report: self })?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }

    /// Writes JUnit's XML: a suite of the steps, and the suites of the steps that have single results below `reports`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_junit(&self, file: &Path, reports: &Path) -> Result<()> {
        let mut junit = JUnit::new("ci");
        let mut steps = TestSuite::new("ci.steps");
        for step in &self.steps {
            let mut case = case(&step.name, step.reason(usize::MAX).as_deref(), step.seconds);
            if let Some(why) = &step.skipped {
                case.status = TestCaseStatus::skipped();
                case.status.set_message(why);
            }
            case.set_system_out(log(&reports.join(&step.log), MOST_OF_LOG));
            steps.add_test_case(case);
        }
        junit.add_test_suite(steps);
        if let Ok(report) = read_json::<Conformance>(&reports.join("conformance.json")) {
            junit.add_test_suites(report.junit_suites());
        }
        for step in &self.steps {
            let results = step.results(reports);
            if results.is_empty() {
                continue;
            }
            let mut suite = TestSuite::new(&step.name);
            suite.add_test_cases(results.iter().map(|one| case(&one.name, one.failure.as_deref(), one.seconds)));
            junit.add_test_suite(suite);
        }
        std::fs::write(file, junit.to_string()?).with_context(|| format!("cannot write {}", file.display()))
    }
}

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

/// Reads a report that a step has written.
///
/// # Errors
/// When there is none or it is not what it should be.
pub fn read_json<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("no {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not the report that it should be", file.display()))
}

/// Pictures, below the report folder: those of a step have its name, or begin with it and a hyphen.
pub const PLOTS: &str = "plots";
/// Most names of failed tests of a step in a line.
pub const MOST_NAMES: usize = 8;
/// Most bytes of a log in a report.
pub const MOST_OF_LOG: usize = 200 << 10;

/// A log's text: all of it, or its begin and its longer end.
pub fn log(file: &Path, most: usize) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    if bytes.len() <= most {
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let (begin, end) = (&bytes[..most / 4], &bytes[bytes.len() - most / 4 * 3..]);
    let left_out = bytes.len() - begin.len() - end.len();
    let [begin, end] = [begin, end].map(String::from_utf8_lossy);
    format!("{begin}\n… {left_out} bytes are left out: they are in {} …\n{end}", file.display())
}

fn case(name: &str, failure: Option<&str>, seconds: f64) -> TestCase {
    let status = match failure {
        None => TestCaseStatus::success(),
        Some(why) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(why);
            status
        }
    };
    let mut case = TestCase::new(name, status);
    case.set_time(Duration::from_secs_f64(seconds));
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let step = |name: &str, failure: Option<&str>, passed, failed| StepReport {
            name: name.into(),
            about: "something".into(),
            commands: vec![format!("cargo {name}")],
            failure: failure.map(str::to_owned),
            culprits: Vec::new(),
            tally: Tally { passed, failed, skipped: 1 },
            seconds: 2.5,
            log: format!("logs/{name}.log"),
            skipped: None,
            checks: None,
            again: String::new(),
        };
        Report {
            title: "ci".into(),
            steps: vec![step("format", None, 1, 0), step("tests", Some("`cargo test`: exit code 101"), 40, 2)],
        }
    }

    #[test]
    fn results_add_up() {
        assert_eq!(report().total(), Tally { passed: 41, failed: 2, skipped: 2 });
        assert!(report().table().to_string().contains("FAILED"));
        assert_eq!(report().verdict(), "failed: tests");
        let mut sound = report();
        (sound.steps[0].skipped, sound.steps[1].failure) = (Some("no QEMU".into()), None);
        assert_eq!(sound.verdict(), "all steps passed; left out: format");
    }

    #[test]
    fn a_verdict_names_the_tests_that_failed() {
        let mut report = report();
        report.steps[1].culprits = vec!["iesp::login refused".into(), "iesp-testkit::verify_crash torn".into()];
        let names = "iesp::login refused, iesp-testkit::verify_crash torn";
        assert_eq!(report.verdict(), format!("failed: tests ({names})"));
        assert_eq!(report.steps[1].reason(2), Some(format!("`cargo test`: exit code 101: {names}")));
        assert_eq!(report.steps[0].reason(2), None);
        report.steps[1].culprits = (0..20).map(|number| format!("t{number}")).collect();
        assert_eq!(report.verdict(), "failed: tests (t0, t1, t2, t3, t4, t5, t6, t7 and 12 more)");
    }

    #[test]
    fn a_long_log_keeps_its_begin_and_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        std::fs::write(&file, format!("begin{}end", "x".repeat(5000))).unwrap();
        let text = log(&file, 1000);
        assert!(
            text.starts_with("begin") && text.ends_with("end") && text.contains("4008 bytes are left out"),
            "{text}"
        );
        assert_eq!(log(&file, 5008).len(), 5008);
        assert_eq!(log(&dir.path().join("none"), 10), "");
    }

    #[test]
    fn programs_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let (json, junit) = (dir.path().join("report.json"), dir.path().join("junit.xml"));
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        std::fs::write(dir.path().join("logs/tests.log"), "test a ... \u{1b}[31mFAILED\u{1b}[0m <&>\n").unwrap();
        let mut report = report();
        report.steps[1].culprits.push("iesp::login refused".into());
        report.write_json(&json).unwrap();
        report.write_junit(&junit, dir.path()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
        assert_eq!(value["total"]["failed"], 2);
        assert_eq!(value["steps"][1]["failure"], "`cargo test`: exit code 101");
        let xml = std::fs::read_to_string(junit).unwrap();
        assert_eq!(value["steps"][1]["culprits"][0], "iesp::login refused");
        assert!(xml.contains(r#"<failure message="`cargo test`: exit code 101: iesp::login refused"/>"#), "{xml}");
        assert!(xml.contains("<system-out>test a ... FAILED &lt;&amp;&gt;"), "{xml}");
    }
}
