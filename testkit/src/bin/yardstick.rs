//! `yardstick`: the least that an iSCSI target can do, to measure real ones against. See `iesp_testkit::yardstick`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use iesp_testkit::yardstick::{Disk, Yardstick};

/// A bare iSCSI server as the lower bound of what a target costs.
///
/// It checks nothing, keeps no promise about the data, and listens on loopback addresses only. Never use it for data
/// that anyone needs: it exists to be measured.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// File to read and write; best on tmpfs.
    #[arg(short, long)]
    file: PathBuf,
    /// Address to listen on; port 0 for any. The address is printed when it listens.
    #[arg(short, long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// iSCSI name of the target.
    #[arg(short, long, default_value = "iqn.2024-01.org.example:yardstick")]
    target: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let disk = match Disk::open(&args.file) {
        Ok(disk) => disk,
        Err(error) => return refuse(&format!("{}: {error}", args.file.display())),
    };
    let yardstick = match Yardstick::bind(args.listen, disk, &args.target) {
        Ok(yardstick) => yardstick,
        Err(error) => return refuse(&format!("{}: {error}", args.listen)),
    };
    let result = yardstick.address().and_then(|address| {
        writeln!(std::io::stdout(), "listening on {address}")?;
        yardstick.serve()
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("yardstick: {error}");
            ExitCode::from(1)
        }
    }
}

fn refuse(reason: &str) -> ExitCode {
    eprintln!("yardstick: {reason}");
    ExitCode::from(2)
}
