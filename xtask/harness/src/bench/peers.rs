//! The servers that are compared, each started on a free port of the loopback address and ended by its id.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use xtask_common::process::{Running, last_lines, run_logged};
use xtask_common::target::{Launch, Served, TARGET_NAME};
use xtask_common::workspace::{build_binary, find_program};

use super::istgt;
use crate::nbd_server as nbd;

/// How long a server may take until it serves, and an administration command until it is done.
const LIMIT: Duration = Duration::from_secs(20);

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// This project's server
    Iesp,
    /// The same before nbdkit, which has the file
    IespNbd,
    /// Debian's tgt with parameters that suit it
    Tgt,
    /// Debian's tgt as it comes: 8 KiB segments, every write solicited
    TgtDefault,
    /// Debian's istgt with large segments; it knows no writes without an R2T
    Istgt,
    /// The least that a target can do
    Yardstick,
}

/// What makes tgt fast: large segments, and writes that need no R2T.
const TGT_TUNING: &[(&str, &str)] = &[
    ("MaxRecvDataSegmentLength", "262144"),
    ("MaxXmitDataSegmentLength", "262144"),
    ("FirstBurstLength", "262144"),
    ("MaxBurstLength", "1048576"),
    ("InitialR2T", "No"),
    ("MaxOutstandingR2T", "8"),
];

impl Peer {
    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Iesp => "iesp",
            Peer::IespNbd => "iesp on NBD",
            Peer::Tgt => "tgt tuned",
            Peer::TgtDefault => "tgt default",
            Peer::Istgt => "istgt",
            Peer::Yardstick => "yardstick",
        }
    }

    /// Builds or finds the program.
    ///
    /// # Errors
    /// It does not build, or is not installed.
    pub fn program(self) -> Result<PathBuf> {
        match self {
            Peer::Iesp | Peer::IespNbd => build_binary("iesp", "iesp", true),
            Peer::Yardstick => build_binary("iesp-testkit", "yardstick", true),
            Peer::Tgt | Peer::TgtDefault => find_program("tgtd")
                .context("tgtd is not installed: run `cargo xtask setup`, or leave it out by --servers"),
            Peer::Istgt => find_program("istgt").context(
                "istgt is not installed (Debian: istgt): run `cargo xtask setup`, or leave it out by --servers",
            ),
        }
    }
}

/// A server that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// The URL of the disk.
    pub url: String,
}

#[derive(Debug)]
enum Process {
    Own(Running),
    Iesp(Served),
    Proxy(Served, nbd::Server),
}

impl Server {
    /// Starts a server on a disk image; `dir` is a folder of its own for sockets and logs.
    ///
    /// # Errors
    /// It does not start, or does not serve in time.
    pub fn start(peer: Peer, program: &Path, image: &Path, dir: &Path) -> Result<Self> {
        match peer {
            Peer::Iesp => iesp(program, image, dir, &[]),
            Peer::IespNbd => iesp_on_nbd(program, image, dir),
            Peer::Yardstick => yardstick(program, image, dir),
            Peer::Tgt => tgt(program, image, dir, TGT_TUNING),
            Peer::TgtDefault => tgt(program, image, dir, &[]),
            Peer::Istgt => {
                istgt::start(program, image, dir).map(|(process, url)| Server { process: Process::Own(process), url })
            }
        }
        .with_context(|| format!("{} cannot be measured", peer.name()))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        match &self.process {
            Process::Own(process) => process.id(),
            Process::Iesp(served) | Process::Proxy(served, _) => served.id(),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// It died before, or did not end as asked.
    pub fn stop(self) -> Result<()> {
        match self.process {
            Process::Iesp(served) => served.stop(),
            Process::Proxy(served, mut server) => {
                served.stop()?;
                server.kill()
            }
            Process::Own(mut process) => match process.ended()? {
                // The others know no clean end: they are killed, by their id, when dropped.
                None => Ok(()),
                Some(ended) => bail!("it died while it was measured ({ended})"),
            },
        }
    }
}

fn iesp_on_nbd(program: &Path, image: &Path, dir: &Path) -> Result<Server> {
    let server = nbd::Server::start(nbd::Kind::Nbdkit, image, &dir.join("nbdkit.log"))?;
    let Server { process, url } = iesp(program, Path::new(&server.url()), dir, &nbd::Server::arguments())?;
    let process = match process {
        Process::Iesp(served) => Process::Proxy(served, server),
        other => other,
    };
    Ok(Server { process, url })
}

fn iesp(program: &Path, image: &Path, dir: &Path, arguments: &[String]) -> Result<Server> {
    let launch = Launch { iesp: program, image, address: "127.0.0.1", arguments, chap: None, dir };
    let served = Served::start(&launch)?;
    Ok(Server { url: served.url().to_owned(), process: Process::Iesp(served) })
}

fn yardstick(program: &Path, image: &Path, dir: &Path) -> Result<Server> {
    let mut command = Command::new(program);
    command.arg("--file").arg(image).args(["--target", TARGET_NAME]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Running::start(command.stderr(File::create(dir.join("stderr.log"))?))?;
    let mut line = String::new();
    BufReader::new(process.take_stdout().context("it has no standard output")?).read_line(&mut line)?;
    let address = line.trim().strip_prefix("listening on ").with_context(|| {
        format!("it does not say where it listens: {}", last_lines(&dir.join("stderr.log"), 3).join(" | "))
    })?;
    Ok(Server { url: format!("iscsi://{address}/{TARGET_NAME}/0"), process: Process::Own(process) })
}

fn tgt(program: &Path, image: &Path, dir: &Path, tuning: &[(&str, &str)]) -> Result<Server> {
    let tgtadm = find_program("tgtadm").context("tgtadm is not installed: run `cargo xtask setup`")?;
    // The control port is a number in the name of the socket, which is in a folder of its own.
    let socket = dir.join("tgt.socket");
    let port = free_port()?;
    let log = dir.join("tgtd.log");
    let mut command = Command::new(program);
    command.args(["-f", "-C", "1", "--iscsi", &format!("portal=127.0.0.1:{port}")]);
    command.env("TGT_IPC_SOCKET", &socket).stdin(Stdio::null());
    let output = File::create(&log)?;
    let mut process = Running::start(command.stderr(output.try_clone()?).stdout(output))?;
    until_listening(port, &mut process, &log)?;
    let admin = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(&tgtadm);
        command.args(["-C", "1", "--lld", "iscsi", "--mode"]).args(arguments).env("TGT_IPC_SOCKET", &socket);
        let log = dir.join("tgtadm.log");
        let ended = run_logged(&mut command, &log, LIMIT)?;
        if ended != xtask_common::process::Ended::Exit(0) {
            bail!("tgtadm {} ended with {ended}: {}", arguments.join(" "), last_lines(&log, 3).join(" | "));
        }
        Ok(())
    };
    admin(&["target", "--op", "new", "--tid", "1", "--targetname", TARGET_NAME])?;
    for (key, value) in tuning {
        admin(&["target", "--op", "update", "--tid", "1", "-n", key, "-v", value])?;
    }
    let image = image.to_str().context("the image's path is not UTF-8")?;
    admin(&["logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "--backing-store", image])?;
    admin(&["target", "--op", "bind", "--tid", "1", "--initiator-address", "127.0.0.1"])?;
    Ok(Server { url: format!("iscsi://127.0.0.1:{port}/{TARGET_NAME}/1"), process: Process::Own(process) })
}

/// A port that was free a moment ago: tgt cannot choose one and say which.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub(super) fn until_listening(port: u16, process: &mut Running, log: &Path) -> Result<()> {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(ended) = process.ended()? {
            bail!("it does not serve ({ended}): {}", last_lines(log, 3).join(" | "));
        }
        if start.elapsed() > LIMIT {
            bail!("nothing listens on port {port} after {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
