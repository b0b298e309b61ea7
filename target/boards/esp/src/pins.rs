//! Pins by the numbers that the configuration has.

use esp_hal::gpio::AnyPin;
use iesp_firmware::config::Config;

/// GPIOs that the owner may choose, as bits.
#[derive(Clone, Copy)]
pub struct Pins {
    /// For what the board drives.
    pub outputs: u64,
    /// For what it reads.
    pub inputs: u64,
}

/// The card's pins, by their GPIO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardPins {
    /// From the card.
    pub miso: u8,
    /// To the card.
    pub mosi: u8,
    /// Clock.
    pub sck: u8,
    /// Chip select.
    pub select: u8,
}

/// A pin that cannot be what the configuration has it for: its key and its number.
#[derive(Clone, Copy, Debug)]
pub struct WrongPin(pub &'static str, pub i16);

impl CardPins {
    /// Those of the configuration; the board's own where it has none.
    ///
    /// # Errors
    /// When one of them cannot be a card's, or is there twice.
    pub fn of(config: &Config, own: Self, pins: Pins) -> Result<Self, WrongPin> {
        let one = |key, number: i16, own: u8, allowed: u64| match number {
            -1 => Ok(own),
            number => allowed_pin(number, allowed).ok_or(WrongPin(key, number)),
        };
        let chosen = Self {
            miso: one("SD-MISO", config.sd_miso, own.miso, pins.inputs)?,
            mosi: one("SD-MOSI", config.sd_mosi, own.mosi, pins.outputs)?,
            sck: one("SD-SCLK", config.sd_sclk, own.sck, pins.outputs)?,
            select: one("SD-CS", config.sd_cs, own.select, pins.outputs)?,
        };
        let numbers = [chosen.miso, chosen.mosi, chosen.sck, chosen.select];
        let bits = numbers.iter().fold(0_u64, |bits, number| bits | 1 << number);
        if bits.count_ones() < 4 {
            return Err(WrongPin("SD-MISO, SD-MOSI, SD-SCLK, SD-CS", numbers[0].into()));
        }
        Ok(chosen)
    }

    /// Whether a GPIO is one of them.
    pub fn has(&self, number: u8) -> bool {
        [self.miso, self.mosi, self.sck, self.select].contains(&number)
    }
}

/// The number of a GPIO, where it is among those that are allowed.
pub fn allowed_pin(number: i16, allowed: u64) -> Option<u8> {
    u8::try_from(number).ok().filter(|number| *number < 64 && allowed >> number & 1 == 1)
}

/// The pin of a number that [`allowed_pin`] let pass.
///
/// # Safety
/// Nothing else drives it.
pub unsafe fn pin(number: u8) -> AnyPin<'static> {
    // SAFETY: by the contract of this function.
    unsafe { AnyPin::steal(number) }
}
