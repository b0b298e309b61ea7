//! What a run shows, one after the other, with the time that each took.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xtask_common::checks::CheckReport;
use xtask_common::process::spell;

/// The checks of a run. The last one begun is under way.
#[derive(Debug)]
pub struct Checks {
    run: &'static str,
    /// What the names of the checks from now on begin with.
    part: String,
    done: Vec<CheckReport>,
    current: Option<(String, Instant)>,
    start: Instant,
}

impl Checks {
    /// None yet, of the run of this name.
    pub fn new(run: &'static str) -> Self {
        Checks { run, part: String::new(), done: Vec::new(), current: None, start: Instant::now() }
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

    /// The one under way has passed, or failed for a reason. Without one under way, a failure is one of its own.
    pub fn end(&mut self, failure: Option<String>) {
        if let Some(why) = &failure {
            self.say(&format!("FAILED: {why}"));
        }
        let (name, start) = match self.current.take() {
            Some(current) => current,
            None if failure.is_some() => ("the run".to_owned(), self.start),
            None => return,
        };
        let name = format!("vm {}: {name}", self.run);
        self.done.push(CheckReport { name, failure, seconds: start.elapsed().as_secs_f64() });
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
        println!("vm {}: {} checks passed in {took}", self.run, self.done.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_belongs_to_what_was_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("checks.json");
        let mut checks = Checks::new("fsx");
        checks.begin("log in");
        checks.begin("load");
        checks.end(Some("fsx-one failed".into()));
        checks.part("after");
        checks.check("iesp stops", Ok(()));
        let error = checks.conclude(Some(&file), dir.path()).unwrap_err().to_string();
        assert!(error.contains("1 of 3 checks failed") && error.contains("vm fsx: load: fsx-one failed"), "{error}");
        let reports: Vec<CheckReport> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(reports.iter().map(|one| one.failure.is_none()).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(reports[2].name, "vm fsx: after: iesp stops");
    }

    #[test]
    fn a_failure_without_a_check_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut checks = Checks::new("fsx");
        checks.end(Some("no hello".into()));
        assert!(checks.conclude(None, dir.path()).is_err());
        assert!(Checks::new("fsx").conclude(None, dir.path()).is_ok());
    }
}
