//! What came of a test, and what is thought of it.

use serde::{Deserialize, Serialize};

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran to its end, and every assertion held.
    Passed,
    /// It left something out, each time for a reason that it printed (each reason once, without `[SKIPPED]`).
    Skipped {
        /// The reasons, in the order of the output.
        reasons: Vec<String>,
    },
    /// An assertion did not hold.
    Failed {
        /// The tool's complaints and the assertions with file and line; no more than twelve lines.
        evidence: Vec<String>,
    },
    /// The tool itself crashed.
    Crashed {
        /// The signal, such as 11 (SIGSEGV).
        signal: i32,
    },
    /// The tool waited until its time was up.
    Hung {
        /// The last thing that it said.
        after: String,
    },
    /// The test was not run.
    NotRun {
        /// Why: no login, no such test, no target.
        why: String,
    },
}

impl Outcome {
    /// One word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Skipped { .. } => "skipped",
            Outcome::Failed { .. } => "failed",
            Outcome::Crashed { .. } => "crashed",
            Outcome::Hung { .. } => "hung",
            Outcome::NotRun { .. } => "not run",
        }
    }

    /// The rest of the story in one line; empty where there is none.
    pub fn detail(&self) -> String {
        match self {
            Outcome::Passed => String::new(),
            Outcome::Skipped { reasons } => reasons.join("; "),
            Outcome::Failed { evidence } => evidence.join("; "),
            Outcome::Crashed { signal } => format!("the test-tool was ended by signal {signal}"),
            Outcome::Hung { after } => format!("no end after: {after}"),
            Outcome::NotRun { why } => why.clone(),
        }
    }
}

/// What is thought of one result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Skipped, as it stands in the list.
    AcceptedSkip {
        /// The missing feature or the reason why this disk is not the one.
        because: String,
    },
    /// Not as it should be.
    Bad {
        /// What is wrong.
        why: String,
    },
}

impl Verdict {
    /// Whether it makes the run fail.
    pub fn is_bad(&self) -> bool {
        matches!(self, Verdict::Bad { .. })
    }
}
