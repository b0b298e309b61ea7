//! The report for people: one HTML page that needs nothing else, no network and no script.

use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{MOST_OF_LOG, PLOTS, Report, StepReport, log};
use crate::process::{last_lines, spell};
use crate::workspace;

/// How much of a broken step's log is shown before one asks for all of it.
const LINES_SHOWN: usize = 40;

/// Writes the page; logs, single results and pictures are taken from below `reports`.
///
/// # Errors
/// When it cannot be written.
pub fn write(report: &Report, file: &Path, reports: &Path) -> Result<()> {
    let about = About::look();
    std::fs::write(file, page(report, &about, reports)).with_context(|| format!("cannot write {}", file.display()))
}

/// What was tested, when and on what.
struct About {
    commit: String,
    time: String,
    machine: String,
}

impl About {
    fn look() -> Self {
        let git = |arguments: &[&str]| {
            let output = std::process::Command::new("git").args(arguments).current_dir(workspace::root()).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
        };
        let changed = if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { ", changed" };
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        About {
            commit: format!("{}{changed}", git(&["log", "-1", "--format=%h %s"])),
            time: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            machine: format!(
                "{cpus} CPUs ({}), Linux {}",
                model.map_or("unknown", |(_, model)| model),
                read("/proc/sys/kernel/osrelease").trim()
            ),
        }
    }
}

/// Text as it may stand in HTML, in attributes too.
struct Text<T>(T);

impl<T: AsRef<str>> Display for Text<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.as_ref().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // What a terminal would take for colours.
                c if c.is_control() && c != '\n' && c != '\t' => {}
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn page(report: &Report, about: &About, reports: &Path) -> String {
    let total = report.total();
    let verdict = if report.failed().next().is_none() { "passed" } else { "FAILED" };
    let seconds: f64 = report.steps.iter().map(|step| step.seconds).sum();
    let mut html = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>iESP: {verdict}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<h1>iESP: {}</h1>\n\
         <p class=\"faint\">{}<br>{}, {}</p>\n<p class=\"verdict {verdict}\">{}</p>\n\
         <p>{} passed, {} failed, {} skipped or ignored in {}</p>\n",
        include_str!("page.css"),
        Text(&report.title),
        Text(&about.commit),
        Text(&about.time),
        Text(&about.machine),
        Text(capitalised(&report.verdict())),
        total.passed,
        total.failed,
        total.skipped,
        spell(Duration::from_secs_f64(seconds)),
    );
    table(&mut html, report);
    for step in &report.steps {
        section(&mut html, step, reports);
    }
    html.push_str("</body>\n</html>\n");
    html
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn table(html: &mut String, report: &Report) {
    let longest = report.steps.iter().map(|step| step.seconds).fold(1.0, f64::max);
    html.push_str(
        "<table class=\"steps\">\n<thead><tr><th>step</th><th>shows that</th><th class=\"number\">passed</th>\
         <th class=\"number\">failed</th><th class=\"number\">skipped</th><th class=\"number\">time</th><th>verdict</th>\
         </tr></thead>\n<tbody>\n",
    );
    for step in &report.steps {
        let verdict = step.verdict();
        let _ = writeln!(
            html,
            "<tr><td><a href=\"#{name}\"><b>{name}</b></a></td><td>{}</td>\
             <td class=\"number\" data-name=\"passed\">{}</td><td class=\"number\" data-name=\"failed\">{}</td>\
             <td class=\"number\" data-name=\"skipped\">{}</td>\
             <td class=\"number\" data-name=\"time\">{}<span class=\"bar\" style=\"width:{:.0}%\"></span></td>\
             <td class=\"word {verdict}\">{verdict}</td></tr>",
            Text(&step.about),
            step.tally.passed,
            step.tally.failed,
            step.tally.skipped,
            spell(Duration::from_secs_f64(step.seconds)),
            100.0 * step.seconds / longest,
            name = Text(&step.name),
        );
    }
    html.push_str("</tbody>\n</table>\n");
}

fn section(html: &mut String, step: &StepReport, reports: &Path) {
    let verdict = step.verdict();
    let broken = if step.failure.is_some() { " class=\"broken\"" } else { "" };
    let _ = writeln!(
        html,
        "<section{broken}>\n<h2 id=\"{name}\">{name} <span class=\"word {verdict}\">{verdict}</span></h2>\n<p>{} <span class=\"faint\">({})</span></p>",
        Text(&step.about),
        spell(Duration::from_secs_f64(step.seconds)),
        name = Text(&step.name),
    );
    if let Some(why) = &step.skipped {
        let _ = writeln!(html, "<p class=\"skipped\">{}</p>", Text(why));
    }
    let file = reports.join(&step.log);
    if let Some(why) = &step.failure {
        let _ = writeln!(html, "<p class=\"FAILED\">{}</p>", Text(why));
        if !step.culprits.is_empty() {
            let _ = writeln!(html, "<h3>What failed in it</h3>\n<pre>{}</pre>", Text(step.culprits.join("\n")));
        }
        let last = last_lines(&file, LINES_SHOWN).join("\n");
        let _ = writeln!(html, "<h3>The last lines of its log</h3>\n<pre>{}</pre>", Text(last));
        let _ = writeln!(html, "<h3>Once more, alone</h3>\n<pre class=\"command\">{}</pre>", Text(&step.again));
    }
    if !step.commands.is_empty() {
        let _ = writeln!(html, "<pre class=\"command\">{}</pre>", Text(step.commands.join("\n")));
    }
    results(html, step, reports);
    pictures(html, step, reports);
    let text = log(&file, MOST_OF_LOG);
    if !text.is_empty() {
        let _ = writeln!(
            html,
            "<details><summary>log, {} lines</summary>\n<pre>{}</pre></details>",
            text.lines().count(),
            Text(text),
        );
    }
    html.push_str("</section>\n");
}

/// The single results of a step, where it leaves a list of them.
fn results(html: &mut String, step: &StepReport, reports: &Path) {
    let results = step.results(reports);
    if results.is_empty() {
        return;
    }
    let open = if results.iter().any(|one| one.failure.is_some()) { " open" } else { "" };
    let _ = writeln!(html, "<details{open}><summary>{} results</summary>\n<table>\n<tbody>", results.len());
    for one in results {
        let (word, why) = match &one.failure {
            None => ("passed", String::new()),
            Some(why) => ("FAILED", format!("<br>{}", Text(why))),
        };
        let _ = writeln!(
            html,
            "<tr><td>{}{why}</td><td class=\"number\">{}</td><td class=\"word {word}\">{word}</td></tr>",
            Text(&one.name),
            spell(Duration::from_secs_f64(one.seconds)),
        );
    }
    html.push_str("</tbody>\n</table></details>\n");
}

fn pictures(html: &mut String, step: &StepReport, reports: &Path) {
    let pictures = pictures_of(&step.name, reports);
    if pictures.is_empty() {
        return;
    }
    html.push_str("<div class=\"plots\">\n");
    for picture in pictures {
        let Ok(bytes) = std::fs::read(&picture) else { continue };
        let name = picture.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let _ = writeln!(
            html,
            "<figure><img alt=\"{name}\" src=\"data:image/png;base64,{}\"><figcaption>{name}</figcaption></figure>",
            STANDARD.encode(bytes),
            name = Text(name),
        );
    }
    html.push_str("</div>\n");
}

/// The PNG files that a step has left.
fn pictures_of(step: &str, reports: &Path) -> Vec<PathBuf> {
    let is_its = |file: &Path| {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let rest = stem.strip_prefix(step);
        file.extension().is_some_and(|extension| extension == "png")
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let entries = std::fs::read_dir(reports.join(PLOTS)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|file| is_its(file)).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Tally;

    fn step(name: &str, failure: Option<&str>) -> StepReport {
        StepReport {
            name: name.into(),
            about: "a < b & c".into(),
            commands: vec![format!("cargo {name}")],
            failure: failure.map(str::to_owned),
            culprits: failure.map(|_| "iesp::login <refused>".to_owned()).into_iter().collect(),
            tally: Tally { passed: 1, failed: usize::from(failure.is_some()), skipped: 0 },
            skipped: None,
            seconds: 2.5,
            log: format!("logs/{name}.log"),
            checks: (name == "clients").then_some("clients.json"),
            again: format!("cargo xtask ci --only {name}"),
        }
    }

    #[test]
    fn all_of_it_is_in_one_page() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        std::fs::create_dir(dir.path().join(PLOTS)).unwrap();
        std::fs::write(dir.path().join("logs/bench.log"), "one\n\u{1b}[31m<script>\u{1b}[0m\n").unwrap();
        let results = r#"[{"name":"qemu-img","failure":"not \"equal\"","seconds":1.0}]"#;
        std::fs::write(dir.path().join("clients.json"), results).unwrap();
        for name in ["bench-cpu.png", "bench.png", "bench-cpu.svg", "benchmark.png"] {
            std::fs::write(dir.path().join(PLOTS).join(name), b"PNG").unwrap();
        }
        let mut skipped = step("vm-quick", None);
        skipped.skipped = Some("not installed: QEMU".into());
        let report = Report {
            title: "x".into(),
            steps: vec![step("bench", Some("exit code 1")), step("clients", None), skipped],
        };
        let file = dir.path().join("report.html");
        write(&report, &file, dir.path()).unwrap();
        let html = std::fs::read_to_string(file).unwrap();
        assert!(html.contains("a &lt; b &amp; c") && html.contains("Failed: bench"));
        assert!(html.contains("<pre>iesp::login &lt;refused&gt;</pre>"));
        assert!(html.contains("cargo xtask ci --only bench") && html.contains("[31m&lt;script&gt;"));
        assert!(!html.contains("<script") && !html.contains('\u{1b}'));
        assert!(html.contains("not &quot;equal&quot;") && html.contains("not installed: QEMU"));
        assert_eq!(html.matches("data:image/png;base64,UE5H").count(), 2);
        // Nothing is fetched.
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<link"));
    }
}
