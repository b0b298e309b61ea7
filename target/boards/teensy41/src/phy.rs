//! The PHY: a DP83825I (data sheet SNLS638, chapter 8.6).

use embassy_time::{Duration, Instant};
use imx::Phy;
use imxrt_enet::{Enet, MiimRead, MiimWrite};

/// Its address on the MII bus, by its strap pins.
const ADDRESS: u8 = 0;
/// What the first of its two identifiers is: Texas Instruments'.
const IDENTIFIER: u16 = 0x2000;
/// How old an answer may be.
const PERIOD: Duration = Duration::from_millis(200);

/// Registers.
mod register {
    pub const CONTROL: u8 = 0;
    pub const STATUS: u8 = 1;
    pub const IDENTIFIER: u8 = 2;
    pub const ADVERTISEMENT: u8 = 4;
    pub const CLOCK: u8 = 0x17;
    pub const LEDS: u8 = 0x18;
}

/// IEEE 802.3 clause 28.2.1.2: 100BASE-TX with full duplex, and nothing else: speed and duplex of the controller stay as they are
/// set then. A link that was not negotiated would have half duplex.
const FULL_100: u16 = 1 << 8 | 1;
/// Negotiate, from the beginning.
const NEGOTIATE: u16 = 1 << 12 | 1 << 9;
const NEGOTIATED: u16 = 1 << 5;
const LINK: u16 = 1 << 2;
/// The clock that comes is RMII's, 50 MHz.
const CLOCK_50_MHZ: u16 = 1 << 7 | 1;
/// The LED shows the link, and is lit by a high level.
const LED_LINK: u16 = 1 << 9 | 1 << 7;

/// The PHY.
#[derive(Debug)]
pub struct Dp83825 {
    answers: bool,
    up: bool,
    asked: Option<Instant>,
}

impl Dp83825 {
    /// Sets it up, after its reset. One that does not answer never has a link.
    pub fn begin(enet: &mut Enet) -> Self {
        let answers = read(enet, register::IDENTIFIER) == IDENTIFIER;
        if answers {
            write(enet, register::LEDS, LED_LINK);
            write(enet, register::CLOCK, CLOCK_50_MHZ);
            write(enet, register::ADVERTISEMENT, FULL_100);
            write(enet, register::CONTROL, NEGOTIATE);
        }
        Dp83825 { answers, up: false, asked: None }
    }

    /// Whether it is there, and the one that it should be.
    pub fn answers(&self) -> bool {
        self.answers
    }
}

fn read(enet: &mut Enet, register: u8) -> u16 {
    // The controller knows no error; all ones is what a bus without a PHY has.
    MiimRead::read(enet, ADDRESS, register).unwrap_or(u16::MAX)
}

fn write(enet: &mut Enet, register: u8, value: u16) {
    // As above: there is no error.
    let _ = MiimWrite::write(enet, ADDRESS, register, value);
}

impl Phy for Dp83825 {
    fn is_up(&mut self, enet: &mut Enet) -> bool {
        if self.answers && self.asked.is_none_or(|asked| asked.elapsed() >= PERIOD) {
            self.asked = Some(Instant::now());
            // A link that was lost meanwhile is told once (802.3, 22.2.4.2.13): the next answer is what is now.
            self.up = read(enet, register::STATUS) & (LINK | NEGOTIATED) == LINK | NEGOTIATED;
        }
        self.up
    }
}
