//! A board that runs the firmware as it is: card slot, network port, LEDs, display and console.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Arguments;
use std::rc::Rc;

use embassy_net::StackResources;
use iesp_firmware::board::{Led, Panel};
use iesp_firmware::last_words::LastWords;
use iesp_firmware::memory::{BoardMemory, LargeMemory, SmallMemory};
use iesp_firmware::net::services::{Health, NetworkServices, NoServices, ServiceMemory, Services};
use iesp_firmware::sd::SdCard;
use iesp_firmware::{Board, Extras, Parts};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::network::Port;
use crate::parts::{SimFlash, SimRadio, SimWatchdog};
use crate::slot::{Bus, Select, Slot, SlotClock};
use crate::time::{alongside, now_us};

/// MAC address of the board.
pub const MAC: [u8; 6] = [0x02, 0x69, 0x45, 0x53, 0x50, 0x01];

/// Lines of the console that are kept.
const LINES: usize = 1000;

/// How much memory the board has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 64 KiB in all: one connection and a window of 4.
    Small,
    /// Enough for two initiators and a window of 8.
    Large,
}

/// What LEDs, display and console show.
#[derive(Debug, Default)]
pub struct PanelState {
    /// Green, yellow, red.
    pub lights: [bool; 3],
    /// When each was lit last, in microseconds: a light that is lit for a moment is to be seen.
    pub lit_at_us: [Option<u64>; 3],
    /// The display.
    pub stage: u16,
    /// The console's lines and when they came, in microseconds.
    pub lines: VecDeque<(u64, String)>,
    /// Lines so far, those that are kept no longer too.
    pub count: usize,
}

/// A panel that others look at.
#[derive(Clone, Debug, Default)]
pub struct SimPanel(pub Rc<RefCell<PanelState>>);

impl Panel for SimPanel {
    fn light(&mut self, led: Led, on: bool) {
        let mut state = self.0.borrow_mut();
        let at = match led {
            Led::Green => 0,
            Led::Yellow => 1,
            Led::Red => 2,
        };
        state.lights[at] = on;
        if on {
            state.lit_at_us[at] = Some(now_us());
        }
    }

    fn show(&mut self, stage: u16) {
        self.0.borrow_mut().stage = stage;
    }

    fn line(&mut self, text: Arguments<'_>) {
        let mut state = self.0.borrow_mut();
        if state.lines.len() == LINES {
            state.lines.pop_front();
        }
        state.lines.push_back((now_us(), text.to_string()));
        state.count += 1;
    }
}

/// Random bytes from a seed.
pub struct Seeded(ChaCha8Rng);

impl Seeded {
    /// The bytes of this seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
}

impl iesp_firmware::board::Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// The simulated board's types.
pub struct SimBoard;

impl Board for SimBoard {
    type Card = SdCard<Bus, Select, SlotClock>;
    type Clock = SlotClock;
    type Panel = SimPanel;
    type Random = Seeded;
}

/// What differs from board to board, and what of a board stays when it is switched off.
#[derive(Clone)]
pub struct Setup {
    /// Memory.
    pub size: Size,
    /// `cfg-iESP.json` on its flash.
    pub config: Option<&'static [u8]>,
    /// Of its random source.
    pub seed: u64,
    /// Why it was reset.
    pub reset_reason: &'static str,
    /// What a panic left; taken at the next start.
    pub last_words: Rc<RefCell<LastWords>>,
    /// Flash that it writes itself.
    pub flash: SimFlash,
    /// What watches it.
    pub watchdog: SimWatchdog,
    /// Its WiFi.
    pub radio: SimRadio,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            size: Size::Large,
            config: None,
            seed: 1,
            reset_reason: "power on",
            last_words: Rc::default(),
            flash: SimFlash::default(),
            watchdog: SimWatchdog::default(),
            radio: SimRadio::default(),
        }
    }
}

/// What the board knows of itself.
fn health() -> Health {
    Health {
        cpu_percent: Some(7),
        ram: Some(256 << 10),
        free_ram: Some(100 << 10),
        build_date: "2026-01-01",
        architecture: "simulated board",
    }
}

/// Runs a board from power on, for ever; it is switched off by dropping the future. A small one has no services.
pub async fn run(setup: Setup, slot: Slot, port: Port, panel: SimPanel) {
    match setup.size {
        Size::Small => run_with(setup, slot, port, panel, boxed(SmallMemory::new), NoServices).await,
        Size::Large => {
            let mut memory = boxed(ServiceMemory::new);
            let services = NetworkServices { memory: &mut memory, radio: setup.radio.clone(), health };
            run_with(setup, slot, port, panel, boxed(LargeMemory::new), services).await;
        }
    }
}

async fn run_with<M: BoardMemory<CONNECTIONS>, const CONNECTIONS: usize>(
    setup: Setup,
    slot: Slot,
    port: Port,
    panel: SimPanel,
    mut memory: Box<M>,
    services: impl Services,
) {
    let mut random = ChaCha8Rng::seed_from_u64(setup.seed);
    let mut resources = Box::new(StackResources::<12>::new());
    let (stack, mut runner) = embassy_net::new(port, embassy_net::Config::default(), &mut resources, random.next_u64());
    let words = setup.last_words.borrow_mut().take();
    let mut journal = [0; 2048];
    let parts = Parts::<SimBoard, SimWatchdog> {
        card: SdCard::new(slot.bus(), slot.select(), slot.clock()),
        clock: slot.clock(),
        panel,
        random: Seeded(random),
        watchdog: setup.watchdog,
        config: setup.config,
        mac: MAC,
        prefix: "iESP",
        reset_reason: setup.reset_reason,
    };
    let extras = Extras { journal: &mut journal, services, flash: setup.flash, last_words: words.as_deref() };
    let program = Box::pin(iesp_firmware::run_with(parts, stack, &mut *memory, extras));
    match alongside(runner.run(), program).await {}
}

/// What is large is on the stack for a moment only: a test's thread has little of that.
#[inline(never)]
fn boxed<T>(make: fn() -> T) -> Box<T> {
    Box::new(make())
}
