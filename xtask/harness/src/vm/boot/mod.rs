//! `cargo xtask vm boot`: a guest without a disk boots from the target, writes a file, reboots and finds it.

mod disk;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_launcher::{Firmware, Machine, Network};
use xtask_common::checks::Checks;
use xtask_common::target::{Launch, Served, TARGET_NAME};

use super::Common;
use super::session;

/// What `cargo xtask vm boot` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Only with this firmware
    #[arg(long, value_enum)]
    firmware: Option<Kind>,
    #[command(flatten)]
    common: Common,
}

/// The firmware that boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// SeaBIOS
    Bios,
    /// OVMF
    Uefi,
}

/// Where distributions keep UEFI's firmware.
const OVMF: [&str; 4] = [
    "/usr/share/qemu/OVMF.fd",
    "/usr/share/ovmf/OVMF.fd",
    "/usr/share/edk2/ovmf/OVMF.fd",
    "/usr/share/edk2-ovmf/x64/OVMF.fd",
];
/// From the first word of one system to the last of the second, in software emulation on a busy machine.
const LIMIT: Duration = Duration::from_secs(420);
/// What the initiator says when iscsid drops the initramfs's connection to make its own.
const EXPECTED: &[&str] = &["detected conn error"];

/// Runs it, with one firmware after the other.
///
/// # Errors
/// When the run cannot be made, or the guest does not boot.
pub fn run(args: &Args) -> Result<()> {
    let logs = args.common.log_folder("boot")?;
    let iesp = args.common.iesp(&logs)?;
    let mut checks = Checks::new("vm boot");
    for kind in [Kind::Bios, Kind::Uefi] {
        if args.firmware.is_none_or(|only| only == kind) {
            boot(kind, &iesp, &mut checks, &logs)?;
        }
    }
    checks.conclude(args.common.json.as_deref(), &logs)
}

/// Runs it with SeaBIOS.
///
/// # Errors
/// As [`run`].
pub fn bios_alone(common: Common) -> Result<()> {
    run(&Args { firmware: Some(Kind::Bios), common })
}

fn boot(kind: Kind, iesp: &Path, checks: &mut Checks, logs: &Path) -> Result<()> {
    let name = if kind == Kind::Bios { "BIOS" } else { "UEFI" };
    let logs = logs.join(name.to_lowercase());
    std::fs::create_dir_all(&logs)?;
    let scratch = tempfile::tempdir()?;
    checks.part(name);
    checks.begin("make the disk");
    let image = scratch.path().join("disk.img");
    disk::make(&image, scratch.path())?;

    checks.begin("start the guest");
    let launch = Launch { iesp, image: &image, address: "127.0.0.1", arguments: &[], chap: None, dir: &logs };
    let served = Served::start(&launch)?;
    let port = served.portal().rsplit(':').next().context("iesp named no port")?.to_owned();
    let tftp = scratch.path().join("tftp");
    std::fs::create_dir(&tftp)?;
    std::fs::write(tftp.join("boot.ipxe"), script(&port))?;

    let mut network = Network::new("net0", 2);
    network.options.push(format!("tftp={},bootfile=boot.ipxe", tftp.display()));
    network.device_options.push("bootindex=1".to_owned());
    let machine = |accelerator| -> Result<Machine> {
        let machine = match kind {
            Kind::Bios => Machine::new(accelerator, Firmware::Bios),
            Kind::Uefi => Machine::new(accelerator, Firmware::Uefi).firmware_file(&ovmf()?),
        };
        Ok(machine.network(network.clone()).reset_ends(false))
    };
    let (guest, lines) = session::start(machine, checks, &logs)?;
    let mut boots = 0;
    session::conduct(guest, lines, checks, LIMIT, EXPECTED, |what, _| {
        ensure!(what == "first boot", "nobody here can {what}");
        boots += 1;
        ensure!(boots == 1, "the file of the first boot is gone");
        Ok(())
    })?;
    checks.check("iesp stops as it is asked to", served.stop());
    checks.check("the disk's file system", disk::check(&image));
    Ok(())
}

fn ovmf() -> Result<PathBuf> {
    let found = OVMF.iter().map(PathBuf::from).find(|file| file.exists());
    found.context("no OVMF.fd: install UEFI's firmware (Debian: ovmf), or use `--firmware bios`")
}

/// What iPXE does: boot from LUN 0, and say so when it cannot.
fn script(port: &str) -> String {
    format!(
        "#!ipxe\nset initiator-iqn {}\nsanboot iscsi:10.0.2.2::{port}:0:{TARGET_NAME} || echo ==SANBOOT-FAILED==\nexit 1\n",
        session::INITIATOR
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipxe_is_told_where_the_disk_is() {
        let script = script("4711");
        assert!(script.starts_with("#!ipxe\n"));
        assert!(script.contains(&format!("sanboot iscsi:10.0.2.2::4711:0:{TARGET_NAME} ||")), "{script}");
    }
}
