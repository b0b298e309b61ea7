//! An SD card in SPI mode as its pins show it: one byte in, one byte out (SD Physical Layer Simplified Specification,
//! chapter 7).
//!
//! The card is strict: what a host must not do is carried out as a card might, and kept as a [`Violation`].

mod commands;
mod crc;
mod faults;
mod medium;
mod plant;
mod registers;
mod store;
mod transfer;

use std::collections::VecDeque;

pub use faults::{Fault, Faults};
pub use medium::{BLOCK, Medium, Memory, SparseFile};
pub use plant::Plant;
pub use registers::{Model, Timing};

use store::Store;
use transfer::Writing;

/// The highest clock until the card is initialised, and in the two speed modes (7.2.1, 4.3.10).
const IDENTIFICATION_HZ: u32 = 400_000;
const DEFAULT_SPEED_HZ: u32 = 25_000_000;
const HIGH_SPEED_HZ: u32 = 50_000_000;
/// 7.2.1: clocks with chip select high before CMD0.
const WAKE_CLOCKS: u32 = 74;
/// A host does not know that the card was put in within this time.
const UNNOTICED_US: u64 = 20_000;
/// What a line shows that nobody drives: a pull-up holds it.
const IDLE: u8 = 0xff;

/// A rule that the host broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in microseconds.
    pub at_us: u64,
    /// Which rule.
    pub rule: &'static str,
    /// The byte or command index.
    pub byte: u8,
}

/// How far the card is initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not in the slot.
    Absent,
    /// Powered up: it speaks the native protocol until CMD0 with chip select low.
    Native,
    /// After CMD0.
    Idle,
    /// After ACMD41.
    Ready,
}

enum Phase {
    Command,
    /// Sends memory blocks.
    Read {
        next: u32,
        multiple: bool,
        ready_at: u64,
    },
    /// Takes memory blocks.
    Write(Writing),
}

/// An emulated card.
pub struct Card {
    model: Model,
    timing: Timing,
    faults: Faults,
    store: Store,
    violations: Vec<Violation>,
    counters: Counters,

    now: u64,
    clock_hz: u32,
    mode: Mode,
    back_at: u64,
    powered_at: u64,
    wake_clocks: u32,
    selected: bool,
    interface_checked: bool,
    ready_at: Option<u64>,
    crc_on: bool,
    high_speed: bool,
    /// CMD55 came just before.
    app: bool,
    phase: Phase,
    frame: Vec<u8>,
    out: VecDeque<u8>,
    busy_until: u64,
    /// Bytes 0xff since the last response or busy: N_WR, N_CX.
    gap: u32,
    /// Second byte of R2, kept until CMD13.
    status: u8,
    erase_range: (Option<u32>, Option<u32>),
    announced: u32,
    well_written: u32,
    since_cleaning: u32,
}

/// What happened on the pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Commands by index (64 of them), CMD and ACMD together.
    pub commands: Vec<u32>,
    /// Memory blocks sent.
    pub blocks_read: u64,
    /// Memory blocks taken.
    pub blocks_written: u64,
}

impl Card {
    /// A card in the slot, powered up just now.
    pub fn new(model: Model, timing: Timing, medium: Box<dyn Medium>, faults: Faults) -> Self {
        Self {
            store: Store::new(medium, model.erased),
            model,
            timing,
            faults,
            violations: Vec::new(),
            counters: Counters { commands: vec![0; 64], blocks_read: 0, blocks_written: 0 },
            now: 0,
            clock_hz: 0,
            mode: Mode::Native,
            back_at: u64::MAX,
            powered_at: 0,
            wake_clocks: 0,
            selected: false,
            interface_checked: false,
            ready_at: None,
            crc_on: false,
            high_speed: false,
            app: false,
            phase: Phase::Command,
            frame: Vec::with_capacity(6),
            out: VecDeque::new(),
            busy_until: 0,
            gap: 0,
            status: 0,
            erase_range: (None, None),
            announced: 0,
            well_written: 0,
            since_cleaning: 0,
        }
    }

    /// Rules that the host broke.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What happened on the pins.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The source of faults.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Plants a fault that no driver can see, or takes it away.
    pub fn plant(&mut self, plant: Option<Plant>) {
        self.store.plant = plant;
    }

    /// A block as it would be found now; `None` when it cannot be read.
    pub fn block(&mut self, address: u32) -> Option<[u8; BLOCK]> {
        self.store.read(address)
    }

    /// Power is gone and comes back: what was not programmed may be lost.
    pub fn cut_power(&mut self, now_us: u64) {
        self.now = now_us;
        self.store.pass(now_us);
        self.store.cut(&mut self.faults);
        self.power_up();
    }

    /// Whether it is in its slot.
    pub fn is_there(&self) -> bool {
        self.mode != Mode::Absent
    }

    /// Takes the card out.
    pub fn remove(&mut self, now_us: u64) {
        self.cut_power(now_us);
        self.mode = Mode::Absent;
        self.back_at = u64::MAX;
    }

    /// Puts the card back.
    pub fn insert(&mut self) {
        self.power_up();
    }

    /// Gives the card another product serial number: another card is inserted.
    pub fn exchange_for(&mut self, serial: u32) {
        self.model.serial = serial;
        self.power_up();
    }

    /// Chip select changes.
    pub fn select(&mut self, selected: bool, now_us: u64) {
        self.now = now_us;
        self.selected = selected;
        if !self.frame.is_empty() && self.mode != Mode::Absent {
            self.violate("chip select within a command", 0);
        }
        self.frame.clear();
        if !selected {
            if self.is_taking_block() {
                self.violate("chip select within a block that is written", 0);
            }
            self.out.clear();
        }
    }

    /// Eight clocks: takes the byte on MOSI, gives the one on MISO.
    pub fn exchange(&mut self, mosi: u8, selected: bool, clock_hz: u32, now_us: u64) -> u8 {
        self.now = now_us;
        self.clock_hz = clock_hz;
        self.store.pass(now_us);
        if self.mode == Mode::Absent {
            if now_us < self.back_at {
                return IDLE;
            }
            self.insert();
        }
        if !selected {
            if mosi == IDLE {
                self.wake_clocks = self.wake_clocks.saturating_add(8);
            }
            return IDLE;
        }
        let quiet = self.out.is_empty() && self.now >= self.busy_until;
        let miso = self.output();
        self.input(mosi, quiet);
        if clock_hz > self.model.reliable_hz && self.faults.below(64) == 0 { miso ^ 0x10 } else { miso }
    }

    fn output(&mut self) -> u8 {
        if self.out.is_empty() && self.now >= self.busy_until {
            self.send_next_block();
        }
        match self.out.pop_front() {
            Some(byte) => byte,
            None if self.now < self.busy_until => 0,
            None => IDLE,
        }
    }

    fn input(&mut self, mosi: u8, quiet: bool) {
        if !self.frame.is_empty() {
            self.frame.push(mosi);
            if let [start, a, b, c, d, crc] = self.frame[..] {
                self.frame.clear();
                self.command([start, a, b, c, d, crc]);
            }
        } else if self.is_taking_block() {
            self.take_byte(mosi);
        } else if mosi == IDLE {
            self.gap = if quiet { self.gap + 1 } else { 0 };
        } else if mosi & 0xc0 == 0x40 {
            self.check_start(mosi & 0x3f);
            self.frame.push(mosi);
        } else {
            self.token(mosi, quiet);
        }
    }

    fn check_start(&mut self, index: u8) {
        if self.mode != Mode::Ready {
            return;
        }
        if self.now < self.busy_until && !matches!(index, 0 | 12) {
            self.violate("a command while the card is busy", index);
        }
        let fastest = if self.high_speed { HIGH_SPEED_HZ } else { DEFAULT_SPEED_HZ };
        if self.clock_hz > fastest {
            self.violate("a clock above that of the speed mode", index);
        }
    }

    fn power_up(&mut self) {
        self.mode = Mode::Native;
        self.powered_at = self.now;
        self.wake_clocks = 0;
        self.reset();
    }

    /// What CMD0 and power-up have in common.
    fn reset(&mut self) {
        self.interface_checked = false;
        self.ready_at = None;
        self.crc_on = false;
        self.high_speed = false;
        self.app = false;
        self.phase = Phase::Command;
        self.frame.clear();
        self.out.clear();
        self.busy_until = 0;
        self.gap = 0;
        self.status = 0;
        self.erase_range = (None, None);
        self.announced = 0;
        self.well_written = 0;
    }

    fn violate(&mut self, rule: &'static str, byte: u8) {
        self.violations.push(Violation { at_us: self.now, rule, byte });
    }

    /// Whether this fault happens now.
    fn fault(&mut self, fault: Fault) -> bool {
        self.faults.happens(fault, self.now)
    }

    fn pull_out(&mut self) {
        let away = u64::from(self.faults.below(2_000_000)) + 1_000;
        self.remove(self.now);
        self.back_at = self.now + away;
    }
}
