//! `cargo xtask clients`: programs that people use, against `iesp`.

mod image;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask_common::checks::{Checks, chosen};
use xtask_common::process::{Ended, run_logged};
use xtask_common::target::{Chap, Launch, Served, TARGET_NAME, sparse_image};
use xtask_common::workspace;

/// What `cargo xtask clients` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Run only the checks whose name contains this
    #[arg(long, value_name = "PART")]
    filter: Option<String>,
    /// The iesp to test, instead of building it from this workspace
    #[arg(long, value_name = "PATH")]
    iesp: Option<PathBuf>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The seed of the image's data and holes
    #[arg(long, value_name = "NUMBER", default_value_t = 20_260_101)]
    seed: u64,
}

/// The size of the disks: 1 GiB.
const DISK_BYTES: u64 = 1 << 30;
/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(240);

/// How a disk is served.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// Arguments for `iesp`.
    iesp: &'static [&'static str],
    /// The address that it listens on.
    address: &'static str,
    /// Whether initiators log in with CHAP.
    chap: bool,
}

const PLAIN: Setting = Setting { iesp: &[], address: "127.0.0.1", chap: false };
const BLOCKS_OF_4096: Setting = Setting { iesp: &["--block-size", "4096"], ..PLAIN };
const WITH_CHAP: Setting = Setting { chap: true, ..PLAIN };
const IPV6: Setting = Setting { address: "::1", ..PLAIN };

/// A check: its name, how its disk is served, what it does.
type Check = (&'static str, Setting, fn(&Session<'_>) -> Result<()>);

const CHECKS: &[Check] = &[
    ("qemu-img gives back 1 GiB with holes, 512e", PLAIN, qemu_img_round_trip),
    ("qemu-img gives back 1 GiB with holes, 4096", BLOCKS_OF_4096, qemu_img_round_trip),
    ("qemu-img gives back 1 GiB with holes, CHAP", WITH_CHAP, qemu_img_round_trip),
    ("iscsi-ls finds the disk", PLAIN, iscsi_ls),
    ("iscsi-ls finds the disk, CHAP", WITH_CHAP, iscsi_ls),
    ("iscsi-ls finds the disk, IPv6", IPV6, iscsi_ls),
    ("iscsi-inq reads what the disk is", PLAIN, iscsi_inq),
    ("iscsi-readcapacity16 sees 512e", PLAIN, readcapacity_512e),
    ("iscsi-readcapacity16 sees 4096", BLOCKS_OF_4096, readcapacity_4096),
    ("iscsi-swp asks for write protection", PLAIN, iscsi_swp),
    ("iscsi-perf reads at random", PLAIN, iscsi_perf),
];

/// Runs the checks.
///
/// # Errors
/// When they cannot be run, or when one of them fails.
pub fn run(args: &Args) -> Result<()> {
    let iesp = match &args.iesp {
        Some(iesp) => iesp.canonicalize().with_context(|| format!("no {}", iesp.display()))?,
        None => workspace::build_binary("iesp", "iesp", true)?,
    };
    let mut checks = Checks::new("clients");
    let logs = workspace::build_dir().join("clients");
    for (number, (name, setting, check)) in chosen(CHECKS, |check| check.0, args.filter.as_deref())? {
        let dir = logs.join(format!("{number:02}"));
        let run = || run_check(&iesp, &dir, *setting, *check, args.seed).map(|()| String::new());
        if !checks.case(name, run) {
            checks.say(&format!("  again: cargo xtask clients --filter '{name}' --seed {}", args.seed));
        }
    }
    checks.conclude(args.json.as_deref(), &logs)
}

/// Runs one check in an empty folder, against a target of its own, and removes the folder when all was well.
fn run_check(
    iesp: &Path,
    dir: &Path,
    setting: Setting,
    check: fn(&Session<'_>) -> Result<()>,
    seed: u64,
) -> Result<()> {
    workspace::fresh_folder(dir)?;
    let image = dir.join("disk.img");
    sparse_image(&image, DISK_BYTES)?;
    image::soil(&image, DISK_BYTES)?;

    let chap = setting.chap.then(|| Chap { user: "tester".into(), secret: "fourteen-bytes".into() });
    let arguments: Vec<String> = setting.iesp.iter().map(|&argument| argument.to_owned()).collect();
    let address = setting.address;
    let launch = Launch { iesp, image: &image, address, arguments: &arguments, chap: chap.as_ref(), dir };
    let served = Served::start(&launch)?;
    let session = Session { served: &served, dir, chap: chap.as_ref(), seed };
    let checked = check(&session);
    let stopped = served.stop();
    checked?;
    stopped?;
    // What the target has acknowledged is in its file.
    let source = dir.join("source.img");
    if source.exists() {
        image::compare(&source, &image).context("the target's own file")?;
        ensure_sparse(&source, &image)?;
    }
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// What a check works with.
struct Session<'a> {
    served: &'a Served,
    dir: &'a Path,
    chap: Option<&'a Chap>,
    seed: u64,
}

impl Session<'_> {
    /// Runs a program to its end and answers with what it printed.
    fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let program_file = workspace::find_program(program)
            .with_context(|| format!("no {program} here: `cargo xtask setup` installs it"))?;
        let log = self.dir.join(format!("{program}.log"));
        let ended = run_logged(Command::new(program_file).args(arguments), &log, LIMIT)?;
        let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        if ended != Ended::Exit(0) {
            let shown = arguments.join(" ").replace(self.chap.map_or("\0", |chap| &chap.secret), "…");
            bail!("`{program} {shown}`: {ended}: {}", text.trim());
        }
        Ok(text)
    }

    /// The URL for discovery, credentials included.
    fn portal_url(&self) -> String {
        let mut url = "iscsi://".to_owned();
        if let Some(chap) = self.chap {
            let _ = write!(url, "{}%{}@", chap.user, chap.secret);
        }
        url + self.served.portal()
    }
}

fn qemu_img_round_trip(session: &Session<'_>) -> Result<()> {
    let (source, back) = (session.dir.join("source.img"), session.dir.join("back.img"));
    image::make(&source, session.seed, DISK_BYTES)?;
    let (from, to) = (path_text(&source)?, path_text(&back)?);
    let url = session.served.url();
    // -n: the disk is there already.
    session.output("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", from, url])?;
    session.output("qemu-img", &["compare", "-f", "raw", "-F", "raw", from, url])?;
    session.output("qemu-img", &["convert", "-f", "raw", "-O", "raw", url, to])?;
    image::compare(&source, &back).context("what qemu-img read back")
}

/// Holes that an initiator makes are holes in the target's file: with what was there before and is zero now.
fn ensure_sparse(source: &Path, image: &Path) -> Result<()> {
    let (wanted, taken) = (image::allocated(source)?, image::allocated(image)?);
    // Some room for the file system's own blocks and for zeroes too short to be punched out.
    let most = wanted + wanted / 4 + (8 << 20);
    ensure!(taken <= most, "the target's file takes {} MiB where its data has {} MiB", taken >> 20, wanted >> 20);
    Ok(())
}

fn iscsi_ls(session: &Session<'_>) -> Result<()> {
    let text = session.output("iscsi-ls", &["-s", &session.portal_url()])?;
    contains(&text, &format!("Target:{TARGET_NAME} Portal:{},1", session.served.portal()))?;
    contains(&text, "Type:DIRECT_ACCESS (Size:1")?;
    let luns = text.lines().filter(|line| line.starts_with("Lun:")).count();
    ensure!(luns == 1, "{luns} logical units instead of one: {}", text.trim());
    Ok(())
}

fn iscsi_inq(session: &Session<'_>) -> Result<()> {
    let url = session.served.url();
    let standard = session.output("iscsi-inq", &[url])?;
    contains(&standard, "Peripheral Device Type:DIRECT_ACCESS")?;
    contains(&standard, "Peripheral Qualifier:CONNECTED")?;
    let pages = session.output("iscsi-inq", &["-e", "1", "-c", "0", url])?;
    ["Page:0x00", "Page:0x80", "Page:0x83", "Page:0xb0", "Page:0xb1", "Page:0xb2"]
        .iter()
        .try_for_each(|page| contains(&pages, page))?;
    // The tool reads decimal numbers: 131 is page 83h, 176 is page b0h.
    let identification = session.output("iscsi-inq", &["-e", "1", "-c", "131", url])?;
    contains(&identification, "Designator Type:(3) NAA")?;
    let limits = session.output("iscsi-inq", &["-e", "1", "-c", "176", url])?;
    contains(&limits, "maximum unmap")
}

fn readcapacity_512e(session: &Session<'_>) -> Result<()> {
    readcapacity(session, 512, 3)
}

fn readcapacity_4096(session: &Session<'_>) -> Result<()> {
    readcapacity(session, 4096, 0)
}

fn readcapacity(session: &Session<'_>, block: u64, exponent: u32) -> Result<()> {
    let text = session.output("iscsi-readcapacity16", &[session.served.url()])?;
    contains(&text, &format!("RETURNED LOGICAL BLOCK ADDRESS:{}\n", DISK_BYTES / block - 1))?;
    contains(&text, &format!("LOGICAL BLOCK LENGTH IN BYTES:{block}\n"))?;
    contains(&text, &format!("LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT:{exponent}\n"))?;
    contains(&text, "LBPME:1 LBPRZ:1")?;
    contains(&text, &format!("Total size:{DISK_BYTES}\n"))
}

fn iscsi_swp(session: &Session<'_>) -> Result<()> {
    let url = session.served.url();
    contains(&session.output("iscsi-swp", &[url])?, "SWP:0")?;
    // Only asked for, not set: whether software write protection can be changed is the conformance run's business.
    Ok(())
}

fn iscsi_perf(session: &Session<'_>) -> Result<()> {
    let arguments = ["-m", "32", "-b", "8", "-t", "2", "-r", session.served.url()];
    let text = session.output("iscsi-perf", &arguments)?;
    let average = text.split(['\r', '\n']).filter_map(|line| line.trim().strip_prefix("iops average ")).next_back();
    let average = average.with_context(|| format!("iscsi-perf gives no average: {}", text.trim()))?;
    let iops: u64 = average.split_whitespace().next().unwrap_or_default().parse().context("iscsi-perf's average")?;
    ensure!(iops > 0, "iscsi-perf read nothing");
    Ok(())
}

fn contains(text: &str, wanted: &str) -> Result<()> {
    ensure!(text.contains(wanted), "no `{}` in: {}", wanted.trim(), text.trim());
    Ok(())
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (index, check) in CHECKS.iter().enumerate() {
            assert!(CHECKS[index + 1..].iter().all(|other| other.0 != check.0), "{}", check.0);
        }
    }

    #[test]
    fn what_is_missing_is_shown_with_what_is_there() {
        let error = contains("Lun:0 Type:TAPE", "DIRECT_ACCESS").unwrap_err().to_string();
        assert_eq!(error, "no `DIRECT_ACCESS` in: Lun:0 Type:TAPE");
    }
}
