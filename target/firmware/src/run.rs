//! The board program: from power on to serving, for ever.

use core::convert::Infallible;
use core::future::{pending, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use embassy_net::Stack;
use embassy_time::{Duration, Timer, with_timeout};

use crate::board::{Board, Led, Panel, Watchdog};
use crate::card::Facts;
use crate::config::{Config, FILE, FILE_MAX};
use crate::flash::{FlashStore, NoFlash};
use crate::log::{Journal, Level, Log};
use crate::memory::BoardMemory;
use crate::net;
use crate::net::services::{NoServices, Services, Surroundings};
use crate::store::Store;
use crate::target::{Disk, Target};
use crate::volume::{self, File, VolumeError};

/// TCP port of iSCSI.
pub const PORT: u16 = 3260;

/// How long a trouble is shown before what failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What of the start is under way: shown on the display and the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Stage {
    /// Power on.
    Start = 1,
    /// The card is initialised.
    Card = 2,
    /// The configuration is read.
    Configuration = 3,
    /// The disks are looked for.
    Disk = 4,
    /// The network is waited for.
    Network = 5,
    /// All is well.
    Serving = 6,
}

/// What a board hands over.
pub struct Parts<B: Board, W> {
    /// The card in its slot, not started.
    pub card: B::Card,
    /// The clock.
    pub clock: B::Clock,
    /// LEDs, display, console.
    pub panel: B::Panel,
    /// The random source.
    pub random: B::Random,
    /// The watchdog, already running.
    pub watchdog: W,
    /// `cfg-iESP.json` as it is on the board's flash.
    pub config: Option<&'static [u8]>,
    /// MAC address: the hostname is made of it.
    pub mac: [u8; 6],
    /// What the hostname begins with: `iESP`, `iTEENSY`.
    pub prefix: &'static str,
    /// Why the board was reset, in words.
    pub reset_reason: &'static str,
}

/// What not every board has.
pub struct Extras<'m, S, F> {
    /// Room for lines that wait for a syslog server: 256 bytes at least, 1 KiB for those of a start.
    pub journal: &'m mut [u8],
    /// What runs beside the connections.
    pub services: S,
    /// Where the configuration is kept.
    pub flash: F,
    /// What the panic said that ended the last start ([`LastWords`](crate::last_words::LastWords)).
    pub last_words: Option<&'m str>,
}

impl Extras<'_, NoServices, NoFlash> {
    /// Nothing.
    pub fn none() -> Self {
        Self { journal: &mut [], services: NoServices, flash: NoFlash, last_words: None }
    }
}

/// Waits for a part of the start, whose code is kept apart: on the stack of a small board there is room for what runs, and
/// not for all that could run.
macro_rules! apart {
    ($future:expr) => {{
        let mut future = pin!($future);
        poll_fn(|context| poll_apart(future.as_mut(), context)).await
    }};
}

#[inline(never)]
fn poll_apart<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    future.poll(context)
}

/// Runs a board that has nothing but what it serves with; never ends. The network stack's runner is the board's to run.
///
/// No `async` of its own: that would keep a second place for the parts.
pub fn run<B: Board, W: Watchdog, M: BoardMemory<CONNECTIONS>, const CONNECTIONS: usize>(
    parts: Parts<B, W>,
    stack: Stack<'_>,
    memory: &mut M,
) -> impl Future<Output = Infallible> {
    run_with(parts, stack, memory, Extras::none())
}

/// Runs a board. The network stack's runner is the board's to run; it has room for as many sockets as there are connections and
/// services, for one more where there is one connection, and for DHCP's.
pub fn run_with<
    'm,
    B: Board,
    W: Watchdog,
    S: Services,
    F: FlashStore,
    M: BoardMemory<CONNECTIONS>,
    const CONNECTIONS: usize,
>(
    parts: Parts<B, W>,
    stack: Stack<'_>,
    memory: &'m mut M,
    extras: Extras<'m, S, F>,
) -> impl Future<Output = Infallible> {
    // What is made here is on the stack for a moment, while there is little else.
    memory.prepare();
    async move {
        let Parts { card, clock, panel, random, mut watchdog, config, mac, prefix, reset_reason } = parts;
        let Extras { journal, services, mut flash, last_words } = extras;
        // What waits is no reason for a reset; what does not let others go on is.
        let mut feeding = pin!(async {
            loop {
                watchdog.feed();
                Timer::after_millis(500).await;
            }
        });
        let mut program = pin!(async {
            let mut panel = Log::new(panel, Journal::new(journal));
            panel.light(Led::Green, true);
            panel.light(Led::Yellow, true);
            stage(&mut panel, Stage::Start);
            panel.line(format_args!("iESP {}, reset: {reset_reason}", env!("CARGO_PKG_VERSION")));
            if let Some(words) = last_words {
                panel.tell(Level::Error, format_args!("the last start ended by a panic: {words}"));
            }

            let (connections, writes, reads) = memory.split();
            let mut store = Store::new(card, writes, reads);
            stage(&mut panel, Stage::Card);
            let facts = apart!(start_card(&mut store, &mut panel));
            stage(&mut panel, Stage::Configuration);
            let config = apart!(read_config(&mut store, &mut panel, &mut flash, config));
            panel.set_level(config.level());
            panel.place(config.panel_pins());
            tell_keys_without_effect::<B>(&config, &mut panel);
            // What the configuration is read with may be faster than it allows.
            if let Some(hz) = store.limit_clock(u32::from(config.spi_speed) * 1_000_000) {
                panel.line(format_args!("card: {} kHz", hz / 1000));
            }
            let hostname = net::Hostname::new(prefix, mac);
            net::configure(stack, &config, &hostname);

            stage(&mut panel, Stage::Disk);
            let mut target = Target::<B, CONNECTIONS>::new(
                config.target_name.clone(),
                config.credentials(),
                store,
                (clock, panel, random),
                config.trim_level > 0,
            );
            target.set_portal(config.portal());
            for (number, name) in config.disks().enumerate() {
                while let Err(error) =
                    apart!(add_disk(&mut target, name, number, &facts, config.read_only, M::TRANSFER))
                {
                    target.with_panel(|panel| {
                        panel.light(Led::Red, true);
                        panel.tell(Level::Error, format_args!("disk {name}: {error}"));
                    });
                    Timer::after(RETRY).await;
                    // Another card may have been put in meanwhile.
                    let _ = target.store().lock().await.start().await;
                }
            }

            target.with_panel(|panel| stage(panel, Stage::Network));
            let around =
                Surroundings { target: &target, config: &config, hostname: &hostname, port: PORT, segment: M::SEGMENT };
            apart!(serve::<_, M, CONNECTIONS>(around, stack, connections, services))
        });
        // As `join` does it, without moving anything: a small board's stack has no room for two of these.
        poll_fn(|context| {
            let _: Poll<()> = feeding.as_mut().poll(context);
            program.as_mut().poll(context)
        })
        .await
    }
}

/// Serves, for ever. What it holds takes the room that the start no longer needs.
async fn serve<B: Board, M: BoardMemory<CONNECTIONS>, const CONNECTIONS: usize>(
    around: Surroundings<'_, '_, B, CONNECTIONS>,
    stack: Stack<'_>,
    connections: &mut M::Connections,
    services: impl Services,
) -> ! {
    let (target, config, hostname) = (around.target, around.config, around.hostname);
    let mut connections = pin!(M::serve(connections, target, stack, PORT));
    let mut ready = pin!(async {
        let patience = Duration::from_secs(config.eth_wait_time.into());
        let network = async || {
            stack.wait_link_up().await;
            stack.wait_config_up().await;
        };
        if with_timeout(patience, network()).await.is_err() {
            target.with_panel(|panel| {
                panel.light(Led::Red, true);
                panel.tell(Level::Error, format_args!("no network after {} s: it is waited for", config.eth_wait_time));
            });
            network().await;
        }
        target.with_panel(|panel| {
            stage(panel, Stage::Serving);
            panel.light(Led::Green, false);
            panel.light(Led::Yellow, false);
            panel.light(Led::Red, false);
            if let Some(address) = stack.config_v4() {
                let (name, address) = (hostname.as_str(), address.address.address());
                panel.line(format_args!("{name}: serving on {address}:{PORT}, target {}", config.target_name));
            }
        });
        pending::<()>().await;
    });
    let mut services = pin!(services.run(stack, around));
    poll_fn(|context| {
        let _: Poll<Infallible> = connections.as_mut().poll(context);
        let _ = ready.as_mut().poll(context);
        let _: Poll<()> = services.as_mut().poll(context);
        Poll::Pending
    })
    .await
}

fn stage(panel: &mut impl Panel, stage: Stage) {
    panel.show(stage as u16);
    panel.line(format_args!("stage {}: {stage:?}", stage as u16));
}

/// Starts the card, however long it takes until there is one.
async fn start_card<C: crate::Card>(store: &mut Store<'_, C>, panel: &mut impl Panel) -> Facts {
    loop {
        match store.start().await {
            Ok(facts) => {
                panel.light(Led::Red, false);
                panel.line(format_args!(
                    "card: {} MiB, {} kHz, {}",
                    facts.blocks >> 11,
                    facts.clock_hz / 1000,
                    core::str::from_utf8(&facts.cid.serial_number()).unwrap_or_default()
                ));
                return facts;
            }
            Err(error) => {
                panel.light(Led::Red, true);
                panel.tell(Level::Error, format_args!("card: {error}"));
                Timer::after(RETRY).await;
            }
        }
    }
}

/// The configuration: from the card where it is there, and then kept on the board's flash; else what was kept, else what came
/// with the program, else the defaults. What is wrong is told, and the next one is taken.
async fn read_config<C: crate::Card>(
    store: &mut Store<'_, C>,
    panel: &mut impl Panel,
    flash: &mut impl FlashStore,
    built_in: Option<&'static [u8]>,
) -> Config {
    let mut room = [0; FILE_MAX + 1];
    match volume::read(store, FILE, &mut room).await {
        Ok(text) => {
            if let Some(config) = parse(text, "the card", panel) {
                keep(text, flash, panel);
                return config;
            }
        }
        Err(VolumeError::NotFound | VolumeError::NoFileSystem) => {}
        Err(error) => panel.tell(Level::Error, format_args!("{FILE}: {error}")),
    }
    let kept = flash.read(&mut room).and_then(|text| parse(text, "flash, as it was on a card", panel));
    if let Some(config) = kept.or_else(|| parse(built_in?, "flash", panel)) {
        return config;
    }
    panel.line(format_args!("{FILE}: none, the defaults hold"));
    Config::default()
}

fn parse(text: &[u8], source: &str, panel: &mut impl Panel) -> Option<Config> {
    match Config::parse(text) {
        Ok(config) => {
            panel.line(format_args!("{FILE}: from {source}"));
            Some(config)
        }
        Err(error) => {
            panel.light(Led::Red, true);
            panel.tell(Level::Error, format_args!("{source}: {error}"));
            None
        }
    }
}

/// Whoever sets a pin waits for something to happen there.
#[inline(never)]
fn tell_keys_without_effect<B: Board>(config: &Config, panel: &mut impl Panel) {
    let keys = [
        ("led-green", config.led_green, B::PLACES_PANEL),
        ("led-yellow", config.led_yellow, B::PLACES_PANEL),
        ("led-red", config.led_red, B::PLACES_PANEL),
        ("display-clk", config.display_clk, B::PLACES_PANEL),
        ("display-dio", config.display_dio, B::PLACES_PANEL),
        ("SD-MISO", config.sd_miso, B::PLACES_CARD),
        ("SD-MOSI", config.sd_mosi, B::PLACES_CARD),
        ("SD-SCLK", config.sd_sclk, B::PLACES_CARD),
        ("SD-CS", config.sd_cs, B::PLACES_CARD),
    ];
    for (key, ..) in keys.iter().filter(|(_, gpio, has_effect)| *gpio != -1 && !has_effect) {
        panel.tell(Level::Warning, format_args!("{FILE}: \"{key}\" has no effect on this board"));
    }
}

/// The next card may have none.
fn keep(text: &[u8], flash: &mut impl FlashStore, panel: &mut impl Panel) {
    let mut there = [0; FILE_MAX + 1];
    if flash.read(&mut there) != Some(text) && flash.write(text).is_ok() {
        panel.line(format_args!("{FILE}: kept on flash"));
    }
}

/// Finds a disk and serves it.
async fn add_disk<B: Board, const CONNECTIONS: usize>(
    target: &mut Target<'_, B, CONNECTIONS>,
    name: &str,
    number: usize,
    facts: &Facts,
    read_only: bool,
    buffer: usize,
) -> Result<(), VolumeError> {
    let file = {
        let mut store = target.store().lock().await;
        let file = volume::find(&mut store, name).await?;
        if file.is_unwritten() {
            complete(target, &mut store, &file, name, read_only).await?;
        }
        file
    };
    let pieces = file.extents.pieces().len();
    let blocks = file.extents.blocks();
    let disk = Disk { extents: file.extents, uuid: uuid(facts, number), read_only };
    let added = target.add(disk, buffer);
    target.with_panel(|panel| match added {
        Ok(()) => panel.line(format_args!("LUN {number}: {name}, {} MiB in {pieces} pieces", blocks >> 11)),
        Err(error) => panel.tell(Level::Error, format_args!("LUN {number}: {name}: {error:?}")),
    });
    Ok(())
}

/// Zeros for what was never written of a disk's file; progress is shown.
async fn complete<B: Board, const CONNECTIONS: usize>(
    target: &Target<'_, B, CONNECTIONS>,
    store: &mut Store<'_, B::Card>,
    file: &File,
    name: &str,
    read_only: bool,
) -> Result<(), VolumeError> {
    if read_only {
        return Err(VolumeError::Unwritten);
    }
    let mut shown = 0;
    volume::write_to_its_end(store, file, |done, all| {
        let percent = done * 100 / all;
        if done == all || percent >= shown + 5 {
            shown = percent;
            target.with_panel(|panel| {
                panel.line(format_args!("disk {name}: {percent} % of what was never written is zeros now"));
            });
        }
    })
    .await
}

/// The identity of a disk is its card's, and which of the card's disks it is: a version 8 UUID (RFC 9562 5.8).
fn uuid(facts: &Facts, number: usize) -> [u8; 16] {
    // The register is 15 bytes of fields; its text has two digits each.
    let mut bytes = [0; 16];
    let text = facts.cid.serial_number();
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |n, digit| n << 4 | char::from(*digit).to_digit(16).unwrap_or(0) as u8);
    }
    let number = (number as u128 & 0xf) << 4;
    let register = u128::from_be_bytes(bytes);
    // The bits that version and variant take the place of go into the last byte.
    let displaced = register >> 76 & 0xf ^ register >> 62 & 0x3;
    let marked = register & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    (marked | number | displaced).to_be_bytes()
}
