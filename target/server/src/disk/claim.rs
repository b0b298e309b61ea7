//! The identities of disks that are away: no other disk may have them meanwhile.

use uuid::Uuid;

use super::identity;
use super::thing::is_same;
use crate::config::{DiskConfig, Source};

/// The identity of a disk that is wanted and not there.
#[derive(Debug, Clone)]
pub struct Claim {
    uuid: Uuid,
    source: Source,
}

impl Claim {
    /// Of those disks whose identities are known.
    pub fn of<'a>(disks: impl Iterator<Item = &'a DiskConfig>) -> Vec<Self> {
        let known = disks.filter_map(|disk| Some(Self { uuid: known_uuid(disk)?, source: disk.source.clone() }));
        known.collect()
    }

    /// Whether what is made from `source` may not have this identity, as it is another disk's.
    pub fn bars(&self, uuid: Uuid, source: &Source) -> bool {
        self.uuid == uuid && !is_same(&self.source, source)
    }

    /// What the disk is made from.
    pub const fn source(&self) -> &Source {
        &self.source
    }
}

/// The identity of a disk, as far as it is known without anything being made.
pub(super) fn known_uuid(disk: &DiskConfig) -> Option<Uuid> {
    match &disk.source {
        _ if disk.uuid.is_some() => disk.uuid,
        Source::Ram(_) => None,
        // What cannot be read is no identity.
        Source::Path(path) => identity::known(path).ok().flatten(),
        Source::Nbd { address, .. } => identity::known_of_export(address).ok().flatten(),
    }
}
