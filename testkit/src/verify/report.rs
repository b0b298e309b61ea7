//! How a run is shown: a bar on a terminal, lines elsewhere, or JSON for programs.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::finding::Finding;
use super::plan::Plan;
use super::run::{Outcome, Progress, Report};
use crate::size::show_size;

/// What the run is about, as far as a report needs it.
pub struct About {
    /// The device, as the user named it.
    pub device: String,
    /// The plan.
    pub plan: Plan,
    /// The command line that repeats the run, up to `--ops`.
    pub command: String,
    /// Where logs of findings go.
    pub log_folder: PathBuf,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar that is drawn again and again, on standard error.
    Bar,
    /// A line a second, on standard output.
    Lines,
    /// JSON objects, one a line, on standard output.
    Json,
    /// Only findings and the summary.
    Quiet,
}

/// Shows a run to people or programs.
pub struct Reporter {
    about: About,
    style: Style,
    bar: Option<ProgressBar>,
    last: Progress,
}

#[derive(Serialize)]
struct Tagged<'a, T: Serialize> {
    event: &'a str,
    #[serde(flatten)]
    content: T,
}

impl Reporter {
    /// Begins to show a run.
    #[must_use]
    pub fn new(about: About, style: Style) -> Self {
        let bar = (style == Style::Bar).then(|| {
            let template = "{elapsed_precise} [{bar:30.cyan/blue}] {msg}";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(1000).with_style(style.progress_chars("=> "));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let mut reporter = Self { about, style, bar, last: Progress::default() };
        reporter.started();
        reporter
    }

    fn started(&mut self) {
        let plan = self.about.plan;
        if self.style == Style::Json {
            #[derive(Serialize)]
            struct Started<'a> {
                device: &'a str,
                command: &'a str,
                plan: Plan,
            }
            let about = &self.about;
            self.json("started", &Started { device: &about.device, command: &about.command, plan });
            return;
        }
        let size = plan.offset(plan.blocks);
        self.say(&format!(
            "{}: {} blocks of {} ({}) from block {}, {} threads, seed {}",
            self.about.device,
            plan.blocks,
            show_size(plan.block_size.into()),
            show_size(size),
            plan.first_block,
            plan.workers,
            plan.seed
        ));
    }

    /// Shows what came of the run.
    pub fn finished(&mut self, outcome: &Outcome) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.style == Style::Json {
            #[derive(Serialize)]
            struct Finished<'a> {
                verified: bool,
                interrupted: bool,
                failure: &'a Option<String>,
                seed: u64,
                coverage_percent: f64,
                #[serde(skip_serializing_if = "Option::is_none")]
                most_in_flight: Option<usize>,
                #[serde(flatten)]
                progress: Progress,
            }
            self.json(
                "finished",
                &Finished {
                    verified: outcome.findings.is_empty() && outcome.failure.is_none(),
                    interrupted: outcome.interrupted,
                    failure: &outcome.failure,
                    seed: self.about.plan.seed,
                    coverage_percent: outcome.progress.coverage_percent(),
                    most_in_flight: outcome.most_in_flight,
                    progress: outcome.progress,
                },
            );
            return;
        }
        self.say(&summary(&self.about.plan, outcome));
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
        let _ = std::io::stdout().flush();
    }

    fn json(&self, event: &str, content: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(&Tagged { event, content }) {
            self.say(&line);
        }
    }

    /// Writes the log of a finding and gives the file's name.
    fn write_log(&self, finding: &Finding) -> Option<PathBuf> {
        if finding.log.is_empty() {
            return None;
        }
        let block = finding.block.unwrap_or(0);
        let name = format!("test-blockdevice-{}-{}-{block}.log", self.about.plan.seed, finding.kind.name());
        let path = self.about.log_folder.join(name);
        let repeat = self.repeat(finding).unwrap_or_default();
        let text = format!("{}\n{}\n\n{repeat}\n\n{}", finding.kind.name(), finding.explanation, finding.log);
        match std::fs::write(&path, text) {
            Ok(()) => Some(path),
            Err(error) => {
                eprintln!("cannot write {}: {error}", path.display());
                None
            }
        }
    }

    fn repeat(&self, finding: &Finding) -> Option<String> {
        Some(format!("{} --ops {}", self.about.command, finding.repeat_ops?))
    }
}

impl Report for Reporter {
    fn progress(&mut self, progress: &Progress) {
        let seconds = (progress.seconds - self.last.seconds).max(0.001);
        let bytes = |p: &Progress| p.written_bytes + p.read_bytes;
        let rate = show_size((bytes(progress).saturating_sub(bytes(&self.last)) as f64 / seconds) as u64);
        let ops = progress.ops.saturating_sub(self.last.ops) as f64 / seconds;
        self.last = *progress;
        let verified = progress.verified_unique + progress.verified_duplicate + progress.verified_zeros;
        let faults = progress.faults;
        let coverage = progress.coverage_percent();
        let check = if progress.final_check { ", reading all of it once more" } else { "" };
        match self.style {
            Style::Json => self.json("progress", progress),
            Style::Quiet => {}
            Style::Bar => {
                if let Some(bar) = &self.bar {
                    bar.set_position((coverage * 10.0) as u64);
                    bar.set_message(format!("{coverage:.1} % covered, {rate}/s, {ops:.0} ops/s, {faults} faults{check}"));
                }
            }
            Style::Lines => self.say(&format!(
                "{:.0} s: {} operations ({ops:.0}/s), {rate}/s, {verified} blocks verified, {coverage:.2} % covered, {faults} faults{check}",
                progress.seconds, progress.ops
            )),
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let log = self.write_log(finding);
        if self.style == Style::Json {
            #[derive(Serialize)]
            struct Found<'a> {
                #[serde(flatten)]
                finding: &'a Finding,
                seed: u64,
                repeat: Option<String>,
                log: Option<PathBuf>,
            }
            let repeat = self.repeat(finding);
            self.json("fault", &Found { finding, seed: self.about.plan.seed, repeat, log });
            return;
        }
        self.say(&describe(&self.about.plan, finding));
        if let Some(repeat) = self.repeat(finding) {
            self.say(&format!("  repeat with: {repeat}"));
        }
        if let Some(log) = log {
            self.say(&format!("  log: {}", log.display()));
        }
    }
}

/// A finding in words, on several lines.
#[must_use]
pub fn describe(plan: &Plan, finding: &Finding) -> String {
    let place = match (finding.block, finding.offset) {
        (Some(block), Some(offset)) => {
            let more =
                if finding.blocks > 1 { format!(" and {} behind it", finding.blocks - 1) } else { String::new() };
            format!(" in block {block}{more} (offset {offset}, LBA {} of 512 bytes)", offset / 512)
        }
        _ => String::new(),
    };
    let when = if finding.at_the_end {
        format!("found at the end, after {} operations of worker {}", finding.op, finding.worker)
    } else {
        format!("found by operation {} of worker {}", finding.op, finding.worker)
    };
    format!("FAULT {}{place}\n  {}\n  {when}, seed {}", finding.kind.name(), finding.explanation, plan.seed)
}

fn summary(plan: &Plan, outcome: &Outcome) -> String {
    let p = &outcome.progress;
    let seconds = p.seconds.max(0.001);
    let verdict = match (&outcome.failure, p.faults, outcome.interrupted) {
        (Some(why), ..) => format!("STOPPED: {why}"),
        (None, 0, true) => "Interrupted; no fault so far".to_owned(),
        (None, 0, false) => "Verified".to_owned(),
        (None, faults, _) => format!("FAULTY: {faults} faults"),
    };
    let shared = outcome
        .most_in_flight
        .map_or_else(String::new, |most| format!("\nUp to {most} commands in flight over each session."));
    format!(
        "{verdict}. {} operations in {seconds:.1} s: {} written, {} read, {} trims, {} flushes ({}/s).\n\
         Blocks read and right: {} unique, {} duplicate, {} zeros; {:.2} % of {} blocks written and read back. Seed {}.{shared}",
        p.ops,
        show_size(p.written_bytes),
        show_size(p.read_bytes),
        p.trims,
        p.flushes,
        show_size(((p.written_bytes + p.read_bytes) as f64 / seconds) as u64),
        p.verified_unique,
        p.verified_duplicate,
        p.verified_zeros,
        p.coverage_percent(),
        p.blocks,
        plan.seed
    )
}
