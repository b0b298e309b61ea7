//! One sector of the card at a time.

use crate::card::{BLOCK, Card};
use crate::sd::Error;
use crate::store::Store;

/// A card that is read a sector at a time; the last one is kept.
pub(super) struct Sectors<'s, 'm, C> {
    store: &'s mut Store<'m, C>,
    sector: [u8; BLOCK],
    at: Option<u32>,
}

impl<'s, 'm, C: Card> Sectors<'s, 'm, C> {
    pub(super) fn new(store: &'s mut Store<'m, C>) -> Self {
        Self { store, sector: [0; BLOCK], at: None }
    }

    pub(super) async fn get(&mut self, number: u32) -> Result<&[u8; BLOCK], Error> {
        if self.at != Some(number) {
            self.at = None;
            self.store.read(number, &mut self.sector).await?;
            self.at = Some(number);
        }
        Ok(&self.sector)
    }

    /// A sector that is going to be changed: [`put`](Self::put) writes it.
    pub(super) async fn get_mut(&mut self, number: u32) -> Result<&mut [u8; BLOCK], Error> {
        self.get(number).await?;
        Ok(&mut self.sector)
    }

    /// Writes the sector that was got last, durably.
    pub(super) async fn put(&mut self) -> Result<(), Error> {
        if let Some(number) = self.at {
            self.store.write(number, &self.sector).await?;
            self.store.flush().await?;
        }
        Ok(())
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

pub(super) fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}
