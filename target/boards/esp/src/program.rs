//! From power on to the firmware's program.

use embassy_executor::Spawner;
use embassy_net::{Config, StackResources};
use esp_hal::clock::CpuClock;
use esp_hal::rng::Rng;
use esp_hal::timer::timg::TimerGroup;
use iesp_firmware::net::services::{Health, NetworkServices, ServiceMemory};
use iesp_firmware::pins::{CardPins, WrongPin};
use iesp_firmware::{Board, Extras, Parts, TimeClock, run_with};
use static_cell::{ConstStaticCell, StaticCell};

use crate::card::{BoardCard, card};
use crate::panel::{BoardPanel, line};
use crate::reset::{self, Feeding};
use crate::{chip, config, network};

/// Sockets: the connections', DHCP's, DNS's, and those of the services.
const SOCKETS: usize = 10;

static MEMORY: ConstStaticCell<chip::BoardMemory> = ConstStaticCell::new(chip::BoardMemory::new());
static SERVICE_MEMORY: ConstStaticCell<ServiceMemory> = ConstStaticCell::new(ServiceMemory::new());
static JOURNAL: ConstStaticCell<[u8; 2048]> = ConstStaticCell::new([0; 2048]);
static SOCKET_MEMORY: StaticCell<StackResources<SOCKETS>> = StaticCell::new();

struct Esp;

impl Board for Esp {
    type Card = BoardCard;
    type Clock = TimeClock;
    type Panel = BoardPanel;
    type Random = fn(&mut [u8]);
    const PLACES_PANEL: bool = true;
    const PLACES_CARD: bool = true;
}

/// The hardware's bits. The network's start has its source of noise run.
fn random(bytes: &mut [u8]) {
    Rng::new().read(bytes);
}

fn health() -> Health {
    let heap = esp_alloc::HEAP.stats();
    Health {
        architecture: chip::ARCHITECTURE,
        ram: u32::try_from(heap.size).ok(),
        free_ram: u32::try_from(esp_alloc::HEAP.free()).ok(),
        ..Health::default()
    }
}

#[embassy_executor::task]
async fn frames(mut runner: embassy_net::Runner<'static, network::Driver>) -> ! {
    runner.run().await
}

/// Runs the board, for ever.
pub async fn run(spawner: Spawner) -> ! {
    let words = reset::last_words();
    let p = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let watchdog = Feeding::start(p.RTC_TIMER);
    esp_alloc::heap_allocator!(#[esp_hal::ram(reclaimed)] size: chip::RECLAIMED);
    esp_alloc::heap_allocator!(size: chip::HEAP);
    esp_rtos::start(TimerGroup::new(p.TIMG0).timer0, p.FROM_CPU_INTR0);

    let (flash, owners) = config::stores(p.FLASH);
    let pins = CardPins::of(&config::of(owners), chip::CARD, chip::PINS).unwrap_or_else(|WrongPin(key, number)| {
        line(format_args!("\"{key}\": GPIO {number} cannot be it here; the board's own pins hold"));
        chip::CARD
    });
    let (driver, radio, mac) = network::start(network::device!(p));
    let mut seed = [0; 8];
    random(&mut seed);
    let resources = SOCKET_MEMORY.init(StackResources::new());
    let (stack, runner) = embassy_net::new(driver, Config::default(), resources, u64::from_le_bytes(seed));
    // A task is spawned once: there is room for it.
    spawner.spawn(frames(runner).unwrap());

    let (spi, dma) = chip::card_controller!(p);
    let parts = Parts::<Esp, _> {
        card: card(spi, dma, pins),
        clock: TimeClock,
        panel: BoardPanel::new(pins),
        random,
        watchdog,
        config: owners,
        mac,
        prefix: "iESP",
        reset_reason: reset::reason(),
    };
    let services = NetworkServices { memory: SERVICE_MEMORY.take(), radio, health };
    let extras = Extras { journal: JOURNAL.take(), services, flash, last_words: words.as_deref() };
    match run_with(parts, stack, MEMORY.take(), extras).await {}
}
