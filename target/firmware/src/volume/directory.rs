//! Directories: entries of 32 bytes in a chain of clusters, on exFAT and FAT32 alike.

use super::sectors::Sectors;
use super::{Clusters, VolumeError};
use crate::card::{BLOCK, Card};

/// Bytes of an entry.
pub(super) const ENTRY: usize = 32;

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    cluster: u32,
    /// Sector of the cluster.
    sector: u32,
    /// Byte of the sector.
    pub(super) at: usize,
}

impl Place {
    /// The card's sector that it lies in.
    pub(super) fn sector(&self, clusters: &Clusters) -> Result<u32, VolumeError> {
        Ok(clusters.sector(self.cluster)?.saturating_add(self.sector))
    }
}

/// A way through a directory.
pub(super) struct Directory {
    clusters: Clusters,
    next: Option<Place>,
    /// Clusters that may still come: a directory's chain is no longer than the volume.
    left: u32,
}

impl Directory {
    /// From the first entry of a directory on, whose first cluster this is.
    pub(super) const fn new(clusters: Clusters, cluster: u32) -> Self {
        Self::from(clusters, Place { cluster, sector: 0, at: 0 })
    }

    /// From this entry on.
    pub(super) const fn from(clusters: Clusters, place: Place) -> Self {
        Self { clusters, next: Some(place), left: clusters.count }
    }

    /// The next entry; `None` behind the last cluster.
    pub(super) async fn next<C: Card>(
        &mut self,
        sectors: &mut Sectors<'_, '_, C>,
    ) -> Result<Option<(Place, [u8; ENTRY])>, VolumeError> {
        let Some(place) = self.next else { return Ok(None) };
        let sector = sectors.get(place.sector(&self.clusters)?).await?;
        let entry = sector.get(place.at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; ENTRY]);
        self.next = if place.at + ENTRY < BLOCK {
            Some(Place { at: place.at + ENTRY, ..place })
        } else if place.sector + 1 < self.clusters.sectors() {
            Some(Place { sector: place.sector + 1, at: 0, ..place })
        } else if self.left > 1 {
            self.left -= 1;
            let cluster = self.clusters.next(sectors, place.cluster).await?;
            cluster.map(|cluster| Place { cluster, sector: 0, at: 0 })
        } else {
            None
        };
        Ok(Some((place, entry)))
    }
}

/// Whether two units of UTF-16 are the same but for the case of their letters.
pub(super) fn same_unit(a: u16, b: u16) -> bool {
    match (char::from_u32(u32::from(a)), char::from_u32(u32::from(b))) {
        (Some(a), Some(b)) => a == b || a.to_lowercase().eq(b.to_lowercase()),
        // Halves of a character.
        _ => a == b,
    }
}
