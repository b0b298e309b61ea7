//! iESP on QEMU's `lm3s6965evb`.

#![no_std]
#![no_main]

mod ethernet;
mod machine;
mod spi;

use core::fmt::Write as _;
use core::pin::pin;

use bare::{EmulatedCard, Machine as _, Serial, WeakRandom};
use embassy_net::{Config, StackResources};
use iesp_firmware::board::NoWatchdog;
use iesp_firmware::memory::Memory;
use iesp_firmware::sd::SdCard;
use iesp_firmware::{Board, Parts, TimeClock};
use static_cell::{ConstStaticCell, StaticCell};

use crate::machine::{Lm3s, serial};

/// Sockets: the connections', DHCP's, and those of the services.
const SOCKETS: usize = 4;

static MACHINE: Lm3s = Lm3s::new();
static ETHERNET: ConstStaticCell<ethernet::Ethernet> = ConstStaticCell::new(ethernet::Ethernet::new());
static SOCKET_MEMORY: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
/// As `SmallMemory`, with smaller buffers of TCP and before the card: the stack needs the rest of the 64 KB.
type Lm3sMemory = Memory<1, 6, 1536, 1792, 4096, 3072, 2048>;
static MEMORY: ConstStaticCell<Lm3sMemory> = ConstStaticCell::new(Lm3sMemory::new());

struct Lm3s6965;

impl Board for Lm3s6965 {
    type Card = EmulatedCard<SdCard<spi::Ssi, spi::Select, TimeClock>>;
    type Clock = TimeClock;
    type Panel = Serial;
    type Random = WeakRandom;
}

#[cortex_m_rt::entry]
fn main() -> ! {
    machine::mask_interrupts();
    MACHINE.begin();
    let (bus, select) = spi::take();
    let ethernet = ETHERNET.take();
    let mac = ethernet.begin();
    let mut random = WeakRandom::new(MACHINE.now_us());
    let seed = random.draw();
    let (stack, mut runner) =
        embassy_net::new(ethernet, Config::default(), SOCKET_MEMORY.init(StackResources::new()), seed);
    let parts = Parts::<Lm3s6965, _> {
        card: EmulatedCard(SdCard::new(bus, select, TimeClock)),
        clock: TimeClock,
        panel: serial(),
        random,
        watchdog: NoWatchdog,
        config: None,
        mac,
        prefix: "iESP",
        reset_reason: MACHINE.reset_reason(),
    };
    let network = pin!(runner.run());
    let program = pin!(iesp_firmware::run(parts, stack, MEMORY.take()));
    bare::run(&MACHINE, network, program)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(serial(), "{info}");
    machine::reset()
}
