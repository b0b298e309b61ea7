//! ESP32: two Xtensa cores at 240 MHz of which one is used, 520 KB of RAM of which variables and the stack get 192 KB; WiFi, and on the
//! WT32-ETH01 Ethernet.

use iesp_firmware::memory::Memory;
use iesp_firmware::pins::{CardPins, Pins};

/// As SNMP tells it.
pub const ARCHITECTURE: &str = "ESP32";

/// 6 to 11 are the flash's, 1 and 3 the console's; 34 to 39 cannot be driven. On the WT32-ETH01 the Ethernet has 0, 16, 18, 19, 21
/// to 23 and 25 to 27.
#[cfg(not(feature = "ethernet"))]
pub const PINS: Pins = Pins { outputs: 0x3_0eef_f035, inputs: 0xff_0eef_f035 };
/// See above.
#[cfg(feature = "ethernet")]
pub const PINS: Pins = Pins { outputs: 0x3_0002_f034, inputs: 0x9f_0002_f034 };

/// SPI3's own pins, which it reaches without a detour: those of the C++ program.
#[cfg(not(feature = "ethernet"))]
pub const CARD: CardPins = CardPins { miso: 19, mosi: 23, sck: 18, select: 5 };
/// Pins that the board has on its headers, and that the chip does not look at when it starts.
#[cfg(feature = "ethernet")]
pub const CARD: CardPins = CardPins { miso: 35, mosi: 33, sck: 14, select: 32 };

/// One initiator and one more connection, a window of 8, segments of 4 KiB.
pub type BoardMemory = Memory<2, 10, 2048, 4352, 8192, 4096, 4096>;

/// Heap for the radio and for SNMP's answers: beside the RAM that only the boot loader used.
pub const HEAP: usize = 4 << 10;
/// What that is, as far as it is taken.
pub const RECLAIMED: usize = 96 << 10;

/// The card's controller and its DMA.
macro_rules! card_controller {
    ($p:ident) => {
        ($p.SPI3, $p.DMA_SPI3)
    };
}
pub(crate) use card_controller;
