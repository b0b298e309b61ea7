//! What a board is and how it is reached: `ci/boards/NAME.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// A board's profile. In commands and texts `{root}` is the workspace's folder, `{build}` cargo's output folder, `{dir}` the
/// folder of this run, `{port}` a free TCP port of this machine, `{xtask}` the program `cargo xtask`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// What it is.
    pub about: String,
    /// Makes what is flashed, or started.
    #[serde(default)]
    pub build: Vec<String>,
    /// How the program gets on the board; none: it is there.
    pub flash: Option<Flash>,
    /// An emulated board: the program that is the board while it runs. Its output is the serial line.
    #[serde(default)]
    pub process: Vec<String>,
    /// The serial line.
    pub serial: Serial,
    /// Where it is on the network.
    pub address: Address,
    /// How its power is switched; an emulated board is killed and started.
    pub power: Option<Power>,
    /// What is expected of it.
    #[serde(default)]
    pub limits: Limits,
    /// What libiscsi's test-tool is to do.
    #[serde(default)]
    pub conformance: Conformance,
}

/// How the program gets on the board.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Flash {
    /// With what.
    pub tool: Tool,
    /// The file.
    #[serde(default)]
    pub image: PathBuf,
    /// The chip, as the tool calls it.
    pub chip: Option<String>,
    /// For `tool = "command"`.
    #[serde(default)]
    pub command: Vec<String>,
}

/// A program that writes to a board's flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// RP2040 and RP2350, in BOOTSEL mode or running.
    Picotool,
    /// Espressif's chips.
    Espflash,
    /// Teensy.
    TeensyLoaderCli,
    /// Whatever a debug probe reaches.
    #[serde(rename = "probe-rs")]
    ProbeRs,
    /// Any other.
    Command,
}

/// The serial line.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Serial {
    /// The device; an emulated board has its own.
    pub port: Option<String>,
    /// Bits a second.
    #[serde(default = "baud")]
    pub baud: u32,
    /// A line with this text says that the board serves.
    pub ready: String,
    /// A line with one of these is a failure, whenever it comes.
    #[serde(default = "bad")]
    pub bad: Vec<String>,
}

fn baud() -> u32 {
    115_200
}

fn bad() -> Vec<String> {
    vec!["panicked at".to_owned(), "HardFault".to_owned(), "stack overflow".to_owned()]
}

/// Where the board is on the network.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Address {
    /// One of these: `fixed` (`HOST` or `HOST:PORT`),
    pub fixed: Option<String>,
    /// `banner`: what the serial line says, with `{address}` where the address stands,
    pub banner: Option<String>,
    /// `mdns`: what the name begins with that it announces for `_iscsi._tcp`.
    pub mdns: Option<String>,
    /// The target's name; otherwise the first that discovery tells.
    pub target: Option<String>,
    /// The logical unit.
    #[serde(default)]
    pub lun: u16,
}

/// Commands that switch the power, as a relay's or a USB hub's (`uhubctl`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Power {
    /// Off.
    pub off: Vec<String>,
    /// On.
    pub on: Vec<String>,
    /// How long it stays off, for capacitors to run empty.
    #[serde(default = "off_seconds")]
    pub off_seconds: f64,
}

fn off_seconds() -> f64 {
    3.0
}

/// What is expected of a board, and how much is asked of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// From its start to its service, in seconds.
    pub ready_seconds: f64,
    /// The least MaxRecvDataSegmentLength that it declares, in bytes.
    pub segment: u32,
    /// The least that it reads and writes one after the other, in MiB a second.
    pub read_mib_per_second: f64,
    /// As above.
    pub write_mib_per_second: f64,
    /// Sessions at the same time.
    pub sessions: u32,
    /// How long the verifier runs, in seconds; and up to the loss of power.
    pub verify_seconds: f64,
    /// The verifier's part of the disk in MiB.
    pub verify_mib: u32,
    /// Of the verifier's writes, how many in a hundred are unmapped instead; 0 for a disk that is not thin.
    pub trim_percent: u32,
    /// The largest block of the speed measurement in bytes, a power of two.
    pub largest_block: u32,
    /// The same in flight.
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            ready_seconds: 60.0,
            segment: 512,
            read_mib_per_second: 0.0,
            write_mib_per_second: 0.0,
            sessions: 1,
            verify_seconds: 30.0,
            verify_mib: 16,
            trim_percent: 10,
            largest_block: 64 << 10,
            depth: 4,
        }
    }
}

/// What libiscsi's test-tool is to do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Conformance {
    /// The disk of `ci/conformance-boards.toml` that the board is held to; `skip` has no meaning then.
    pub rules: Option<String>,
    /// Leave out what that file calls slow. `--quick` sets it, too.
    #[serde(default)]
    pub quick: bool,
    /// Only these tests (`SCSI.Read1?.*`); none: all.
    #[serde(default)]
    pub only: Vec<String>,
    /// Tests that fail on this board, each with the reason; one that passes must not stand here.
    #[serde(default)]
    pub skip: BTreeMap<String, String>,
    /// How long one test may take, in seconds.
    pub timeout: Option<u64>,
}

impl Profile {
    /// Reads `NAME.toml` in a folder, or the file of this path.
    ///
    /// # Errors
    /// When there is none, with those that there are; when it is no profile.
    pub fn find(name: &str, folder: &Path) -> Result<Self> {
        let file = if name.ends_with(".toml") { PathBuf::from(name) } else { folder.join(format!("{name}.toml")) };
        let Ok(text) = std::fs::read_to_string(&file) else {
            bail!("no board {name}; there are {} (or give the path of a profile)", names(folder).join(", "));
        };
        Self::parse(&text).with_context(|| file.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let profile: Profile = toml::from_str(text)?;
        let Address { fixed, banner, mdns, .. } = &profile.address;
        let ways = [fixed, banner, mdns].iter().filter(|way| way.is_some()).count();
        ensure!(ways == 1, "[address] has one of fixed, banner and mdns");
        if let Some(banner) = banner {
            ensure!(banner.contains("{address}"), "the banner has no {{address}}");
        }
        let emulated = !profile.process.is_empty();
        ensure!(emulated != profile.serial.port.is_some(), "a board has either a serial port or a process");
        ensure!(!(emulated && profile.power.is_some()), "an emulated board needs no [power]");
        if let Some(flash) = &profile.flash {
            let by_command = flash.tool == Tool::Command;
            ensure!(by_command != flash.command.is_empty(), "`command` goes with the tool \"command\" alone");
            ensure!(by_command || !flash.image.as_os_str().is_empty(), "[flash] has no image");
            let needs_chip = matches!(flash.tool, Tool::TeensyLoaderCli | Tool::ProbeRs | Tool::Espflash);
            ensure!(!needs_chip || flash.chip.is_some(), "[flash] names no chip");
        }
        let Conformance { rules, quick, skip, .. } = &profile.conformance;
        ensure!(rules.is_none() || skip.is_empty(), "[conformance] has either rules or skip");
        ensure!(rules.is_some() || !quick, "[conformance] quick goes with rules");
        let block = profile.limits.largest_block;
        ensure!(block >= 512 && block.is_power_of_two(), "largest-block is a power of two, 512 or more");
        Ok(profile)
    }
}

/// What the boards may skip; from the project's root.
pub const RULES: &str = "ci/conformance-boards.toml";

/// The boards that a folder has profiles of.
pub fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let profiles = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
    let mut names: Vec<String> =
        profiles.filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtask_common::workspace;

    #[test]
    fn every_profile_can_be_read() {
        let folder = workspace::root().join("ci/boards");
        let names = names(&folder);
        assert!(names.iter().any(|name| name == "host"), "{names:?}");
        for name in names {
            Profile::find(&name, &folder).unwrap_or_else(|error| panic!("{error:#}"));
        }
        let unknown = Profile::find("nothing", &folder).unwrap_err().to_string();
        assert!(unknown.contains("there are") && unknown.contains("host"), "{unknown}");
    }

    #[test]
    fn contradictions_are_refused() {
        let board = "about = \"x\"\n[serial]\nport = \"/dev/ttyX\"\nready = \"up\"\n";
        let parse = |rest: &str| Profile::parse(&format!("{board}{rest}"));
        parse("[address]\nfixed = \"10.0.0.1\"").unwrap();
        for wrong in [
            "[address]\n",
            "[address]\nfixed = \"a\"\nmdns = \"b\"",
            "[address]\nbanner = \"no place\"",
            "[address]\nfixed = \"a\"\n[flash]\ntool = \"picotool\"",
            "[address]\nfixed = \"a\"\n[flash]\ntool = \"probe-rs\"\nimage = \"x\"",
            "[address]\nfixed = \"a\"\n[limits]\nlargest-block = 1000",
            "[address]\nfixed = \"a\"\n[limits]\nspeed = 1",
            "[address]\nfixed = \"a\"\n[conformance]\nquick = true",
            "[address]\nfixed = \"a\"\n[conformance]\nrules = \"x\"\n[conformance.skip]\n\"A.B.C\" = \"why\"",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
