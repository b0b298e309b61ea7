//! libiscsi's test-tool: which tests it has, and one run of one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask_common::conformance::Outcome;
use xtask_common::process::run_logged;
use xtask_common::workspace::find_program;

use super::outcome;
use super::preload::{self, Effect, Preload};

/// The test-tool and the way to start it.
#[derive(Debug)]
pub struct TestTool {
    /// The program.
    pub program: PathBuf,
    stdbuf: Option<PathBuf>,
}

/// One run of one test.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The test's name.
    pub test: &'a str,
    /// The logical unit's URL.
    pub url: &'a str,
    /// The target has one session: the tool gets one path to it instead of two.
    pub one_path: bool,
    /// What the library between the tool and libiscsi has to do.
    pub effects: &'a [Effect],
    /// Where the tool's words go.
    pub log: &'a Path,
    /// How long it may take.
    pub limit: Duration,
}

impl TestTool {
    /// Finds the tool: the program given, or `iscsi-test-cu`.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(program: Option<&Path>) -> Result<Self> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => find_program("iscsi-test-cu").context("no iscsi-test-cu here: `cargo xtask setup` installs it")?,
        };
        Ok(TestTool { program, stdbuf: find_program("stdbuf") })
    }

    /// The names `FAMILY.SUITE.TEST` of all tests in the families, in the tool's order.
    ///
    /// # Errors
    /// When the tool cannot be started or lists no such test.
    pub fn tests(&self, families: &[String]) -> Result<Vec<String>> {
        let output = Command::new(&self.program).arg("-l").stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("{} cannot be started", self.program.display()))?;
        let tests = tests_in(&String::from_utf8_lossy(&output.stdout), families);
        if tests.is_empty() {
            bail!("{} lists no tests of the families {}", self.program.display(), families.join(", "));
        }
        Ok(tests)
    }

    /// Runs one test, with everything allowed and both paths of a multipath test at the same URL.
    ///
    /// # Errors
    /// When the tool cannot be started or its log cannot be written: not when the test fails.
    pub fn run(&self, run: &Run<'_>, preload: Option<&Preload>) -> Result<Outcome> {
        let mut command = self.command(run.test, run.url, run.one_path);
        if !run.effects.is_empty() {
            preload.context("the library for libiscsi was not built")?.apply(&mut command, run.effects);
        }
        let ended = run_logged(&mut command, run.log, run.limit)?;
        let output = std::fs::read(run.log).with_context(|| format!("cannot read {}", run.log.display()))?;
        let output = String::from_utf8_lossy(&output);
        let outcome = outcome::read(&output, ended);
        match preload::unproven(run.effects, &output) {
            Some(effect) if outcome == Outcome::Passed => {
                Ok(Outcome::NotRun { why: format!("it passed, but without {effect:?}: that proves nothing") })
            }
            _ => Ok(outcome),
        }
    }

    fn command(&self, test: &str, url: &str, one_path: bool) -> Command {
        // -d: destructive tests; -S: sanitize; -V: say what is sent. Without stdbuf, what the tool has said is lost
        // when it crashes or hangs.
        let arguments = ["-d", "-S", "-V", "-t", test, url];
        let second = (!one_path).then_some(url);
        match &self.stdbuf {
            Some(stdbuf) => {
                let mut command = Command::new(stdbuf);
                command.arg("-oL").arg(&self.program).args(arguments).args(second);
                command
            }
            None => {
                let mut command = Command::new(&self.program);
                command.args(arguments).args(second);
                command
            }
        }
    }
}

/// The tool lists families, suites and tests, one a line: tests are the names of three parts.
fn tests_in(list: &str, families: &[String]) -> Vec<String> {
    let tests = list.lines().map(str::trim).filter(|name| {
        let mut parts = name.split('.');
        let family = parts.next().unwrap_or_default();
        families.iter().any(|wanted| wanted == family) && parts.count() == 2
    });
    tests.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_of_the_families_are_listed() {
        let list = "ALL\nALL.Read6\nALL.Read6.Simple\nSCSI\nSCSI.Read6\nSCSI.Read6.Simple\nSCSI.Read6.BeyondEol\n\
                    iSCSI\niSCSI.iSCSITMF\niSCSI.iSCSITMF.LogoutDuringIOAsync\nLINUX.Read6.Simple\n";
        let families = ["SCSI".to_owned(), "iSCSI".to_owned()];
        let expected = ["SCSI.Read6.Simple", "SCSI.Read6.BeyondEol", "iSCSI.iSCSITMF.LogoutDuringIOAsync"];
        assert_eq!(tests_in(list, &families), expected);
        assert!(tests_in(list, &["NOPE".to_owned()]).is_empty());
    }
}
