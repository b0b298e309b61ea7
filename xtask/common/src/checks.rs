//! Single checks of a run, one after the other, each whatever became of the others, as steps of
//! `cargo xtask ci` leave them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process::spell;

/// One check and what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// The checks of a run. The last one begun is under way.
#[derive(Debug)]
pub struct Checks {
    /// What their names in the report begin with.
    run: String,
    /// What the names of the checks from now on begin with.
    part: String,
    done: Vec<CheckReport>,
    current: Option<(String, Instant)>,
    start: Instant,
}

impl Checks {
    /// None yet, of the run of this name.
    pub fn new(run: impl Into<String>) -> Self {
        Checks { run: run.into(), part: String::new(), done: Vec::new(), current: None, start: Instant::now() }
    }

    /// The one under way has passed; those from now on belong to this part of the run.
    pub fn part(&mut self, name: &str) {
        self.end(None);
        self.part = format!("{name}: ");
    }

    /// The one under way has passed, and this one begins.
    pub fn begin(&mut self, name: &str) {
        self.end(None);
        let name = format!("{}{name}", self.part);
        self.say(&name);
        self.current = Some((name, Instant::now()));
    }

    /// The one under way has passed, or failed for a reason. Without one under way, a failure is
    /// one of its own.
    pub fn end(&mut self, failure: Option<String>) {
        if let Some(why) = &failure {
            self.say(&format!("FAILED: {why}"));
        }
        let (name, start) = match self.current.take() {
            Some(current) => current,
            None if failure.is_some() => ("the run".to_owned(), self.start),
            None => return,
        };
        let name = format!("{}: {name}", self.run);
        self.done.push(CheckReport { name, failure, seconds: start.elapsed().as_secs_f64() });
    }

    /// Makes a check, which answers with what it saw; whether it passed.
    pub fn case(&mut self, name: &str, work: impl FnOnce() -> Result<String>) -> bool {
        self.begin(name);
        let outcome = work();
        if let Ok(seen) = &outcome
            && !seen.is_empty()
        {
            self.say(&format!("  {seen}"));
        }
        let failure = outcome.err().map(|error| format!("{error:#}"));
        let passed = failure.is_none();
        self.end(failure);
        passed
    }

    /// Whether one has failed.
    pub fn have_failed(&self) -> bool {
        self.done.iter().any(|check| check.failure.is_some())
    }

    /// The one under way gets another name, one that says what it saw.
    pub fn rename(&mut self, name: &str) {
        let name = format!("{}{name}", self.part);
        self.say(&name);
        if let Some((current, _)) = &mut self.current {
            *current = name;
        }
    }

    /// A check that takes no time worth telling.
    pub fn check(&mut self, name: &str, result: Result<()>) {
        self.begin(name);
        self.end(result.err().map(|error| format!("{error:#}")));
    }

    /// Tells what is going on.
    pub fn say(&self, text: &str) {
        println!("{:>7.1} s  {text}", self.start.elapsed().as_secs_f64());
    }

    /// Writes the report and gives the verdict.
    ///
    /// # Errors
    /// When a check failed, or the report cannot be written.
    pub fn conclude(mut self, json: Option<&Path>, logs: &Path) -> Result<()> {
        self.end(None);
        if let Some(file) = json {
            let text = serde_json::to_string_pretty(&self.done)? + "\n";
            std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let took = spell(Duration::from_secs_f64(self.start.elapsed().as_secs_f64()));
        println!("logs: {}", logs.display());
        let failed: Vec<&CheckReport> = self.done.iter().filter(|check| check.failure.is_some()).collect();
        if let Some(first) = failed.first() {
            let why = first.failure.as_deref().unwrap_or_default();
            bail!("{} of {} checks failed in {took}; first: {}: {why}", failed.len(), self.done.len(), first.name);
        }
        println!("{}: {} checks passed in {took}", self.run, self.done.len());
        Ok(())
    }
}

/// The cases whose name contains a text, all without one; each with its number, from 1 on.
///
/// # Errors
/// When there is none.
pub fn chosen<'a, C>(cases: &'a [C], name: impl Fn(&C) -> &str, part: Option<&str>) -> Result<Vec<(usize, &'a C)>> {
    let has = |case: &C| part.is_none_or(|part| name(case).contains(part));
    let chosen: Vec<_> = (1..).zip(cases).filter(|(_, case)| has(case)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = cases.iter().map(name).collect();
        bail!("no check has {} in its name; there are: {}", part.unwrap_or_default(), names.join("; "));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_belongs_to_what_was_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("checks.json");
        let mut checks = Checks::new("vm fsx");
        checks.begin("log in");
        checks.begin("load");
        checks.end(Some("fsx-one failed".into()));
        assert!(checks.have_failed());
        checks.part("after");
        checks.begin("iesp stops");
        checks.rename("iesp has stopped");
        let error = checks.conclude(Some(&file), dir.path()).unwrap_err().to_string();
        assert!(error.contains("1 of 3 checks failed") && error.contains("vm fsx: load: fsx-one failed"), "{error}");
        let reports: Vec<CheckReport> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(reports.iter().map(|one| one.failure.is_none()).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(reports[2].name, "vm fsx: after: iesp has stopped");
    }

    #[test]
    fn a_failure_without_a_check_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut checks = Checks::new("fsx");
        checks.end(Some("no hello".into()));
        assert!(checks.conclude(None, dir.path()).is_err());
        assert!(Checks::new("fsx").conclude(None, dir.path()).is_ok());
    }

    #[test]
    fn a_case_passes_by_what_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let mut checks = Checks::new("clients");
        assert!(checks.case("one", || Ok("seen".into())));
        assert!(!checks.case("two", || bail!("not seen")));
        let error = checks.conclude(None, dir.path()).unwrap_err().to_string();
        assert!(error.contains("1 of 2 checks failed") && error.contains("clients: two: not seen"), "{error}");
    }

    #[test]
    fn cases_are_chosen_by_a_part_of_their_name() {
        let cases = [("qemu-img", 1), ("iscsi-ls", 2)];
        let numbers = |part| {
            chosen(&cases, |case| case.0, part)
                .map(|cases| cases.iter().map(|(place, case)| (*place, case.1)).collect())
        };
        let of = |numbers: Result<Vec<(usize, i32)>>| numbers.unwrap();
        assert_eq!(of(numbers(None)), [(1, 1), (2, 2)]);
        assert_eq!(of(numbers(Some("ls"))), [(2, 2)]);
        let error = numbers(Some("x")).unwrap_err().to_string();
        assert_eq!(error, "no check has x in its name; there are: qemu-img; iscsi-ls");
    }
}
