//! Holds what happened against what `ci/conformance.toml` accepts.

use std::collections::{BTreeMap, BTreeSet};

use xtask_common::conformance::{Outcome, Verdict};

use super::config::{Config, Disk, Glob, Skip};

/// Judges one result by the rules; without rules a skip is neither good nor bad, and accepted.
pub fn judge(test: &str, disk: &str, outcome: &Outcome, rules: Option<&[Skip]>) -> Verdict {
    let bad = |why: String| Verdict::Bad { why };
    let Outcome::Skipped { reasons } = outcome else {
        if *outcome != Outcome::Passed {
            return bad(outcome.detail());
        }
        let stale = rules.unwrap_or_default().iter().find(|rule| rule.covers(test, disk));
        return match stale {
            Some(rule) => bad(format!("it passes, though the list of skips has it ({})", cause(rule))),
            None => Verdict::Good,
        };
    };
    let Some(rules) = rules else { return Verdict::AcceptedSkip { because: outcome.detail() } };
    let Some(rule) = rules.iter().find(|rule| rule.covers(test, disk)) else {
        return bad(format!("a skip that the list of skips does not accept: {}", outcome.detail()));
    };
    match reasons.iter().find(|reason| !Glob::any(&rule.reasons, reason)) {
        Some(reason) => bad(format!("skipped for another reason than the list of skips has: {reason}")),
        None => Verdict::AcceptedSkip { because: cause(rule) },
    }
}

fn cause(rule: &Skip) -> String {
    rule.feature.clone().or_else(|| rule.why.clone()).unwrap_or_default()
}

/// A test and a disk and what came of it: what the rules over all disks look at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The test's name.
    pub test: &'a str,
    /// The disk's name.
    pub disk: &'a str,
    /// The outcome.
    pub outcome: &'a Outcome,
}

/// What no single result shows, when all tests ran on all disks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Overall {
    /// Each missing feature, and the tests that no disk could run for want of it.
    pub missing: BTreeMap<String, Vec<String>>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Judges the whole run: nothing is skipped everywhere but for want of a listed feature, and no rule is idle.
pub fn judge_overall(config: &Config, tests: &[String], seen: &[Seen<'_>]) -> Overall {
    let mut overall = Overall::default();
    let ran: BTreeSet<&str> =
        seen.iter().filter(|one| !matches!(one.outcome, Outcome::Skipped { .. })).map(|one| one.test).collect();
    for test in tests.iter().filter(|test| !ran.contains(test.as_str())) {
        let skips: Vec<&Seen<'_>> = seen.iter().filter(|one| one.test == test).collect();
        if skips.is_empty() {
            overall.problems.push(format!("{test} is left out on every disk"));
        }
        let rules = skips.iter().map(|one| config.skips.iter().find(|rule| rule.covers(one.test, one.disk)));
        let features: BTreeSet<Option<&String>> =
            rules.map(|rule| rule.and_then(|rule| rule.feature.as_ref())).collect();
        // The disks that are not the ones for this test say so; the one that is has to miss a feature.
        if !skips.is_empty() && features.iter().all(Option::is_none) {
            overall.problems.push(format!("{test} is skipped on every disk, and on none for want of a feature"));
        }
        for feature in features.into_iter().flatten() {
            overall.missing.entry(feature.clone()).or_default().push(test.clone());
        }
    }
    overall.problems.extend(idle_rules(config, tests, seen));
    overall
}

/// Rules that no test on no disk makes use of: what they excuse is no longer there.
fn idle_rules(config: &Config, tests: &[String], seen: &[Seen<'_>]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, rule) in config.skips.iter().enumerate() {
        let is_first =
            |one: &Seen<'_>| config.skips.iter().position(|rule| rule.covers(one.test, one.disk)) == Some(index);
        if !seen.iter().any(|one| is_first(one) && matches!(one.outcome, Outcome::Skipped { .. })) {
            let tests = rule.tests.iter().map(Glob::as_str).collect::<Vec<_>>().join(", ");
            problems
                .push(format!("the skip of {tests} ({}) is in the list, but nothing is skipped for it", cause(rule)));
        }
    }
    let patterns = config.skips.iter().flat_map(|rule| &rule.tests);
    let left_out = config.disks.iter().flat_map(|disk| disk.leave_out.iter().flat_map(|one| &one.tests));
    for pattern in patterns.chain(left_out) {
        if !tests.iter().any(|test| Glob::any(std::slice::from_ref(pattern), test)) {
            problems.push(format!("the pattern {} in ci/conformance.toml matches no test", pattern.as_str()));
        }
    }
    problems
}

/// Why a test is not run on a disk; `None` when it is.
pub fn left_out<'a>(test: &str, disk: &'a Disk) -> Option<&'a str> {
    disk.leave_out.iter().find(|one| Glob::any(&one.tests, test)).map(|one| one.why.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [tool]
        families = ["SCSI"]
        timeout-seconds = 30

        [[disk]]
        name = "a"
        about = "first"
        size-mib = 64
        [[disk]]
        name = "b"
        about = "second"
        size-mib = 64

        [[feature]]
        name = "orwrite"
        about = "ORWRITE(16)"

        [[skip]]
        tests = ["SCSI.OrWrite.*"]
        reasons = ["ORWRITE is not implemented."]
        feature = "orwrite"

        [[skip]]
        tests = ["SCSI.ReadOnly.*"]
        disks = ["a"]
        reasons = ["Logical unit is not write-protected*"]
        why = "the disk b is read-only"
    "#;

    fn config() -> Config {
        Config::parse(RULES).unwrap()
    }

    fn skipped(reason: &str) -> Outcome {
        Outcome::Skipped { reasons: vec![reason.into()] }
    }

    fn verdict(test: &str, disk: &str, outcome: &Outcome) -> Verdict {
        judge(test, disk, outcome, Some(&config().skips))
    }

    fn why(verdict: Verdict) -> String {
        match verdict {
            Verdict::Bad { why } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_listed_skip_is_accepted_with_its_cause() {
        let accepted = |because: &str| Verdict::AcceptedSkip { because: because.into() };
        assert_eq!(verdict("SCSI.OrWrite.Simple", "b", &skipped("ORWRITE is not implemented.")), accepted("orwrite"));
        let read_only = skipped("Logical unit is not write-protected. Skipping test.");
        assert_eq!(verdict("SCSI.ReadOnly.ReadOnlySBC", "a", &read_only), accepted("the disk b is read-only"));
    }

    #[test]
    fn other_skips_are_not() {
        let reason = skipped("ORWRITE is not implemented.");
        assert!(why(verdict("SCSI.Read6.Simple", "a", &reason)).contains("does not accept"));
        let reason = skipped("Logical unit is not write-protected. Skipping test.");
        assert!(why(verdict("SCSI.ReadOnly.ReadOnlySBC", "b", &reason)).contains("does not accept"));
        assert!(why(verdict("SCSI.OrWrite.Simple", "a", &skipped("Not SBC device."))).contains("another reason"));
        let reasons = vec!["ORWRITE is not implemented.".into(), "LUN too small. Skipping assert".into()];
        assert!(why(verdict("SCSI.OrWrite.Simple", "a", &Outcome::Skipped { reasons })).contains("LUN too small"));
    }

    #[test]
    fn a_listed_skip_that_passes_is_stale() {
        assert!(why(verdict("SCSI.OrWrite.Simple", "a", &Outcome::Passed)).contains("it passes, though"));
        assert_eq!(verdict("SCSI.ReadOnly.ReadOnlySBC", "b", &Outcome::Passed), Verdict::Good);
    }

    #[test]
    fn nothing_excuses_a_failure() {
        let outcomes = [
            Outcome::Failed { evidence: vec!["x".into()] },
            Outcome::Crashed { signal: 11 },
            Outcome::Hung { after: "x".into() },
            Outcome::NotRun { why: "x".into() },
        ];
        for outcome in &outcomes {
            assert!(verdict("SCSI.OrWrite.Simple", "a", outcome).is_bad());
            assert!(judge("SCSI.OrWrite.Simple", "a", outcome, None).is_bad());
        }
    }

    #[test]
    fn without_rules_a_skip_is_only_told() {
        let verdict = judge("SCSI.Read6.Simple", "x", &skipped("Not SBC device."), None);
        assert_eq!(verdict, Verdict::AcceptedSkip { because: "Not SBC device.".into() });
    }

    fn overall(results: &[(&str, &str, Outcome)]) -> Overall {
        let mut tests: Vec<String> = results.iter().map(|one| one.0.to_owned()).collect();
        tests.dedup();
        let seen: Vec<Seen<'_>> = results.iter().map(|(test, disk, outcome)| Seen { test, disk, outcome }).collect();
        judge_overall(&config(), &tests, &seen)
    }

    #[test]
    fn over_all_disks_only_features_are_missing() {
        let no_orwrite = || skipped("ORWRITE is not implemented.");
        let good = [
            ("SCSI.OrWrite.Simple", "a", no_orwrite()),
            ("SCSI.OrWrite.Simple", "b", no_orwrite()),
            ("SCSI.ReadOnly.ReadOnlySBC", "a", skipped("Logical unit is not write-protected.")),
            ("SCSI.ReadOnly.ReadOnlySBC", "b", Outcome::Passed),
        ];
        let result = overall(&good);
        assert_eq!(result.problems, Vec::<String>::new());
        assert_eq!(result.missing["orwrite"], ["SCSI.OrWrite.Simple"]);

        let mut mixed = good.clone();
        mixed[1].2 = Outcome::Passed;
        assert_eq!(overall(&mixed).missing.len(), 0);

        let mut worse = good.clone();
        worse[3].2 = skipped("Logical unit is not write-protected.");
        assert_eq!(overall(&worse).problems.len(), 1);
        assert!(overall(&worse).problems[0].contains("skipped on every disk"));
    }

    #[test]
    fn idle_rules_and_patterns_without_a_test_are_problems() {
        let results = [
            ("SCSI.ReadOnly.ReadOnlySBC", "a", skipped("Logical unit is not write-protected.")),
            ("SCSI.ReadOnly.ReadOnlySBC", "b", Outcome::Passed),
        ];
        let problems = overall(&results).problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("nothing is skipped for it"));
        assert!(problems[1].contains("matches no test"));
    }
}
