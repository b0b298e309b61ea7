//! ESP32-C3: one RISC-V core at 160 MHz, 400 KB of RAM of which code takes a part, WiFi.

use iesp_firmware::pins::{CardPins, Pins};

/// As SNMP tells it.
pub const ARCHITECTURE: &str = "ESP32-C3";

/// 12 to 17 are the flash's, 11 its supply, 18 and 19 USB's, 20 and 21 the console's.
pub const PINS: Pins = Pins { outputs: 0x7ff, inputs: 0x7ff };

/// SPI2's own pins, which it reaches without a detour.
pub const CARD: CardPins = CardPins { miso: 2, mosi: 7, sck: 6, select: 10 };

/// Two initiators and one more connection, a window of 8, segments of 4 KiB.
pub type BoardMemory = iesp_firmware::memory::MediumMemory;

/// Heap for the radio and for SNMP's answers: beside the RAM that only the boot loader used.
pub const HEAP: usize = 8 << 10;
/// What that is, as far as it is taken.
pub const RECLAIMED: usize = 64 << 10;

/// The card's controller and its DMA.
macro_rules! card_controller {
    ($p:ident) => {
        ($p.SPI2, $p.DMA_CH0)
    };
}
pub(crate) use card_controller;
