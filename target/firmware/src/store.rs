//! Between the disks and the card: what was written and lies next to each other is gathered, what is going to be read is
//! fetched ahead.
//!
//! # What is durable
//!
//! A write is acknowledged when it is gathered: the cache is volatile, and says so (WCE). [`Store::flush`] answers when it
//! is on the card. What the card refuses stays gathered and is tried again; a loss (the card's power failed, another card
//! was put in) is counted: from then on every flush fails, whoever asks.

use crate::card::{BLOCK, Card, Facts};
use crate::sd::Error;

/// The card with what is gathered before it.
pub struct Store<'m, C> {
    card: C,
    facts: Option<Facts>,
    /// Gathered writes: `gathered` blocks from `first` on.
    writes: &'m mut [u8],
    first: u32,
    gathered: u32,
    /// Read ahead: `ahead` blocks from `ahead_first` on.
    reads: &'m mut [u8],
    ahead_first: u32,
    ahead: u32,
    /// Where the last read ended: what goes on there is worth reading ahead.
    read_end: u32,
    losses: u32,
}

impl<'m, C: Card> Store<'m, C> {
    /// A card that is not started, and room to gather writes and to read ahead: whole numbers of blocks, or none.
    pub fn new(card: C, writes: &'m mut [u8], reads: &'m mut [u8]) -> Self {
        let whole = |buffer: &'m mut [u8]| {
            let len = buffer.len() / BLOCK * BLOCK;
            buffer.get_mut(..len).unwrap_or_default()
        };
        Self {
            card,
            facts: None,
            writes: whole(writes),
            first: 0,
            gathered: 0,
            reads: whole(reads),
            ahead_first: 0,
            ahead: 0,
            read_end: 0,
            losses: 0,
        }
    }

    /// Starts whichever card is there.
    ///
    /// # Errors
    /// When none can be started.
    pub async fn start(&mut self) -> Result<Facts, Error> {
        self.ahead = 0;
        if core::mem::take(&mut self.gathered) > 0 {
            self.losses = self.losses.wrapping_add(1);
        }
        let facts = self.card.start().await?;
        self.facts = Some(facts);
        Ok(facts)
    }

    /// What is known of the card.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// See [`Card::limit_clock`].
    pub fn limit_clock(&mut self, hz: u32) -> Option<u32> {
        self.card.limit_clock(hz)
    }

    /// How often acknowledged writes were lost so far.
    pub fn losses(&self) -> u32 {
        self.losses
    }

    /// Reads blocks.
    ///
    /// # Errors
    /// When the card cannot.
    pub async fn read(&mut self, first: u32, data: &mut [u8]) -> Result<(), Error> {
        let count = blocks(data);
        if overlap(first, count, self.first, self.gathered) {
            self.drain().await?;
        }
        let end = first.wrapping_add(count);
        let had = self.fetched(first, data);
        let (first, count) = (first.wrapping_add(had), count - had);
        let data = data.get_mut(had as usize * BLOCK..).unwrap_or_default();
        if data.is_empty() {
            self.read_end = end;
            return Ok(());
        }
        let sequential = had > 0 || first == self.read_end && first > 0;
        let room = blocks(self.reads);
        let most = self.facts.map_or(0, |facts| facts.blocks);
        if sequential && count < room && u64::from(first) + u64::from(room) <= most && !self.touches(first, room) {
            self.ahead = 0;
            // A block ahead that cannot be read is no reason to fail those that were asked for.
            if self.card.read(first, self.reads).await.is_ok() {
                (self.ahead_first, self.ahead) = (first, room);
                self.fetched(first, data);
                self.read_end = end;
                return Ok(());
            }
        }
        // A card that was away may have been written to elsewhere.
        self.card.read(first, data).await.inspect_err(|_| self.ahead = 0)?;
        self.read_end = end;
        Ok(())
    }

    /// Writes blocks: they are gathered, or on the card.
    ///
    /// # Errors
    /// When the card cannot take these, or those that were gathered before them.
    pub async fn write(&mut self, first: u32, data: &[u8]) -> Result<(), Error> {
        if self.facts.is_some_and(|facts| facts.write_protected) {
            return Err(Error::WriteProtected);
        }
        let count = blocks(data);
        if overlap(first, count, self.ahead_first, self.ahead) {
            self.ahead = 0;
        }
        if self.gathered > 0 && self.is_within(first, count) {
            return self.put(first, data);
        }
        let goes_on = self.gathered > 0 && first == self.first.wrapping_add(self.gathered);
        if !goes_on {
            self.drain().await?;
        }
        let mut next = first;
        let mut left = data;
        loop {
            // Up to the next multiple of the room, so that what is written together begins and ends with a unit that
            // the card erases.
            let room = blocks(self.writes);
            if room == 0 || self.gathered == 0 && left.len() >= self.writes.len() {
                return if left.is_empty() { Ok(()) } else { self.card.write(next, left).await };
            }
            if self.gathered == 0 {
                self.first = next;
            }
            let end = self.first - self.first % room + room;
            let here = end.saturating_sub(next).min(blocks(left));
            let (now, later) = left.split_at(here as usize * BLOCK);
            self.gathered += here;
            self.put(next, now)?;
            next = next.wrapping_add(here);
            left = later;
            if next == end {
                self.drain().await.inspect_err(|_| {
                    // These blocks are not acknowledged.
                    self.gathered -= here;
                })?;
            }
            if left.is_empty() {
                return Ok(());
            }
        }
    }

    /// Erases blocks: they read as the card says.
    ///
    /// # Errors
    /// When the card cannot.
    pub async fn erase(&mut self, first: u32, count: u32) -> Result<(), Error> {
        self.drain().await?;
        if overlap(first, count, self.ahead_first, self.ahead) {
            self.ahead = 0;
        }
        self.card.erase(first, count).await
    }

    /// Makes durable what was acknowledged.
    ///
    /// # Errors
    /// When some of it could not be written, or is lost; that is counted by [`losses`](Self::losses).
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.drain().await?;
        match self.card.flush().await {
            Err(Error::Lost) => {
                self.losses = self.losses.wrapping_add(1);
                self.card.forget_loss();
                Err(Error::Lost)
            }
            other => other,
        }
    }

    /// Writes what is gathered.
    async fn drain(&mut self) -> Result<(), Error> {
        if self.gathered == 0 {
            return Ok(());
        }
        let data = self.writes.get(..self.gathered as usize * BLOCK).unwrap_or_default();
        match self.card.write(self.first, data).await {
            Ok(()) => {
                self.gathered = 0;
                Ok(())
            }
            // Another card: what was gathered belongs to the one that is gone.
            Err(Error::Changed) => {
                self.gathered = 0;
                self.losses = self.losses.wrapping_add(1);
                Err(Error::Changed)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts blocks where they belong among the gathered ones.
    fn put(&mut self, first: u32, data: &[u8]) -> Result<(), Error> {
        let at = first.wrapping_sub(self.first) as usize * BLOCK;
        let place = self.writes.get_mut(at..at + data.len()).ok_or(Error::Length)?;
        place.copy_from_slice(data);
        Ok(())
    }

    fn is_within(&self, first: u32, count: u32) -> bool {
        first >= self.first && u64::from(first) + u64::from(count) <= u64::from(self.first) + u64::from(self.gathered)
    }

    fn touches(&self, first: u32, count: u32) -> bool {
        overlap(first, count, self.first, self.gathered)
    }

    /// Takes blocks from what was read ahead, as far as they are there; how many.
    fn fetched(&self, first: u32, data: &mut [u8]) -> u32 {
        let Some(skip) = first.checked_sub(self.ahead_first) else { return 0 };
        let count = self.ahead.saturating_sub(skip).min(blocks(data));
        let (at, len) = (skip as usize * BLOCK, count as usize * BLOCK);
        match (self.reads.get(at..at + len), data.get_mut(..len)) {
            (Some(from), Some(to)) => {
                to.copy_from_slice(from);
                count
            }
            _ => 0,
        }
    }
}

fn blocks(data: &[u8]) -> u32 {
    (data.len() / BLOCK) as u32
}

fn overlap(a: u32, a_count: u32, b: u32, b_count: u32) -> bool {
    let (a, b) = (u64::from(a), u64::from(b));
    a < b + u64::from(b_count) && b < a + u64::from(a_count)
}
