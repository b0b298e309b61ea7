//! iESP on QEMU's `mcimx6ul-evk`.

#![no_std]
#![no_main]

mod ethernet;
mod machine;

use core::fmt::Write as _;
use core::pin::pin;

use bare::{Console, EmulatedCard, Machine as _, WeakRandom};
use embassy_net::{Config, StackResources};
use iesp_firmware::board::NoWatchdog;
use iesp_firmware::memory::LargeMemory;
use iesp_firmware::sd::native::NativeCard;
use iesp_firmware::{Board, Parts, TimeClock};
use imx::Usdhc;
use static_cell::{ConstStaticCell, StaticCell};

use crate::machine::{Imx6ul, Serial};

/// uSDHC1, and the clock that it runs at.
const USDHC: usize = 0x0219_0000;
const USDHC_HZ: u32 = 198_000_000;
/// Sockets: the connections', DHCP's, and those of the services.
const SOCKETS: usize = 9;

static SOCKET_MEMORY: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
static MEMORY: ConstStaticCell<LargeMemory> = ConstStaticCell::new(LargeMemory::new());

struct Mcimx6ul;

impl Board for Mcimx6ul {
    type Card = EmulatedCard<NativeCard<Usdhc, TimeClock>>;
    type Clock = TimeClock;
    type Panel = Console<Serial>;
    type Random = WeakRandom;
}

/// Called by the code at `_start`.
#[unsafe(no_mangle)]
extern "C" fn start_in_rust() -> ! {
    machine::begin();
    // SAFETY: a uSDHC, which QEMU neither clocks nor wires; nothing else drives it.
    let host = unsafe { Usdhc::new(USDHC as *const _, USDHC_HZ) };
    let (ethernet, mac) = ethernet::begin();
    let mut random = WeakRandom::new(Imx6ul.now_us());
    let seed = random.next();
    let (stack, mut runner) =
        embassy_net::new(ethernet, Config::default(), SOCKET_MEMORY.init(StackResources::new()), seed);
    let parts = Parts::<Mcimx6ul, _> {
        card: EmulatedCard(NativeCard::new(host, TimeClock)),
        clock: TimeClock,
        panel: Console(Serial),
        random,
        watchdog: NoWatchdog,
        config: None,
        mac,
        prefix: "iESP",
        reset_reason: machine::reset_reason(),
    };
    let network = pin!(runner.run());
    let program = pin!(iesp_firmware::run(parts, stack, MEMORY.take()));
    bare::run(&Imx6ul, network, program)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "{info}");
    machine::reset()
}
