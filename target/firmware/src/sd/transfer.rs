//! Reading, writing and erasing blocks, and the transfer that stays open for the request that goes on where the last
//! one ended (Physical Layer Simplified Specification 7.2.3, 7.2.4, 7.2.5).

use embedded_hal::digital::OutputPin;

use super::command::{acmd, cmd};
use super::link::Writing;
use super::{BLOCK, CardBus, Error, SdCard, limit};
use crate::Clock;

/// Most blocks of one CMD38, so that its time has a bound: 32 MiB.
pub const ERASE_BLOCKS: u32 = 65_536;

/// A transfer of several blocks that the card is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// None: chip select is high.
    Closed,
    /// CMD18: the card sends `next` as soon as it is clocked.
    Read { next: u32 },
    /// CMD25: the card waits for `next`.
    Write {
        next: u32,
        /// Blocks since CMD25 whose requests were answered.
        acknowledged: u32,
    },
}

impl<B: CardBus, S: OutputPin, K: Clock> SdCard<B, S, K> {
    pub(super) async fn try_read(&mut self, first: u32, blocks: &mut [[u8; BLOCK]]) -> Result<(), Error> {
        let end = end_of(first, blocks.len());
        if self.stream != (Stream::Read { next: first }) {
            self.close_before_next().await?;
            self.link.select().await?;
            if let [block] = blocks
                && first != self.read_end
            {
                self.link.command_ok(cmd::READ_SINGLE_BLOCK, first).await?;
                self.link.read_data(block).await?;
                self.read_end = end;
                return self.link.deselect().await;
            }
            self.link.command_ok(cmd::READ_MULTIPLE_BLOCK, first).await?;
            self.stream = Stream::Read { next: first };
        }
        for block in blocks {
            self.link.read_data(block).await?;
        }
        self.read_end = end;
        self.stream = Stream::Read { next: end };
        if self.is_end_of_card(end) { self.close_stream().await } else { Ok(()) }
    }

    pub(super) async fn try_write(&mut self, first: u32, blocks: &[[u8; BLOCK]]) -> Result<(), Error> {
        let end = end_of(first, blocks.len());
        let acknowledged = match self.stream {
            Stream::Write { next, acknowledged } if next == first => acknowledged,
            _ => {
                self.close_before_next().await?;
                self.link.select().await?;
                if let [block] = blocks
                    && first != self.write_end
                {
                    self.write_one(first, block).await?;
                    self.write_end = end;
                    return self.link.deselect().await;
                }
                // 7.2.4, 4.3.4: the card may erase ahead what is going to be written.
                self.link.app_command_ok(acmd::SET_WR_BLK_ERASE_COUNT, end.wrapping_sub(first)).await?;
                self.link.command_ok(cmd::WRITE_MULTIPLE_BLOCK, first).await?;
                self.stream = Stream::Write { next: first, acknowledged: 0 };
                0
            }
        };
        for block in blocks {
            self.link.wait_ready(limit::WRITE_US).await?;
            self.link.write_data(Writing::Multiple, block).await?;
        }
        self.write_end = end;
        let acknowledged = acknowledged.saturating_add(end.wrapping_sub(first));
        // Closing fails this request alone where it is the only one; those before it are judged by `abort`.
        if self.is_end_of_card(end) {
            return self.close_stream().await;
        }
        self.stream = Stream::Write { next: end, acknowledged };
        Ok(())
    }

    async fn write_one(&mut self, address: u32, block: &[u8; BLOCK]) -> Result<(), Error> {
        self.link.command_ok(cmd::WRITE_BLOCK, address).await?;
        self.link.write_data(Writing::Single, block).await?;
        self.link.wait_ready(limit::WRITE_US).await?;
        self.check_status().await
    }

    pub(super) async fn try_erase(&mut self, first: u32, count: u32) -> Result<(), Error> {
        self.close_before_next().await?;
        let mut next = first;
        let mut left = count;
        while left > 0 {
            let now = left.min(ERASE_BLOCKS);
            self.link.select().await?;
            self.link.command_ok(cmd::ERASE_WR_BLK_START_ADDR, next).await?;
            self.link.command_ok(cmd::ERASE_WR_BLK_END_ADDR, next.wrapping_add(now - 1)).await?;
            self.link.command_ok(cmd::ERASE, 0).await?;
            self.link.wait_ready(limit::ERASE_US).await?;
            self.check_status().await?;
            self.link.deselect().await?;
            next = next.wrapping_add(now);
            left -= now;
        }
        Ok(())
    }

    /// Ends the open transfer, if there is one. After an error the stream is as it was: [`abort`](Self::abort) or
    /// [`drop_stream`](Self::drop_stream) comes next.
    pub(super) async fn close_stream(&mut self) -> Result<(), Error> {
        match self.stream {
            Stream::Closed => return Ok(()),
            Stream::Read { .. } => self.stop_reading().await?,
            Stream::Write { .. } => {
                self.link.wait_ready(limit::WRITE_US).await?;
                self.link.stop_writing().await?;
                self.link.wait_ready(limit::WRITE_US).await?;
                self.check_status().await?;
            }
        }
        self.stream = Stream::Closed;
        self.link.deselect().await
    }

    /// Ends the open transfer for a request that is not part of it: its failure is not the new request's.
    async fn close_before_next(&mut self) -> Result<(), Error> {
        self.close().await;
        // The card has to be initialised first: a try of its own.
        if self.stale { self.ready(1).await } else { Ok(()) }
    }

    /// Stops a transfer in which a block failed. Blocks that were acknowledged before it are safe when the card says
    /// that it wrote as many.
    pub(super) async fn abort(&mut self) -> Result<(), Error> {
        match self.stream {
            Stream::Closed => {}
            Stream::Read { .. } => self.stop_reading().await?,
            Stream::Write { acknowledged, .. } => {
                // 7.2.4: after a data response with an error the host stops by CMD12 and asks by ACMD22.
                self.stop_by_command().await?;
                // An error in the status may be that of a block that was acknowledged. The one that failed now is
                // known without it.
                let status = self.link.status().await?;
                if acknowledged > 0 && (status != 0 || self.link.well_written().await? < acknowledged) {
                    self.lost = true;
                }
            }
        }
        self.stream = Stream::Closed;
        self.link.deselect().await
    }

    /// Forgets the open transfer: the card is going to be initialised. What it had acknowledged is lost.
    pub(super) fn drop_stream(&mut self) {
        if let Stream::Write { acknowledged: 1.., .. } = self.stream {
            self.lost = true;
        }
        self.stream = Stream::Closed;
    }

    /// Ends CMD18. A card that missed CMD12 goes on sending, and a zero among its data looks like a response: so it has to
    /// give its OCR, which is known, before any data is believed again.
    async fn stop_reading(&mut self) -> Result<(), Error> {
        self.stop_by_command().await?;
        let ocr = self.link.ocr().await?;
        if self.info.is_some_and(|info| info.ocr == ocr) {
            Ok(())
        } else {
            Err(Error::NoResponse(cmd::STOP_TRANSMISSION))
        }
    }

    async fn stop_by_command(&mut self) -> Result<(), Error> {
        let r1 = self.link.command_at_once(cmd::STOP_TRANSMISSION, 0).await?;
        if r1.is_crc_error() || r1.is_illegal() || r1.is_idle() {
            return Err(Error::Rejected(cmd::STOP_TRANSMISSION, r1));
        }
        self.link.wait_ready(limit::WRITE_US).await
    }

    async fn check_status(&mut self) -> Result<(), Error> {
        match self.link.status().await? {
            0 => Ok(()),
            bits => Err(Error::Status(bits)),
        }
    }

    /// A stream must not run past the last block: the card would report an address error.
    fn is_end_of_card(&self, end: u32) -> bool {
        self.info.is_none_or(|info| u64::from(end) == info.csd.blocks() || end == 0)
    }
}

/// The block behind a range that was checked to lie on the card; 0 behind the last of 2^32.
fn end_of(first: u32, count: usize) -> u32 {
    first.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX))
}
