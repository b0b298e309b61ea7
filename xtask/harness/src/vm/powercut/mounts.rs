//! The second guest: it mounts the file systems of disks whose power was cut.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use xtask_common::checks::Checks;
use xtask_common::process::Running;

use super::super::session::{self, Run};
use super::{IMAGE_BYTES, Subject};

/// How long a mount with all that belongs to it may take on a busy machine.
const MOUNT: Duration = Duration::from_secs(5);
/// Beside the mounts, in software emulation.
const AROUND: Duration = Duration::from_secs(240);

/// What the kernel says of a file system that was not unmounted.
const EXPECTED: &[&str] = &["JBD2: recovery", "EXT4-fs warning (device vda): ext4_update_dynamic_rev"];

/// Runs it.
///
/// # Errors
/// When the guest cannot be made or started. What it found is in `checks`.
pub fn run(subjects: &[&Subject], power_cuts: &Path, checks: &mut Checks, logs: &Path) -> Result<()> {
    // A socket's name has room for 107 bytes.
    let sockets = tempfile::tempdir()?;
    let mut makers = BTreeMap::new();
    for subject in subjects {
        makers.insert(subject.disk.name(), Maker::start(subject, power_cuts, sockets.path(), logs)?);
    }
    let mut summaries = Vec::new();
    let cuts = subjects.iter().map(|subject| subject.cuts).max().unwrap_or_default();
    let run = Run {
        script: "powercut-mount.sh",
        variables: vec![
            ("MODULES", "virtio_blk xfs btrfs".to_owned()),
            ("CUTS", cuts.to_string()),
            ("FILE_SYSTEMS", subjects.iter().map(|subject| subject.disk.name()).collect::<Vec<_>>().join(" ")),
        ],
        limit: MOUNT * cuts * subjects.len() as u32 + AROUND,
        expected: EXPECTED,
        arguments: subjects.iter().flat_map(|subject| disks(subject, sockets.path())).collect(),
        ..Run::default()
    };
    let logs = logs.join("mounts");
    std::fs::create_dir_all(&logs)?;
    session::run(&run, checks, &logs, |what, _| {
        let (word, name) = what.split_once(' ').with_context(|| what.to_owned())?;
        let maker = makers.get_mut(name).with_context(|| format!("there is no {name}"))?;
        let answer = maker.ask(word)?;
        match word {
            "check" if answer != "held" => bail!("{answer}"),
            "summary" => summaries.push(format!("{name}: {answer}")),
            _ => {}
        }
        Ok(())
    })?;
    summaries.iter().for_each(|summary| checks.check(summary, Ok(())));
    Ok(())
}

/// Two virtio disks: the one whose power was cut, and one for the image that was found on it.
fn disks(subject: &Subject, sockets: &Path) -> Vec<String> {
    let (name, sector) = (subject.disk.name(), subject.disk.sector());
    let disk = |node: String, socket: &str, sector: u32| {
        let path = sockets.join(name).join(socket);
        let blockdev = json!({ "driver": "nbd", "node-name": node, "server": { "type": "unix", "path": path } });
        let device = format!(
            "virtio-blk-pci,drive={node},serial={node},logical_block_size={sector},physical_block_size={sector}"
        );
        ["-blockdev".to_owned(), blockdev.to_string(), "-device".to_owned(), device]
    };
    [disk(name.to_owned(), "disk", sector), disk(format!("{name}-copy"), "image", 512)].concat()
}

/// `power-cuts`, led by the guest's words.
struct Maker {
    _process: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Maker {
    fn start(subject: &Subject, power_cuts: &Path, sockets: &Path, logs: &Path) -> Result<Self> {
        let folder = sockets.join(subject.disk.name());
        std::fs::create_dir(&folder)?;
        let log = logs.join(format!("cuts-{}.log", subject.disk.name()));
        let mut command = subject.power_cuts(power_cuts);
        command.arg("--serve").arg(&folder).args(["--image-size", &IMAGE_BYTES.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(log)?);
        let mut process = Running::start(&mut command)?;
        let input = process.take_stdin().context("power-cuts has no standard input")?;
        let output = process.take_stdout().context("power-cuts has no standard output")?;
        let mut maker = Maker { _process: process, input, output: BufReader::new(output) };
        // It answers when its sockets are there.
        maker.ask("summary")?;
        Ok(maker)
    }

    fn ask(&mut self, word: &str) -> Result<String> {
        writeln!(self.input, "{word}").context("power-cuts has ended")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        if answer.is_empty() {
            bail!("power-cuts has ended: see its log");
        }
        Ok(answer.trim_end().to_owned())
    }
}
