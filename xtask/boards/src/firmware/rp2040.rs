//! The path to the card of a board with an RP2040, and its place in flash, on an emulated one: npm's rp2040js runs the program, and the
//! simulator's card, which is strict about the protocol, is on its SPI wires. The chip's WiFi is emulated by nobody.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask_common::process::{Ended, Running, last_lines, run_logged};
use xtask_common::workspace::{self, find_program};

use super::board::Board;
use super::{build, image};

/// The emulator and its version.
const PACKAGE: &str = "rp2040js@1.4.1";
/// How long the board may take, in seconds of its own time and of the PC's.
const BOARD_SECONDS: &str = "20";
const LIMIT: Duration = Duration::from_secs(600);
/// Bytes of the card.
const CARD_BYTES: u64 = 4 << 30;
/// Where the program writes, and how many bytes (pico-w-card.rs).
const FIRST: u64 = 4096 * 512;
const LENGTH: usize = 8 * 512;

/// Runs the program that tries the card.
///
/// # Errors
/// When something is missing, or the card is not as the program should have left it.
pub fn check(board: &Board) -> Result<()> {
    let node = find_program("node").context("no node here: `cargo xtask setup --full` installs it")?;
    let emulator = emulator()?;
    let elf = build::program(board, &format!("{}-card", board.name))?;
    let dir = workspace::build_dir().join("firmware").join(board.name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let (_, flash) = image::flat(&std::fs::read(elf)?)?;
    let (flash_file, script, card_file) = (dir.join("flash.bin"), dir.join("rp2040.cjs"), dir.join("card.img"));
    std::fs::write(&flash_file, flash)?;
    std::fs::write(&script, include_str!("rp2040.cjs"))?;
    let image = File::options().read(true).write(true).create(true).truncate(true).open(&card_file)?;
    image.set_len(CARD_BYTES)?;

    let simulator = workspace::build_binary("iesp-simulator", "iesp-simulator", false)?;
    let (to_card, from_chip) = std::io::pipe()?;
    let (to_chip, from_card) = std::io::pipe()?;
    let (console, card_log) = (dir.join("console.log"), dir.join("card.log"));
    let mut command = Command::new(simulator);
    command.args(["card", "serve"]).arg(&card_file).stdin(to_card).stdout(from_card).stderr(File::create(&card_log)?);
    let mut card = Running::start(&mut command)?;
    drop(command);
    let mut command = Command::new(node);
    command.arg(&script).arg(emulator).arg(&flash_file).arg(BOARD_SECONDS);
    command.stdin(to_chip).stdout(from_chip).stderr(File::create(&console)?);
    let mut chip = Running::start(&mut command)?;
    drop(command);
    let ended = chip.wait(LIMIT)?;
    let said = || last_lines(&console, 3).join(" | ");
    ensure!(ended == Ended::Exit(0), "{} on an emulated RP2040 ({ended}): {}", board.name, said());
    // The chip's end of the wires is closed: the card says what it thinks of the protocol.
    let ended = card.wait(Duration::from_secs(20))?;
    ensure!(ended == Ended::Exit(0), "the card ({ended}): {}", last_lines(&card_log, 3).join(" | "));
    ensure!(written(&image)? == expected(), "the card does not hold what the board said that it wrote");
    last_lines(&console, 5).iter().for_each(|line| println!("  {line}"));
    println!("  {}", last_lines(&card_log, 1).join(""));
    println!("{}: the path to the card and the flash work on an emulated RP2040", board.name);
    Ok(())
}

/// The emulator's folder: in the user's cache folder, installed once.
fn emulator() -> Result<PathBuf> {
    let folder = workspace::cache_folder("tools")?.join(PACKAGE.replace('@', "-"));
    let package = folder.join("node_modules/rp2040js");
    if !package.join("package.json").is_file() {
        let npm = find_program("npm").context("no npm here: `cargo xtask setup --full` installs it")?;
        std::fs::create_dir_all(&folder)?;
        let log = folder.join("npm.log");
        let mut command = Command::new(npm);
        command.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&folder).arg(PACKAGE);
        let ended = run_logged(command.stdin(Stdio::null()), &log, LIMIT)?;
        if ended != Ended::Exit(0) {
            bail!("`npm install {PACKAGE}` ({ended}): {}", last_lines(&log, 3).join(" | "));
        }
    }
    Ok(package)
}

fn written(image: &File) -> Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH];
    image.read_exact_at(&mut bytes, FIRST)?;
    Ok(bytes)
}

/// What the program writes: the same numbers.
fn expected() -> Vec<u8> {
    let mut number = 1_u32;
    let mut next = || {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (number >> 24) as u8
    };
    (0..LENGTH).map(|_| next()).collect()
}
