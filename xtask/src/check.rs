//! `cargo xtask check …`: whether the server is right, as far as types go, on systems that this machine cannot run.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use xtask_common::cross::{Cargo, Target};
use xtask_common::target::{Launch, Served, sparse_image};
use xtask_common::workspace;

/// What `cargo xtask check` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// The systems
    #[arg(required = true, value_enum)]
    systems: Vec<System>,
    /// Build the standard library from Debian's source, though the toolchain has one for this system
    #[arg(long)]
    from_source: bool,
}

/// A system.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    /// FreeBSD on x86-64
    Freebsd,
    /// macOS on Apple's processors
    Macos,
    /// Windows on x86-64
    Windows,
    /// Linux without glibc
    Musl,
    /// This one, whichever it is: the server builds, the protocol's tests pass, and it serves
    Here,
}

/// Type checks the server.
///
/// # Errors
/// Where it does not pass, or the system's standard library is missing.
pub fn run(args: &Args) -> Result<()> {
    for system in &args.systems {
        let target = match system {
            System::Here => {
                here()?;
                continue;
            }
            System::Freebsd => Target::FreeBsd,
            System::Macos => Target::MacOs,
            System::Windows => Target::Windows,
            System::Musl => Target::Musl,
        };
        let cargo = Cargo::new(target, args.from_source)?;
        // What only Linux' parts use (io_uring, `iesp status`) is dead elsewhere.
        let flags = ["-Dwarnings", "-Adead_code"];
        cargo.check(&["check", "--package", "iesp", "--bin", "iesp"], &flags)?;
        // This program, too, runs there.
        cargo.check(&["check", "--package", "xtask", "--bin", "xtask"], &flags)?;
        println!("check: {}: the server and the xtask pass", cargo.describe());
    }
    Ok(())
}

/// What holds on every system, without any program that it may lack.
fn here() -> Result<()> {
    let crates = ["--package", "iesp-iscsi", "--package", "iesp-scsi", "--package", "iesp-session"];
    let tests = [&["test", "--quiet", "--locked"][..], &crates].concat();
    let status = workspace::cargo().args(&tests).stdin(Stdio::null()).status().context("cargo cannot be started")?;
    ensure!(status.success(), "`cargo {}` failed", tests.join(" "));
    let iesp = workspace::build_binary("iesp", "iesp", true)?;
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("disk.img");
    sparse_image(&image, 64 << 20)?;
    let launch =
        Launch { iesp: &iesp, image: &image, address: "127.0.0.1", arguments: &[], chap: None, dir: folder.path() };
    let served = Served::start(&launch)?;
    let connected = std::net::TcpStream::connect(served.portal()).map(drop);
    served.stop()?;
    connected.context("it does not take connections")?;
    println!("check: here: the protocol's tests pass, the server serves and stops");
    Ok(())
}
