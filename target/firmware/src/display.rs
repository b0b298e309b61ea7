//! A TM1637 with four digits of seven segments, on two pins: clock and data. (The crates for it bring a dozen others along; this is
//! all that a number takes.)

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;

/// Half a clock: the chip takes 250 kHz.
const HALF_US: u32 = 5;

/// Commands (TM1637 data sheet, 5): data with increasing addresses; address 0; on, at a brightness of 0 to 7.
const DATA: u8 = 0x40;
const ADDRESS: u8 = 0xc0;
const ON: u8 = 0x88;

/// Segments A to G of the ten digits, from bit 0 on.
const DIGITS: [u8; 10] = [0x3f, 0x06, 0x5b, 0x4f, 0x66, 0x6d, 0x7d, 0x07, 0x7f, 0x6f];

/// The display. Its pins are open drains with pull-ups, or the chip's acknowledgement meets a pin that is driven high: most boards
/// put a resistor there.
#[derive(Debug)]
pub struct Tm1637<C, D, W> {
    clock: C,
    data: D,
    delay: W,
}

impl<C: OutputPin, D: OutputPin<Error = C::Error>, W: DelayNs> Tm1637<C, D, W> {
    /// On these pins; sends nothing.
    pub const fn new(clock: C, data: D, delay: W) -> Self {
        Self { clock, data, delay }
    }

    /// Clock and data.
    #[cfg(test)]
    pub(crate) fn pins(&self) -> (&C, &D) {
        (&self.clock, &self.data)
    }

    /// Shows a number of up to four digits, without zeros before it; a larger one by its last four.
    ///
    /// # Errors
    /// When a pin fails.
    pub fn show(&mut self, number: u16) -> Result<(), C::Error> {
        self.message(&[DATA])?;
        let mut message = [0; 5];
        let mut left = number;
        for (position, place) in message.iter_mut().enumerate().rev() {
            let is_shown = left > 0 || position == 4;
            *place = match DIGITS.get(usize::from(left % 10)) {
                Some(segments) if is_shown && position > 0 => *segments,
                _ => 0,
            };
            left /= 10;
        }
        message[0] = ADDRESS;
        self.message(&message)?;
        self.message(&[ON | 2])
    }

    fn message(&mut self, bytes: &[u8]) -> Result<(), C::Error> {
        // Start: data falls while the clock is high.
        self.clock.set_high()?;
        self.data.set_high()?;
        self.wait();
        self.data.set_low()?;
        self.wait();
        for byte in bytes {
            for bit in 0..8 {
                self.clock.set_low()?;
                if byte >> bit & 1 == 1 {
                    self.data.set_high()?
                } else {
                    self.data.set_low()?
                }
                self.wait();
                self.clock.set_high()?;
                self.wait();
            }
            // The ninth clock: the chip acknowledges; nobody could be told if it did not.
            self.clock.set_low()?;
            self.data.set_low()?;
            self.wait();
            self.clock.set_high()?;
            self.wait();
        }
        // Stop: data rises while the clock is high.
        self.clock.set_low()?;
        self.data.set_low()?;
        self.wait();
        self.clock.set_high()?;
        self.wait();
        self.data.set_high()?;
        self.wait();
        Ok(())
    }

    fn wait(&mut self) {
        self.delay.delay_us(HALF_US);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::rc::Rc;
    use std::vec::Vec;

    use embedded_hal::digital::ErrorType;

    use super::*;

    /// The chip, as its two pins show what happens.
    #[derive(Default)]
    struct Chip {
        clock: bool,
        data: bool,
        /// Bits since the start of a message.
        bits: Option<Vec<bool>>,
        messages: Vec<Vec<u8>>,
    }

    impl Chip {
        fn change(&mut self, clock: bool, data: bool) {
            match (self.clock && clock, self.data, data) {
                (true, true, false) => self.bits = Some(Vec::new()),
                (true, false, true) => {
                    let bits = self.bits.take().unwrap_or_default();
                    let bytes = bits
                        .chunks_exact(9)
                        .map(|bits| bits[..8].iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)));
                    self.messages.push(bytes.collect());
                }
                _ => {}
            }
            if clock
                && !self.clock
                && let Some(bits) = &mut self.bits
            {
                bits.push(data);
            }
            (self.clock, self.data) = (clock, data);
        }
    }

    struct Pin(Rc<RefCell<Chip>>, bool);

    impl ErrorType for Pin {
        type Error = Infallible;
    }

    impl Pin {
        fn set(&self, level: bool) {
            let mut chip = self.0.borrow_mut();
            let (clock, data) = if self.1 { (level, chip.data) } else { (chip.clock, level) };
            chip.change(clock, data);
        }
    }

    impl OutputPin for Pin {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.set(false);
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            self.set(true);
            Ok(())
        }
    }

    struct NoDelay;

    impl DelayNs for NoDelay {
        fn delay_ns(&mut self, _: u32) {}
    }

    #[test]
    fn numbers() {
        for (number, digits) in [
            (0, [0, 0, 0, 0x3f]),
            (6, [0, 0, 0, 0x7d]),
            (1204, [0x06, 0x5b, 0x3f, 0x66]),
            (42_987, [0x5b, 0x6f, 0x7f, 0x07]),
        ] {
            let chip = Rc::new(RefCell::new(Chip::default()));
            let mut display = Tm1637::new(Pin(Rc::clone(&chip), true), Pin(Rc::clone(&chip), false), NoDelay);
            display.show(number).unwrap();
            let messages = std::mem::take(&mut chip.borrow_mut().messages);
            // The first rise of the data line, before any start, is a stop of nothing.
            let messages: Vec<_> = messages.into_iter().filter(|message| !message.is_empty()).collect();
            let [a, b, c, d] = digits;
            assert_eq!(messages[..], [[0x40].to_vec(), [0xc0, a, b, c, d].to_vec(), [0x8a].to_vec()], "{number}");
        }
    }
}
