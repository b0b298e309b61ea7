//! LEDs and the serial console: UART0, GPIO 0, 115200 baud.

use core::fmt::{self, Write as _};

use embassy_rp::Peri;
use embassy_rp::gpio::{AnyPin, Output};
use embassy_rp::peripherals::{PIN_0, UART0};
use embassy_rp::uart::{Blocking, Config, UartTx};
use iesp_firmware::board::{Led, Panel};
use iesp_firmware::pins::Lights;

/// The console.
pub struct Console(UartTx<'static, Blocking>);

impl Console {
    /// On its pin.
    pub fn new(uart: Peri<'static, UART0>, pin: Peri<'static, PIN_0>) -> Self {
        Self(UartTx::new_blocking(uart, pin, Config::default()))
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            let (line, end) = part.strip_suffix('\n').map_or((part, ""), |line| (line, "\r\n"));
            for text in [line, end] {
                self.0.blocking_write(text.as_bytes()).map_err(|_| fmt::Error)?;
            }
        }
        Ok(())
    }
}

impl Panel for Console {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        // A console that takes nothing is nobody's trouble.
        let _ = writeln!(self, "{text}");
    }
}

/// GPIOs of the board's own LEDs: green and yellow.
const OWN: [Option<u8>; 3] = [Some(17), Some(18), None];
/// GPIOs that may have one: neither the card, nor the console, nor the radio has them.
const FREE: u64 = 0x1c7f_e2fe;

/// The console, and LEDs at GPIO 17 (green) and 18 (yellow), or where the owner has them.
pub struct Leds {
    console: Console,
    lights: Lights<Output<'static>>,
}

impl Leds {
    /// The board's own, off.
    pub fn new(console: Console) -> Self {
        let mut leds = Self { console, lights: Lights::new() };
        leds.set_lights([-1; 3]);
        leds
    }
}

impl Panel for Leds {
    fn light(&mut self, led: Led, on: bool) {
        self.lights.light(led, on);
    }

    fn set_lights(&mut self, gpio: [i16; 3]) {
        // SAFETY: nothing else of the board has it, and no other light.
        let make = |number, on: bool| Output::new(unsafe { AnyPin::steal(number) }, on.into());
        let console = &mut self.console;
        let wrong = |number| console.line(format_args!("GPIO {number} cannot be a light here"));
        self.lights.place(gpio, OWN, FREE, make, wrong);
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.console.line(text);
    }
}
