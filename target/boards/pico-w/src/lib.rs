//! The parts of a Raspberry Pi Pico W: the card's bus and pins, the panel, the configuration in flash, the radio.

#![no_std]

mod card;
mod config;
mod panel;
mod radio;

pub use card::{CardPins, Interrupts, SdBus, card};
pub use config::{in_flash, kept};
pub use panel::{Console, Leds};
pub use radio::{CLM, FIRMWARE, NVRAM, WifiRadio};
