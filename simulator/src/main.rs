//! A simulated board on a PC: its disk can be reached by any initiator.

mod screen;
mod wires;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand, ValueEnum};
use embassy_futures::join::join;
use iesp_firmware::config::Config;
use iesp_simulator::board::{self, Setup, SimPanel, Size};
use iesp_simulator::card::{Card, Faults, Model, SparseFile, Timing};
use iesp_simulator::datagrams::Datagrams;
use iesp_simulator::gateway::Gateway;
use iesp_simulator::host;
use iesp_simulator::image::{FileSpec, Table, format};
use iesp_simulator::network::{Pcap, Port, Weather, Wire};
use iesp_simulator::slot::Slot;
use iesp_simulator::time::{Pace, Tasks, sleep_until_us};
use signal_hook::consts::{SIGINT, SIGTERM};

/// RFC 3417 3.2.
const SNMP_PORT: u16 = 161;

/// Runs iESP's firmware on a simulated board, whose SD card is an image file.
#[derive(Parser)]
#[command(name = "iesp-simulator", version, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Card images.
    #[command(subcommand)]
    Card(CardCommand),
}

#[derive(Subcommand)]
enum CardCommand {
    /// Makes a card: exFAT, with a disk's file in one piece.
    Make(Make),
    /// Is the card of another emulator: bytes of its bus by standard input and output.
    Serve {
        /// The image; it is written to.
        image: PathBuf,
    },
}

#[derive(Args)]
struct Make {
    /// The image, made as a sparse file; what is there already is not touched.
    image: PathBuf,
    /// Size of the card in gigabytes (10^9 bytes), as cards are sold: 4 to 2000.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(4..=2000))]
    gigabytes: u64,
    /// Size of the disk in MiB.
    #[arg(long, default_value_t = 1024)]
    disk: u64,
    /// Name of the disk's file.
    #[arg(long, default_value = "test.dat")]
    name: String,
    /// A configuration to be put beside it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Partition table.
    #[arg(long, value_enum, default_value_t = TableKind::Mbr)]
    table: TableKind,
}

#[derive(Clone, Copy, ValueEnum)]
enum TableKind {
    None,
    Mbr,
    Gpt,
}

#[derive(Args)]
struct Run {
    /// Image of the card (see `card make`).
    #[arg(long, required = true)]
    card: Option<PathBuf>,
    /// Address and port for initiators.
    #[arg(long, default_value = "127.0.0.1:3260")]
    listen: SocketAddr,
    /// Address and port for SNMP, where the board has the memory to answer it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    snmp: Option<SocketAddr>,
    /// The board's memory.
    #[arg(long, value_enum, default_value_t = SizeKind::Large)]
    size: SizeKind,
    /// `cfg-iESP.json` on the board's flash; one on the card wins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Lines of text rather than a screen.
    #[arg(long)]
    plain: bool,
    /// Writes the frames of the network to a capture file.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// What is random is decided by this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Of a million occasions, how many go wrong with the card for each of the rarest kinds of fault.
    #[arg(long, default_value_t = 0)]
    faults: u32,
    /// The network: a good wire, or a radio on a bad day.
    #[arg(long, value_enum, default_value_t = WeatherKind::Fair)]
    weather: WeatherKind,
    /// The card: as they are sold today, or one that waits as little as possible.
    #[arg(long, value_enum, default_value_t = TimingKind::Usual)]
    timing: TimingKind,
    /// Highest clock of the card's bus, in MHz.
    #[arg(long, default_value_t = 50)]
    spi_mhz: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum SizeKind {
    Small,
    Large,
}

#[derive(Clone, Copy, ValueEnum)]
enum TimingKind {
    Usual,
    Quick,
}

#[derive(Clone, Copy, ValueEnum)]
enum WeatherKind {
    Fair,
    Foul,
}

/// The board's configuration on its flash; and, where it says nothing else, what discovery tells: initiators know the gateway.
fn configuration(file: Option<&Path>, reach: SocketAddr) -> Result<&'static [u8], String> {
    let mut values = serde_json::Map::new();
    if let Some(path) = file {
        let text = read(path)?;
        Config::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        values = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    values.entry("portal").or_insert_with(|| reach.to_string().into());
    let text = serde_json::Value::from(values).to_string().into_bytes();
    Config::parse(&text).map_err(|error| error.to_string())?;
    Ok(Box::leak(text.into_boxed_slice()))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Card(CardCommand::Make(make))) => make_card(&make),
        Some(Command::Card(CardCommand::Serve { image })) => wires::serve(&image),
        None => run(cli.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("iesp-simulator: {text}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn make_card(make: &Make) -> Result<(), String> {
    let path = &make.image;
    if path.exists() {
        return Err(format!("{}: there is a file already: remove it, or choose another name", path.display()));
    }
    let model = Model::of(make.gigabytes);
    let mut files = vec![FileSpec::disk(&make.name, make.disk << 20)];
    if let Some(config) = &make.config {
        let text = read(config)?;
        Config::parse(&text).map_err(|error| format!("{}: {error}", config.display()))?;
        let len = text.len() as u64;
        files.push(FileSpec { name: iesp_firmware::config::FILE.into(), start: text, len });
    }
    let table = match make.table {
        TableKind::None => Table::None,
        TableKind::Mbr => Table::Mbr,
        TableKind::Gpt => Table::Gpt,
    };
    let mut medium = SparseFile::open(path, model.blocks).map_err(|error| format!("{}: {error}", path.display()))?;
    format(&mut medium, model.erased, model.blocks, table, &files).map_err(|error| {
        // Nothing of it is of use.
        let _ = std::fs::remove_file(path);
        error.to_string()
    })?;
    println!("{}: a card of {} GB, {} of {} MiB", path.display(), make.gigabytes, make.name, make.disk);
    Ok(())
}

fn run(run: Run) -> Result<(), String> {
    let path = run.card.as_deref().ok_or("which card? --card FILE (iesp-simulator card make FILE makes one)")?;
    let len = std::fs::metadata(path)
        .map_err(|error| format!("{}: {error} (iesp-simulator card make FILE makes one)", path.display()))?
        .len();
    let model = Model { blocks: len / 512 / 1024 * 1024, ..Model::of(4) };
    if model.blocks == 0 || len % 512 != 0 {
        return Err(format!("{}: no image of a card: {len} bytes", path.display()));
    }
    let medium = SparseFile::open(path, len / 512).map_err(|error| format!("{}: {error}", path.display()))?;
    let gateway = Gateway::listen(run.listen).map_err(|error| format!("{}: {error}", run.listen))?;
    if run.snmp.is_some() && matches!(run.size, SizeKind::Small) {
        return Err("--snmp: a small board has no memory for it: --size large has".into());
    }
    let snmp =
        run.snmp.map(|address| Datagrams::listen(address, SNMP_PORT).map_err(|error| format!("{address}: {error}")));
    let snmp = snmp.transpose()?;
    let config = configuration(run.config.as_deref(), gateway.address())?;
    let timing = match run.timing {
        TimingKind::Usual => Timing::usual(),
        TimingKind::Quick => Timing::quick(),
    };
    let card = Card::new(model, timing, Box::new(medium), Faults::new(run.seed, run.faults));
    let slot = Slot::in_shared_time(card, run.spi_mhz.saturating_mul(1_000_000));
    let weather = match run.weather {
        WeatherKind::Fair => Weather::FAIR,
        WeatherKind::Foul => Weather::FOUL,
    };
    let wire = Wire::new([board::MAC, host::MAC], weather, run.seed);
    if let Some(path) = &run.pcap {
        let pcap = Pcap::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        wire.borrow_mut().capture(pcap);
    }
    let size = match run.size {
        SizeKind::Small => Size::Small,
        SizeKind::Large => Size::Large,
    };
    let panel = SimPanel::default();
    let setup = Setup { size, config: Some(config), seed: run.seed, ..Setup::default() };
    let mut tasks = Tasks::new();
    tasks.spawn(board::run(setup, slot.clone(), Port::new(&wire, 0), panel.clone()));
    let port = Port::new(&wire, 1);
    let (seed, reach) = (run.seed, gateway.address());
    tasks.spawn(host::run(port, seed, async move |stack| {
        let datagrams = async {
            if let Some(snmp) = &snmp {
                snmp.run(stack).await;
            }
        };
        join(gateway.run(stack), datagrams).await;
    }));
    let url = Config::parse(config).map(|config| format!("iscsi://{reach}/{}/0", config.target_name));
    let url = url.map_err(|error| error.to_string())?;
    if run.plain {
        println!("initiators reach the board at {url}");
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| format!("signals: {error}"))?;
        }
        let panel = panel.clone();
        tasks.spawn(async move {
            let mut told = 0;
            loop {
                told = print_lines(&panel, told);
                sleep_until_us(iesp_simulator::time::now_us() + 50_000).await;
            }
        });
        tasks.run(Pace::Real, u64::MAX, || stop.load(Ordering::Relaxed));
        drop(tasks);
    } else {
        screen::run(tasks, &panel, &slot, &Rc::clone(&wire), &url).map_err(|error| format!("the screen: {error}"))?;
    }
    let broken = slot.with_card(|card| card.violations().to_vec());
    match broken.first() {
        Some(first) => Err(format!("the board broke {} rules of the SD protocol, the first: {first:?}", broken.len())),
        None => Ok(()),
    }
}

/// Prints the console's lines from number `from` on; the number of the next.
fn print_lines(panel: &SimPanel, from: usize) -> usize {
    let state = panel.0.borrow();
    let first = state.count - state.lines.len();
    for (at, line) in state.lines.iter().skip(from.saturating_sub(first)) {
        println!("{:10.3} {line}", *at as f64 / 1e6);
    }
    // Whoever closed the pipe is not waited for.
    let _ = std::io::stdout().flush();
    state.count
}
