//! What a card does for those above it, whichever way it is connected.

use crate::sd::{Cid, Csd, Erased, Error};

/// Bytes a block of a card.
pub const BLOCK: usize = crate::sd::BLOCK;

/// What is known of a card that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its size in blocks of [`BLOCK`] bytes.
    pub blocks: u64,
    /// Who it is.
    pub cid: Cid,
    /// What erased blocks read as.
    pub erased: Erased,
    /// It refuses writes.
    pub write_protected: bool,
    /// The clock that it runs at, in Hz.
    pub clock_hz: u32,
}

impl Facts {
    /// What a card's registers say, at this clock.
    pub(crate) fn new(csd: &Csd, cid: Cid, erased: Erased, clock_hz: u32) -> Self {
        Self { blocks: csd.blocks(), cid, erased, write_protected: csd.is_write_protected(), clock_hz }
    }
}

/// A card: blocks of [`BLOCK`] bytes, by their number.
///
/// A future that is dropped before its end may leave the card in the middle of something: the next request has to bring
/// it back.
#[allow(async_fn_in_trait, reason = "one executor thread: nobody needs these futures to be Send")]
pub trait Card {
    /// Initialises the card that is there, whichever it is.
    ///
    /// # Errors
    /// When none answers, or it is of a kind that is not served.
    async fn start(&mut self) -> Result<Facts, Error>;

    /// Reads the blocks from `first` on; `data` is a whole number of blocks.
    ///
    /// # Errors
    /// When they cannot be read; `data` is of no use then.
    async fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), Error>;

    /// Writes the blocks from `first` on. Durable after [`flush`](Self::flush).
    ///
    /// # Errors
    /// When they cannot be written: any of them may have been.
    async fn write(&mut self, first: u32, data: &[u8]) -> Result<(), Error>;

    /// Erases blocks: they read as [`Facts::erased`] says. Durable when it returns.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    async fn erase(&mut self, first: u32, count: u32) -> Result<(), Error>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// [`Error::Lost`] when acknowledged blocks are lost, until [`forget_loss`](Self::forget_loss).
    async fn flush(&mut self) -> Result<(), Error>;

    /// The loss is known to whoever relied on the data.
    fn forget_loss(&mut self);

    /// From now on the bus has no clock above this one, in Hz: which it is now, where that lowered it. A card on a bus whose clock
    /// is not the owner's to choose ignores it.
    fn limit_clock(&mut self, hz: u32) -> Option<u32> {
        let _ = hz;
        None
    }
}
