//! Disks on a card: `simulator` runs the boards' firmware, each time as a board that was just switched on.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask_common::target::{Served, TARGET_NAME};
use xtask_common::workspace::find_program;

use super::config::Disk;

/// Makes a card with a disk, and starts a board with it.
///
/// # Errors
/// When the card cannot be made, or the board does not serve it.
pub fn serve(simulator: &Path, disk: &Disk, card: &Path, dir: &Path) -> Result<Served> {
    let mut make = Command::new(simulator);
    // A volume without a partition table before it is what fsck.exfat takes.
    make.args(["card", "make", "--gigabytes", "4", "--table", "none", "--disk", &disk.size_mib.to_string()]).arg(card);
    succeed(make)?;
    let mut values = serde_json::Value::Object(disk.config.clone());
    values["target-name"] = TARGET_NAME.into();
    if let Some(chap) = &disk.chap {
        values["chap-user"] = chap.user.as_str().into();
        values["chap-secret"] = chap.secret.as_str().into();
    }
    let config = dir.join("cfg-iESP.json");
    std::fs::write(&config, values.to_string()).with_context(|| format!("cannot write {}", config.display()))?;
    let mut command = Command::new(simulator);
    command.args(["--plain", "--listen", "127.0.0.1:0", "--timing", "quick", "--config"]).arg(config);
    command.arg("--card").arg(card).args(&disk.simulator);
    Served::run(command, disk.chap.as_ref(), dir)
}

/// Whether the card's file system is as it was.
///
/// # Errors
/// What `fsck.exfat` finds.
pub fn check(card: &Path) -> Result<()> {
    let fsck = find_program("fsck.exfat").context("fsck.exfat is not there; cargo xtask setup installs it")?;
    let mut command = Command::new(fsck);
    command.arg("-n").arg(card);
    succeed(command)
}

fn succeed(mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        let words = [output.stdout, output.stderr].concat();
        bail!("{}: {}", command.get_program().display(), String::from_utf8_lossy(&words).trim());
    }
    Ok(())
}
