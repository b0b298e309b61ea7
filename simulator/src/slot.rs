//! The slot that a card is in: SPI bus, chip select and clock, all in virtual time.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::pending;
use std::rc::Rc;

use embedded_hal::digital::{ErrorType as PinErrorType, OutputPin};
use embedded_hal::spi::{ErrorKind, ErrorType};
use embedded_hal_async::spi::SpiBus;
use iesp_firmware::Clock;
use iesp_firmware::sd::CardBus;

use crate::card::Card;
use crate::time;

/// Picoseconds a microsecond: a byte at 50 MHz takes 160 000 ps.
const PS_PER_US: u64 = 1_000_000;

/// How far the bus may be ahead of the others' time: single bytes are not worth a pause.
const AHEAD_US: u64 = 10;

struct World {
    card: Card,
    now_ps: u64,
    clock_hz: u32,
    byte_ps: u64,
    fastest_hz: u32,
    selected: bool,
    power_cut_us: Option<u64>,
    powered: bool,
    stall_at_us: u64,
    deadline_us: u64,
    /// Others live in this thread's time: a transfer takes its time while they go on.
    shared: bool,
}

impl World {
    fn pass(&mut self, ps: u64) {
        self.now_ps += ps;
        let now_us = self.now_ps / PS_PER_US;
        assert!(now_us <= self.deadline_us, "the board still works at {now_us} µs: it hangs");
        if self.power_cut_us.is_some_and(|at| now_us >= at) {
            self.power_cut_us = None;
            self.powered = false;
            self.card.cut_power(now_us);
        }
    }

    fn exchange(&mut self, byte: u8) -> Result<u8, ErrorKind> {
        self.pass(self.byte_ps);
        if !self.powered {
            return Err(ErrorKind::Other);
        }
        Ok(self.card.exchange(byte, self.selected, self.clock_hz, self.now_ps / PS_PER_US))
    }
}

fn byte_ps(clock_hz: u32) -> u64 {
    8_000_000_000_000 / u64::from(clock_hz)
}

/// A slot with a card, and the time.
#[derive(Clone)]
pub struct Slot(Rc<RefCell<World>>);

impl Slot {
    /// A slot whose bus has clocks up to `fastest_hz`. The power is on.
    pub fn new(card: Card, fastest_hz: u32) -> Self {
        Self(Rc::new(RefCell::new(World {
            card,
            now_ps: 0,
            clock_hz: 400_000,
            byte_ps: byte_ps(400_000),
            fastest_hz,
            selected: false,
            power_cut_us: None,
            powered: true,
            stall_at_us: u64::MAX,
            deadline_us: u64::MAX,
            shared: false,
        })))
    }

    /// A slot in the time of its thread ([`crate::time`]): while the bus moves bytes, as a DMA channel does, other tasks go
    /// on.
    pub fn in_shared_time(card: Card, fastest_hz: u32) -> Self {
        let slot = Self::new(card, fastest_hz);
        slot.0.borrow_mut().shared = true;
        slot
    }

    /// The bus of a board.
    pub fn bus(&self) -> Bus {
        Bus(self.clone())
    }

    /// The chip select pin of a board.
    pub fn select(&self) -> Select {
        Select(self.clone())
    }

    /// The clock of a board.
    pub fn clock(&self) -> SlotClock {
        SlotClock(self.clone())
    }

    /// Virtual time in microseconds.
    pub fn now_us(&self) -> u64 {
        self.0.borrow().now_ps / PS_PER_US
    }

    /// Cuts the power in `us` microseconds: the bus fails from then on.
    pub fn cut_power_in(&self, us: u64) {
        let mut world = self.0.borrow_mut();
        world.power_cut_us = Some(world.now_ps / PS_PER_US + us);
    }

    /// Cuts the power, unless that was done.
    pub fn cut_power_now(&self) {
        let mut world = self.0.borrow_mut();
        if std::mem::take(&mut world.powered) {
            world.power_cut_us = None;
            let now_us = world.now_ps / PS_PER_US;
            world.card.cut_power(now_us);
        }
    }

    /// Whether the power is on.
    pub fn is_powered(&self) -> bool {
        self.0.borrow().powered
    }

    /// Gives board and card their power again, and takes back a cut that is still to come.
    pub fn restore_power(&self) {
        let mut world = self.0.borrow_mut();
        world.power_cut_us = None;
        world.powered = true;
    }

    /// From now on it is a panic when the board works for longer than `us` microseconds.
    pub fn expect_end_in(&self, us: u64) {
        let mut world = self.0.borrow_mut();
        world.deadline_us = world.now_ps / PS_PER_US + us;
    }

    /// In `us` microseconds the bus stops answering: its futures are pending until [`resume`](Self::resume), so that a
    /// request can be dropped in its middle.
    pub fn stall_in(&self, us: u64) {
        let mut world = self.0.borrow_mut();
        world.stall_at_us = world.now_ps / PS_PER_US + us;
    }

    /// The bus answers again.
    pub fn resume(&self) {
        self.0.borrow_mut().stall_at_us = u64::MAX;
    }

    /// Before a transfer: it does not begin in the past.
    fn catch_up(&self) {
        let mut world = self.0.borrow_mut();
        if world.shared {
            let now_ps = time::now_us() * PS_PER_US;
            if let Some(behind) = now_ps.checked_sub(world.now_ps) {
                world.pass(behind);
            }
        }
    }

    /// Behind a transfer: it ends when it ends.
    async fn take_time(&self) {
        let (shared, now_us) = (self.0.borrow().shared, self.now_us());
        if shared && now_us > time::now_us() + AHEAD_US {
            time::sleep_until_us(now_us).await;
        }
    }

    async fn answers(&self) {
        self.catch_up();
        let stalled = self.now_us() >= self.0.borrow().stall_at_us;
        if stalled {
            pending::<()>().await;
        }
    }

    /// Lets time pass.
    pub fn wait(&self, us: u64) {
        self.0.borrow_mut().pass(us * PS_PER_US);
    }

    fn with_world<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.0.borrow_mut())
    }

    /// Does something to the card.
    pub fn with_card<T>(&self, f: impl FnOnce(&mut Card) -> T) -> T {
        f(&mut self.0.borrow_mut().card)
    }
}

/// [`Slot::bus`].
pub struct Bus(Slot);

impl ErrorType for Bus {
    type Error = ErrorKind;
}

impl SpiBus for Bus {
    /// A bus of a real board sends what it likes while it reads; zeros, here, because a card would see them.
    async fn read(&mut self, words: &mut [u8]) -> Result<(), ErrorKind> {
        words.fill(0);
        self.transfer_in_place(words).await
    }

    async fn write(&mut self, words: &[u8]) -> Result<(), ErrorKind> {
        self.0.answers().await;
        let result = self.0.with_world(|world| words.iter().try_for_each(|word| world.exchange(*word).map(drop)));
        self.0.take_time().await;
        result
    }

    async fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), ErrorKind> {
        self.0.answers().await;
        let result = self.0.with_world(|world| {
            for i in 0..read.len().max(write.len()) {
                let byte = world.exchange(write.get(i).copied().unwrap_or(0))?;
                if let Some(to) = read.get_mut(i) {
                    *to = byte;
                }
            }
            Ok(())
        });
        self.0.take_time().await;
        result
    }

    async fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), ErrorKind> {
        self.0.answers().await;
        let result = self.0.with_world(|world| {
            for word in words {
                *word = world.exchange(*word)?;
            }
            Ok(())
        });
        self.0.take_time().await;
        result
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl CardBus for Bus {
    fn set_clock(&mut self, hz: u32) -> u32 {
        let mut world = self.0.0.borrow_mut();
        world.clock_hz = hz.min(world.fastest_hz);
        world.byte_ps = byte_ps(world.clock_hz);
        world.clock_hz
    }
}

/// [`Slot::select`].
pub struct Select(Slot);

impl PinErrorType for Select {
    type Error = Infallible;
}

impl Select {
    fn set(&self, selected: bool) {
        let mut world = self.0.0.borrow_mut();
        if world.selected != selected {
            world.selected = selected;
            let now_us = world.now_ps / PS_PER_US;
            world.card.select(selected, now_us);
        }
    }
}

impl OutputPin for Select {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(true);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(false);
        Ok(())
    }
}

/// [`Slot::clock`].
pub struct SlotClock(Slot);

impl Clock for SlotClock {
    fn now_us(&self) -> u64 {
        self.0.catch_up();
        self.0.now_us()
    }

    async fn sleep_us(&self, us: u32) {
        if self.0.0.borrow().shared {
            self.0.catch_up();
            let until = self.0.now_us() + u64::from(us);
            time::sleep_until_us(until).await;
            self.0.catch_up();
        } else {
            self.0.wait(u64::from(us));
        }
    }
}
