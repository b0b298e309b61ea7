//! SD cards in SPI mode (SD Physical Layer Simplified Specification, chapter 7): SDHC and SDXC, 2 GB to 2 TB.
//!
//! # What is durable
//!
//! A write that goes on where the one before it ended is part of one CMD25, which stays open between requests. Until it
//! is closed the card may hold blocks that it has not programmed: [`SdCard::write`] acknowledges that the card has taken
//! them, [`SdCard::flush`] that they are programmed. Where acknowledged blocks are lost before that (the card failed,
//! was removed, lost power), every `flush` fails with [`Error::Lost`] until [`SdCard::forget_loss`] is called: the loss
//! reaches whoever asks whether the data are safe, and not only the first who asks.
//!
//! # Errors
//!
//! Every request is tried three times. After a block with a wrong checksum or one that the card did not take, the
//! transfer is stopped and begun anew; after anything else the card is initialised again, the last time one clock lower.
//! A card that was removed and put back goes on; another card is [`Error::Changed`] until [`SdCard::start`].
//!
//! A future that is dropped before its end leaves the card somewhere in a transfer: the next request initialises it, and
//! what was not flushed counts as lost.
//!
//! The SPI bus belongs to the card alone: chip select stays low while a transfer is open.

mod command;
mod crc;
mod error;
mod link;
pub mod native;
mod register;
mod start;
mod transfer;

use embedded_hal::digital::OutputPin;
use embedded_hal_async::spi::SpiBus;

pub use command::R1;
pub use error::{Error, Unsupported};
pub use register::{Cid, Csd, CsdError, Erased};
pub use start::LADDER_HZ;

use crate::Clock;
use crate::card::{Card, Facts};
use link::{Link, limit};
use transfer::Stream;

/// Bytes a block.
pub const BLOCK: usize = 512;

/// How often a request is tried.
const TRIES: usize = 3;

/// An SPI bus in mode 0 whose clock can be set.
pub trait CardBus: SpiBus<u8> {
    /// Sets the clock to at most `hz` and tells what it is now, in Hz.
    fn set_clock(&mut self, hz: u32) -> u32;
}

/// What is known of a card that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Which card it is.
    pub cid: Cid,
    /// Its size and abilities.
    pub csd: Csd,
    /// What erased blocks read as.
    pub erased: Erased,
    /// The SPI clock in Hz.
    pub clock_hz: u32,
    /// What CMD58 answers once the card is initialised.
    ocr: u32,
    /// Index in [`LADDER_HZ`] of the clock that was asked for.
    rung: usize,
}

/// A card in a slot.
pub struct SdCard<B, S, K> {
    link: Link<B, S, K>,
    /// The card that was started; stays when it is removed.
    info: Option<Info>,
    /// The card has to be initialised before the next command.
    stale: bool,
    /// Acknowledged blocks are lost.
    lost: bool,
    /// A request began and did not end: its future was dropped.
    under_way: bool,
    stream: Stream,
    /// Where the last single-block read and write ended: what goes on there is a stream.
    read_end: u32,
    write_end: u32,
}

impl<B: CardBus, S: OutputPin, K: Clock> SdCard<B, S, K> {
    /// Takes the bus, the chip select pin (low is selected) and a clock; sends nothing.
    pub fn new(bus: B, select: S, clock: K) -> Self {
        Self {
            link: Link { bus, select, clock, limit_hz: u32::MAX },
            info: None,
            stale: true,
            lost: false,
            under_way: false,
            stream: Stream::Closed,
            read_end: 0,
            write_end: 0,
        }
    }

    /// Initialises the card that is in the slot, whichever it is.
    ///
    /// # Errors
    /// When no card answers, when it is of a kind that is not served, and when three tries failed.
    pub async fn start(&mut self) -> Result<Info, Error> {
        self.begin();
        self.close().await;
        self.info = None;
        let mut result = Err(Error::Absent);
        for _ in 0..TRIES {
            result = self.initialise(0).await;
            match result {
                Err(error) if error.is_transient() => {}
                _ => break,
            }
        }
        self.under_way = false;
        result
    }

    /// The card that was started last, also when it is out of the slot.
    pub fn info(&self) -> Option<&Info> {
        self.info.as_ref()
    }

    /// Lets the card rest: nothing came for a while. The same as [`flush`](Self::flush), whose answer is kept for the
    /// next one.
    pub async fn idle(&mut self) {
        self.begin();
        self.close().await;
        self.under_way = false;
    }

    /// Where the request before this one was left in the middle, nobody knows what the card is doing.
    fn begin(&mut self) {
        if core::mem::replace(&mut self.under_way, true) {
            self.drop_stream();
            self.stale = true;
        }
    }

    fn check(&self, first: u32, count: usize, rest: &[u8]) -> Result<(), Error> {
        if count == 0 || !rest.is_empty() {
            return Err(Error::Length);
        }
        let info = self.info.as_ref().ok_or(Error::Absent)?;
        let count = u64::try_from(count).map_err(|_| Error::OutOfRange)?;
        match u64::from(first).checked_add(count) {
            Some(end) if end <= info.csd.blocks() => Ok(()),
            _ => Err(Error::OutOfRange),
        }
    }

    fn check_writable(&self) -> Result<(), Error> {
        match &self.info {
            Some(info) if info.csd.is_write_protected() => Err(Error::WriteProtected),
            _ => Ok(()),
        }
    }

    async fn read_tries(&mut self, first: u32, blocks: &mut [[u8; BLOCK]]) -> Result<(), Error> {
        for attempt in 1..=TRIES {
            let result = match self.ready(attempt).await {
                Ok(()) => self.try_read(first, blocks).await,
                Err(error) => Err(error),
            };
            if let Some(result) = self.settle(result, attempt).await {
                return result;
            }
        }
        Err(Error::ReadTimeout)
    }

    async fn write_tries(&mut self, first: u32, blocks: &[[u8; BLOCK]]) -> Result<(), Error> {
        for attempt in 1..=TRIES {
            let result = match self.ready(attempt).await {
                Ok(()) => self.try_write(first, blocks).await,
                Err(error) => Err(error),
            };
            if let Some(result) = self.settle(result, attempt).await {
                return result;
            }
        }
        Err(Error::BusyTimeout)
    }

    async fn erase_tries(&mut self, first: u32, count: u32) -> Result<(), Error> {
        for attempt in 1..=TRIES {
            let result = match self.ready(attempt).await {
                Ok(()) => self.try_erase(first, count).await,
                Err(error) => Err(error),
            };
            if let Some(result) = self.settle(result, attempt).await {
                return result;
            }
        }
        Err(Error::BusyTimeout)
    }

    /// Initialises the card where that is needed; before the last try one clock lower than what failed.
    async fn ready(&mut self, attempt: usize) -> Result<(), Error> {
        if !self.stale {
            return Ok(());
        }
        let rung = self.info.as_ref().map_or(0, |info| info.rung);
        let rung = if attempt == TRIES { (rung + 1).min(LADDER_HZ.len() - 1) } else { rung };
        self.initialise(rung).await.map(drop)
    }

    async fn initialise(&mut self, rung: usize) -> Result<Info, Error> {
        self.stale = true;
        let info = self.link.initialise(rung).await?;
        if self.info.is_some_and(|before| before.cid != info.cid) {
            return Err(Error::Changed);
        }
        self.info = Some(info);
        self.stale = false;
        Ok(info)
    }

    /// After a try: the answer to the request, or `None` when it is to be tried again.
    async fn settle(&mut self, result: Result<(), Error>, attempt: usize) -> Option<Result<(), Error>> {
        let Err(error) = result else { return Some(Ok(())) };
        self.recover(error).await;
        (attempt == TRIES || !error.is_transient()).then_some(Err(error))
    }

    /// Brings driver and card back to where they agree, by the least that does it.
    async fn recover(&mut self, error: Error) {
        let stopped = error.is_of_one_block() && !self.stale && self.abort().await.is_ok();
        if !stopped {
            self.drop_stream();
            self.stale = true;
            // A pin that fails shows at the next command.
            let _ = self.link.deselect().await;
        }
    }

    /// Ends an open transfer; what goes wrong is remembered.
    async fn close(&mut self) {
        if let Err(error) = self.close_stream().await {
            self.recover(error).await;
        }
    }
}

/// A write is durable after [`flush`](Card::flush).
impl<B: CardBus, S: OutputPin, K: Clock> Card for SdCard<B, S, K> {
    async fn start(&mut self) -> Result<Facts, Error> {
        let info = SdCard::start(self).await?;
        Ok(Facts::new(&info.csd, info.cid, info.erased, info.clock_hz))
    }

    async fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), Error> {
        let (blocks, rest) = data.as_chunks_mut::<BLOCK>();
        self.check(first, blocks.len(), rest)?;
        self.begin();
        let result = self.read_tries(first, blocks).await;
        self.under_way = false;
        result
    }

    async fn write(&mut self, first: u32, data: &[u8]) -> Result<(), Error> {
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        self.check(first, blocks.len(), rest)?;
        self.check_writable()?;
        self.begin();
        let result = self.write_tries(first, blocks).await;
        self.under_way = false;
        result
    }

    async fn erase(&mut self, first: u32, count: u32) -> Result<(), Error> {
        self.check(first, usize::try_from(count).map_err(|_| Error::OutOfRange)?, &[])?;
        self.check_writable()?;
        self.begin();
        let result = self.erase_tries(first, count).await;
        self.under_way = false;
        result
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.idle().await;
        if self.lost { Err(Error::Lost) } else { Ok(()) }
    }

    fn forget_loss(&mut self) {
        self.lost = false;
    }

    fn limit_clock(&mut self, hz: u32) -> Option<u32> {
        self.link.limit_hz = hz;
        let info = self.info.as_mut().filter(|info| info.clock_hz > hz)?;
        info.clock_hz = self.link.bus.set_clock(hz);
        Some(info.clock_hz)
    }
}
