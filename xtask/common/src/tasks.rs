//! The one table of what `cargo xtask` can do, and which program does it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::workspace;

/// A program of the xtask's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `xtask` itself: small, as it is what a fresh copy of the project builds first.
    Xtask,
    /// `xtask/harness`: runs against targets.
    Harness,
    /// `xtask/boards`: programs of boards, and boards.
    Boards,
}

/// A command of `cargo xtask`.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, for `--help`.
    pub about: &'static str,
    /// Who does it.
    pub program: Program,
}

const fn task(program: Program, name: &'static str, about: &'static str) -> Task {
    Task { name, about, program }
}

/// All commands, in the order of `--help`.
pub const TASKS: &[Task] = &[
    task(Program::Xtask, "setup", "Install what the tests need, with the system's package manager"),
    task(Program::Harness, "conformance", "Run libiscsi's test-tool against iesp, or against any other target"),
    task(Program::Harness, "clients", "Run programs that people use, such as qemu-img, against iesp"),
    task(Program::Harness, "bench", "Measure what iesp costs, beside tgt and beside the least that is possible"),
    task(Program::Harness, "disk", "Measure how fast files are read, beside fio"),
    task(Program::Harness, "nbd", "Run the verifier on disks that NBD servers have, some of which are killed or fail"),
    task(Program::Xtask, "no-std", "Link the crates for boards without std"),
    task(Program::Harness, "plants", "Run what tests targets against a target with a fault, which it has to find"),
    task(
        Program::Harness,
        "transcript",
        "Record sessions as PDUs from one build of iesp, and replay them against another",
    ),
    task(Program::Harness, "vm", "Run a Linux guest in QEMU as the initiator"),
    task(
        Program::Boards,
        "hil",
        "Flash a board, and test what it serves: conformance, the verifier, the loss of power, speed",
    ),
    task(Program::Xtask, "check", "Type check the server for other systems, or try it on this one"),
    task(Program::Xtask, "package", "Build what people install, and check it"),
    task(Program::Boards, "firmware", "Build, measure, write and run the program of a board"),
    task(Program::Xtask, "ci", "Run everything that has to hold, and give a verdict"),
];

/// The command of that name.
pub fn find(name: &str) -> Option<&'static Task> {
    TASKS.iter().find(|task| task.name == name)
}

/// What one of these programs' commands has in `--help`: its line, and its place among all of them.
pub fn described(command: clap::Command) -> clap::Command {
    let place = TASKS.iter().position(|task| task.name == command.get_name());
    match place {
        Some(place) => command.about(TASKS[place].about).display_order(place),
        None => command,
    }
}

impl Program {
    /// Its package and its binary.
    pub fn name(self) -> &'static str {
        match self {
            Program::Xtask => "xtask",
            Program::Harness => "xtask-harness",
            Program::Boards => "xtask-boards",
        }
    }

    /// Builds it, where that has not been done; answers with its path.
    ///
    /// # Errors
    /// When it does not build: cargo has said why.
    pub fn build(self) -> Result<PathBuf> {
        workspace::build_quietly(self.name(), self.name())
    }
}

/// Which program has these words of the command line, other than the xtask itself, and with which
/// words: `help NAME` is its own
/// `NAME --help`.
pub fn elsewhere(words: &[OsString]) -> Option<(Program, Vec<OsString>)> {
    let named = |word: &OsString| find(word.to_str()?).map(|task| task.program).filter(|it| *it != Program::Xtask);
    match words {
        [first, name, rest @ ..] if first == "help" => {
            let words = std::iter::once(name).chain(rest).cloned();
            Some((named(name)?, words.chain([OsString::from("--help")]).collect()))
        }
        [name, ..] => Some((named(name)?, words.to_vec())),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_goes_to_the_program_that_has_it() {
        let of = |text: &str| {
            let words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
            elsewhere(&words).map(|(program, words)| {
                (program, words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
            })
        };
        assert_eq!(of("vm fsx --minutes 1"), Some((Program::Harness, "vm fsx --minutes 1".into())));
        assert_eq!(of("help vm fsx"), Some((Program::Harness, "vm fsx --help".into())));
        assert_eq!(of("hil --list"), Some((Program::Boards, "hil --list".into())));
        for own in ["ci --list", "help ci", "--help", "help", "nothing", ""] {
            assert_eq!(of(own), None, "{own}");
        }
    }
}
