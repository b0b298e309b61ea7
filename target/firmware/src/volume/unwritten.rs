//! Files that were made long without being written (exFAT 7.6.5, ValidDataLength): `fsutil file createnew`, say.
//!
//! What lies behind the written part on the card is left from older files; a PC shows zeros instead. A board whose file
//! system is off the data path cannot tell at each write that the written part grew: so it makes the zeros true, once, and says
//! that all of the file was written. Until that is said nothing of the file is served: a power cut makes it begin anew.

use super::sectors::Sectors;
use super::{File, VolumeError};
use crate::card::{BLOCK, Card};
use crate::sd::Erased;
use crate::store::Store;

/// Blocks of a step, after which progress is told: 32 MiB that are erased at once, 1 MiB that is written.
const ERASED_AT_ONCE: u32 = 65_536;
const WRITTEN_AT_ONCE: u32 = 2048;

/// Fills what was never written of a file with zeros, by erasing where the card erases to zeros, and says so in its
/// directory. `told` hears how many blocks are done, and of how many.
///
/// # Errors
/// [`VolumeError::Unwritten`] for a card that is write-protected; else when the card fails.
pub async fn write_to_its_end<C: Card>(
    store: &mut Store<'_, C>,
    file: &File,
    mut told: impl FnMut(u64, u64),
) -> Result<(), VolumeError> {
    let Some(facts) = store.facts().copied() else { return Ok(()) };
    let Some(entries) = file.entries.filter(|_| file.is_unwritten()) else { return Ok(()) };
    if facts.write_protected {
        return Err(VolumeError::Unwritten);
    }
    let blocks = file.extents.blocks();
    let whole = file.valid.div_ceil(BLOCK as u64);
    let rest = (file.valid % BLOCK as u64) as usize;
    if rest > 0
        && let Some(last) = file.extents.find(whole - 1, 1)
    {
        let mut sectors = Sectors::new(store);
        sectors.get_mut(last.first).await?.get_mut(rest..).unwrap_or_default().fill(0);
        sectors.put().await?;
    }
    let step = if facts.erased == Erased::Zeros { ERASED_AT_ONCE } else { WRITTEN_AT_ONCE };
    let mut lba = whole;
    while lba < blocks {
        let Some(piece) = file.extents.find(lba, step) else { break };
        if facts.erased == Erased::Zeros {
            store.erase(piece.first, piece.count).await?;
        } else {
            for block in piece.first..piece.first + piece.count {
                store.write(block, &[0; BLOCK]).await?;
            }
        }
        lba += u64::from(piece.count);
        told(lba - whole, blocks - whole);
    }
    // The zeros are on the card before anybody is told of them.
    store.flush().await?;
    entries.set_valid(&mut Sectors::new(store), blocks * BLOCK as u64).await
}
