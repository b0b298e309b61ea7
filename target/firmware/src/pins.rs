//! Pins by the numbers that the configuration has, for boards whose pins are free to choose.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;

use crate::board::Led;
use crate::config::Config;
use crate::display::Tm1637;

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

/// Where the owner has lights and a display, by GPIO; -1 for the board's own, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelPins {
    /// Green, yellow and red.
    pub lights: [i16; 3],
    /// Clock and data of a TM1637.
    pub display: [i16; 2],
}

impl PanelPins {
    /// Nothing is said.
    pub const NONE: Self = Self { lights: [-1; 3], display: [-1; 2] };
}

/// Three lights and a display, each where the configuration has it, where the board has it, or nowhere.
pub struct Front<O, W> {
    lights: [Option<O>; 3],
    on: [bool; 3],
    display: Option<Tm1637<O, O, W>>,
    shown: u16,
    delay: W,
}

impl<O: OutputPin, W: DelayNs + Clone> Front<O, W> {
    /// None yet, and off; the display is told bits at the pace that `delay` keeps.
    pub const fn new(delay: W) -> Self {
        Self { lights: [None, None, None], on: [false; 3], display: None, shown: 0, delay }
    }

    /// Turns a light on or off; where it is placed later, it is so then.
    pub fn light(&mut self, led: Led, on: bool) {
        let number = match led {
            Led::Green => 0,
            Led::Yellow => 1,
            Led::Red => 2,
        };
        if let Some(state) = self.on.get_mut(number) {
            *state = on;
        }
        if let Some(Some(pin)) = self.lights.get_mut(number) {
            // A light that does not go on is nobody's trouble.
            let _ = pin.set_state(on.into());
        }
    }

    /// Shows a number; a display that is placed later shows it then.
    pub fn show(&mut self, number: u16) {
        self.shown = number;
        if let Some(display) = &mut self.display {
            // As with a light.
            let _ = display.show(number);
        }
    }

    /// Places the lights, those of -1 where the board has them (`own`), and the display. `free` are GPIOs that may be driven, as bits;
    /// `make` makes a pin, high or low; `wrong` is told of a GPIO that cannot be driven here, or is in use already.
    pub fn place(
        &mut self,
        pins: PanelPins,
        own: [Option<u8>; 3],
        mut free: u64,
        mut make: impl FnMut(u8, bool) -> O,
        mut wrong: impl FnMut(i16),
    ) {
        // Pins that are driven now are free after this.
        self.lights = [None, None, None];
        self.display = None;
        let mut take = |wanted: i16| {
            let pin = allowed_pin(wanted, free);
            match pin {
                Some(pin) => free &= !(1 << pin),
                None => wrong(wanted),
            }
            pin
        };
        for (((number, own), place), on) in pins.lights.into_iter().zip(own).zip(&mut self.lights).zip(self.on) {
            let wanted = if number == -1 { own.map(i16::from) } else { Some(number) };
            *place = wanted.and_then(&mut take).map(|pin| make(pin, on));
        }
        if pins.display != [-1; 2] {
            let [clock, data] = pins.display.map(take);
            if let (Some(clock), Some(data)) = (clock, data) {
                self.display = Some(Tm1637::new(make(clock, true), make(data, true), self.delay.clone()));
            }
        }
        self.show(self.shown);
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

    /// A pin: its number, whether it is high, and how often it was set.
    struct Pin(u8, bool, u32);

    impl ErrorType for Pin {
        type Error = Infallible;
    }

    impl OutputPin for Pin {
        fn set_low(&mut self) -> Result<(), Infallible> {
            (self.1, self.2) = (false, self.2 + 1);
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            (self.1, self.2) = (true, self.2 + 1);
            Ok(())
        }
    }

    #[derive(Clone)]
    struct NoDelay;

    impl DelayNs for NoDelay {
        fn delay_ns(&mut self, _: u32) {}
    }

    fn pin(number: u8, is_high: bool) -> Pin {
        Pin(number, is_high, 0)
    }

    /// Where the lights are, whether they are on, and what was wrong.
    fn placed(
        front: &mut Front<Pin, NoDelay>,
        lights: [i16; 3],
        own: [Option<u8>; 3],
    ) -> ([Option<(u8, bool)>; 3], heapless::Vec<i16, 3>) {
        let mut wrong = heapless::Vec::new();
        let pins = PanelPins { lights, ..PanelPins::NONE };
        front.place(pins, own, PINS.outputs & !OWN.bits(), pin, |number| wrong.push(number).unwrap());
        (front.lights.each_ref().map(|pin| pin.as_ref().map(|pin| (pin.0, pin.1))), wrong)
    }

    #[test]
    fn lights_are_where_nothing_else_is() {
        let mut front = Front::new(NoDelay);
        front.light(Led::Green, true);
        let none = [None; 3];
        let wrong = |numbers: &[i16]| heapless::Vec::from_slice(numbers).unwrap();
        assert_eq!(placed(&mut front, [3, -1, 1], none), ([Some((3, true)), None, Some((1, false))], wrong(&[])));
        front.light(Led::Green, false);
        front.light(Led::Red, true);
        assert_eq!(front.lights.each_ref().map(|pin| pin.as_ref().map(|pin| pin.1)), [Some(false), None, Some(true)]);
        assert_eq!(placed(&mut front, [2, 3, 3], none), ([None, Some((3, false)), None], wrong(&[2, 3])));
        assert_eq!(placed(&mut front, [35, 63, i16::MIN], none), ([None; 3], wrong(&[35, 63, i16::MIN])));
        // The board's own; one of them is somebody else's now.
        let own = [Some(4), Some(5), None];
        assert_eq!(placed(&mut front, [-1, -1, -1], own), ([Some((4, false)), Some((5, false)), None], wrong(&[])));
        assert_eq!(placed(&mut front, [5, -1, 4], own), ([Some((5, false)), None, Some((4, true))], wrong(&[5])));
    }

    #[test]
    fn a_display_is_where_no_light_is_and_shows_what_it_missed() {
        let free = PINS.outputs & !OWN.bits();
        let place = |front: &mut Front<Pin, NoDelay>, lights, display| {
            let mut wrong = heapless::Vec::<i16, 5>::new();
            front.place(PanelPins { lights, display }, [Some(4), None, None], free, pin, |number| {
                wrong.push(number).unwrap();
            });
            wrong
        };
        let mut front = Front::new(NoDelay);
        front.show(3);
        assert!(place(&mut front, [-1; 3], [8, 9]).is_empty());
        let (clock, data) = front.display.as_ref().unwrap().pins();
        assert_eq!([(clock.0, clock.2 > 100), (data.0, data.2 > 20)], [(8, true), (9, true)], "the number was sent");
        let before = clock.2;
        front.show(4);
        assert!(front.display.as_ref().unwrap().pins().0.2 > before);
        for (display, told) in [([4, 9], &[4][..]), ([9, 9], &[9]), ([2, 35], &[2, 35]), ([8, -1], &[-1])] {
            assert_eq!(place(&mut front, [-1; 3], display), told);
            assert!(front.display.is_none());
        }
        assert!(place(&mut front, [-1; 3], [-1; 2]).is_empty() && front.display.is_none());
    }
}
