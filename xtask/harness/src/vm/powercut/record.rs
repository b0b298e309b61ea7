//! The first guest: it serves disks that QEMU logs, and the verifier loads them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use qemu_launcher::{Guest, Transport};
use serde_json::json;
use xtask_common::checks::Checks;
use xtask_common::process::Running;
use xtask_common::target::{TARGET_NAME, sparse_image};

use super::super::session::{self, Run};
use super::{Args, Disk, IMAGE_BYTES, Subject};

/// The port of the target in the guest, and of the one with `--direct`.
const PORTS: [u16; 2] = [3260, 3261];
/// Beside the load, in software emulation on a busy machine.
const AROUND: Duration = Duration::from_secs(420);
/// How many operations a second are expected at least.
const SLOWEST: u32 = 5;

/// Runs it. Whether there are logs to cut; what went wrong is in `checks`.
///
/// # Errors
/// When the guest cannot be made or started.
pub fn run(args: &Args, subjects: &[Subject], verifier: &Path, checks: &mut Checks, logs: &Path) -> Result<bool> {
    super::can_be_planted(args.common.plant, &args.disks)?;
    let (command, programs) = super::served_by(&args.common)?;
    for subject in subjects {
        sparse_image(&subject.image(), subject.disk.bytes())?;
        std::fs::write(subject.log(), [])?;
    }
    let names = |wanted: &dyn Fn(Disk) -> bool| {
        let names = subjects.iter().filter(|subject| wanted(subject.disk)).map(|subject| subject.disk.name());
        names.collect::<Vec<_>>().join(" ")
    };
    let load_limit = Duration::from_secs(u64::from(args.ops / SLOWEST) + 60);
    let run = Run {
        script: "powercut.sh",
        programs,
        variables: vec![
            ("MODULES", "virtio_blk xfs btrfs".to_owned()),
            ("IESP", command),
            // There are only raw disks where a fault stands between iesp and them: nothing is made.
            ("CREATE", if args.common.plant.is_some() { String::new() } else { format!("--create {IMAGE_BYTES}") }),
            ("FILE_SYSTEMS", names(&Disk::has_file_system)),
            ("CACHED", names(&|disk| disk != Disk::RawDirect)),
            ("DIRECT", names(&|disk| disk == Disk::RawDirect)),
        ],
        limit: load_limit + AROUND,
        arguments: subjects.iter().flat_map(logged_disk).collect(),
        forwarded: PORTS.to_vec(),
        ..Run::default()
    };
    session::run(&run, checks, logs, |what, guest| {
        if what != "load" {
            bail!("nobody here can {what}");
        }
        load(args, subjects, verifier, guest, load_limit, logs)
    })?;
    Ok(!checks.have_failed())
}

/// A virtio disk of the guest whose requests are logged.
fn logged_disk(subject: &Subject) -> [String; 4] {
    let (name, sector) = (subject.disk.name(), subject.disk.sector());
    let node = json!({
        "driver": "blklogwrites", "node-name": name, "discard": "unmap", "log-sector-size": sector,
        "file": { "driver": "file", "filename": subject.image(), "discard": "unmap" },
        "log": { "driver": "file", "filename": subject.log() },
    });
    let device =
        format!("virtio-blk-pci,drive={name},serial={name},logical_block_size={sector},physical_block_size={sector}");
    ["-blockdev".to_owned(), node.to_string(), "-device".to_owned(), device]
}

/// Loads all disks at once, each with a verifier of its own.
fn load(
    args: &Args,
    subjects: &[Subject],
    verifier: &Path,
    guest: &mut Guest,
    limit: Duration,
    logs: &Path,
) -> Result<()> {
    let mut next_lun = [0, 0];
    let mut loads: Vec<(String, Running, PathBuf)> = Vec::new();
    for subject in subjects {
        let which = usize::from(subject.disk == Disk::RawDirect);
        let port = guest.forwarded_port(Transport::Tcp, PORTS[which])?;
        let port = port.with_context(|| format!("QEMU does not forward port {}", PORTS[which]))?;
        let name = subject.disk.name().to_owned();
        let log = logs.join(format!("load-{name}.log"));
        let out = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(verifier);
        command.args(["-d", &format!("iscsi://127.0.0.1:{port}/{TARGET_NAME}/{}", next_lun[which])]);
        command.args("-b 4096 -n 3 -m 8 -u 60 -T 8 --flush-percent 6 --fua-percent 15".split(' '));
        command.args(["--ops", &args.ops.to_string(), "--seed", &subject.seed.to_string()]);
        command.args(["--yes-destroy-data", "--quiet"]).arg("--log-dir").arg(logs);
        command.arg("--journal").arg(subject.journal()).arg("--block-log").arg(subject.log());
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        loads.push((name, Running::start(&mut command)?, log));
        next_lun[which] += 1;
    }
    super::all_pass(loads, limit)
}
