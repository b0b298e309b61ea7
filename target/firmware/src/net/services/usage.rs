//! How much of a disk nothing was written to: an estimate for SNMP. A card does not tell what it holds, so blocks are read
//! here and there; what is zero counts as free.

use core::cell::Cell;

use embassy_time::{Duration, Timer};

use crate::board::{Board, Random};
use crate::card::BLOCK;
use crate::target::{LUNS, Target};

/// Samples that count: the last ones.
const SAMPLES: u32 = 64;

/// The last samples of each disk: a bit each, set where the block was zero.
#[derive(Debug, Default)]
pub(super) struct Usage([Cell<(u64, u32)>; LUNS]);

impl Usage {
    /// In percent; 0 as long as nothing is known.
    #[cfg_attr(not(feature = "snmp"), allow(dead_code, reason = "who asks is the SNMP agent"))]
    pub(super) fn free_percent(&self, lun: usize) -> u64 {
        match self.0.get(lun).map_or((0, 0), Cell::get) {
            (_, 0) => 0,
            (bits, count) => u64::from(bits.count_ones()) * 100 / u64::from(count),
        }
    }

    fn add(&self, lun: usize, zero: bool) {
        if let Some(cell) = self.0.get(lun) {
            let (bits, count) = cell.get();
            cell.set((bits << 1 | u64::from(zero), (count + 1).min(SAMPLES)));
        }
    }
}

/// Looks at one block of each disk every so often, for ever.
pub(super) async fn watch<B: Board, const CONNECTIONS: usize>(
    target: &Target<'_, B, CONNECTIONS>,
    interval_s: u16,
    usage: &Usage,
) {
    if interval_s == 0 {
        return;
    }
    loop {
        // The first few come quickly: one sample says nothing.
        for number in 0..u32::MAX {
            let seconds = if number < SAMPLES { 1 } else { u64::from(interval_s) };
            Timer::after(Duration::from_secs(seconds)).await;
            for (at, lun) in target.luns.iter().enumerate() {
                let mut bytes = [0; 8];
                target.random.borrow_mut().fill(&mut bytes);
                let lba = u64::from_le_bytes(bytes) % lun.extents.blocks().max(1);
                let Some(piece) = lun.extents.find(lba, 1) else { continue };
                let mut block = [0; BLOCK];
                // A block that cannot be read says nothing.
                if target.store.lock().await.read(piece.first, &mut block).await.is_ok() {
                    usage.add(at, block == [0; BLOCK]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_samples_count() {
        let usage = Usage::default();
        assert_eq!(usage.free_percent(0), 0);
        usage.add(0, true);
        assert_eq!((usage.free_percent(0), usage.free_percent(1), usage.free_percent(99)), (100, 0, 0));
        usage.add(0, false);
        assert_eq!(usage.free_percent(0), 50);
        (0..200).for_each(|number| usage.add(0, number % 4 == 0));
        assert_eq!(usage.free_percent(0), 25);
    }
}
