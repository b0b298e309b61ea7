//! The console (USB where the chip has that and a PC listens, otherwise UART0 at 115200 baud), and lights at the GPIOs that the
//! owner says.

use core::fmt::{self, Write as _};

use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_println::Printer;
use iesp_firmware::board::{Led, Panel};
use iesp_firmware::pins::{CardPins, lights};

use crate::chip;
use crate::pins::pin;

/// A line for the console.
pub fn line(text: fmt::Arguments<'_>) {
    // A console that takes nothing is nobody's trouble.
    let _ = write!(Printer, "{text}\r\n");
}

/// The panel.
pub struct Lights {
    card: CardPins,
    pins: [Option<Output<'static>>; 3],
    on: [bool; 3],
}

impl Lights {
    /// None yet, beside the card at these pins.
    pub const fn new(card: CardPins) -> Self {
        Self { card, pins: [None, None, None], on: [false; 3] }
    }
}

impl Panel for Lights {
    fn light(&mut self, led: Led, on: bool) {
        let number = match led {
            Led::Green => 0,
            Led::Yellow => 1,
            Led::Red => 2,
        };
        self.on[number] = on;
        if let Some(pin) = &mut self.pins[number] {
            pin.set_level(on.into());
        }
    }

    fn set_lights(&mut self, gpio: [i16; 3]) {
        // Pins that are driven now are free after this.
        self.pins = [None, None, None];
        let chosen = lights(gpio, self.card, chip::PINS);
        for ((place, chosen), on) in self.pins.iter_mut().zip(chosen).zip(self.on) {
            match chosen {
                Ok(number) => {
                    *place = number.map(|number| {
                        // SAFETY: neither the card nor another light has it.
                        let pin = unsafe { pin(number) };
                        Output::new(pin, Level::from(on), OutputConfig::default())
                    });
                }
                Err(number) => line(format_args!("GPIO {number} cannot be a light here")),
            }
        }
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        line(text);
    }
}
