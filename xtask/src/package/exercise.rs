//! Login, read, write, verify: by the programs that people use.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask_common::process::{Ended, run_logged};
use xtask_common::workspace;

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program to its end and answers with what it printed; its log stays in `folder`.
///
/// # Errors
/// When it is not there, or ends with something else than 0.
pub fn output(folder: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let file = workspace::find_program(program)
        .with_context(|| format!("no {program} here: `cargo xtask setup` installs it"))?;
    logged(folder, program, Command::new(file).args(arguments))
}

/// The same for a command of one's own; `name` is for its log and for people.
///
/// # Errors
/// When it ends with something else than 0: with what it said.
pub fn logged(folder: &Path, name: &str, command: &mut Command) -> Result<String> {
    let log = folder.join(format!("{name}.log"));
    let ended = run_logged(command, &log, LIMIT)?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    if ended != Ended::Exit(0) {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("`{name} {}`: {ended}: {}", arguments.join(" "), text.trim());
    }
    Ok(text)
}

/// Finds the target and its disk of `bytes`, and reads a block.
///
/// # Errors
/// What is not as it should be.
pub fn find(folder: &Path, portal: &str, url: &str, bytes: u64) -> Result<()> {
    let listed = output(folder, "iscsi-ls", &["-s", &format!("iscsi://{portal}")])?;
    ensure!(listed.contains("Type:DIRECT_ACCESS"), "iscsi-ls sees no disk: {}", listed.trim());
    let capacity = output(folder, "iscsi-readcapacity16", &[url])?;
    ensure!(capacity.contains(&format!("Total size:{bytes}\n")), "not {bytes} bytes: {}", capacity.trim());
    qemu_io(folder, url, &["read 0 4k"])
}

/// Where [`write()`] writes, how much, and what: offset, bytes, value.
const PATTERNS: [(u64, usize, u8); 3] = [(0, 4096, 0x5a), ((1 << 20) + 512, 65536, 0xa5), (63 << 20, 1 << 20, 0x3c)];

/// Writes at several places, unmaps another, flushes; and sees all of it. The disk has 64 MiB at least.
///
/// # Errors
/// What is not as it should be.
pub fn write(folder: &Path, url: &str) -> Result<()> {
    let writes = PATTERNS.map(|(offset, len, value)| format!("write -P {value} {offset} {len}"));
    let mut commands: Vec<&str> = writes.iter().map(String::as_str).collect();
    commands.extend(["write -P 0x77 32M 1M", "flush", "discard 32M 1M", "write -z 33M 64k", "flush"]);
    qemu_io(folder, url, &commands)?;
    verify(folder, url)
}

/// Sees what [`write()`] left, in another session.
///
/// # Errors
/// What is not as it should be.
pub fn verify(folder: &Path, url: &str) -> Result<()> {
    let reads = PATTERNS.map(|(offset, len, value)| format!("read -P {value} {offset} {len}"));
    let mut commands: Vec<&str> = reads.iter().map(String::as_str).collect();
    commands.extend(["read -P 0 32M 1M", "read -P 0 33M 64k", "read -P 0 4k 4k"]);
    qemu_io(folder, url, &commands)
}

/// Sees what [`write()`] left in the image itself.
///
/// # Errors
/// What is not as it should be.
pub fn verify_image(image: &Path) -> Result<()> {
    let file = std::fs::File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
    for (offset, len, value) in PATTERNS {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, offset)?;
        ensure!(bytes.iter().all(|byte| *byte == value), "the image has something else at {offset}");
    }
    Ok(())
}

fn qemu_io(folder: &Path, url: &str, commands: &[&str]) -> Result<()> {
    let mut arguments = vec!["-f", "raw"];
    commands.iter().for_each(|command| arguments.extend(["-c", command]));
    arguments.push(url);
    let text = output(folder, "qemu-io", &arguments)?;
    // A pattern that is not there is told, and counted in the exit code by some versions only.
    ensure!(!text.contains("failed") && !text.contains("error"), "qemu-io: {}", text.trim());
    Ok(())
}
