//! The console (USB where the chip has that and a PC listens, otherwise UART0 at 115200 baud), and lights at the GPIOs that the
//! owner says.

use core::fmt::{self, Write as _};

use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_println::Printer;
use iesp_firmware::board::{Led, Panel};
use iesp_firmware::pins::{CardPins, Lights};

use crate::chip;
use crate::pins::pin;

/// A line for the console.
pub fn line(text: fmt::Arguments<'_>) {
    // A console that takes nothing is nobody's trouble.
    let _ = write!(Printer, "{text}\r\n");
}

/// The panel.
pub struct BoardPanel {
    card: CardPins,
    lights: Lights<Output<'static>>,
}

impl BoardPanel {
    /// Without lights yet, beside the card at these pins.
    pub const fn new(card: CardPins) -> Self {
        Self { card, lights: Lights::new() }
    }
}

impl Panel for BoardPanel {
    fn light(&mut self, led: Led, on: bool) {
        self.lights.light(led, on);
    }

    fn set_lights(&mut self, gpio: [i16; 3]) {
        let free = chip::PINS.outputs & !self.card.bits();
        // SAFETY: neither the card nor another light has it.
        let make = |number, on| Output::new(unsafe { pin(number) }, Level::from(on), OutputConfig::default());
        let wrong = |number| line(format_args!("GPIO {number} cannot be a light here"));
        self.lights.place(gpio, [None; 3], free, make, wrong);
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        line(text);
    }
}
