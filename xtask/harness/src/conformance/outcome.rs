//! What the test-tool's words mean.
//!
//! Its exit code says little and a test that it skipped counts as "passed": the text decides.

use xtask_common::conformance::Outcome;
use xtask_common::process::Ended;

/// How much evidence of a failure is kept: a failing loop repeats itself thousands of times.
const EVIDENCE_LINES: usize = 12;

/// Reads what the test-tool printed for a run of one test.
pub fn read(output: &str, ended: Ended) -> Outcome {
    match ended {
        Ended::Signal(signal) => return Outcome::Crashed { signal },
        Ended::TimedOut => return Outcome::Hung { after: last_words(output) },
        Ended::Exit(_) => {}
    }
    let Some(summary) = Summary::find(output) else { return Outcome::NotRun { why: last_words(output) } };
    if summary.ran != 1 {
        return Outcome::NotRun { why: format!("the tool ran {} tests instead of one", summary.ran) };
    }
    if summary.failed > 0 || summary.passed != 1 {
        return Outcome::Failed { evidence: evidence(output) };
    }
    let reasons = skip_reasons(output);
    match (reasons.is_empty(), ended) {
        (false, _) => Outcome::Skipped { reasons },
        (true, Ended::Exit(0)) => Outcome::Passed,
        (true, _) => Outcome::Failed { evidence: vec![format!("the assertions held, but: {ended}")] },
    }
}

/// CUnit's line `tests TOTAL RAN PASSED FAILED INACTIVE`.
struct Summary {
    ran: u32,
    passed: u32,
    failed: u32,
}

impl Summary {
    fn find(output: &str) -> Option<Self> {
        let table = &output[output.rfind("Run Summary:")?..];
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix("tests "))?;
        let mut numbers = line.split_whitespace().map(str::parse);
        let (_total, ran, passed, failed) = (numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?);
        Some(Summary { ran: ran.ok()?, passed: passed.ok()?, failed: failed.ok()? })
    }
}

/// What was printed inside the suite: before it the tool explores the target, after it it cleans up.
fn inside_suite(output: &str) -> &str {
    let start = output.find("\nSuite: ").unwrap_or_default();
    let end = output.rfind("Run Summary:").unwrap_or(output.len());
    output.get(start..end).unwrap_or_default()
}

/// What the test itself printed: up to the verdict, which stands at the start of a line when the test said anything.
fn inside_test(output: &str) -> &str {
    let suite = inside_suite(output);
    let start = suite.find("\n  Test: ").unwrap_or_default();
    let test = suite.get(start..).unwrap_or_default();
    test.find("\npassed").and_then(|end| test.get(..end)).unwrap_or_default()
}

fn skip_reasons(output: &str) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    // What the suite's clean-up leaves out is not the test's.
    for line in inside_test(output).lines() {
        let Some((_, reason)) = line.split_once("[SKIPPED]") else { continue };
        let reason = reason.trim().to_owned();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}

fn evidence(output: &str) -> Vec<String> {
    let suite = inside_suite(output);
    let (test, verdict) = suite.find("\nFAILED").map_or((suite, ""), |at| suite.split_at(at));
    let complaints = test.lines().map(str::trim).filter(|line| line.starts_with("[FAILED]"));
    let assertions = verdict.lines().map(str::trim).filter(|line| line.contains(".c:") && line.contains(" - "));
    let mut evidence: Vec<String> = Vec::new();
    for (kind, limit) in [(complaints.collect::<Vec<_>>(), EVIDENCE_LINES / 2), (assertions.collect(), EVIDENCE_LINES)]
    {
        for line in kind {
            // CUnit numbers its assertions, and the clean-up's first words follow the last one without a line break.
            let line = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(". ");
            let line = line.split("    Send ").next().unwrap_or(line).trim_end().to_owned();
            if evidence.len() < limit && !evidence.contains(&line) {
                evidence.push(line);
            }
        }
    }
    evidence
}

fn last_words(output: &str) -> String {
    let last = output.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.unwrap_or("the test-tool said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Real outputs of Debian's libiscsi-bin 1.19, taken with tgt 1.0.85 as the target.
    const PASSED: &str = include_str!("fixtures/passed.txt");
    const FAILED: &str = include_str!("fixtures/failed.txt");
    const SKIPPED: &str = include_str!("fixtures/skipped.txt");
    const SKIPPED_IN_PARTS: &str = include_str!("fixtures/skipped-in-parts.txt");
    const CRASHED: &str = include_str!("fixtures/crashed.txt");
    const HUNG: &str = include_str!("fixtures/hung.txt");
    // The same with iesp, which has no persistent reservations.
    const CLEANUP_SKIPS: &str = include_str!("fixtures/cleanup-skips.txt");
    const NO_LOGIN: &str = include_str!("fixtures/no-login.txt");
    const NO_SUCH_TEST: &str = include_str!("fixtures/no-such-test.txt");

    #[test]
    fn passed() {
        assert_eq!(read(PASSED, Ended::Exit(0)), Outcome::Passed);
    }

    #[test]
    fn failed_with_its_assertion() {
        let Outcome::Failed { evidence } = read(FAILED, Ended::Exit(1)) else { panic!("not a failure") };
        let complaint = "[FAILED] GET_LBA_STATUS successful but should have failed with \
                         ILLEGAL_REQUEST(0x05)/LBA_OUT_OF_RANGE(0x2100)";
        assert_eq!(evidence, [complaint, "test_get_lba_status_beyond_eol.c:38  - CU_ASSERT_EQUAL(_r,0)"]);
    }

    #[test]
    fn a_failure_is_seen_whatever_the_exit_code_says() {
        assert!(matches!(read(FAILED, Ended::Exit(0)), Outcome::Failed { .. }));
    }

    #[test]
    fn the_tool_calls_a_skipped_test_passed() {
        assert!(SKIPPED.contains("\npassed"));
        let reasons = vec!["Logical unit is fully provisioned. Skipping test".to_owned()];
        assert_eq!(read(SKIPPED, Ended::Exit(0)), Outcome::Skipped { reasons });
    }

    #[test]
    fn a_test_that_leaves_parts_out_is_skipped_for_each_reason() {
        let Outcome::Skipped { reasons } = read(SKIPPED_IN_PARTS, Ended::Exit(0)) else { panic!("not skipped") };
        assert_eq!(reasons.len(), 3);
        assert_eq!(reasons[0], "SANITIZE OVERWRITE is not implemented according to REPORT_SUPPORTED_OPCODES.");
    }

    #[test]
    fn what_the_clean_up_leaves_out_is_not_the_tests() {
        assert!(CLEANUP_SKIPS.contains("[SKIPPED]"));
        assert_eq!(read(CLEANUP_SKIPS, Ended::Exit(0)), Outcome::Passed);
    }

    #[test]
    fn crashed() {
        assert_eq!(read(CRASHED, Ended::Signal(11)), Outcome::Crashed { signal: 11 });
    }

    #[test]
    fn hung_after_its_last_words() {
        let Outcome::Hung { after } = read(HUNG, Ended::TimedOut) else { panic!("not hung") };
        assert_eq!(after, HUNG.lines().last().unwrap().trim());
        assert!(after.starts_with("Send "), "{after}");
    }

    #[test]
    fn no_login_is_not_a_pass() {
        let Outcome::NotRun { why } = read(NO_LOGIN, Ended::Exit(255)) else { panic!("ran") };
        assert_eq!(why, "Failed to connect to SCSI device 0");
        // And not with a friendlier exit code either.
        assert!(matches!(read(NO_LOGIN, Ended::Exit(0)), Outcome::NotRun { .. }));
        assert!(matches!(read("", Ended::Exit(0)), Outcome::NotRun { .. }));
    }

    #[test]
    fn a_run_of_no_test_is_not_a_pass() {
        assert!(matches!(read(NO_SUCH_TEST, Ended::Exit(0)), Outcome::NotRun { .. }));
    }

    #[test]
    fn an_odd_exit_code_after_a_pass_is_a_failure() {
        assert!(matches!(read(PASSED, Ended::Exit(3)), Outcome::Failed { .. }));
    }
}
