//! SSI0 (PL022) and the card's chip select, PD0.

#![expect(clippy::undocumented_unsafe_blocks, reason = "registers have one reason together")]

use core::convert::Infallible;

use bare::Register;
use embedded_hal::digital::{ErrorType as PinErrorType, OutputPin};
use embedded_hal_async::spi::{ErrorType, SpiBus};
use iesp_firmware::sd::CardBus;

// SAFETY (all of these): registers of SSI0 and GPIO D (LM3S6965 data sheet, chapters 8 and 12), which this file alone
// drives.
const CONTROL_0: Register = unsafe { Register::at(0x4000_8000) };
const CONTROL_1: Register = unsafe { Register::at(0x4000_8004) };
const DATA: Register = unsafe { Register::at(0x4000_8008) };
const STATUS: Register = unsafe { Register::at(0x4000_800c) };
const PRESCALER: Register = unsafe { Register::at(0x4000_8010) };
const PD0: Register = unsafe { Register::at(0x4000_7004) };
const PD_DIRECTION: Register = unsafe { Register::at(0x4000_7400) };
const PD_DIGITAL: Register = unsafe { Register::at(0x4000_751c) };
const PA_FUNCTION: Register = unsafe { Register::at(0x4000_4420) };
const PA_DIGITAL: Register = unsafe { Register::at(0x4000_451c) };

/// PA2 clock, PA4 from the card, PA5 to the card.
const SSI_PINS: u32 = 1 << 2 | 1 << 4 | 1 << 5;
const RECEIVED: u32 = 1 << 2;
const BUSY: u32 = 1 << 4;
/// Depth of the FIFOs.
const FIFO: usize = 8;
/// The clock that the prescaler divides.
const SOURCE_HZ: u32 = 12_500_000;

/// The SPI bus, polled.
pub struct Ssi(());

/// The chip select pin.
pub struct Select(());

/// Takes bus and pin; there is one of each.
pub fn take() -> (Ssi, Select) {
    PA_FUNCTION.set(SSI_PINS);
    PA_DIGITAL.set(SSI_PINS);
    PD_DIRECTION.set(1);
    PD_DIGITAL.set(1);
    PD0.write(1);
    CONTROL_1.write(0);
    // Motorola's frame format, mode 0, eight bits.
    CONTROL_0.write(7);
    PRESCALER.write(2);
    CONTROL_1.write(1 << 1);
    (Ssi(()), Select(()))
}

impl Ssi {
    /// Clocks as many bytes as both sides have; `next` is what goes out, `came` takes what comes.
    fn exchange(&mut self, count: usize, mut next: impl FnMut(usize) -> u8, mut came: impl FnMut(usize, u8)) {
        let (mut sent, mut received) = (0, 0);
        while received < count {
            while sent < count && sent - received < FIFO {
                DATA.write(u32::from(next(sent)));
                sent += 1;
            }
            while received < sent && STATUS.read() & RECEIVED != 0 {
                came(received, DATA.read() as u8);
                received += 1;
            }
        }
    }
}

impl ErrorType for Ssi {
    type Error = Infallible;
}

impl SpiBus for Ssi {
    async fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        self.exchange(words.len(), |_| 0xff, |index, byte| words[index] = byte);
        Ok(())
    }

    async fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
        self.exchange(words.len(), |index| words[index], |_, _| {});
        Ok(())
    }

    async fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Infallible> {
        let count = read.len().max(write.len());
        let next = |index| write.get(index).copied().unwrap_or(0xff);
        self.exchange(count, next, |index, byte| {
            if let Some(word) = read.get_mut(index) {
                *word = byte;
            }
        });
        Ok(())
    }

    async fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        let cells = core::cell::Cell::from_mut(words).as_slice_of_cells();
        self.exchange(cells.len(), |index| cells[index].get(), |index, byte| cells[index].set(byte));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        while STATUS.read() & BUSY != 0 {}
        Ok(())
    }
}

impl CardBus for Ssi {
    fn set_clock(&mut self, hz: u32) -> u32 {
        // The prescaler is even, 2 to 254.
        let divider = SOURCE_HZ.div_ceil(hz).next_multiple_of(2).clamp(2, 254);
        CONTROL_1.write(0);
        PRESCALER.write(divider);
        CONTROL_1.write(1 << 1);
        SOURCE_HZ / divider
    }
}

impl PinErrorType for Select {
    type Error = Infallible;
}

impl OutputPin for Select {
    fn set_low(&mut self) -> Result<(), Infallible> {
        PD0.write(0);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        PD0.write(1);
        Ok(())
    }
}
