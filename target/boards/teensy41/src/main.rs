//! iESP on a Teensy 4.1.

#![no_std]
#![no_main]

mod card;
mod ethernet;
mod last_words;
mod machine;
mod memory;
mod panel;
mod phy;
mod pins;
mod random;

use core::fmt::Write as _;
use core::mem::MaybeUninit;
use core::pin::pin;

use cortex_m_rt::{ExceptionFrame, entry, exception};
use embassy_net::{Config, StackResources};
use embedded_alloc::LlffHeap;
use iesp_firmware::flash::NoFlash;
use iesp_firmware::memory::LargeMemory;
use iesp_firmware::net::services::wifi::NoRadio;
use iesp_firmware::net::services::{NetworkServices, ServiceMemory};
use iesp_firmware::sd::native::NativeCard;
use iesp_firmware::{Board, Extras, Parts, TimeClock, run_with};
use imx::Usdhc;
// What runs before `main`: memory banks, and what is copied from flash.
use imxrt_rt as _;
use static_cell::{ConstStaticCell, StaticCell};
use teensy4_bsp::board::{self, T41Resources};

use crate::machine::{MACHINE, serial};
use crate::panel::Leds;
use crate::random::Generator;

/// Sockets: the connections', DHCP's, DNS's, and those of the services.
const SOCKETS: usize = 10;
/// Bytes of the heap, which SNMP's answers alone take.
const HEAP_BYTES: usize = 64 << 10;
/// Of the serial console, LPUART6: pins 1 and 0.
const BAUD: u32 = 115_200;

static SOCKET_MEMORY: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
static SERVICE_MEMORY: ConstStaticCell<ServiceMemory> = ConstStaticCell::new(ServiceMemory::new());
static JOURNAL: ConstStaticCell<[u8; 2048]> = ConstStaticCell::new([0; 2048]);
static MEMORY: ConstStaticCell<LargeMemory> = ConstStaticCell::new(LargeMemory::new());
#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();
#[unsafe(link_section = ".uninit.heap")]
static mut HEAP_ROOM: MaybeUninit<[u8; HEAP_BYTES]> = MaybeUninit::uninit();

struct Teensy41;

impl Board for Teensy41 {
    type Card = NativeCard<Usdhc, TimeClock>;
    type Clock = TimeClock;
    type Panel = Leds;
    type Random = Generator;
}

#[entry]
fn main() -> ! {
    machine::mask_interrupts();
    memory::begin();
    // SAFETY: once, before anything is allocated; nothing else uses the room.
    unsafe { HEAP.init((&raw mut HEAP_ROOM) as usize, HEAP_BYTES) };
    let T41Resources { mut gpio2, mut gpio4, mut ccm, ccm_analog, iomuxc_gpr, pins, lpuart6, trng, usdhc1, .. } =
        board::t41(board::instances());
    // The console is written by its registers from here on: a panic has to reach it, too.
    let _ = board::lpuart(lpuart6, pins.p1, pins.p0, BAUD);
    MACHINE.begin();
    let words = last_words::record().take();
    let reset_reason = machine::reset_reason();
    let watchdog = machine::Watchdog::begin();

    let (ethernet, mac) = ethernet::begin(&mut ccm, &ccm_analog, &iomuxc_gpr);
    let mut random = Generator::begin(trng);
    let seed = random.seed();
    let (stack, mut runner) =
        embassy_net::new(ethernet, Config::default(), SOCKET_MEMORY.init(StackResources::new()), seed);
    let parts = Parts::<Teensy41, _> {
        card: NativeCard::new(card::host(usdhc1), TimeClock),
        clock: TimeClock,
        panel: Leds {
            green: gpio2.output(pins.p7).ok(),
            yellow: gpio2.output(pins.p6).ok(),
            red: gpio4.output(pins.p5).ok(),
        },
        random,
        watchdog,
        config: None,
        mac,
        prefix: "iTEENSY",
        reset_reason,
    };
    let health = || bare::health("i.MX RT1062", HEAP_BYTES, HEAP.free());
    let services = NetworkServices { memory: SERVICE_MEMORY.take(), radio: NoRadio, health };
    let extras = Extras { journal: JOURNAL.take(), services, flash: NoFlash, last_words: words.as_deref() };
    let network = pin!(runner.run());
    let program = pin!(run_with(parts, stack, MEMORY.take(), extras));
    bare::run(&MACHINE, network, program)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    end(format_args!("{info}"))
}

/// A fault of the processor: an address that nothing is at, or a stack that is full.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    end(format_args!("fault at {:#010x}, called from {:#010x}", frame.pc(), frame.lr()))
}

/// The next start tells what ended this one.
fn end(words: core::fmt::Arguments<'_>) -> ! {
    last_words::record().write(words);
    let _ = writeln!(serial(), "{words}");
    machine::reset()
}
