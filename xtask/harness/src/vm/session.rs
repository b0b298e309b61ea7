//! A run: a guest with its scripts, its words on the second serial line, and its end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use qemu_launcher::{Accelerator, Firmware, Guest, Lines, Machine, Network, Verdict, Waited};
use xtask_common::checks::Checks;
use xtask_common::target::TARGET_NAME;
use xtask_common::workspace;

use super::image::{self, Tree};
use super::kernel_log;

/// How long the guest may take until its script's first word, where the processor runs it.
const KVM_HELLO: Duration = Duration::from_secs(30);
/// The same in software emulation, on a machine with other work.
const TCG_HELLO: Duration = Duration::from_secs(180);
/// From the last word to the end of QEMU.
const END_LIMIT: Duration = Duration::from_secs(60);
/// What the scripts' words to the host begin with.
const WORD: &str = "vm: ";
const LAST_WORD: &str = "vm: verdict passed";
/// The guest's two networks: the names of their cards, and of the host in them.
pub const NETWORKS: [(&str, &str); 2] = [("net0", "10.0.2.2"), ("net1", "10.0.3.2")];
/// The initiator's name.
pub const INITIATOR: &str = "iqn.2026-01.io.github.iesp:guest";

/// What all guests have from `ci/guest`: in the guest, here, and the permission bits.
const SCRIPTS: &[(&str, &str, u32)] = &[
    ("init", "init", 0o755),
    ("vm/lib.sh", "lib.sh", 0o644),
    ("vm/load.sh", "load.sh", 0o644),
    ("vm/disks.sh", "disks.sh", 0o644),
    ("vm/fsx.toml", "fsx.toml", 0o644),
    ("etc/iscsi/iscsid.conf", "iscsid.conf", 0o600),
    ("etc/multipath.conf", "multipath.conf", 0o644),
    ("etc/passwd", "passwd", 0o644),
    ("etc/group", "group", 0o644),
];

/// What to run in a guest.
#[derive(Clone, Debug, Default)]
pub struct Run<'a> {
    /// The script, below `ci/guest`.
    pub script: &'static str,
    /// The ports on the host's loopback address that its two networks lead to.
    pub ports: [u16; 2],
    /// Programs for `/vm/bin`.
    pub programs: Vec<PathBuf>,
    /// Variables for the scripts.
    pub variables: Vec<(&'static str, String)>,
    /// How long it may take from the script's first word to its last.
    pub limit: Duration,
    /// What the kernel may complain of in this run.
    pub expected: &'a [&'a str],
    /// More arguments for QEMU.
    pub arguments: Vec<String>,
    /// TCP ports of the guest that ports of the host's loopback address lead to ([`Guest::forwarded_port`]).
    pub forwarded: Vec<u16>,
}

/// Makes the folder of a run's logs anew.
///
/// # Errors
/// When it cannot be made.
pub fn log_folder(run: &str) -> Result<PathBuf> {
    let dir = workspace::build_dir().join("vm").join(run);
    workspace::fresh_folder(&dir)?;
    Ok(dir)
}

/// Runs a guest to its end. `answer` does what the guest's script asks for; what it fails at, the guest is told.
///
/// # Errors
/// When the guest cannot be made or started. What it found is in `checks`.
pub fn run(
    run: &Run<'_>,
    checks: &mut Checks,
    logs: &Path,
    answer: impl FnMut(&str, &mut Guest) -> Result<()>,
) -> Result<()> {
    let image = image::prepare()?;
    let scratch = tempfile::tempdir()?;
    let initramfs = scratch.path().join("initramfs");
    image::with_overlay(&image, &overlay(run)?, &initramfs)?;

    checks.begin("start the guest");
    let machine = |accelerator| -> Result<Machine> {
        let command_line = "console=ttyS0 panic=-1 net.ifnames=0 rdinit=/init";
        let machine = Machine::new(accelerator, Firmware::Bios).kernel(&image.kernel, &initramfs, command_line);
        let machine = run.arguments.iter().fold(machine, |machine, argument| machine.argument(argument));
        NETWORKS.iter().zip(2..).try_fold(machine, |machine, ((name, _), subnet)| {
            let mut network = Network::new(name, subnet);
            // No boot ROM: nothing is booted from the network here.
            network.device_options.push("romfile=".to_owned());
            if subnet == 2 {
                let forward = |port: &u16| format!("hostfwd=tcp:127.0.0.1:0-:{port}");
                network.options.extend(run.forwarded.iter().map(forward));
            }
            Ok(machine.network(network))
        })
    };
    let (guest, lines) = start(machine, checks, logs)?;
    conduct(guest, lines, checks, run.limit, run.expected, answer)
}

/// Follows a guest from its first word to its end. `answer` does what the guest's script asks for; `expected` is what the
/// kernel may complain of.
///
/// # Errors
/// When the guest's end cannot be seen. What it found is in `checks`.
pub fn conduct(
    mut guest: Guest,
    mut lines: Lines,
    checks: &mut Checks,
    limit: Duration,
    expected: &[&str],
    mut answer: impl FnMut(&str, &mut Guest) -> Result<()>,
) -> Result<()> {
    let failure = follow(&mut guest, &mut lines, checks, Instant::now() + limit, &mut answer);
    let failed = failure.is_some();
    checks.end(failure);
    let console = guest.console().lines();
    let verdict = guest.conclude(LAST_WORD, Instant::now() + END_LIMIT)?;
    // A run that has failed ends as it likes.
    let end = if verdict == Verdict::Passed || failed { Ok(()) } else { Err(anyhow::anyhow!("{verdict}")) };
    checks.check("the guest's end", end);
    checks.check("the kernel's log", judge_kernel(console, expected));
    Ok(())
}

fn overlay(run: &Run<'_>) -> Result<Tree> {
    let folder = workspace::root().join("ci/guest");
    let mut tree = Tree::default();
    for (path, source, mode) in SCRIPTS.iter().copied().chain([("vm/run.sh", run.script, 0o644)]) {
        let source = folder.join(source);
        let data = std::fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        tree.add_file(path, mode, data);
    }
    for program in &run.programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let data = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        tree.add_file(&format!("vm/bin/{name}"), 0o755, data);
    }
    let portals: Vec<String> =
        NETWORKS.iter().zip(run.ports).map(|((_, host), port)| format!("{host}:{port}")).collect();
    let shared = [
        ("TARGET", TARGET_NAME.to_owned()),
        ("INITIATOR", INITIATOR.to_owned()),
        ("PORTALS", portals.join(" ")),
        ("LUNS", "0 1".to_owned()),
        ("MODULES", String::new()),
        ("VERIFIER_OPTIONS", String::new()),
    ];
    let lines: String =
        shared.iter().chain(&run.variables).map(|(name, value)| format!("{name}='{value}'\n")).collect();
    tree.add_file("vm/run.conf", 0o644, lines);
    Ok(tree)
}

/// Starts the guest, with KVM where that works, and waits for its script's first word.
///
/// # Errors
/// When QEMU does not start, or the guest says nothing.
pub fn start(machine: impl Fn(Accelerator) -> Result<Machine>, checks: &Checks, logs: &Path) -> Result<(Guest, Lines)> {
    let likely = Accelerator::likely();
    let tries: &[(Accelerator, Duration)] = match likely {
        Accelerator::Kvm => &[(Accelerator::Kvm, KVM_HELLO), (Accelerator::Tcg, TCG_HELLO)],
        Accelerator::Tcg => &[(Accelerator::Tcg, TCG_HELLO)],
    };
    for (accelerator, limit) in tries.iter().copied() {
        checks.say(&format!("QEMU, {accelerator}"));
        let guest = machine(accelerator)?.start(logs)?;
        let mut lines = guest.report().lines();
        match lines.find("vm: hello", Instant::now() + limit) {
            Waited::Line(_) => return Ok((guest, lines)),
            Waited::TimedOut => checks.say(&format!("no word from the guest for {} s", limit.as_secs())),
            Waited::Closed => checks.say(&format!("QEMU ended: {}", guest.said())),
        }
    }
    bail!("the guest does not start; its console is in {}", logs.join("console.log").display());
}

/// Follows the guest's words to the last one. Answers with why it failed, if it did.
fn follow(
    guest: &mut Guest,
    lines: &mut Lines,
    checks: &mut Checks,
    deadline: Instant,
    answer: &mut impl FnMut(&str, &mut Guest) -> Result<()>,
) -> Option<String> {
    loop {
        let line = match lines.next(deadline) {
            Waited::Line(line) => line,
            Waited::TimedOut => return Some("the run takes too long".to_owned()),
            Waited::Closed => return Some("the guest ended before it was done".to_owned()),
        };
        // Firmware may have left a line without an end before it.
        let Some((_, words)) = line.split_once(WORD) else { continue };
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "step" => checks.begin(rest),
            "note" => checks.say(&format!("  {rest}")),
            "ask" | "poll" => {
                if word == "ask" {
                    checks.say(&format!("  {rest}"));
                }
                let done = match answer(rest, guest) {
                    Ok(()) => "done".to_owned(),
                    Err(error) => format!("{error:#}").replace('\n', " "),
                };
                if guest.report().send(&done).is_err() {
                    return Some("the guest ended while it waited for an answer".to_owned());
                }
            }
            "fail" => return Some(rest.to_owned()),
            "hello" => checks.say("  the guest is up"),
            "verdict" => return None,
            _ => checks.say(&format!("  {words}")),
        }
    }
}

fn judge_kernel(mut console: Lines, expected: &[&str]) -> Result<()> {
    let mut lines = Vec::new();
    while let Waited::Line(line) = console.next(Instant::now()) {
        lines.push(line);
    }
    let complaints = kernel_log::complaints(&lines, expected);
    if let Some(first) = complaints.first() {
        bail!("{} complaints, first: {first}", complaints.len());
    }
    Ok(())
}
