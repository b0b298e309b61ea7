//! The console (USB where the chip has that and a PC listens, otherwise UART0 at 115200 baud), lights and a TM1637 at the GPIOs
//! that the owner says.

use core::fmt::{self, Write as _};

use embassy_time::Delay;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_println::Printer;
use iesp_firmware::board::{Led, Panel};
use iesp_firmware::pins::{CardPins, Front, PanelPins};

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
    front: Front<Output<'static>, Delay>,
}

impl BoardPanel {
    /// Without lights yet, beside the card at these pins.
    pub const fn new(card: CardPins) -> Self {
        Self { card, front: Front::new(Delay) }
    }
}

impl Panel for BoardPanel {
    fn light(&mut self, led: Led, on: bool) {
        self.front.light(led, on);
    }

    fn show(&mut self, stage: u16) {
        self.front.show(stage);
    }

    fn place(&mut self, pins: PanelPins) {
        let free = chip::PINS.outputs & !self.card.bits();
        // SAFETY: neither the card nor anything else of the panel has it.
        let make = |number, on| Output::new(unsafe { pin(number) }, Level::from(on), OutputConfig::default());
        let wrong =
            |number| line(format_args!("GPIO {number} cannot be a light or a display here, or is in use already"));
        self.front.place(pins, [None; 3], free, make, wrong);
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        line(text);
    }
}
