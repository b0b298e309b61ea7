//! Where a disk's blocks lie on the card.

use heapless::Vec;

/// Blocks of a disk that lie in a row on the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block on the card.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// More pieces than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPieces;

/// A disk as pieces of the card, at most `N`.
#[derive(Clone, Debug)]
pub struct Extents<const N: usize> {
    pieces: Vec<Extent, N>,
    blocks: u64,
}

impl<const N: usize> Default for Extents<N> {
    fn default() -> Self {
        Self { pieces: Vec::new(), blocks: 0 }
    }
}

impl<const N: usize> Extents<N> {
    /// One piece.
    pub fn of(first: u32, count: u32) -> Self {
        let mut extents = Self::default();
        // The first piece always has room.
        let _ = extents.push(Extent { first, count });
        extents
    }

    /// Appends a piece; one that goes on where the last one ended becomes part of that.
    ///
    /// # Errors
    /// When there is no room for one more.
    pub fn push(&mut self, piece: Extent) -> Result<(), TooManyPieces> {
        if let Some(last) = self.pieces.last_mut()
            && last.first.checked_add(last.count) == Some(piece.first)
            && let Some(count) = last.count.checked_add(piece.count)
        {
            last.count = count;
        } else {
            self.pieces.push(piece).map_err(|_| TooManyPieces)?;
        }
        self.blocks += u64::from(piece.count);
        Ok(())
    }

    /// Blocks in all.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Pieces.
    pub fn pieces(&self) -> &[Extent] {
        &self.pieces
    }

    /// Cuts what is behind the first `blocks` blocks: the last cluster of a file is seldom full.
    pub fn truncate(&mut self, blocks: u64) {
        let mut left = blocks;
        self.pieces.retain_mut(|piece| {
            let count = u64::from(piece.count).min(left);
            left -= count;
            piece.count = count as u32;
            count > 0
        });
        self.blocks = blocks - left;
    }

    /// Where block `lba` lies, and how many of the `count` from there on lie in a row behind it; `None` past the end.
    pub fn find(&self, lba: u64, count: u32) -> Option<Extent> {
        let mut skip = lba;
        for piece in &self.pieces {
            if let Some(rest) = u64::from(piece.count).checked_sub(skip)
                && rest > 0
            {
                let first = piece.first.checked_add(skip as u32)?;
                return Some(Extent { first, count: u64::from(count).min(rest) as u32 });
            }
            skip -= u64::from(piece.count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_found_and_cut() {
        let mut extents = Extents::<2>::of(100, 10);
        assert_eq!(extents.push(Extent { first: 110, count: 5 }), Ok(()));
        assert_eq!(extents.push(Extent { first: 50, count: 8 }), Ok(()));
        assert_eq!(extents.push(Extent { first: 70, count: 8 }), Err(TooManyPieces));
        assert_eq!((extents.pieces().len(), extents.blocks()), (2, 23));
        assert_eq!(extents.find(0, 4), Some(Extent { first: 100, count: 4 }));
        assert_eq!(extents.find(13, 4), Some(Extent { first: 113, count: 2 }));
        assert_eq!(extents.find(15, 4), Some(Extent { first: 50, count: 4 }));
        assert_eq!(extents.find(22, 4), Some(Extent { first: 57, count: 1 }));
        assert_eq!(extents.find(23, 1), None);
        extents.truncate(16);
        assert_eq!((extents.blocks(), extents.find(15, 4)), (16, Some(Extent { first: 50, count: 1 })));
        extents.truncate(15);
        assert_eq!((extents.pieces().len(), extents.find(15, 1)), (1, None));
    }
}
