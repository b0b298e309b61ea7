//! `cargo xtask vm powercut`: power cuts of a host that serves, by the thousand.
//!
//! A guest serves disks whose requests QEMU logs; the verifier loads them over iSCSI and keeps a journal. Afterwards
//! testkit's `power-cuts` makes the disks at any number of cuts. A raw disk is looked at right there; a file system is
//! mounted by a second guest, which copies the image on it out to where it is looked at.

mod mounts;
mod record;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use xtask_common::checks::Checks;
use xtask_common::process::{Ended, run_logged};

use super::{Common, programs};
use crate::faults::{self, Plant};

/// What `cargo xtask vm powercut` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// How many cuts, shared out over the disks
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..))]
    cuts: u32,
    /// How many operations load each disk
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..))]
    ops: u32,
    /// Which disks
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Disk::value_variants().to_vec())]
    disks: Vec<Disk>,
    /// The load's choices and the cuts' follow from it
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u32,
    #[command(flatten)]
    common: Common,
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Disk {
    /// A whole disk, through the page cache
    Raw,
    /// A whole disk, past the page cache (`--direct`)
    RawDirect,
    /// An image on ext4
    Ext4,
    /// An image on XFS
    Xfs,
    /// An image on btrfs
    Btrfs,
}

/// The size of what is served, in bytes.
const IMAGE_BYTES: u64 = 8 << 20;

impl Disk {
    /// Its name in the guest: the serial number of its disk.
    fn name(self) -> &'static str {
        match self {
            Disk::Raw => "raw",
            Disk::RawDirect => "raw-direct",
            Disk::Ext4 => "ext4",
            Disk::Xfs => "xfs",
            Disk::Btrfs => "btrfs",
        }
    }

    /// Whether a file system lies between the disk and what is served.
    fn has_file_system(self) -> bool {
        !matches!(self, Disk::Raw | Disk::RawDirect)
    }

    /// The size of the whole disk, in bytes; for a file system hardly more than the least that it takes.
    fn bytes(self) -> u64 {
        match self {
            Disk::Raw | Disk::RawDirect => IMAGE_BYTES,
            Disk::Ext4 => 64 << 20,
            Disk::Xfs => 300 << 20,
            Disk::Btrfs => 128 << 20,
        }
    }

    /// The size of a logical block, in bytes: the disk writes none by halves.
    fn sector(self) -> u32 {
        // btrfs writes its superblock, of 4096 bytes, in place: a disk that tears it takes the file system along.
        if self == Disk::Btrfs { 4096 } else { 512 }
    }

    /// Of 100 cuts of all disks as many as this: a mount takes longer than to look at a raw disk.
    fn share(self) -> u32 {
        match self {
            Disk::Raw => 52,
            Disk::RawDirect => 30,
            Disk::Ext4 | Disk::Xfs | Disk::Btrfs => 6,
        }
    }
}

/// A disk of a run.
#[derive(Clone, Debug)]
struct Subject {
    disk: Disk,
    cuts: u32,
    seed: u32,
    /// The folder with its image, its log and its journal.
    folder: PathBuf,
}

impl Subject {
    fn image(&self) -> PathBuf {
        self.folder.join(format!("{}.img", self.disk.name()))
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.blklog", self.disk.name()))
    }

    fn journal(&self) -> PathBuf {
        self.folder.join(format!("{}.journal", self.disk.name()))
    }

    /// `power-cuts` for it.
    fn power_cuts(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--log").arg(self.log()).arg("--journal").arg(self.journal());
        command.args(["--cuts", &self.cuts.to_string(), "--seed", &self.seed.to_string()]);
        command.args(["--disk-size", &self.disk.bytes().to_string()]);
        command.stdin(Stdio::null());
        command
    }
}

/// Runs it.
///
/// # Errors
/// When the run cannot be made, or shows a fault.
pub fn run(args: &Args) -> Result<()> {
    let logs = args.common.log_folder("powercut")?;
    // In memory, as far as the system has a place for it: what is tested is not this machine's disk.
    let memory = Path::new("/dev/shm");
    let scratch = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir_in(&logs)? };
    let subjects = share_out(args, scratch.path());
    let mut checks = Checks::new("vm powercut");
    let [verifier, power_cuts] = programs::on_the_host()?;

    if record::run(args, &subjects, &verifier, &mut checks, &logs)? {
        for subject in subjects.iter().filter(|subject| !subject.disk.has_file_system()) {
            cut_raw(subject, &power_cuts, &mut checks, &logs);
        }
        let with_file_system: Vec<&Subject> = subjects.iter().filter(|one| one.disk.has_file_system()).collect();
        if !with_file_system.is_empty() && !checks.have_failed() {
            mounts::run(&with_file_system, &power_cuts, &mut checks, &logs)?;
        }
    }
    if checks.have_failed() {
        keep(&subjects, &logs, &mut checks);
    }
    checks.conclude(args.common.json.as_deref(), &logs)
}

/// Runs it on raw disks alone, with a hundred cuts: enough to find an early acknowledgement.
///
/// # Errors
/// As [`run`].
pub fn hundred_cuts(common: Common) -> Result<()> {
    run(&Args { cuts: 100, ops: 600, disks: vec![Disk::Raw], seed: 1, common })
}

/// The disks, each with its part of the cuts.
fn share_out(args: &Args, folder: &Path) -> Vec<Subject> {
    let whole: u32 = args.disks.iter().map(|disk| disk.share()).sum();
    let subject = |(disk, number): (&Disk, u32)| Subject {
        disk: *disk,
        cuts: (args.cuts * disk.share()).div_ceil(whole.max(1)),
        seed: args.seed.wrapping_mul(100).wrapping_add(number),
        folder: folder.to_owned(),
    };
    args.disks.iter().zip(0..).map(subject).collect()
}

/// How long the cuts of a raw disk may take: ten thousand took some minutes on a busy machine.
const RAW_LIMIT: Duration = Duration::from_secs(3600);

fn cut_raw(subject: &Subject, power_cuts: &Path, checks: &mut Checks, logs: &Path) {
    let name = subject.disk.name();
    checks.begin(&format!("{name}: cuts"));
    let log = logs.join(format!("cuts-{name}.log"));
    let ended = run_logged(&mut subject.power_cuts(power_cuts), &log, RAW_LIMIT);
    let said = last_line(&log);
    match ended {
        Ok(Ended::Exit(0)) => {
            checks.rename(&format!("{name}: {said}"));
            checks.end(None);
        }
        Ok(Ended::Exit(_)) => checks.end(Some(first_fault(&log).unwrap_or(said))),
        Ok(ended) => checks.end(Some(format!("power-cuts: {ended}"))),
        Err(error) => checks.end(Some(format!("{error:#}"))),
    }
}

fn last_line(file: &Path) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next_back().unwrap_or("nothing was said").to_owned()
}

fn first_fault(file: &Path) -> Option<String> {
    let text = std::fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.find("FAULTY: ").map(|start| text[start..].lines().collect::<Vec<_>>().join(" "))
}

/// Keeps what a failure is looked into with.
fn keep(subjects: &[Subject], logs: &Path, checks: &mut Checks) {
    for file in subjects.iter().flat_map(|subject| [subject.log(), subject.journal()]) {
        let Some(name) = file.file_name() else { continue };
        if let Err(error) = std::fs::copy(&file, logs.join(name)) {
            checks.say(&format!("{} is not kept: {error}", file.display()));
        }
    }
}

/// Waits until all children have ended well.
fn all_pass(loads: Vec<(String, xtask_common::process::Running, PathBuf)>, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    for (name, mut load, log) in loads {
        let ended = load.wait(deadline.saturating_duration_since(Instant::now()))?;
        if ended != Ended::Exit(0) {
            bail!("the verifier on {name}: {ended}: {}", last_line(&log));
        }
    }
    Ok(())
}

/// The fault that is put into the guest's target: the command before iesp's arguments, and the programs that it needs.
fn served_by(common: &Common) -> Result<(String, Vec<PathBuf>)> {
    let iesp = Common { plant: None, ..common.clone() }.iesp(Path::new(""))?;
    let name = iesp.file_name().context("iesp has no name")?.to_string_lossy().into_owned();
    let in_guest = format!("/vm/bin/{name}");
    let Some(plant) = common.plant else { return Ok((in_guest, vec![iesp])) };
    let faulty = faults::faulty_target()?;
    let command = format!("/vm/bin/faulty-target --iesp {in_guest} {} --", plant.switches().join(" "));
    Ok((command, vec![iesp, faulty]))
}

/// Whether this fault can be put into the target of this run.
fn can_be_planted(plant: Option<Plant>, disks: &[Disk]) -> Result<()> {
    if plant.is_some() && disks.iter().any(|disk| *disk != Disk::Raw) {
        bail!("a fault is put into a raw disk's target alone: --disks raw");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(cuts: u32, disks: &[Disk]) -> Args {
        Args { cuts, ops: 100, disks: disks.to_vec(), seed: 1, common: Common::default() }
    }

    #[test]
    fn the_cuts_are_shared_out_and_none_is_left_over() {
        let all = Disk::value_variants();
        for cuts in [10, 500, 10_000] {
            for disks in [all, &all[..1], &all[2..]] {
                let subjects = share_out(&args(cuts, disks), Path::new("/x"));
                assert!(subjects.iter().map(|one| one.cuts).sum::<u32>() >= cuts, "{cuts} {disks:?}");
                assert!(subjects.iter().all(|one| one.cuts > 0));
            }
        }
        let subjects = share_out(&args(500, all), Path::new("/x"));
        assert_eq!(subjects.iter().map(|one| one.cuts).collect::<Vec<_>>(), [260, 150, 30, 30, 30]);
    }

    #[test]
    fn a_fault_is_found_in_what_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "note\nFAULTY: cut 3\nFAULT lost-flushed-write\n").unwrap();
        assert_eq!(first_fault(&log).unwrap(), "FAULTY: cut 3 FAULT lost-flushed-write");
        assert_eq!(last_line(&log), "FAULT lost-flushed-write");
        assert_eq!(first_fault(&dir.path().join("none")), None);
    }
}
