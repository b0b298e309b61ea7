//! LEDs and the serial console: UART0, GPIO 0, 115200 baud.

use core::fmt::{self, Write as _};

use embassy_rp::Peri;
use embassy_rp::gpio::{AnyPin, Output};
use embassy_rp::peripherals::{PIN_0, UART0};
use embassy_rp::uart::{Blocking, Config, UartTx};
use embassy_time::Delay;
use iesp_firmware::board::{Led, Panel};
use iesp_firmware::pins::{Front, PanelPins};

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
/// GPIOs that may have one, or a display: neither the card, nor the console, nor the radio has them.
const FREE: u64 = 0x1c7f_e2fe;

/// The console, and LEDs at GPIO 17 (green) and 18 (yellow), or where the owner has them; a TM1637 where the owner
/// has one.
pub struct Leds {
    console: Console,
    front: Front<Output<'static>, Delay>,
}

impl Leds {
    /// The board's own, off.
    pub fn new(console: Console) -> Self {
        let mut leds = Self { console, front: Front::new(Delay) };
        leds.place(PanelPins::NONE);
        leds
    }
}

impl Panel for Leds {
    fn light(&mut self, led: Led, on: bool) {
        self.front.light(led, on);
    }

    fn show(&mut self, stage: u16) {
        self.front.show(stage);
    }

    fn place(&mut self, pins: PanelPins) {
        // SAFETY: nothing else of the board has it, and nothing else of the panel.
        let make = |number, on: bool| Output::new(unsafe { AnyPin::steal(number) }, on.into());
        let console = &mut self.console;
        let wrong = |number| {
            console.line(format_args!("GPIO {number} cannot be a light or a display here, or is in use already"))
        };
        self.front.place(pins, OWN, FREE, make, wrong);
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.console.line(text);
    }
}
