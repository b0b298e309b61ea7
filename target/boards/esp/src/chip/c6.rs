//! ESP32-C6: one RISC-V core at 160 MHz, 512 KB of RAM of which code takes a part, WiFi.

use iesp_firmware::memory::Memory;
use iesp_firmware::pins::{CardPins, Pins};

/// As SNMP tells it.
pub const ARCHITECTURE: &str = "ESP32-C6";

/// 12 and 13 are USB's, 16 and 17 the console's, 24 to 30 the flash's; 14 is not there.
pub const PINS: Pins = Pins { outputs: 0xfc_8fff, inputs: 0xfc_8fff };

/// Clock and data are SPI2's own pins, which it reaches without a detour.
pub const CARD: CardPins = CardPins { miso: 2, mosi: 7, sck: 6, select: 10 };

/// Two initiators and one more connection, a window of 8, segments of 8 KiB, transfers of 16 KiB.
pub type BoardMemory = Memory<3, 10, 2048, 8448, 16384, 8192, 8192>;

/// Heap for the radio and for SNMP's answers: beside the RAM that only the boot loader used.
pub const HEAP: usize = 16 << 10;
/// What that is, as far as it is taken.
pub const RECLAIMED: usize = 64 << 10;

/// The card's controller and its DMA.
macro_rules! card_controller {
    ($p:ident) => {
        ($p.SPI2, $p.DMA_CH0)
    };
}
pub(crate) use card_controller;
