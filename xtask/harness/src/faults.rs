//! A fault in the target that a run has to notice: iesp between the two halves of testkit's `faulty-target`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask_common::workspace;

/// What is wrong with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// Some writes to the last LUN are acknowledged and not made
    DropWrite,
    /// No write is made, and each is acknowledged
    DropAllWrites,
    /// Flushes are acknowledged before the data is safe: a killed target loses it
    EarlyFlush,
    /// Flushes are acknowledged a moment before they are done: a host that loses its power just then loses data
    HastyFlush,
    /// Nothing: a killed target loses what was not flushed
    VolatileCache,
    /// Reservations are granted and forgotten
    LostReservation,
    /// Blocks of the last LUN that were read on the second path stay there as they were then
    StaleSecondPath,
}

impl Plant {
    /// Its name on the command line.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The switches of `faulty-target`.
    pub fn switches(self) -> Vec<String> {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match self {
            // Several: the verifier writes one block in most places, which an earlier one may have written there already.
            Plant::DropWrite => {
                let faults: Vec<String> = (4..24).map(|count| format!("drop-write@{}", count * 10)).collect();
                vec!["--disk".to_owned(), faults.join(","), "--lun".to_owned(), "1".to_owned()]
            }
            Plant::DropAllWrites => words("--disk drop-all-writes@1"),
            Plant::EarlyFlush => words("--volatile --disk lie-flush@1"),
            Plant::HastyFlush => words("--disk early-flush@1"),
            Plant::VolatileCache => words("--volatile"),
            Plant::LostReservation => words("--lose-reservations"),
            Plant::StaleSecondPath => words("--stale-reads 1"),
        }
    }

    /// Makes a program of it, in a run's folder, that takes iesp's arguments; it can be started by hand, too.
    ///
    /// # Errors
    /// When it does not build, or cannot be written.
    pub fn program(self, iesp: &Path, logs: &Path) -> Result<PathBuf> {
        let faulty = faulty_target()?;
        let words = [faulty.display().to_string(), "--iesp".to_owned(), iesp.display().to_string()];
        let quoted: Vec<String> = words.iter().chain(&self.switches()).map(|word| quote(word)).collect();
        let file = logs.join("iesp-with-fault.sh");
        std::fs::write(&file, format!("#!/bin/sh\nexec {} -- \"$@\"\n", quoted.join(" ")))
            .and_then(|()| std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// The program that puts faults into a target.
///
/// # Errors
/// When it does not build.
pub fn faulty_target() -> Result<PathBuf> {
    workspace::build_binary("iesp-testkit", "faulty-target", true)
}

/// As a shell takes it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }

    #[test]
    fn each_plant_has_switches_and_a_name() {
        let all = <Plant as clap::ValueEnum>::value_variants();
        assert!(all.iter().all(|plant| !plant.switches().is_empty() && !plant.name().is_empty()));
        assert_eq!(Plant::StaleSecondPath.name(), "stale-second-path");
    }
}
