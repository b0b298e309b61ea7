//! An event on its way to the log, and how it looks there.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::config::Part;

/// An event.
#[derive(Debug)]
pub struct Record {
    /// When it was.
    pub time: SystemTime,
    /// How much it matters.
    pub level: Level,
    /// Where it is from.
    pub part: Part,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
enum Value {
    Text(String),
    /// What JSON takes as it is.
    Plain(String),
}

impl Record {
    /// Of an event.
    pub fn of(event: &Event<'_>, part: Part) -> Self {
        let (time, level) = (SystemTime::now(), *event.metadata().level());
        let mut record = Self { time, level, part, message: String::new(), fields: Vec::new() };
        event.record(&mut record);
        record
    }

    /// The time, as RFC 3339 writes it, in UTC.
    pub fn timestamp(&self) -> String {
        chrono::DateTime::<chrono::Utc>::from(self.time).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    /// The message and its fields.
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            let (Value::Text(value) | Value::Plain(value)) = value;
            let spaced = value.is_empty() || value.contains([' ', '"']) && !value.starts_with('"');
            let _ = if spaced { write!(text, "  {name}={value:?}") } else { write!(text, "  {name}={value}") };
        }
        printable(text)
    }

    /// A line for people.
    pub fn line(&self, colour: bool) -> String {
        let (name, code) = match self.level {
            Level::ERROR => ("ERROR", "1;31"),
            Level::WARN => ("WARN", "33"),
            Level::INFO => ("INFO", "32"),
            Level::DEBUG => ("DEBUG", "34"),
            Level::TRACE => ("TRACE", "2"),
        };
        let (time, part, text) = (self.timestamp(), self.part.name(), self.text());
        if colour {
            format!("\x1b[2m{time}\x1b[0m \x1b[{code}m{name:<5}\x1b[0m \x1b[2m{part:<7}\x1b[0m {text}\n")
        } else {
            format!("{time} {name:<5} {part:<7} {text}\n")
        }
    }

    /// A line for programs.
    pub fn json(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let level = self.level.to_string().to_ascii_lowercase();
        let mut line = format!(
            "{{\"time\":\"{}\",\"level\":\"{}\",\"part\":\"{}\",\"message\":{}",
            self.timestamp(),
            if level == "warn" { "warning" } else { &level },
            self.part.name(),
            quoted(&self.message)
        );
        for (name, value) in &self.fields {
            let _ = match value {
                Value::Text(value) => write!(line, ",{}:{}", quoted(name), quoted(value)),
                Value::Plain(value) => write!(line, ",{}:{value}", quoted(name)),
            };
        }
        line.push_str("}\n");
        line
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Plain(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

/// What a peer wrote must not make lines of its own, nor colours.
fn printable(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Text(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Plain(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Plain(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::Text(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            time: SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_767_225_600_123),
            level: Level::WARN,
            part: Part::Session,
            message: "login\nrefused".to_owned(),
            fields: vec![
                ("peer", Value::Text("127.0.0.1:5".to_owned())),
                ("reason", Value::Text("no such \"user\"".to_owned())),
                ("count", Value::Plain("7".to_owned())),
            ],
        }
    }

    #[test]
    fn a_line_for_people() {
        let expected = "2026-01-01T00:00:00.123Z WARN  session login\\nrefused  peer=127.0.0.1:5  \
            reason=\"no such \\\"user\\\"\"  count=7\n";
        assert_eq!(record().line(false), expected);
        assert!(record().line(true).contains("\x1b[33mWARN"));
    }

    #[test]
    fn a_line_for_programs() {
        let expected = r#"{"time":"2026-01-01T00:00:00.123Z","level":"warning","part":"session","message":"login\nrefused","peer":"127.0.0.1:5","reason":"no such \"user\"","count":7}"#;
        assert_eq!(record().json().trim_end(), expected);
        assert!(serde_json::from_str::<serde_json::Value>(&record().json()).is_ok());
    }
}
