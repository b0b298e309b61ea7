//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const USAGE: &str = "iesp-simulator --card <FILE> [OPTIONS]\n       iesp-simulator card make <FILE> [OPTIONS]";

/// Runs iESP's firmware on a simulated board, whose SD card is an image file.
///
/// The signal USR1 takes the card out, and puts it back; so does the key `c` on the screen.
#[derive(Parser)]
#[command(name = "iesp-simulator", version, args_conflicts_with_subcommands = true, override_usage = USAGE)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: Run,
}

#[derive(Subcommand)]
pub enum Command {
    /// Card images.
    #[command(subcommand)]
    Card(CardCommand),
}

#[derive(Subcommand)]
pub enum CardCommand {
    /// Makes a card: exFAT, with a disk's file in one piece.
    Make(Make),
    /// Is the card of another emulator: bytes of its bus by standard input and output.
    Serve {
        /// The image; it is written to.
        image: PathBuf,
    },
}

#[derive(Args)]
pub struct Make {
    /// The image, made as a sparse file; what is there already is not touched.
    pub image: PathBuf,
    /// Size of the card in gigabytes (10^9 bytes), as cards are sold: 4 to 2000.
    #[arg(long, value_name = "GB", default_value_t = 8, value_parser = clap::value_parser!(u64).range(4..=2000))]
    pub gigabytes: u64,
    /// Size of the disk in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=4_194_304))]
    pub disk: u64,
    /// Name of the disk's file.
    #[arg(long, value_name = "NAME", default_value = "test.dat")]
    pub name: String,
    /// A configuration to be put beside it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Partition table.
    #[arg(long, value_enum, default_value_t = TableKind::Mbr)]
    pub table: TableKind,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum TableKind {
    None,
    Mbr,
    Gpt,
}

#[derive(Args)]
pub struct Run {
    /// Image of the card; `card make FILE` makes one.
    #[arg(long, value_name = "FILE")]
    pub card: Option<PathBuf>,
    /// Address and port for initiators.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3260", value_parser = address)]
    pub listen: SocketAddr,
    /// Address and port for SNMP, where the board has the memory to answer it.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub snmp: Option<SocketAddr>,
    /// The board's memory.
    #[arg(long, value_enum, default_value_t = SizeKind::Large)]
    pub size: SizeKind,
    /// `cfg-iESP.json` on the board's flash; one on the card wins.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Lines of text rather than a screen, as where there is no terminal.
    #[arg(long)]
    pub plain: bool,
    /// Writes the frames of the network to a capture file, for tcpdump and Wireshark.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// What is random is decided by this: faults, the network's troubles, the board's random source.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Faults of the card: of a million commands and blocks, how many meet each of the rarest kinds of fault (200 is a poor card).
    #[arg(long, value_name = "PER-MILLION", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub faults: u32,
    /// The network: a good wire, or a radio on a bad day.
    #[arg(long, value_enum, default_value_t = WeatherKind::Fair)]
    pub weather: WeatherKind,
    /// The card: as they are sold today, or one that waits as little as possible.
    #[arg(long, value_enum, default_value_t = TimingKind::Usual)]
    pub timing: TimingKind,
    /// Highest clock of the card's bus, in MHz.
    #[arg(long, value_name = "MHZ", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub spi_mhz: u32,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum SizeKind {
    Small,
    Large,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum TimingKind {
    Usual,
    Quick,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum WeatherKind {
    Fair,
    Foul,
}

/// An address or a name, with a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("{error}; it is written like 127.0.0.1:3260"))?;
    let mut found: Vec<SocketAddr> = found.collect();
    // What a board knows of addresses is IPv4.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| "there is no such address".to_owned())
}
