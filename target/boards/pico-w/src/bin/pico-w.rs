//! iESP on a Raspberry Pi Pico W.

#![no_std]
#![no_main]

use core::fmt::Write as _;
use core::panic::PanicInfo;

use cyw43::{PowerManagementMode, SpiBus};
use cyw43_pio::{DEFAULT_CLOCK_DIVIDER, PioSpi};
use embassy_executor::Spawner;
use embassy_net::{Config, StackResources};
use embassy_rp::clocks::RoscRng;
use embassy_rp::dma;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::PIO0;
use embassy_rp::pio::Pio;
use embassy_rp::watchdog::{ResetReason, Watchdog};
use embassy_time::Duration;
use iesp_board_pico_w::{
    CLM, CardPins, Console, FIRMWARE, Interrupts, Leds, NVRAM, SdBus, WifiRadio, card, in_flash, kept,
};
use iesp_firmware::last_words::LastWords;
use iesp_firmware::memory::MediumMemory;
use iesp_firmware::net::services::{Health, NetworkServices, ServiceMemory};
use iesp_firmware::sd::SdCard;
use iesp_firmware::{Board, Extras, Parts, TimeClock, run_with};
use static_cell::{ConstStaticCell, StaticCell};

/// Sockets: the connections', DHCP's, DNS's, and those of the services.
const SOCKETS: usize = 10;
/// The longest that the chip's counter knows is 8.3 s.
const WATCHDOG: Duration = Duration::from_secs(8);

/// Two initiators and one more connection. The start takes some 50 KiB of stack beside it.
static MEMORY: ConstStaticCell<MediumMemory> = ConstStaticCell::new(MediumMemory::new());
static SERVICE_MEMORY: ConstStaticCell<ServiceMemory> = ConstStaticCell::new(ServiceMemory::new());
static JOURNAL: ConstStaticCell<[u8; 2048]> = ConstStaticCell::new([0; 2048]);
static SOCKET_MEMORY: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
static RADIO_MEMORY: StaticCell<cyw43::State> = StaticCell::new();

/// A reset leaves it as it is.
#[unsafe(link_section = ".uninit.last_words")]
static LAST_WORDS: LastWords = LastWords::new();

struct PicoW;

impl Board for PicoW {
    type Card = SdCard<SdBus, Output<'static>, TimeClock>;
    type Clock = TimeClock;
    type Panel = Leds;
    type Random = fn(&mut [u8]);
    const PLACES_PANEL: bool = true;
}

/// The ring oscillator's bits: the chip has no better source (RP2040 data sheet, 2.17.5).
fn random(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = RoscRng::next_u8());
}

struct Feeding(Watchdog);

impl iesp_firmware::board::Watchdog for Feeding {
    fn feed(&mut self) {
        self.0.feed(WATCHDOG);
    }
}

type Bus = SpiBus<Output<'static>, PioSpi<'static, PIO0, 0>>;

#[embassy_executor::task]
async fn radio(runner: cyw43::Runner<'static, Bus>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn network(mut runner: embassy_net::Runner<'static, cyw43::NetDriver<'static>>) -> ! {
    runner.run().await
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let words = LAST_WORDS.take();
    let p = embassy_rp::init(Default::default());
    let mut watchdog = Watchdog::new(p.WATCHDOG);
    let reset_reason = match watchdog.reset_reason() {
        Some(ResetReason::TimedOut) => "watchdog",
        Some(ResetReason::Forced) => "software",
        None => "power on",
    };
    watchdog.start(WATCHDOG);

    let Pio { mut common, irq0, sm0, .. } = Pio::new(p.PIO0, Interrupts);
    let select = Output::new(p.PIN_25, Level::High);
    let channel = dma::Channel::new(p.DMA_CH2, Interrupts);
    let bus = PioSpi::new(&mut common, sm0, DEFAULT_CLOCK_DIVIDER, irq0, select, p.PIN_24, p.PIN_29, channel);
    let power = Output::new(p.PIN_23, Level::Low);
    let state = RADIO_MEMORY.init_with(cyw43::State::new);
    let (driver, mut control, runner) = cyw43::new(state, power, bus, FIRMWARE, NVRAM).await;
    // A task is spawned once: there is room for it.
    spawner.spawn(radio(runner).unwrap());
    control.init(CLM).await;
    // Answers at once, for more of the battery that a target does not have.
    control.set_power_management(PowerManagementMode::None).await;
    let mac = control.address().await;
    watchdog.feed(WATCHDOG);

    let seed = RoscRng.next_u64();
    let (stack, runner) = embassy_net::new(driver, Config::default(), SOCKET_MEMORY.init(StackResources::new()), seed);
    spawner.spawn(network(runner).unwrap());
    let parts = Parts::<PicoW, _> {
        card: card(CardPins {
            spi: p.SPI1,
            miso: p.PIN_8,
            mosi: p.PIN_11,
            sck: p.PIN_10,
            select: p.PIN_12,
            send: p.DMA_CH0,
            receive: p.DMA_CH1,
        }),
        clock: TimeClock,
        panel: Leds::new(Console::new(p.UART0, p.PIN_0)),
        random,
        watchdog: Feeding(watchdog),
        config: in_flash(),
        mac,
        prefix: "iESP",
        reset_reason,
    };
    let services = NetworkServices {
        memory: SERVICE_MEMORY.take(),
        radio: WifiRadio::new(control, stack),
        health: || Health { architecture: "RP2040", ..Health::default() },
    };
    let extras = Extras { journal: JOURNAL.take(), services, flash: kept(p.FLASH), last_words: words.as_deref() };
    match run_with(parts, stack, MEMORY.take(), extras).await {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    LAST_WORDS.write(format_args!("{info}"));
    // SAFETY: nothing else runs any more.
    let p = unsafe { embassy_rp::Peripherals::steal() };
    let _ = writeln!(Console::new(p.UART0, p.PIN_0), "{info}");
    cortex_m::peripheral::SCB::sys_reset()
}
