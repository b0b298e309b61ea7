//! What the runs need beyond cargo, and whether it is there.

mod optional;
mod table;

use std::process::{Command, Stdio};

pub use self::optional::{OPTIONAL, Part};
pub use self::table::{Packager, Probe, REQUIREMENTS, Requirement};
use crate::cross;
use crate::toolchain::Toolchain;
use crate::workspace::find_program;

/// What is missing of what parts of the runs need: each as `what (Debian: package)`.
pub fn missing_for(parts: &[Part]) -> Vec<String> {
    missing_of(parts)
        .into_iter()
        .map(|one| format!("{} (Debian: {})", describe(one.probe), one.apt.join(" ")))
        .collect()
}

/// What is missing of what parts of the runs need.
pub fn missing_of(parts: &[Part]) -> Vec<&'static Requirement> {
    let wanted = OPTIONAL.iter().filter(|(part, _)| parts.contains(part));
    wanted.map(|(_, requirement)| requirement).filter(|requirement| !is_met(requirement.probe)).collect()
}

/// The requirements that are not met.
pub fn missing() -> Vec<&'static Requirement> {
    REQUIREMENTS.iter().filter(|requirement| !is_met(requirement.probe)).collect()
}

/// Whether a requirement is met.
pub fn is_met(probe: Probe) -> bool {
    match probe {
        Probe::Program(name) => find_program(name).is_some(),
        Probe::PkgConfig(name) => Command::new("pkg-config")
            .args(["--exists", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success()),
        Probe::File(patterns) => {
            patterns.iter().any(|pattern| glob::glob(pattern).is_ok_and(|mut paths| paths.any(|path| path.is_ok())))
        }
        Probe::Std(target) => cross::source(target).is_some(),
        Probe::Compiler(targets) => Toolchain::is_there(targets),
    }
}

/// What is looked for, for people.
pub fn describe(probe: Probe) -> String {
    match probe {
        Probe::Program(name) => format!("program {name}"),
        Probe::PkgConfig(name) => format!("library {name} with its headers"),
        Probe::File(patterns) => {
            let file = patterns.first().map_or("", |pattern| pattern.rsplit('/').next().unwrap_or(pattern));
            format!("file {file}")
        }
        Probe::Std(target) => format!("standard library for {}", target.triple()),
        Probe::Compiler(targets) => format!("compiler for {}", targets.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_tell_what_is_there() {
        assert!(is_met(Probe::Program("sh")));
        assert!(!is_met(Probe::Program("no-such-program-anywhere")));
        assert!(!is_met(Probe::PkgConfig("no-such-library-anywhere")));
        assert!(is_met(Probe::File(&["/no/such/*", "/etc/pass?d"])));
    }
}
