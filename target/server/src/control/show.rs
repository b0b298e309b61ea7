//! Answers for people.

use std::fmt::Write;

use serde_json::Value;

use super::Question;
use crate::size;

/// An answer; `several`: others are shown beside it.
pub fn show(question: &Question, answer: &Value, several: bool) -> String {
    match question {
        Question::Status => status(answer),
        Question::Sessions => sessions(answer, several),
        Question::Restore(_) => restored(answer),
    }
}

fn restored(answer: &Value) -> String {
    let disk = text(answer, "disk");
    match answer["restored"].as_bool() {
        Some(true) => format!("{disk} is given back: its flushes are made again\n"),
        Some(false) => format!("{disk}: no flush of it has failed\n"),
        // Another process has it.
        None => String::new(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

fn list(value: &Value, key: &str) -> impl Iterator<Item = Value> {
    value[key].as_array().cloned().unwrap_or_default().into_iter()
}

/// Seconds, as "3 d 04:05:06".
fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = if days > 0 { format!("{days} d ") } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

fn status(answer: &Value) -> String {
    let mut shown = String::new();
    // Into a string: nothing of this can fail.
    let _ = writeln!(
        shown,
        "iesp {}, process {}, up {}",
        text(answer, "version"),
        number(answer, "pid"),
        time(number(answer, "uptime"))
    );
    if let Some(config) = answer["config"].as_str() {
        let _ = writeln!(shown, "  config    {config}");
    }
    for target in list(answer, "targets") {
        let chap = if target["chap"].as_bool() == Some(true) { ", CHAP" } else { "" };
        let portals: Vec<_> = list(&target, "portals").filter_map(|portal| Some(portal.as_str()?.to_owned())).collect();
        let _ = writeln!(shown, "  target    {}", text(&target, "name"));
        let _ = writeln!(shown, "    at      {}", portals.join(" "));
        let sessions = number(&target, "sessions");
        let plural = if sessions == 1 { "" } else { "s" };
        let _ = writeln!(shown, "    there   {sessions} session{plural}{chap}");
        for lun in list(&target, "luns") {
            let read_only = if lun["read_only"].as_bool() == Some(true) { ", read-only" } else { "" };
            let _ = writeln!(
                shown,
                "    LUN {:<3} {} ({}, {}-byte blocks{read_only}), {} read, {} written{}",
                number(&lun, "lun"),
                text(&lun, "source"),
                size::show(number(&lun, "size")),
                number(&lun, "block_size"),
                size::show(number(&lun, "read_bytes")),
                size::show(number(&lun, "written_bytes")),
                state(&lun)
            );
        }
    }
    let totals = &answer["totals"];
    let _ = writeln!(
        shown,
        "  counted   logins {}, logouts {}, sessions lost {}, units {}, digest errors {}, format errors {}",
        number(totals, "logins"),
        number(totals, "logouts"),
        number(totals, "failures"),
        number(totals, "units"),
        number(totals, "digest_errors"),
        number(totals, "format_errors")
    );
    shown
}

/// How a disk is, where there is something to say.
fn state(lun: &Value) -> String {
    let seconds = number(lun, "state_seconds");
    match text(lun, "state") {
        "waiting" => format!(", waiting for {}: {}", time(seconds), text(lun, "state_reason")),
        "failed" => format!(", failed {} ago: {}", time(seconds), text(lun, "state_reason")),
        _ => String::new(),
    }
}

fn sessions(answer: &Value, several: bool) -> String {
    let mut shown = String::new();
    if several {
        let _ = writeln!(shown, "process {}", number(answer, "pid"));
    }
    let mut none = true;
    for session in list(answer, "sessions") {
        none = false;
        let digests = match (session["header_digest"].as_bool(), session["data_digest"].as_bool()) {
            (Some(true), Some(true)) => ", header and data digests",
            (Some(true), _) => ", header digests",
            (_, Some(true)) => ", data digests",
            _ => "",
        };
        let _ = writeln!(
            shown,
            "{}\n  at {} from {} by {}, {}, ISID {}, TSIH {}{digests}\n  {} units, {} sent, {} received",
            text(&session, "initiator"),
            text(&session, "target"),
            text(&session, "peer"),
            text(&session, "portal"),
            time(number(&session, "seconds")),
            text(&session, "isid"),
            number(&session, "tsih"),
            number(&session, "units"),
            size::show(number(&session, "data_in")),
            size::show(number(&session, "data_out"))
        );
    }
    if none {
        shown.push_str("no sessions\n");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time(7), "00:00:07");
        assert_eq!(time(3 * 86_400 + 4 * 3600 + 5 * 60 + 6), "3 d 04:05:06");
    }
}
