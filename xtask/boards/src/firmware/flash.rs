//! `cargo xtask firmware flash BOARD`: builds the program and brings it onto the board that is connected, by the tool that the
//! board's profile (`ci/boards`) names.

use anyhow::{Context, Result, bail};
use xtask_common::workspace;

use super::board::{Board, Emulator};
use crate::board::{Board as Bench, Profile};

/// What `cargo xtask firmware flash` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// The board; `cargo xtask firmware list` names them
    board: String,
    /// The serial port, in place of the profile's
    #[arg(long, value_name = "DEVICE")]
    serial: Option<String>,
}

/// Flashes a board.
///
/// # Errors
/// When there is no such board, nothing to flash it with, or the tool fails.
pub fn run(args: &Args) -> Result<()> {
    let board = Board::find(&args.board)?;
    if matches!(board.emulator, Emulator::Qemu { .. }) {
        bail!("{0} is a machine of QEMU's: `cargo xtask firmware run {0}` starts it with its program", board.name);
    }
    let mut profile = Profile::find(board.name, &workspace::root().join("ci/boards"))?;
    if let Some(port) = &args.serial {
        profile.serial.port = Some(port.clone());
    }
    let dir = workspace::build_dir().join("firmware").join(board.name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let done = Bench::new(profile, &dir)?.flash(&dir.join("flash.log"))?;
    println!("{}: flashed ({done}); its serial console tells the address", board.name);
    Ok(())
}
