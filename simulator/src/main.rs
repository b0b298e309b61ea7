//! A simulated board on a PC: its disk can be reached by any initiator.

mod options;
mod plain;
mod screen;
mod wires;

use std::fs::Metadata;
use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use embassy_futures::join::join;
use iesp_firmware::board::Panel;
use iesp_firmware::config::Config;
use iesp_simulator::board::{self, Setup, SimPanel, Size};
use iesp_simulator::card::{BLOCK, Card, Faults, Model, SparseFile, Timing};
use iesp_simulator::datagrams::Datagrams;
use iesp_simulator::gateway::Gateway;
use iesp_simulator::host;
use iesp_simulator::image::{FileSpec, Table, format};
use iesp_simulator::network::{Pcap, Port, SharedWire, Weather, Wire};
use iesp_simulator::slot::Slot;
use iesp_simulator::time::Tasks;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::options::{CardCommand, Cli, Command, Make, Run, SizeKind, TableKind, TimingKind, WeatherKind};

/// RFC 3417 3.2.
const SNMP_PORT: u16 = 161;

/// A board's configuration has room for so many bytes of a portal: an IPv4 address and a port.
const LONGEST_PORTAL: usize = 21;

/// The board's configuration on its flash; and, where it says nothing else, what discovery tells: initiators know the gateway.
fn configuration(file: Option<&Path>, reach: SocketAddr) -> Result<&'static [u8], String> {
    let mut values = serde_json::Map::new();
    if let Some(path) = file {
        let text = read(path)?;
        Config::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        values = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let reach = reach.to_string();
    // A longer one, of IPv6, is not for a board: its own is told then.
    if reach.len() <= LONGEST_PORTAL {
        values.entry("portal").or_insert_with(|| reach.into());
    }
    let text = serde_json::Value::from(values).to_string().into_bytes();
    Config::parse(&text).map_err(|error| error.to_string())?;
    Ok(Box::leak(text.into_boxed_slice()))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Card(CardCommand::Make(make))) => make_card(&make),
        Some(Command::Card(CardCommand::Serve { image })) => wires::serve(&image),
        None if cli.run.card.is_none() => {
            let text = "which card? --card FILE names its image; `iesp-simulator card make FILE` makes one";
            Cli::command().error(ErrorKind::MissingRequiredArgument, text).exit()
        }
        None => run(&cli.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("iesp-simulator: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Where the gateway is reached; one that listens on every address by the one that this machine sends from.
fn reached(listener: SocketAddr) -> SocketAddr {
    if !listener.ip().is_unspecified() {
        return listener;
    }
    // Nothing is sent: the system only chooses the way. The addresses are for documentation (RFC 5737, RFC 3849).
    let (from, to, itself) = match listener {
        SocketAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9", Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9", Ipv6Addr::LOCALHOST.into()),
    };
    let way = UdpSocket::bind(from).and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()));
    SocketAddr::new(way.map_or(itself, |own| own.ip()), listener.port())
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
    let (name, mut out) = (path.display(), std::io::stdout());
    // Whoever has closed the pipe does not want to know.
    let _ = writeln!(out, "{name}: a card of {} GB, {} of {} MiB", make.gigabytes, make.name, make.disk)
        .and_then(|()| writeln!(out, "next: iesp-simulator --card {name}"));
    Ok(())
}

/// Opens the image of a card; how many blocks it has.
fn open_card(path: &Path) -> Result<(SparseFile, u64), String> {
    let advice = "`iesp-simulator card make FILE` makes one";
    let told = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{}: there is no such card: {advice}", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    let len = std::fs::metadata(path).as_ref().map(Metadata::len).map_err(|error| told(error.kind().into()))?;
    // SD 5.3.3: the size in units of 512 KiB.
    let blocks = len / BLOCK as u64 / 1024 * 1024;
    if !path.is_file() || blocks == 0 || len % BLOCK as u64 != 0 || u32::try_from(blocks).is_err() {
        return Err(format!("{}: no image of a card: {advice}", path.display()));
    }
    Ok((SparseFile::open(path, len / BLOCK as u64).map_err(told)?, blocks))
}

fn run(run: &Run) -> Result<(), String> {
    let (medium, blocks) = open_card(run.card.as_deref().unwrap_or(Path::new("")))?;
    let model = Model { blocks, ..Model::of(4) };
    let busy = |option: &str, address: SocketAddr, error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("{address} is in use: --{option} ADDRESS:PORT takes another"),
        _ => format!("{address}: {error}"),
    };
    let gateway = Gateway::listen(run.listen).map_err(|error| busy("listen", run.listen, error))?;
    if run.snmp.is_some() && matches!(run.size, SizeKind::Small) {
        return Err("--snmp: a small board has no memory for it: --size large has".into());
    }
    let snmp = run
        .snmp
        .map(|address| Datagrams::listen(address, SNMP_PORT).map_err(|error| busy("snmp", address, error)))
        .transpose()?;
    let reach = reached(gateway.address());
    let config = configuration(run.config.as_deref(), reach)?;
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
    let seed = run.seed;
    tasks.spawn(host::run(port, seed, async move |stack| {
        let datagrams = async {
            if let Some(snmp) = &snmp {
                snmp.run(stack).await;
            }
        };
        join(gateway.run(stack), datagrams).await;
    }));
    let target = Config::parse(config).map_err(|error| error.to_string())?.target_name.as_str().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| format!("signals: {error}"))?;
    }
    let turn = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGUSR1, Arc::clone(&turn)).map_err(|error| format!("signals: {error}"))?;
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let view = View { panel, slot: slot.clone(), wire, reach, target, seed, turn };
    if run.plain || !is_terminal {
        plain::run(tasks, &view, &stop);
    } else {
        screen::run(tasks, &view, &stop).map_err(|error| format!("the screen: {error}"))?;
    }
    let broken = slot.with_card(|card| card.violations().to_vec());
    match broken.first() {
        Some(first) => Err(format!("the board broke {} rules of the SD protocol, the first: {first:?}", broken.len())),
        None => Ok(()),
    }
}

/// What is shown of a board.
struct View {
    panel: SimPanel,
    slot: Slot,
    wire: SharedWire,
    /// Where initiators reach it.
    reach: SocketAddr,
    /// The target's name, unless the card says another.
    target: String,
    seed: u64,
    /// The card is to be taken out, or put back.
    turn: Arc<AtomicBool>,
}

impl View {
    /// What initiators have to enter: once it serves, what it serves.
    fn url(&self) -> String {
        let state = self.panel.0.borrow();
        let served = |line: &str| Some(line.split_once(": serving on ")?.1.split_once(", target ")?.1.to_owned());
        let target = state.lines.iter().rev().find_map(|(_, line)| served(line)).unwrap_or_else(|| self.target.clone());
        format!("iscsi://{}/{target}/0", self.reach)
    }

    /// Takes the card out or puts it back, where that was asked for.
    fn see_to_card(&self) {
        if !self.turn.swap(false, Ordering::Relaxed) {
            return;
        }
        let now = self.slot.now_us();
        let is_there = self.slot.with_card(|card| {
            if card.is_there() {
                card.remove(now)
            } else {
                card.insert()
            }
            card.is_there()
        });
        let what = if is_there { "put back" } else { "taken out" };
        self.panel.clone().line(format_args!("(the card was {what} by you)"));
    }

    /// What card and network counted, in lines of at most 78 columns.
    fn counters(&self) -> [String; 3] {
        let (card, last) = self.slot.with_card(|card| {
            let counters = card.counters();
            let (read, written, broken) = (counters.blocks_read, counters.blocks_written, card.violations().len());
            let faults = card.faults().log();
            let last = match faults.last() {
                Some((at, fault)) => {
                    let (count, seconds) = (faults.len(), *at as f64 / 1e6);
                    format!("faults: {count} by seed {}, the last {fault:?} at {seconds:.1} s", self.seed)
                }
                None => "faults: none".to_owned(),
            };
            (format!("card: {read} blocks read, {written} written, {broken} rules broken"), last)
        });
        let network = self.wire.borrow().counters();
        let [into, from] = network.frames;
        let (lost, doubled, overtaken) = (network.lost, network.doubled, network.overtaken);
        let frames = format!("frames: {into} in, {from} out, {lost} lost, {doubled} doubled, {overtaken} overtaken");
        [card, last, frames]
    }
}
