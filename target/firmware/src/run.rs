//! The board program: from power on to serving, for ever.

use core::future::{pending, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use embassy_futures::join::join_array;
use embassy_net::Stack;
use embassy_time::{Duration, Timer};

use crate::board::{Board, Led, Panel, Watchdog};
use crate::card::Facts;
use crate::config::{Config, FILE, FILE_MAX};
use crate::memory::{ConnectionMemory, Memory};
use crate::net;
use crate::store::Store;
use crate::target::{Disk, Target};
use crate::volume::{self, VolumeError};

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
    /// The configuration is read.
    Configuration = 2,
    /// The card is initialised.
    Card = 3,
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

/// Runs the board. The network stack's runner is the board's to run.
pub async fn run<
    B: Board,
    W: Watchdog,
    const CONNECTIONS: usize,
    const TASKS: usize,
    const TEXT: usize,
    const UNIT: usize,
    const WORK: usize,
    const TCP: usize,
    const CACHE: usize,
>(
    parts: Parts<B, W>,
    stack: Stack<'_>,
    memory: &mut Memory<CONNECTIONS, TASKS, TEXT, UNIT, WORK, TCP, CACHE>,
) -> ! {
    let Parts { card, clock, mut panel, random, mut watchdog, config, mac, prefix, reset_reason } = parts;
    panel.light(Led::Green, true);
    panel.light(Led::Yellow, true);
    stage(&mut panel, Stage::Start);
    panel.line(format_args!("iESP {}, reset: {reset_reason}", env!("CARGO_PKG_VERSION")));

    let mut store = Store::new(card, &mut memory.writes, &mut memory.reads);
    stage(&mut panel, Stage::Card);
    let facts = apart!(start_card(&mut store, &mut panel, &mut watchdog));
    stage(&mut panel, Stage::Configuration);
    let config = apart!(read_config(&mut store, &mut panel, config));
    let hostname = net::Hostname::new(prefix, mac);
    net::configure(stack, &config, &hostname);

    stage(&mut panel, Stage::Disk);
    let target = Target::<B, CONNECTIONS>::new(
        &config.target_name,
        config.credentials(),
        store,
        (clock, panel, random),
        config.trim_level > 0,
    );
    // A name that the configuration let pass is neither empty nor too long.
    let Ok(mut target) = target else {
        loop {
            pending::<()>().await
        }
    };
    target.set_portal(config.portal());
    for (number, name) in config.disks().enumerate() {
        loop {
            match apart!(add_disk(&mut target, name, number, &facts, config.read_only, WORK)) {
                Ok(()) => break,
                Err(error) => {
                    target.with_panel(|panel| {
                        panel.light(Led::Red, true);
                        panel.line(format_args!("disk {name}: {error}"));
                    });
                    watchdog.feed();
                    Timer::after(RETRY).await;
                    // Another card may have been put in meanwhile.
                    let _ = target.store().lock().await.start().await;
                }
            }
        }
    }
    let target = &target;

    target.with_panel(|panel| stage(panel, Stage::Network));
    apart!(serve(target, stack, &mut memory.connections, &hostname, &mut watchdog))
}

/// Serves, for ever. What it holds takes the room that the start no longer needs.
async fn serve<
    B: Board,
    const CONNECTIONS: usize,
    const TASKS: usize,
    const TEXT: usize,
    const UNIT: usize,
    const WORK: usize,
    const TCP: usize,
>(
    target: &Target<'_, B, CONNECTIONS>,
    stack: Stack<'_>,
    memory: &mut [ConnectionMemory<TASKS, TEXT, UNIT, WORK, TCP>; CONNECTIONS],
    hostname: &net::Hostname,
    watchdog: &mut impl Watchdog,
) -> ! {
    let mut connections = pin!(connections(target, stack, memory));
    let mut ready = pin!(async {
        stack.wait_config_up().await;
        target.with_panel(|panel| {
            stage(panel, Stage::Serving);
            panel.light(Led::Green, false);
            panel.light(Led::Yellow, false);
            panel.light(Led::Red, false);
            if let Some(config) = stack.config_v4() {
                panel.line(format_args!("{}: serving on {}:{PORT}", hostname.as_str(), config.address.address()));
            }
        });
        pending::<()>().await;
    });
    let mut housekeeping = pin!(async {
        loop {
            watchdog.feed();
            Timer::after_millis(500).await;
        }
    });
    // As `join` does it, without moving anything: a small board's stack has no room for two of these.
    poll_fn(|context| {
        let _ = connections.as_mut().poll(context);
        let _ = ready.as_mut().poll(context);
        let _: Poll<()> = housekeeping.as_mut().poll(context);
        Poll::Pending
    })
    .await
}

/// All connections. A function of its own, never part of its caller: what it has on the stack while they are made is gone
/// when they run.
#[inline(never)]
fn connections<
    B: Board,
    const CONNECTIONS: usize,
    const TASKS: usize,
    const TEXT: usize,
    const UNIT: usize,
    const WORK: usize,
    const TCP: usize,
>(
    target: &Target<'_, B, CONNECTIONS>,
    stack: Stack<'_>,
    memory: &mut [ConnectionMemory<TASKS, TEXT, UNIT, WORK, TCP>; CONNECTIONS],
) -> impl Future {
    let mut seat = 0;
    join_array(memory.each_mut().map(|connection| {
        let this = seat;
        seat += 1;
        net::serve_port(target, this, stack, PORT, connection)
    }))
}

fn stage(panel: &mut impl Panel, stage: Stage) {
    panel.show(stage as u16);
    panel.line(format_args!("stage {}: {stage:?}", stage as u16));
}

/// Starts the card, however long it takes until there is one.
async fn start_card<C: crate::Card>(
    store: &mut Store<'_, C>,
    panel: &mut impl Panel,
    watchdog: &mut impl Watchdog,
) -> Facts {
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
                panel.line(format_args!("card: {error}"));
                watchdog.feed();
                Timer::after(RETRY).await;
            }
        }
    }
}

/// The configuration: from the card where it is there, else from flash, else the defaults. What is wrong is told, and the
/// next one is taken.
async fn read_config<C: crate::Card>(
    store: &mut Store<'_, C>,
    panel: &mut impl Panel,
    flash: Option<&'static [u8]>,
) -> Config {
    let mut room = [0; FILE_MAX + 1];
    match volume::read(store, FILE, &mut room).await {
        Ok(text) => match Config::parse(text) {
            Ok(config) => {
                panel.line(format_args!("{FILE}: from the card"));
                return config;
            }
            Err(error) => {
                panel.light(Led::Red, true);
                panel.line(format_args!("card: {error}"));
            }
        },
        Err(VolumeError::NotFound | VolumeError::NoFileSystem) => {}
        Err(error) => panel.line(format_args!("{FILE}: {error}")),
    }
    match flash.map(Config::parse) {
        Some(Ok(config)) => {
            panel.line(format_args!("{FILE}: from flash"));
            config
        }
        Some(Err(error)) => {
            panel.light(Led::Red, true);
            panel.line(format_args!("flash: {error}"));
            Config::default()
        }
        None => {
            panel.line(format_args!("{FILE}: none, the defaults hold"));
            Config::default()
        }
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
        volume::find(&mut store, name).await?
    };
    let pieces = file.extents.pieces().len();
    let blocks = file.extents.blocks();
    let disk = Disk { extents: file.extents, uuid: uuid(facts, number), read_only };
    let added = target.add(disk, buffer);
    target.with_panel(|panel| match added {
        Ok(()) => panel.line(format_args!("LUN {number}: {name}, {} MiB in {pieces} pieces", blocks >> 11)),
        Err(error) => panel.line(format_args!("LUN {number}: {name}: {error:?}")),
    });
    Ok(())
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
