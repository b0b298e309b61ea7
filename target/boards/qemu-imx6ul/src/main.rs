//! iESP on QEMU's `mcimx6ul-evk`.

#![no_std]
#![no_main]

mod ethernet;
mod machine;

use core::fmt::Write as _;
use core::pin::pin;

use bare::{EmulatedCard, Machine as _, Serial, WeakRandom};
use embassy_net::{Config, StackResources};
use embedded_alloc::LlffHeap;
use iesp_firmware::board::NoWatchdog;
use iesp_firmware::flash::NoFlash;
use iesp_firmware::last_words::LastWords;
use iesp_firmware::memory::LargeMemory;
use iesp_firmware::net::services::wifi::NoRadio;
use iesp_firmware::net::services::{NetworkServices, ServiceMemory};
use iesp_firmware::sd::native::NativeCard;
use iesp_firmware::{Board, Extras, Parts, TimeClock, run_with};
use imx::Usdhc;
use static_cell::{ConstStaticCell, StaticCell};

use crate::machine::{Imx6ul, serial};

/// uSDHC1, and the clock that it runs at.
const USDHC: usize = 0x0219_0000;
const USDHC_HZ: u32 = 198_000_000;
/// Sockets: the connections', DHCP's, DNS's, and those of the services.
const SOCKETS: usize = 10;
/// Bytes of the heap, which SNMP's answers alone take.
const HEAP_BYTES: usize = 64 << 10;

static SOCKET_MEMORY: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
static SERVICE_MEMORY: ConstStaticCell<ServiceMemory> = ConstStaticCell::new(ServiceMemory::new());
static JOURNAL: ConstStaticCell<[u8; 2048]> = ConstStaticCell::new([0; 2048]);
#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();
static MEMORY: ConstStaticCell<LargeMemory> = ConstStaticCell::new(LargeMemory::new());

// SAFETY: RAM that a reset leaves as it is and that nothing else uses (link.x); any bits are a value of it.
unsafe extern "C" {
    #[link_name = "_last_words"]
    safe static LAST_WORDS: LastWords;
}

struct Mcimx6ul;

impl Board for Mcimx6ul {
    type Card = EmulatedCard<NativeCard<Usdhc, TimeClock>>;
    type Clock = TimeClock;
    type Panel = Serial;
    type Random = WeakRandom;
}

/// Called by the code at `_start`.
#[unsafe(no_mangle)]
extern "C" fn start_in_rust() -> ! {
    machine::begin();
    // SAFETY: once, before anything is allocated.
    unsafe {
        embedded_alloc::init!(HEAP, HEAP_BYTES);
    }
    let words = LAST_WORDS.take();
    // SAFETY: a uSDHC, which QEMU neither clocks nor wires; nothing else drives it.
    let host = unsafe { Usdhc::new(USDHC as *const _, USDHC_HZ) };
    let (ethernet, mac) = ethernet::begin();
    let mut random = WeakRandom::new(Imx6ul.now_us());
    let seed = random.draw();
    let (stack, mut runner) =
        embassy_net::new(ethernet, Config::default(), SOCKET_MEMORY.init(StackResources::new()), seed);
    let parts = Parts::<Mcimx6ul, _> {
        card: EmulatedCard(NativeCard::new(host, TimeClock)),
        clock: TimeClock,
        panel: serial(),
        random,
        watchdog: NoWatchdog,
        config: None,
        mac,
        prefix: "iESP",
        reset_reason: machine::reset_reason(),
    };
    let network = pin!(runner.run());
    let health = || bare::health("ARM Cortex-A7, emulated", HEAP_BYTES, HEAP.free());
    let services = NetworkServices { memory: SERVICE_MEMORY.take(), radio: NoRadio, health };
    let extras = Extras { journal: JOURNAL.take(), services, flash: NoFlash, last_words: words.as_deref() };
    let program = pin!(run_with(parts, stack, MEMORY.take(), extras));
    bare::run(&Imx6ul, network, program)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    LAST_WORDS.write(format_args!("{info}"));
    let _ = writeln!(serial(), "{info}");
    machine::reset()
}
