//! Pins by the numbers that the configuration has, for boards whose pins are free to choose.

use embedded_hal::digital::OutputPin;

use crate::board::Led;
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
    pub fn bits(self) -> u64 {
        [self.miso, self.mosi, self.sck, self.select].iter().fold(0, |bits, number| bits | 1 << number)
    }
}

/// Three lights, each where the configuration has it, where the board has it, or nowhere.
#[derive(Debug)]
pub struct Lights<O> {
    pins: [Option<O>; 3],
    on: [bool; 3],
}

impl<O: OutputPin> Lights<O> {
    /// None yet, and off.
    pub const fn new() -> Self {
        Self { pins: [None, None, None], on: [false; 3] }
    }

    /// Turns one on or off; where it is placed later, it is so then.
    pub fn light(&mut self, led: Led, on: bool) {
        let number = match led {
            Led::Green => 0,
            Led::Yellow => 1,
            Led::Red => 2,
        };
        if let Some(state) = self.on.get_mut(number) {
            *state = on;
        }
        if let Some(Some(pin)) = self.pins.get_mut(number) {
            // A light that does not go on is nobody's trouble.
            let _ = pin.set_state(on.into());
        }
    }

    /// Places green, yellow and red at these GPIOs; those of -1 where the board has them (`own`). `free` are those that may be lights, as
    /// bits; `make` makes a pin, on or off; `wrong` is told of a GPIO that cannot be a light, or is one already.
    pub fn place(
        &mut self,
        gpio: [i16; 3],
        own: [Option<u8>; 3],
        mut free: u64,
        mut make: impl FnMut(u8, bool) -> O,
        mut wrong: impl FnMut(i16),
    ) {
        // Pins that are driven now are free after this.
        self.pins = [None, None, None];
        for (((number, own), place), on) in gpio.into_iter().zip(own).zip(&mut self.pins).zip(self.on) {
            let wanted = if number == -1 { own.map(i16::from) } else { Some(number) };
            let Some(wanted) = wanted else { continue };
            match allowed_pin(wanted, free) {
                Some(pin) => {
                    free &= !(1 << pin);
                    *place = Some(make(pin, on));
                }
                None => wrong(wanted),
            }
        }
    }
}

impl<O: OutputPin> Default for Lights<O> {
    fn default() -> Self {
        Self::new()
    }
}

/// The number of a GPIO, where it is among those that are allowed.
fn allowed_pin(number: i16, allowed: u64) -> Option<u8> {
    u8::try_from(number).ok().filter(|number| *number < 64 && allowed >> number & 1 == 1)
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;

    use embedded_hal::digital::ErrorType;

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

    /// A pin: its number, and whether it is high.
    struct Pin(u8, bool);

    impl ErrorType for Pin {
        type Error = Infallible;
    }

    impl OutputPin for Pin {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.1 = false;
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            self.1 = true;
            Ok(())
        }
    }

    /// Where the lights are, whether they are on, and what was wrong.
    fn placed(
        lights: &mut Lights<Pin>,
        gpio: [i16; 3],
        own: [Option<u8>; 3],
    ) -> ([Option<(u8, bool)>; 3], heapless::Vec<i16, 3>) {
        let mut wrong = heapless::Vec::new();
        lights.place(gpio, own, PINS.outputs & !OWN.bits(), Pin, |number| wrong.push(number).unwrap());
        (lights.pins.each_ref().map(|pin| pin.as_ref().map(|pin| (pin.0, pin.1))), wrong)
    }

    #[test]
    fn lights_are_where_nothing_else_is() {
        let mut lights = Lights::new();
        lights.light(Led::Green, true);
        let none = [None; 3];
        let wrong = |numbers: &[i16]| heapless::Vec::from_slice(numbers).unwrap();
        assert_eq!(placed(&mut lights, [3, -1, 1], none), ([Some((3, true)), None, Some((1, false))], wrong(&[])));
        lights.light(Led::Green, false);
        lights.light(Led::Red, true);
        assert_eq!(lights.pins.each_ref().map(|pin| pin.as_ref().map(|pin| pin.1)), [Some(false), None, Some(true)]);
        assert_eq!(placed(&mut lights, [2, 3, 3], none), ([None, Some((3, false)), None], wrong(&[2, 3])));
        assert_eq!(placed(&mut lights, [35, 63, i16::MIN], none), ([None; 3], wrong(&[35, 63, i16::MIN])));
        // The board's own; one of them is somebody else's now.
        let own = [Some(4), Some(5), None];
        assert_eq!(placed(&mut lights, [-1, -1, -1], own), ([Some((4, false)), Some((5, false)), None], wrong(&[])));
        assert_eq!(placed(&mut lights, [5, -1, 4], own), ([Some((5, false)), None, Some((4, true))], wrong(&[5])));
    }
}
