//! The one table of what `cargo xtask ci` does.

use std::path::Path;

use xtask_common::requirements::Part;
use xtask_common::workspace;

use super::{boards, nextest};
use crate::package::may_check_deb;
use crate::setup;

/// How a step's results are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The step is one result.
    Whole,
    /// Its log has libtest's summaries.
    Tests,
    /// Nextest has written its report.
    Nextest,
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
    pub(super) fn new(words: &str) -> Self {
        CargoCommand { arguments: words.split_whitespace().map(str::to_owned).collect(), variables: Vec::new() }
    }

    fn with(mut self, variable: &'static str, value: &'static str) -> Self {
        self.variables.push((variable, value));
        self
    }

    /// With a file below the report folder as the last argument.
    pub(super) fn file(mut self, option: &str, file: &Path) -> Self {
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
    /// What it needs that not every machine has: without it, it is left out unless it was asked for.
    pub needs: &'static [Part],
}

/// The file names of the reports that steps write.
const CONFORMANCE_JSON: &str = "conformance.json";
const SIMULATOR_JSON: &str = "simulator.json";
const SIMULATOR_ALL_JSON: &str = "simulator-all.json";
const CONFORMANCE_NEWER_JSON: &str = "conformance-newer.json";
const CLIENTS_JSON: &str = "clients.json";
const PLANTS_JSON: &str = "plants.json";
const NBD_JSON: &str = "nbd.json";
const NBD_LONG_JSON: &str = "nbd-long.json";
const BENCH_JSON: &str = "bench.json";

/// All steps in their order. `reports` is the folder for machine-readable reports; `full`: the long ones are to be run.
pub fn steps(reports: &Path, full: bool) -> Vec<Step> {
    let has_nextest = workspace::find_program("cargo-nextest").is_some();
    let step = |name, about, commands, count, minutes| Step {
        name,
        about,
        commands,
        count,
        minutes,
        only_full: false,
        needs: &[],
    };
    let mut steps = vec![
        step("setup", "what the tests need is installed", vec![setup_command(full)], Count::Whole, 30),
        step(
            "format",
            "the code is formatted",
            vec![
                CargoCommand::new("fmt --all --check -- --color=never"),
                CargoCommand::new("fmt --manifest-path target/boards/Cargo.toml --all --check -- --color=never"),
            ],
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
        step(
            "tests",
            "unit, property and integration tests",
            vec![test_command(has_nextest)],
            if has_nextest { Count::Nextest } else { Count::Tests },
            20,
        ),
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
        Step {
            only_full: true,
            needs: &[Part::NewerTool],
            ..step(
                "conformance-newer",
                "the test-tool of a newer libiscsi on every disk",
                vec![
                    CargoCommand::new("xtask conformance --newer")
                        .file("--json", &reports.join(CONFORMANCE_NEWER_JSON)),
                ],
                Count::Conformance(CONFORMANCE_NEWER_JSON),
                20,
            )
        },
        step(
            "nbd",
            "the verifier on NBD: three servers, killed ones, failing ones, two paths",
            vec![CargoCommand::new("xtask nbd --kills 15 --size 32").file("--json", &reports.join(NBD_JSON))],
            Count::Clients(NBD_JSON),
            15,
        ),
        Step {
            only_full: true,
            ..step(
                "nbd-long",
                "the same with larger disks and fifty kills",
                vec![CargoCommand::new("xtask nbd").file("--json", &reports.join(NBD_LONG_JSON))],
                Count::Clients(NBD_LONG_JSON),
                20,
            )
        },
        nbd_conformance("conformance-nbd", "--backend nbdkit --disk 512e", reports, false),
        nbd_conformance("conformance-nbdkit", "--backend nbdkit", reports, true),
        nbd_conformance("conformance-qemu-nbd", "--backend qemu-nbd", reports, true),
        nbd_conformance("conformance-nbd-server", "--backend nbd-server", reports, true),
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
            vec![
                CargoCommand::new("xtask bench --quick")
                    .file("--json", &reports.join(BENCH_JSON))
                    .file("--plots", &reports.join(xtask_common::report::PLOTS).join("bench")),
            ],
            Count::Whole,
            10,
        ),
        step(
            "plants",
            "the verifier and the test-tool find the fault that is put into the target",
            vec![CargoCommand::new("xtask plants").file("--json", &reports.join(PLANTS_JSON))],
            Count::Clients(PLANTS_JSON),
            10,
        ),
        step(
            "hil",
            "the runner for boards, with iesp as a board that is not there",
            vec![CargoCommand::new("xtask hil host")],
            Count::Whole,
            10,
        ),
    ];
    let seeds = |test: &str| {
        CargoCommand::new(&format!("test -p iesp-simulator --locked --test board -- --nocapture {test}"))
            .with("IESP_SEEDS", "0..1000")
    };
    steps.push(Step {
        only_full: true,
        ..step(
            "seeds",
            "simulated boards under a thousand seeds of power cuts, and of cards that fail",
            vec![seeds("power::"), seeds("faults::")],
            Count::Tests,
            20,
        )
    });
    steps.push(Step {
        only_full: true,
        ..step(
            "many",
            "ten million commands of many initiators at one simulated target, with models of what they may see",
            vec![CargoCommand::new(
                "test -p iesp-simulator --locked --test many -- --nocapture --ignored ten_million_commands",
            )],
            Count::Tests,
            20,
        )
    });
    steps.push(step(
        "simulator",
        "libiscsi's test-tool on the boards' firmware in the simulator, with CHAP and digests, too",
        vec![
            CargoCommand::new("xtask conformance --simulator --quick --jobs 8")
                .file("--json", &reports.join(SIMULATOR_JSON)),
        ],
        Count::Conformance(SIMULATOR_JSON),
        15,
    ));
    steps.push(Step {
        only_full: true,
        ..step(
            "simulator-all",
            "the same with all tests",
            vec![
                CargoCommand::new("xtask conformance --simulator --jobs 8")
                    .file("--json", &reports.join(SIMULATOR_ALL_JSON)),
            ],
            Count::Conformance(SIMULATOR_ALL_JSON),
            75,
        )
    });
    steps.push(Step {
        only_full: true,
        needs: &[Part::Guest],
        ..step(
            "vm-image",
            "the guest made anew is the same, byte for byte",
            vec![CargoCommand::new("xtask vm image --verify")],
            Count::Whole,
            10,
        )
    });
    steps.extend(PACKAGES.iter().map(|(name, about, command, only_full, needs)| {
        let mut command = CargoCommand::new(command);
        if *name == "package-deb" && !full && !may_check_deb() {
            // A plain user sees that it builds.
            command.arguments.push("--no-check".to_owned());
        }
        Step { only_full: *only_full, needs, ..step(name, about, vec![command], Count::Whole, 20) }
    }));
    steps.extend(boards::steps(reports));
    steps.extend(GUEST_RUNS.iter().map(|run| Step {
        only_full: run.only_full,
        needs: run.needs,
        ..step(
            run.name,
            run.about,
            vec![CargoCommand::new(run.command).file("--json", &reports.join(run.json))],
            Count::Clients(run.json),
            run.minutes,
        )
    }));
    steps
}

/// The test-tool over an NBD server; on every disk only where everything is to run.
fn nbd_conformance(name: &'static str, options: &str, reports: &Path, only_full: bool) -> Step {
    let file = match name {
        "conformance-nbdkit" => "conformance-nbdkit.json",
        "conformance-qemu-nbd" => "conformance-qemu-nbd.json",
        "conformance-nbd-server" => "conformance-nbd-server.json",
        _ => "conformance-nbd.json",
    };
    let command = CargoCommand::new(&format!("xtask conformance {options}")).file("--json", &reports.join(file));
    let about = "libiscsi's test-tool on the disks of an NBD server";
    Step { name, about, commands: vec![command], count: Count::Conformance(file), minutes: 30, only_full, needs: &[] }
}

/// A package, or a system that this is not: its name, what the step shows, its command, whether only `--full` runs it, what
/// it needs.
type Package = (&'static str, &'static str, &'static str, bool, &'static [Part]);

const PACKAGES: &[Package] = &[
    (
        "package-deb",
        "Debian's package: installed, started, upgraded, purged",
        "xtask package deb",
        false,
        &[Part::Packages],
    ),
    ("package-rpm", "the .rpm, as rpm sees it", "xtask package rpm", false, &[Part::Packages]),
    ("package-musl", "one static program for any Linux", "xtask package musl", false, &[Part::Packages]),
    (
        "package-windows",
        "one iesp.exe, which serves under Wine, by itself and as a service",
        "xtask package windows",
        true,
        &[Part::Windows],
    ),
    (
        "other-systems",
        "the server and the xtask pass the type checks for FreeBSD, macOS and Windows",
        "xtask check freebsd macos windows",
        true,
        &[Part::Systems, Part::Windows],
    ),
];

/// A run with a Linux guest as initiator.
struct GuestRun {
    name: &'static str,
    about: &'static str,
    command: &'static str,
    json: &'static str,
    minutes: u64,
    only_full: bool,
    needs: &'static [Part],
}

const LONG: GuestRun =
    GuestRun { name: "", about: "", command: "", json: "", minutes: 15, only_full: true, needs: &[Part::Guest] };

const GUEST_RUNS: &[GuestRun] = &[
    GuestRun {
        name: "vm-quick",
        about: "Linux with two paths: ext4 under fsx, and the verifier, for a moment",
        command: "xtask vm fsx --minutes 0.25",
        json: "vm-quick.json",
        only_full: false,
        ..LONG
    },
    GuestRun {
        name: "vm-powercut",
        about: "500 power cuts of the target's host, on raw disks and three file systems: what was flushed is there",
        command: "xtask vm powercut --cuts 500 --ops 600",
        json: "vm-powercut.json",
        only_full: false,
        ..LONG
    },
    GuestRun {
        name: "vm-powercut-long",
        about: "the same with ten thousand cuts",
        command: "xtask vm powercut",
        json: "vm-powercut-long.json",
        minutes: 90,
        ..LONG
    },
    GuestRun {
        name: "vm-fsx",
        about: "Linux with two paths: ext4 under fsx, and the verifier",
        command: "xtask vm fsx --minutes 1",
        json: "vm-fsx.json",
        ..LONG
    },
    GuestRun {
        name: "vm-xfs",
        about: "the same on XFS",
        command: "xtask vm fsx --fs xfs --minutes 1",
        json: "vm-xfs.json",
        ..LONG
    },
    GuestRun {
        name: "vm-scsi",
        about: "sg3-utils and Linux see what the target says of itself",
        command: "xtask vm sg3",
        json: "vm-scsi.json",
        ..LONG
    },
    GuestRun {
        name: "vm-failover",
        about: "paths fail and return under load, the target loses its power",
        command: "xtask vm failover",
        json: "vm-failover.json",
        ..LONG
    },
    GuestRun {
        name: "vm-boot",
        about: "a guest without a disk boots from the target",
        command: "xtask vm boot",
        json: "vm-boot.json",
        needs: &[Part::Guest, Part::Boot],
        ..LONG
    },
    GuestRun {
        name: "vm-plants",
        about: "each of these runs finds the fault that is put into the target",
        command: "xtask vm plants",
        json: "vm-plants.json",
        minutes: 30,
        needs: &[Part::Guest, Part::Boot],
        ..LONG
    },
];

fn setup_command(full: bool) -> CargoCommand {
    // Where nobody can be asked, and nobody needs to be, what is missing is installed.
    CargoCommand::new(match (setup::is_unattended(), full) {
        (true, true) => "xtask setup --full",
        (true, false) => "xtask setup",
        (false, true) => "xtask setup --check --full",
        (false, false) => "xtask setup --check",
    })
}

fn test_command(has_nextest: bool) -> CargoCommand {
    let words = if has_nextest { format!("nextest run --profile {}", nextest::PROFILE) } else { "test".to_owned() };
    CargoCommand::new(&format!("{words} --workspace --all-targets --locked --no-fail-fast"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_for_files() {
        let steps = steps(Path::new("/r"), false);
        for (index, step) in steps.iter().enumerate() {
            assert!(step.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", step.name);
            assert!(steps[index + 1..].iter().all(|other| other.name != step.name), "{}", step.name);
            assert!(!step.commands.is_empty());
        }
    }

    #[test]
    fn commands_are_shown_as_they_are_typed() {
        let steps = steps(Path::new("/r"), false);
        let shown = |name: &str| steps.iter().find(|step| step.name == name).unwrap().commands[0].to_string();
        assert_eq!(shown("docs"), "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --keep-going");
        assert_eq!(shown("conformance"), "cargo xtask conformance --json /r/conformance.json");
    }
}
