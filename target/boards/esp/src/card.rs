//! The card on the chip's SPI controller, by DMA.

use embedded_hal_async::spi::{ErrorType, SpiBus};
use esp_hal::Async;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::spi::Error;
use esp_hal::spi::master::{AnySpi, Config, Instance, Spi, SpiDma, SpiMasterDmaChannel};
use esp_hal::time::Rate;
use iesp_firmware::TimeClock;
use iesp_firmware::pins::CardPins;
use iesp_firmware::sd::{CardBus, SdCard};

use crate::pins::pin;

/// The controller's clock, before its dividers, in Hz.
const SOURCE: u32 = 80_000_000;

/// The controller divides by up to 64, and by up to 16 before that.
const DIVIDER_MAX: u32 = 64 * 16;

/// Transfers below so many bytes go through the controller's own buffer: setting up the DMA takes longer than they do.
const POLLED: usize = 64;

/// What the DMA does not reach is copied, so many bytes at a time: constants in flash, and on the ESP32 what is not aligned.
const COPIED: usize = 512;

/// The card in its slot, not started.
pub type BoardCard = SdCard<SdBus, Output<'static>, TimeClock>;

/// The card on these pins.
pub fn card(
    spi: impl Instance + 'static,
    dma: impl SpiMasterDmaChannel<'static, AnySpi<'static>>,
    pins: CardPins,
) -> BoardCard {
    let CardPins { miso, mosi, sck, select } = pins;
    // SAFETY: the numbers differ, and lights do not take them (`panel.rs`): nothing else drives these pins.
    let [miso, mosi, sck, select] = [miso, mosi, sck, select].map(|number| unsafe { pin(number) });
    // None of these can fail: the clock is one that the controller has, and the buffers' lengths are constants.
    let spi = Spi::new(spi, config(SOURCE / DIVIDER_MAX + 1)).expect("a clock of the controller's");
    let buffers = (esp_hal::dma_rx_buffer!(COPIED), esp_hal::dma_tx_buffer!(COPIED));
    let buffers = (buffers.0.expect("a buffer"), buffers.1.expect("a buffer"));
    let spi = spi.with_sck(sck).with_mosi(mosi).with_miso(miso).with_dma(dma).with_buffers(buffers.0, buffers.1);
    let select = Output::new(select, Level::High, OutputConfig::default());
    SdCard::new(SdBus(spi.into_async()), select, TimeClock)
}

fn config(hz: u32) -> Config {
    Config::default().with_frequency(Rate::from_hz(hz)).with_min_async_transfer_size(POLLED)
}

/// The bus.
pub struct SdBus(SpiDma<'static, Async>);

impl CardBus for SdBus {
    fn set_clock(&mut self, hz: u32) -> u32 {
        let hz = hz.clamp(SOURCE / DIVIDER_MAX + 1, SOURCE / 2);
        // A clock that the controller has is none that it refuses. Where its dividers do not make this one, it takes the next below.
        let _ = self.0.apply_config(&config(hz));
        SOURCE / SOURCE.div_ceil(hz)
    }
}

impl ErrorType for SdBus {
    type Error = Error;
}

impl SpiBus for SdBus {
    async fn read(&mut self, words: &mut [u8]) -> Result<(), Error> {
        // A card takes ones for silence; the controller sends zeros when it only reads.
        words.fill(0xff);
        self.0.transfer_in_place_async(words).await
    }

    async fn write(&mut self, words: &[u8]) -> Result<(), Error> {
        self.0.write_async(words).await
    }

    async fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Error> {
        self.0.transfer_async(read, write).await
    }

    async fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Error> {
        self.0.transfer_in_place_async(words).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        // A transfer ends before its future does.
        Ok(())
    }
}
