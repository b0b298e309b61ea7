//! Pins by the numbers that the configuration has, for boards whose pins are free to choose.

use crate::config::Config;

/// GPIOs that the owner may choose, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A pin that cannot be what the configuration has it for: the key, and the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongPin(pub &'static str, pub i16);

impl CardPins {
    /// Those of the configuration; the board's own where it has none.
    ///
    /// # Errors
    /// When one of them cannot be a card's, or is one of the others, too.
    pub fn of(config: &Config, own: Self, pins: Pins) -> Result<Self, WrongPin> {
        let mut taken = 0;
        let mut one = |key, number: i16, own: u8, allowed: u64| {
            let number = if number == -1 { own.into() } else { number };
            // The board's own are good where the configuration has none of them, whatever else may be chosen.
            let allowed = allowed | 1 << own;
            let pin = allowed_pin(number, allowed & !taken).ok_or(WrongPin(key, number))?;
            taken |= 1 << pin;
            Ok(pin)
        };
        Ok(Self {
            miso: one("SD-MISO", config.sd_miso, own.miso, pins.inputs)?,
            mosi: one("SD-MOSI", config.sd_mosi, own.mosi, pins.outputs)?,
            sck: one("SD-SCLK", config.sd_sclk, own.sck, pins.outputs)?,
            select: one("SD-CS", config.sd_cs, own.select, pins.outputs)?,
        })
    }

    /// As bits.
    fn bits(self) -> u64 {
        [self.miso, self.mosi, self.sck, self.select].iter().fold(0, |bits, number| bits | 1 << number)
    }
}

/// Where the lights are that the configuration has (green, yellow, red; -1 for none), beside a card.
///
/// # Errors
/// In the place of one that cannot be a light: the GPIO is the card's, another light's, or not the owner's to choose.
pub fn lights(gpio: [i16; 3], card: CardPins, pins: Pins) -> [Result<Option<u8>, i16>; 3] {
    let mut free = pins.outputs & !card.bits();
    gpio.map(|number| match allowed_pin(number, free) {
        Some(pin) => {
            free &= !(1 << pin);
            Ok(Some(pin))
        }
        None if number == -1 => Ok(None),
        None => Err(number),
    })
}

/// The number of a GPIO, where it is among those that are allowed.
fn allowed_pin(number: i16, allowed: u64) -> Option<u8> {
    u8::try_from(number).ok().filter(|number| *number < 64 && allowed >> number & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GPIO 0 to 10, and 35 to read from.
    const PINS: Pins = Pins { outputs: 0x7ff, inputs: 0x7ff | 1 << 35 };
    const OWN: CardPins = CardPins { miso: 2, mosi: 7, sck: 6, select: 10 };

    fn chosen(miso: i16, mosi: i16, sck: i16, select: i16) -> Result<CardPins, WrongPin> {
        let config = Config { sd_miso: miso, sd_mosi: mosi, sd_sclk: sck, sd_cs: select, ..Config::default() };
        CardPins::of(&config, OWN, PINS)
    }

    #[test]
    fn the_boards_own_pins_hold_where_the_configuration_has_none() {
        assert_eq!(chosen(-1, -1, -1, -1), Ok(OWN));
        assert_eq!(chosen(35, -1, -1, 5), Ok(CardPins { miso: 35, select: 5, ..OWN }));
        // One that only the board may use for the card.
        let own = CardPins { select: 16, ..OWN };
        assert_eq!(CardPins::of(&Config::default(), own, PINS), Ok(own));
    }

    #[test]
    fn pins_that_cannot_be_the_cards_are_told_by_their_key() {
        assert_eq!(chosen(11, -1, -1, -1), Err(WrongPin("SD-MISO", 11)));
        assert_eq!(chosen(-1, 35, -1, -1), Err(WrongPin("SD-MOSI", 35)));
        assert_eq!(chosen(-1, -1, 64, -1), Err(WrongPin("SD-SCLK", 64)));
        assert_eq!(chosen(-1, -1, -1, -2), Err(WrongPin("SD-CS", -2)));
        assert_eq!(chosen(-1, -1, -1, 300), Err(WrongPin("SD-CS", 300)));
        // Twice: chosen, and one of the board's own.
        assert_eq!(chosen(3, 3, -1, -1), Err(WrongPin("SD-MOSI", 3)));
        assert_eq!(chosen(-1, -1, -1, 2), Err(WrongPin("SD-CS", 2)));
        // Two that change places.
        assert_eq!(chosen(7, 2, -1, -1), Ok(CardPins { miso: 7, mosi: 2, ..OWN }));
    }

    #[test]
    fn lights_are_where_nothing_else_is() {
        assert_eq!(lights([3, -1, 1], OWN, PINS), [Ok(Some(3)), Ok(None), Ok(Some(1))]);
        assert_eq!(lights([2, 3, 3], OWN, PINS), [Err(2), Ok(Some(3)), Err(3)]);
        assert_eq!(lights([35, 63, i16::MIN], OWN, PINS), [Err(35), Err(63), Err(i16::MIN)]);
    }
}
