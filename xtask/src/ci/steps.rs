//! The one table of what `cargo xtask ci` does.

use std::path::Path;

use crate::{setup, workspace};

/// How a step's results are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The step is one result.
    Whole,
    /// Its log has the test runner's summaries.
    Tests,
    /// It writes a conformance report here, below the report folder.
    Conformance(&'static str),
    /// It writes a list of checks here, below the report folder.
    Clients(&'static str),
}

/// A command of a step, as it is typed: `cargo …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CargoCommand {
    /// What follows `cargo`.
    pub arguments: Vec<String>,
    /// Variables to set.
    pub variables: Vec<(&'static str, &'static str)>,
}

impl CargoCommand {
    fn new(words: &str) -> Self {
        CargoCommand { arguments: words.split_whitespace().map(str::to_owned).collect(), variables: Vec::new() }
    }

    fn with(mut self, variable: &'static str, value: &'static str) -> Self {
        self.variables.push((variable, value));
        self
    }

    /// With a file below the report folder as the last argument.
    fn file(mut self, option: &str, file: &Path) -> Self {
        self.arguments.extend([option.to_owned(), file.display().to_string()]);
        self
    }
}

impl std::fmt::Display for CargoCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.variables {
            write!(f, "{name}='{value}' ")?;
        }
        write!(f, "cargo {}", self.arguments.join(" "))
    }
}

/// One step: it does not depend on the others' success.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name on the command line and of its log.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// What it runs, one after the other, each whatever became of the one before.
    pub commands: Vec<CargoCommand>,
    /// How its results are counted.
    pub count: Count,
    /// How long each command may take, in minutes.
    pub minutes: u64,
    /// Only with `--full`, or by its name.
    pub only_full: bool,
}

/// The file names of the reports that steps write.
const CONFORMANCE_JSON: &str = "conformance.json";
const CLIENTS_JSON: &str = "clients.json";
const BENCH_JSON: &str = "bench.json";

/// All steps in their order. `reports` is the folder for machine-readable reports.
pub fn steps(reports: &Path) -> Vec<Step> {
    let has_nextest = workspace::find_program("cargo-nextest").is_some();
    let step = |name, about, commands, count, minutes| Step { name, about, commands, count, minutes, only_full: false };
    let mut steps = vec![
        step("setup", "what the tests need is installed", vec![setup_command()], Count::Whole, 15),
        step(
            "format",
            "the code is formatted",
            vec![CargoCommand::new("fmt --all --check -- --color=never")],
            Count::Whole,
            2,
        ),
        step(
            "clippy",
            "no warning in any crate",
            vec![CargoCommand::new("clippy --workspace --all-targets --locked --keep-going -- -D warnings")],
            Count::Whole,
            15,
        ),
        step(
            "no-std",
            "the crates for boards link without std",
            vec![CargoCommand::new("xtask no-std")],
            Count::Whole,
            10,
        ),
        step("tests", "unit, property and integration tests", vec![test_command(has_nextest)], Count::Tests, 20),
        step(
            "doc-tests",
            "the examples in the documentation",
            vec![CargoCommand::new("test --workspace --doc --locked")],
            Count::Tests,
            10,
        ),
        step(
            "docs",
            "the documentation builds, and nothing public is without it",
            vec![
                CargoCommand::new("doc --workspace --no-deps --locked --keep-going")
                    .with("RUSTDOCFLAGS", "-D warnings"),
            ],
            Count::Whole,
            10,
        ),
        step(
            "conformance",
            "libiscsi's test-tool on every disk",
            vec![CargoCommand::new("xtask conformance").file("--json", &reports.join(CONFORMANCE_JSON))],
            Count::Conformance(CONFORMANCE_JSON),
            20,
        ),
        step(
            "clients",
            "qemu-img and libiscsi's tools",
            vec![CargoCommand::new("xtask clients").file("--json", &reports.join(CLIENTS_JSON))],
            Count::Clients(CLIENTS_JSON),
            15,
        ),
        step(
            "bench",
            "the measurements run; their ratios are only told",
            vec![CargoCommand::new("xtask bench --quick").file("--json", &reports.join(BENCH_JSON))],
            Count::Whole,
            10,
        ),
    ];
    steps.extend(GUEST_RUNS.iter().map(|(name, about, words, json)| Step {
        only_full: true,
        ..step(
            name,
            about,
            vec![CargoCommand::new(words).file("--json", &reports.join(json))],
            Count::Clients(json),
            15,
        )
    }));
    steps
}

/// Runs with a Linux guest as initiator: their names, what they show, their commands and reports.
const GUEST_RUNS: &[(&str, &str, &str, &str)] = &[
    ("vm-fsx", "Linux with two paths: ext4 under fsx, and the verifier", "xtask vm fsx --minutes 1", "vm-fsx.json"),
    ("vm-xfs", "the same on XFS", "xtask vm fsx --fs xfs --minutes 1", "vm-xfs.json"),
    ("vm-scsi", "sg3-utils and Linux see what the target says of itself", "xtask vm sg3", "vm-scsi.json"),
    ("vm-failover", "paths fail and return under load", "xtask vm failover", "vm-failover.json"),
    ("vm-boot", "a guest without a disk boots from the target", "xtask vm boot", "vm-boot.json"),
];

fn setup_command() -> CargoCommand {
    // Where nobody can be asked, and nobody needs to be, what is missing is installed.
    CargoCommand::new(if setup::is_unattended() { "xtask setup" } else { "xtask setup --check" })
}

fn test_command(has_nextest: bool) -> CargoCommand {
    CargoCommand::new(if has_nextest {
        "nextest run --workspace --all-targets --locked --no-fail-fast"
    } else {
        "test --workspace --all-targets --locked --no-fail-fast"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_for_files() {
        let steps = steps(Path::new("/r"));
        for (index, step) in steps.iter().enumerate() {
            assert!(step.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", step.name);
            assert!(steps[index + 1..].iter().all(|other| other.name != step.name), "{}", step.name);
            assert!(!step.commands.is_empty());
        }
    }

    #[test]
    fn commands_are_shown_as_they_are_typed() {
        let steps = steps(Path::new("/r"));
        let shown = |name: &str| steps.iter().find(|step| step.name == name).unwrap().commands[0].to_string();
        assert_eq!(shown("docs"), "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --keep-going");
        assert_eq!(shown("conformance"), "cargo xtask conformance --json /r/conformance.json");
    }
}
