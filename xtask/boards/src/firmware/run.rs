//! `cargo xtask firmware run BOARD`: an emulated board with a card, until it is stopped or checked.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use qemu_launcher::{Board as Machine, Guest, Transport, Waited};
use xtask_common::process::last_lines;
use xtask_common::workspace;

use super::board::{BOARDS, Board, Emulator};
use super::services::Helpers;
use super::size::{Size, budget};
use super::{build, card, check, rp2040};

/// What `cargo xtask firmware run` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// The board
    board: String,
    /// Run the conformance tests and the verifier against it, then look at its card, sizes and stack
    #[arg(long)]
    check: bool,
    /// Leave out of --check the tests that move tens of megabytes
    #[arg(long, requires = "check")]
    quick: bool,
    /// The port of the loopback address; 0 is one that is free
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// The image of the card, made with a disk file where it is missing and kept; IT IS WRITTEN TO
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    card: Option<PathBuf>,
    /// The size of the disk's file on a fresh card, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    size: u64,
    /// Write the results of --check as JSON
    #[arg(long, value_name = "FILE", requires = "check")]
    json: Option<PathBuf>,
}

/// Ports on the board: iSCSI's, and SNMP's.
const PORT: u16 = 3260;
const SNMP: u16 = 161;
/// How long a board may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A board that serves.
#[derive(Debug)]
pub struct Running {
    /// QEMU.
    pub guest: Guest,
    /// Of LUN 0.
    pub url: String,
    /// Logs and the card.
    pub dir: PathBuf,
    /// The card.
    pub card: PathBuf,
    /// The program's size.
    pub size: Size,
    /// Where its SNMP agent is reached, where it has one.
    pub snmp: Option<u16>,
    /// The servers that its services use, with `--check`.
    pub helpers: Option<Helpers>,
}

/// Runs it.
///
/// # Errors
/// When the board is not one that QEMU emulates, does not build or start, or a check fails.
pub fn run(args: &Args) -> Result<()> {
    let board = Board::find(&args.board)?;
    if board.emulator == Emulator::Rp2040 {
        ensure!(
            args.check,
            "{0} is emulated without a network: `cargo xtask firmware run {0} --check` tries its card",
            board.name
        );
        return rp2040::check(board);
    }
    let budget = budget(board)?;
    let running = start(board, args)?;
    println!("{}", running.size.line(board.name, &budget));
    println!("{} serves {}", board.name, running.url);
    if let Some(port) = running.snmp {
        println!("its SNMP agent: 127.0.0.1:{port}, community public");
    }
    if args.check {
        return check::run(board, &budget, running, args.quick, args.json.as_deref());
    }
    println!("its card: {}", running.card.display());
    println!("its console follows; Ctrl-C ends it");
    follow(&running)
}

fn start(board: &Board, args: &Args) -> Result<Running> {
    let Emulator::Qemu { machine, memory_mib } = board.emulator else {
        let is_qemus = |one: &&Board| matches!(one.emulator, Emulator::Qemu { .. });
        let known: Vec<&str> = BOARDS.iter().filter(is_qemus).map(|one| one.name).collect();
        bail!("no emulator runs {}; QEMU runs {}", board.name, known.join(", "));
    };
    if workspace::find_program("qemu-system-arm").is_none() {
        bail!("no qemu-system-arm here: `cargo xtask setup` installs it");
    }
    let elf = build::build(board)?;
    let size = Size::of(&elf, board)?;
    let dir = workspace::build_dir().join("firmware").join(board.name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let helpers = if args.check && board.services { Some(Helpers::start(&dir)?) } else { None };
    let config = helpers.as_ref().map(Helpers::config);
    let card = match &args.card {
        Some(card) => {
            if !card.exists() {
                card::make(card, args.size << 20, None)?;
            }
            card.canonicalize().with_context(|| format!("no {}", card.display()))?
        }
        None => {
            let card = dir.join("card.img");
            card::make(&card, args.size << 20, config.as_deref())?;
            card
        }
    };
    let mut machine = Machine::arm(machine, &elf).card(&card).forward(Transport::Tcp, args.port, PORT);
    if let Some(memory) = memory_mib {
        machine = machine.memory_mib(memory);
    }
    if board.services {
        machine = machine.forward(Transport::Udp, 0, SNMP);
    }
    if let Some(helpers) = &helpers {
        machine = machine.capture(&helpers.capture);
    }
    let mut guest = machine.start(&dir)?;
    let line = guest.console().lines().find("serving on", Instant::now() + START_LIMIT);
    if !matches!(line, Waited::Line(_)) {
        bail!("{} does not serve ({line:?}): {}", board.name, last_lines(&dir.join("console.log"), 5).join(" | "));
    }
    if let Some(helpers) = &helpers {
        helpers.wait_for_announcement(&mut guest)?;
    }
    let port = guest.forwarded_port(Transport::Tcp, PORT)?.context("QEMU forwards no port")?;
    let snmp = guest.forwarded_port(Transport::Udp, SNMP)?;
    Ok(Running { guest, url: format!("iscsi://127.0.0.1:{port}/test/0"), dir, card, size, snmp, helpers })
}

/// Prints the board's console until QEMU ends.
fn follow(running: &Running) -> Result<()> {
    let mut lines = running.guest.console().lines();
    loop {
        match lines.next(Instant::now() + Duration::from_secs(3600)) {
            Waited::Line(line) => println!("  {line}"),
            Waited::TimedOut => {}
            Waited::Closed => bail!("QEMU has ended: {}", running.guest.said()),
        }
    }
}

/// What a board said that it should not: a panic, or a start that was not the first.
pub fn trouble_in(console: &Path) -> Option<String> {
    let text = std::fs::read(console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let panicked = text.lines().find(|line| line.contains("panicked at"));
    let starts = text.lines().filter(|line| line.starts_with("stage 1:")).count();
    match (panicked, starts) {
        (Some(line), _) => Some(format!("the board panicked: {}", line.trim())),
        (None, 2..) => Some(format!("the board started {starts} times")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_a_second_start_are_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("console.log");
        let trouble = |text: &str| {
            std::fs::write(&file, text).unwrap();
            trouble_in(&file)
        };
        assert_eq!(trouble("stage 1: Start\r\nstage 6: Serving\r\n"), None);
        assert_eq!(trouble("stage 1: Start\nstage 1: Start\n"), Some("the board started 2 times".into()));
        assert!(trouble("panicked at src/main.rs:3\n").unwrap().contains("panicked"));
    }
}
