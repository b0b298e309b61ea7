//! LEDs and the serial console: UART0, GPIO 0, 115200 baud.

use core::fmt::{self, Write as _};

use embassy_rp::Peri;
use embassy_rp::gpio::{AnyPin, Output};
use embassy_rp::peripherals::{PIN_0, UART0};
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

/// GPIOs of the board's own LEDs: green and yellow.
const OWN: [Option<u8>; 3] = [Some(17), Some(18), None];
/// GPIOs that may have one: neither the card, nor the console, nor the radio has them.
const FREE: u32 = 0x1c7f_e2fe;

/// The console, and LEDs at GPIO 17 (green) and 18 (yellow), or where the owner has them.
pub struct Leds {
    console: Console,
    pins: [Option<Output<'static>>; 3],
    on: [bool; 3],
}

impl Leds {
    /// The board's own, off.
    pub fn new(console: Console) -> Self {
        let mut leds = Self { console, pins: [None, None, None], on: [false; 3] };
        leds.set_lights([-1; 3]);
        leds
    }
}

/// The GPIO's number, where it may have an LED.
fn free(number: i16, taken: u32) -> Option<u8> {
    u8::try_from(number).ok().filter(|number| *number < 32 && (FREE & !taken) >> number & 1 == 1)
}

impl Panel for Leds {
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
        let mut taken = 0;
        for (number, gpio) in gpio.into_iter().enumerate() {
            let wanted = if gpio == -1 { OWN[number].map(i16::from) } else { Some(gpio) };
            let Some(wanted) = wanted else { continue };
            match free(wanted, taken) {
                Some(gpio) => {
                    taken |= 1 << gpio;
                    // SAFETY: nothing else of the board has it, and no other light.
                    let pin = unsafe { AnyPin::steal(gpio) };
                    self.pins[number] = Some(Output::new(pin, self.on[number].into()));
                }
                None => self.console.line(format_args!("GPIO {wanted} cannot be a light here")),
            }
        }
    }

    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.console.line(text);
    }
}
