//! LEDs and the serial console: UART0, GPIO 0, 115200 baud.

use core::fmt::{self, Write as _};

use embassy_rp::Peri;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{PIN_0, PIN_17, PIN_18, UART0};
use embassy_rp::uart::{Blocking, Config, UartTx};
use iesp_firmware::board::{Led, Panel};

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

/// The console, and LEDs at GPIO 17 (green) and 18 (yellow).
pub struct Leds {
    console: Console,
    green: Output<'static>,
    yellow: Output<'static>,
}

impl Leds {
    /// Both off.
    pub fn new(console: Console, green: Peri<'static, PIN_17>, yellow: Peri<'static, PIN_18>) -> Self {
        Self { console, green: Output::new(green, Level::Low), yellow: Output::new(yellow, Level::Low) }
    }
}

impl Panel for Leds {
    fn light(&mut self, led: Led, on: bool) {
        match led {
            Led::Green => self.green.set_level(on.into()),
            Led::Yellow => self.yellow.set_level(on.into()),
            // The board has none: the console says what is wrong.
            Led::Red => {}
        }
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.console.line(text);
    }
}
