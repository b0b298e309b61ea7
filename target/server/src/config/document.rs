//! A configuration file as text: where in it something is wrong, and how that is shown.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes.
    pub span: Range<usize>,
    /// What, and what is allowed.
    pub message: String,
}

/// The text of a file, and what is wrong with it.
#[derive(Debug)]
pub struct Document {
    /// The file.
    pub path: PathBuf,
    text: String,
    problems: RefCell<Vec<Problem>>,
}

impl Document {
    /// Of this file and text.
    pub fn new(path: &Path, text: String) -> Self {
        Self { path: path.to_owned(), text, problems: RefCell::default() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Something is wrong.
    pub fn report(&self, span: Range<usize>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { span, message: message.into() });
    }

    /// Whether nothing is wrong.
    pub fn is_right(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// All that is wrong, in the order of the text, each with the line that it is in.
    pub fn render(&self) -> String {
        let mut problems = self.problems.borrow().clone();
        problems.sort_by_key(|problem| problem.span.start);
        let mut shown = String::new();
        for problem in &problems {
            let place = self.place(problem.span.start);
            let (line, column) = (place.line, place.column);
            let _ = writeln!(shown, "{}: {}", self.locate(problem.span.start), problem.message);
            let source = masked(place.text);
            let margin = " ".repeat(line.to_string().len());
            let length = source.chars().count();
            let marked = self
                .text
                .get(problem.span.clone())
                .map_or(1, |text| text.lines().next().map_or(1, |l| l.chars().count()));
            // A mark behind what is not shown would tell how long it is.
            let marked =
                if source == place.text { marked.clamp(1, (length + 1).saturating_sub(column - 1).max(1)) } else { 1 };
            let _ = writeln!(
                shown,
                " {margin} |\n {line} | {source}\n {margin} | {}{}",
                " ".repeat(column - 1),
                "^".repeat(marked)
            );
        }
        shown
    }

    /// The first thing that is wrong in one line, and how many more there are.
    pub fn summary(&self) -> String {
        let problems = self.problems.borrow();
        let Some(first) = problems.iter().min_by_key(|problem| problem.span.start) else { return String::new() };
        let more = match problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more: see `iesp check`)"),
        };
        format!("{}: {}{more}", self.locate(first.span.start), first.message)
    }

    /// A place for a message: `iesp.toml:3:8`.
    pub fn locate(&self, at: usize) -> String {
        let place = self.place(at);
        format!("{}:{}:{}", self.path.display(), place.line, place.column)
    }

    fn place(&self, at: usize) -> Place<'_> {
        let at = self.text.floor_char_boundary(at);
        let before = &self.text[..at];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = self.text[start..].lines().next().unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Place { line, column: self.text[start..at].chars().count() + 1, text }
    }
}

/// A place in the text; line and column are counted from 1.
struct Place<'a> {
    line: usize,
    column: usize,
    text: &'a str,
}

/// A line as it may be shown: secrets stay where they are.
fn masked(line: &str) -> String {
    const PRIVATE: [&str; 2] = ["secret", "password"];
    let lower = line.to_ascii_lowercase();
    let found = PRIVATE.iter().filter_map(|word| {
        let at = lower.find(word)?;
        Some(at + lower[at..].find('=')? + 1)
    });
    match found.min() {
        // Names of files and of variables are no secrets.
        Some(at) if !["secret-file", "secret-env"].iter().any(|key| line.trim_start().starts_with(key)) => {
            format!("{} ...", &line[..at])
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_marks() {
        let document = Document::new(Path::new("a.toml"), "one = 1\ntwö = 22\nsecret = \"x\"\n".to_owned());
        document.report(15..17, "wrong");
        document.report(0..3, "unknown");
        document.report(27..30, "short");
        document.report(500..501, "the end");
        let expected = "a.toml:1:1: unknown\n   |\n 1 | one = 1\n   | ^^^\n\
            a.toml:2:7: wrong\n   |\n 2 | twö = 22\n   |       ^^\n\
            a.toml:3:10: short\n   |\n 3 | secret = ...\n   |          ^\n\
            a.toml:4:1: the end\n   |\n 4 | \n   | ^\n";
        assert_eq!(document.render(), expected);
        assert_eq!(document.summary(), "a.toml:1:1: unknown (and 3 more: see `iesp check`)");
    }
}
