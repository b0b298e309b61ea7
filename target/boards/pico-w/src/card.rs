//! The card on SPI1: GPIO 8 from the card, 11 to the card, 10 clock, 12 chip select.

use embassy_rp::clocks::clk_peri_freq;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, DMA_CH2, PIN_8, PIN_10, PIN_11, PIN_12, PIO0, SPI1};
use embassy_rp::spi::{Async, Config, Error, Spi};
use embassy_rp::{Peri, bind_interrupts, dma, pio};
use embedded_hal_async::spi::{ErrorType, SpiBus};
use iesp_firmware::TimeClock;
use iesp_firmware::sd::{CardBus, SdCard};

bind_interrupts!(
    /// All interrupts of the board: a line is bound once.
    pub struct Interrupts {
        DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>, dma::InterruptHandler<DMA_CH2>;
        PIO0_IRQ_0 => pio::InterruptHandler<PIO0>;
    }
);

/// What the card's bus is made of.
pub struct CardPins {
    /// The controller.
    pub spi: Peri<'static, SPI1>,
    /// From the card.
    pub miso: Peri<'static, PIN_8>,
    /// To the card.
    pub mosi: Peri<'static, PIN_11>,
    /// Clock.
    pub sck: Peri<'static, PIN_10>,
    /// Chip select.
    pub select: Peri<'static, PIN_12>,
    /// To the card.
    pub send: Peri<'static, DMA_CH0>,
    /// From the card.
    pub receive: Peri<'static, DMA_CH1>,
}

/// The card in its slot, not started.
pub fn card(pins: CardPins) -> SdCard<SdBus, Output<'static>, TimeClock> {
    let CardPins { spi, miso, mosi, sck, select, send, receive } = pins;
    let spi = Spi::new(spi, sck, mosi, miso, send, receive, Interrupts, Config::default());
    SdCard::new(SdBus(spi), Output::new(select, Level::High), TimeClock)
}

/// Transfers of up to so many bytes are polled: setting up the DMA and its interrupt take longer than they do.
const POLLED: usize = 32;

/// The bus.
pub struct SdBus(Spi<'static, SPI1, Async>);

impl CardBus for SdBus {
    fn set_clock(&mut self, hz: u32) -> u32 {
        // SSPCPSR divides by an even number from 2 on, SSPCR0 by 1 to 256 (RP2040 data sheet, 4.4.3.4): below 50 MHz the first is
        // 2, or what the second cannot do.
        let source = clk_peri_freq();
        let hz = hz.clamp(source / (254 * 256) + 1, source / 2);
        let first = (2..254).step_by(2).find(|first| source.div_ceil(first * hz) <= 256).unwrap_or(254);
        let actual = source / (first * source.div_ceil(first * hz));
        self.0.set_frequency(actual);
        actual
    }
}

impl ErrorType for SdBus {
    type Error = Error;
}

impl SpiBus for SdBus {
    async fn read(&mut self, words: &mut [u8]) -> Result<(), Error> {
        // A card takes ones for silence; the controller sends zeros when it only reads.
        words.fill(0xff);
        self.transfer_in_place(words).await
    }

    async fn write(&mut self, words: &[u8]) -> Result<(), Error> {
        if words.len() <= POLLED { self.0.blocking_write(words) } else { self.0.write(words).await }
    }

    async fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Error> {
        if read.len().max(write.len()) <= POLLED {
            self.0.blocking_transfer(read, write)
        } else {
            self.0.transfer(read, write).await
        }
    }

    async fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Error> {
        if words.len() <= POLLED {
            self.0.blocking_transfer_in_place(words)
        } else {
            self.0.transfer_in_place(words).await
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.0.flush()
    }
}
