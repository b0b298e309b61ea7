//! LEDs and the serial console.

use core::fmt::{self, Write as _};

use iesp_firmware::board::{Led, Panel};
use teensy4_bsp::hal::gpio::Output;

use crate::machine::serial;

/// LEDs at pins 7 (green), 6 (yellow) and 5 (red), and the console at pin 1.
pub struct Leds {
    /// Reading.
    pub green: Option<Output>,
    /// Writing.
    pub yellow: Option<Output>,
    /// Trouble.
    pub red: Option<Output>,
}

impl Panel for Leds {
    fn light(&mut self, led: Led, on: bool) {
        let output = match led {
            Led::Green => &self.green,
            Led::Yellow => &self.yellow,
            Led::Red => &self.red,
        };
        if let Some(output) = output {
            if on { output.set() } else { output.clear() }
        }
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        // A console that takes nothing is nobody's trouble.
        let _ = writeln!(serial(), "{text}");
    }
}
