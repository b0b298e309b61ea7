//! A logical unit's blocks, by way of its extents, on the card.

use embedded_io_async::{Read, Write};
use iesp_scsi::IoError;

use super::Driver;
use crate::Clock;
use crate::board::{Board, Led};
use crate::card::BLOCK;
use crate::sd::Error;
use crate::target::{Target, io_error};

impl<B: Board, const CONNECTIONS: usize> Target<'_, B, CONNECTIONS> {
    /// Reads blocks of a logical unit; `data` is a whole number of blocks.
    pub(super) async fn read_blocks(&self, lun: u16, mut lba: u64, mut data: &mut [u8]) -> Result<(), IoError> {
        let lun = self.lun(lun).ok_or(IoError::Other)?;
        let began = self.clock.now_us();
        self.light(Led::Green, true);
        let mut store = self.store.lock().await;
        let mut result = Ok(());
        while !data.is_empty() && result.is_ok() {
            let Some(piece) = lun.extents.find(lba, (data.len() / BLOCK) as u32) else {
                result = Err(IoError::Other);
                break;
            };
            let len = (piece.count as usize * BLOCK).min(data.len());
            let (now, later) = core::mem::take(&mut data).split_at_mut(len);
            result = store.read(piece.first, now).await.map_err(|error| self.told(error));
            self.count(|counters| counters.bytes_read += len as u64);
            data = later;
            lba += u64::from(piece.count);
        }
        self.light(Led::Green, false);
        self.count(|counters| counters.waited_us += self.clock.now_us() - began);
        result
    }

    /// Writes blocks of a logical unit; `data` is a whole number of blocks.
    pub(super) async fn write_blocks(&self, lun: u16, mut lba: u64, mut data: &[u8]) -> Result<(), IoError> {
        let lun = self.lun(lun).ok_or(IoError::Other)?;
        let began = self.clock.now_us();
        self.light(Led::Yellow, true);
        let mut store = self.store.lock().await;
        let mut result = Ok(());
        while !data.is_empty() && result.is_ok() {
            let Some(piece) = lun.extents.find(lba, (data.len() / BLOCK) as u32) else {
                result = Err(IoError::Other);
                break;
            };
            let (now, later) = data.split_at((piece.count as usize * BLOCK).min(data.len()));
            result = store.write(piece.first, now).await.map_err(|error| self.told(error));
            self.count(|counters| counters.bytes_written += now.len() as u64);
            data = later;
            lba += u64::from(piece.count);
        }
        self.light(Led::Yellow, false);
        self.count(|counters| counters.waited_us += self.clock.now_us() - began);
        result
    }

    /// Erases blocks of a logical unit: only for a card that erases to zeros.
    pub(super) async fn erase_blocks(&self, lun: u16, mut lba: u64, mut blocks: u64) -> Result<(), IoError> {
        let lun = self.lun(lun).ok_or(IoError::Other)?;
        let mut store = self.store.lock().await;
        self.light(Led::Yellow, true);
        let mut result = Ok(());
        while blocks > 0 && result.is_ok() {
            let most = u32::try_from(blocks).unwrap_or(u32::MAX);
            let Some(piece) = lun.extents.find(lba, most) else {
                result = Err(IoError::Other);
                break;
            };
            result = store.erase(piece.first, piece.count).await.map_err(|error| self.told(error));
            lba += u64::from(piece.count);
            blocks -= u64::from(piece.count);
        }
        self.light(Led::Yellow, false);
        result
    }

    /// An error of the card is on its way to an initiator.
    fn told(&self, error: Error) -> IoError {
        self.light(Led::Red, true);
        self.count(|counters| counters.card_errors += 1);
        io_error(error)
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
        match result {
            Err(error) => Err(self.target.told(error)),
            Ok(()) if lost => Err(IoError::Medium),
            Ok(()) => Ok(()),
        }
    }
}
