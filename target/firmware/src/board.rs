//! What a board has: types, and the small traits of everything that is no card and no network.

use crate::Clock;
use crate::card::Card;
use crate::log::Level;
use crate::pins::PanelPins;

/// A board, as the types of its parts.
pub trait Board {
    /// The card in its slot.
    type Card: Card;
    /// Its clock.
    type Clock: Clock;
    /// Its LEDs, display and console.
    type Panel: Panel;
    /// Its random source.
    type Random: Random;
    /// Whether its lights and its display are at the pins that the configuration says ([`Panel::place`]). Where they are not, such keys do
    /// nothing, and that is told.
    const PLACES_PANEL: bool = false;
    /// The same of the card's bus.
    const PLACES_CARD: bool = false;
}

/// A source that no peer can foretell: CHAP rests on it.
pub trait Random {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Random for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// An LED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led {
    /// Reading.
    Green,
    /// Writing.
    Yellow,
    /// Trouble.
    Red,
}

/// LEDs, a display and a serial console; a board without one of them ignores it.
pub trait Panel {
    /// Turns an LED on or off.
    fn light(&mut self, led: Led, on: bool) {
        let _ = (led, on);
    }

    /// Says where the owner has lights and a display.
    fn place(&mut self, pins: PanelPins) {
        let _ = pins;
    }

    /// Shows a number of up to four digits: the stage of the start (TM1637).
    fn show(&mut self, stage: u16) {
        let _ = stage;
    }

    /// Writes a line to the serial console, without its end.
    fn line(&mut self, text: core::fmt::Arguments<'_>) {
        let _ = text;
    }

    /// As [`line`](Self::line), with how bad it is.
    fn tell(&mut self, level: Level, text: core::fmt::Arguments<'_>) {
        let _ = level;
        self.line(text);
    }
}

/// A board without LEDs, display and console.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPanel;

impl Panel for NoPanel {}

/// Restarts the board when it is not fed in time.
pub trait Watchdog {
    /// All is well.
    fn feed(&mut self);
}

/// A board without a watchdog.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatchdog;

impl Watchdog for NoWatchdog {
    fn feed(&mut self) {}
}
