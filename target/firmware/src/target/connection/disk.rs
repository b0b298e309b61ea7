//! A logical unit's blocks, by way of its extents, on the card.

use embedded_io_async::{Read, Write};
use iesp_scsi::IoError;

use super::Driver;
use crate::Clock;
use crate::board::{Board, Led, Panel};
use crate::card::BLOCK;
use crate::extents::Extent;
use crate::log::Level;
use crate::sd::Error;
use crate::store::Store;
use crate::target::{Target, Trouble, io_error};

/// How long the owner is not told of another error of the card, in microseconds.
const TELL_AGAIN_US: u64 = 10_000_000;

impl<B: Board, const CONNECTIONS: usize> Target<'_, B, CONNECTIONS> {
    /// Reads blocks of a logical unit; `data` is a whole number of blocks.
    pub(super) async fn read_blocks(&self, lun: u16, lba: u64, mut data: &mut [u8]) -> Result<(), IoError> {
        let len = data.len();
        let read = async |store: &mut Store<'_, B::Card>, piece: Extent| {
            let (now, later) = core::mem::take(&mut data).split_at_mut(piece.count as usize * BLOCK);
            data = later;
            store.read(piece.first, now).await
        };
        let result = self.in_pieces(lun, lba, (len / BLOCK) as u64, Led::Green, read).await;
        self.count(|counters| counters.bytes_read += len as u64);
        result
    }

    /// Writes blocks of a logical unit; `data` is a whole number of blocks.
    pub(super) async fn write_blocks(&self, lun: u16, lba: u64, mut data: &[u8]) -> Result<(), IoError> {
        let len = data.len();
        let write = async |store: &mut Store<'_, B::Card>, piece: Extent| {
            let (now, later) = data.split_at(piece.count as usize * BLOCK);
            data = later;
            store.write(piece.first, now).await
        };
        let result = self.in_pieces(lun, lba, (len / BLOCK) as u64, Led::Yellow, write).await;
        self.count(|counters| counters.bytes_written += len as u64);
        result
    }

    /// Erases blocks of a logical unit: only for a card that erases to zeros.
    pub(super) async fn erase_blocks(&self, lun: u16, lba: u64, blocks: u64) -> Result<(), IoError> {
        let erase = async |store: &mut Store<'_, B::Card>, piece: Extent| store.erase(piece.first, piece.count).await;
        self.in_pieces(lun, lba, blocks, Led::Yellow, erase).await
    }

    /// Does something to each piece of the card that blocks of a logical unit lie in, one after the other, until one fails.
    async fn in_pieces(
        &self,
        lun: u16,
        mut lba: u64,
        mut blocks: u64,
        led: Led,
        mut work: impl AsyncFnMut(&mut Store<'_, B::Card>, Extent) -> Result<(), Error>,
    ) -> Result<(), IoError> {
        let lun = self.lun(lun).ok_or(IoError::Other)?;
        let began = self.clock.now_us();
        self.light(led, true);
        let mut store = self.store.lock().await;
        let mut result = Ok(());
        while blocks > 0 && result.is_ok() {
            let most = u32::try_from(blocks).unwrap_or(u32::MAX);
            let Some(piece) = lun.extents.find(lba, most) else {
                result = Err(IoError::Other);
                break;
            };
            result = work(&mut store, piece).await.map_err(|error| self.told(error));
            lba += u64::from(piece.count);
            blocks -= u64::from(piece.count);
        }
        if led == Led::Green && result.is_ok() {
            self.answers(store.losses() > 0);
        }
        drop(store);
        self.light(led, false);
        self.count(|counters| counters.waited_us += self.clock.now_us() - began);
        result
    }

    /// An error of the card is on its way to an initiator. The owner is told when a card is gone, and of others now and then.
    fn told(&self, error: Error) -> IoError {
        let kind = io_error(error);
        let now = self.clock.now_us();
        let trouble = self.trouble.get();
        let is_gone = kind == IoError::NotReady;
        let is_due = trouble.told_us.is_none_or(|told| now - told >= TELL_AGAIN_US);
        if is_due || is_gone && !trouble.gone || error == Error::Lost {
            self.trouble.set(Trouble { told_us: Some(now), gone: trouble.gone || is_gone });
            self.with_panel(|panel| panel.tell(Level::Error, format_args!("card: {error}")));
        }
        self.light(Led::Red, true);
        self.count(|counters| counters.card_errors += 1);
        kind
    }

    /// The card did what it was asked; `lost`: not all that was acknowledged is there.
    fn answers(&self, lost: bool) {
        let trouble = self.trouble.get();
        if !trouble.gone {
            return;
        }
        self.trouble.set(Trouble { gone: false, ..trouble });
        self.with_panel(|panel| {
            if lost {
                panel.tell(
                    Level::Error,
                    format_args!("card: it is there again; flushes fail until the board is restarted"),
                );
            } else {
                panel.light(Led::Red, false);
                panel.line(format_args!("card: it is there again"));
            }
        });
    }
}

impl<B: Board, S: Read + Write, const CONNECTIONS: usize, const TASKS: usize, const TEXT: usize>
    Driver<'_, '_, B, S, CONNECTIONS, TASKS, TEXT>
{
    /// Makes durable what was acknowledged. Once something was lost every flush fails until the board
    /// is started again, as on a host: an initiator that lost its connection meanwhile logs in anew, with what it was
    /// acknowledged before still in its mind.
    pub(super) async fn flush_blocks(&mut self) -> Result<(), IoError> {
        let mut store = self.target.store.lock().await;
        self.target.light(Led::Yellow, true);
        let result = store.flush().await;
        self.target.light(Led::Yellow, false);
        let lost = store.losses() > 0;
        drop(store);
        if result.is_ok() {
            self.target.answers(lost);
        }
        match result {
            Err(error) => Err(self.target.told(error)),
            Ok(()) if lost => Err(IoError::Medium),
            Ok(()) => Ok(()),
        }
    }
}
