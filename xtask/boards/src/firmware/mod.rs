//! `cargo xtask firmware …`: the program of a board: built for its processor, measured, and run where QEMU can.

mod board;
mod build;
mod card;
mod check;
mod flash;
mod image;
mod rp2040;
mod run;
mod services;
mod size;

use anyhow::{Result, bail};
use clap::Subcommand;
use xtask_common::toolchain::Toolchain;

use board::{BOARDS, Board};

/// What `cargo xtask firmware` can do.
#[derive(Subcommand, Debug, Clone)]
pub enum Task {
    /// Say which boards there are
    List,
    /// Build a board's program, and what its tool takes: build/firmware/BOARD.elf, .uf2, .bin
    Build(One),
    /// Build a board's program, and bring it onto the board that is connected
    Flash(flash::Args),
    /// Build the programs, say how much flash and RAM they take, and hold it against ci/firmware.toml
    Size(Several),
    /// Have the compiler and clippy check the programs without linking them: a warning is an error
    Typecheck(Several),
    /// Run a board in QEMU, reachable at a port of the loopback address
    Run(run::Args),
}

/// One board.
#[derive(clap::Args, Debug, Clone)]
pub struct One {
    /// The board; `cargo xtask firmware list` names them
    board: String,
}

/// Some boards.
#[derive(clap::Args, Debug, Clone)]
pub struct Several {
    /// The boards; all without
    boards: Vec<String>,
}

/// Does it.
///
/// # Errors
/// When there is no such board, no compiler for it, or what it did is not what it should be.
pub fn run(task: &Task) -> Result<()> {
    match task {
        Task::List => {
            for board in BOARDS {
                println!("{:16} {}", board.name, board.about);
            }
            Ok(())
        }
        Task::Build(one) => {
            let board = Board::find(&one.board)?;
            println!("{}", build::output(board, &build::build(board)?)?.display());
            Ok(())
        }
        Task::Flash(args) => flash::run(args),
        Task::Size(several) => each(&several.boards, |board| {
            let elf = build::build(board)?;
            build::output(board, &elf)?;
            let size = size::Size::of(&elf, board)?;
            let budget = size::budget(board)?;
            println!("{}", size.line(board.name, &budget));
            size.check(board.name, &budget)
        }),
        Task::Typecheck(several) => each(&several.boards, build::typecheck),
        Task::Run(args) => run::run(args),
    }
}

/// Does something with each of the boards, all that can be built without names; goes on after a failure.
fn each(names: &[String], mut what: impl FnMut(&Board) -> Result<()>) -> Result<()> {
    let boards: Vec<&Board> = if names.is_empty() {
        BOARDS.iter().collect()
    } else {
        names.iter().map(|name| Board::find(name)).collect::<Result<_>>()?
    };
    let mut failed = Vec::new();
    for board in &boards {
        if let (true, Err(error)) = (names.is_empty() && board.is_elsewhere(), Toolchain::find(board.target)) {
            println!("{}: left out: {error:#}", board.name);
            continue;
        }
        if let Err(error) = what(board) {
            println!("{}: FAILED: {error:#}", board.name);
            failed.push(board.name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("{} of {} boards failed: {}", failed.len(), boards.len(), failed.join(", "))
    }
}
