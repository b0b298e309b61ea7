//! The disks that the node serves, each once: by what it is, and by who it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use iesp_scsi::{LogicalUnit, NexusId};
use uuid::Uuid;

use super::thing::Thing;
use crate::backend::Backend;
use crate::config::{DiskConfig, Source};
use crate::target::SESSIONS;

/// Paths that a disk may have: LUNs of one target or of several.
pub const PATHS: usize = 8;

/// I_T nexuses of all paths to a disk together.
pub const UNIT_NEXUSES: usize = SESSIONS * PATHS;

/// The device server of a disk. Each path has numbers of its own for its nexuses.
pub type Unit = LogicalUnit<UNIT_NEXUSES>;

/// A disk: one backend, one device server with its range lock, one identity, whatever it is called and by how many paths it
/// is reached.
#[derive(Debug)]
pub struct Disk {
    thing: Thing,
    uuid: Uuid,
    config: DiskConfig,
    backend: Arc<dyn Backend>,
    unit: Arc<Unit>,
    /// The target and the LUN of each path.
    paths: Mutex<[Option<(String, u16)>; PATHS]>,
    /// How many paths there are.
    count: AtomicUsize,
}

impl Disk {
    /// A disk without a path.
    pub fn new(thing: Thing, uuid: Uuid, config: DiskConfig, backend: Arc<dyn Backend>, unit: Unit) -> Self {
        Self { thing, uuid, config, backend, unit: Arc::new(unit), paths: Mutex::default(), count: AtomicUsize::new(0) }
    }

    /// Its blocks.
    pub const fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Its device server.
    pub const fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    /// Its identity.
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// What another path to it would have in another way, by the key of a configuration file.
    pub fn differs(&self, config: &DiskConfig) -> Option<&'static str> {
        differs(&self.config, config).or_else(|| config.uuid.is_some_and(|uuid| uuid != self.uuid).then_some("uuid"))
    }

    /// One more path; `None` where there are as many as there may be.
    pub fn path(self: &Arc<Self>, target: &str, number: u16) -> Option<DiskPath> {
        let mut paths = self.lock();
        let place = paths.iter().position(Option::is_none)?;
        paths[place] = Some((target.to_owned(), number));
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(DiskPath { disk: Arc::clone(self), place })
    }

    /// Its paths: target and LUN of each.
    pub fn paths(&self) -> Vec<(String, u16)> {
        self.lock().iter().flatten().cloned().collect()
    }

    /// Whether it has more than one path. This takes no lock.
    #[inline]
    pub fn is_shared(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 1
    }

    fn lock(&self) -> MutexGuard<'_, [Option<(String, u16)>; PATHS]> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As messages call it: its name, and by which path it is served.
    pub fn describe(&self) -> String {
        match self.paths().first() {
            Some((target, number)) => format!("{} (LUN {number} of {target})", self.config.source),
            None => self.config.source.to_string(),
        }
    }
}

/// Which setting of two paths to one disk differs, by its key.
pub fn differs(one: &DiskConfig, other: &DiskConfig) -> Option<&'static str> {
    let nbd = |config: &DiskConfig| match &config.source {
        Source::Nbd { address, reconnect, tls, .. } => Some((*reconnect, address.tls, tls.clone())),
        _ => None,
    };
    let settings = [
        ("block-size", one.block_size == other.block_size),
        ("physical-block-size", one.physical_exponent == other.physical_exponent),
        ("read-only", one.read_only == other.read_only),
        ("direct", one.direct == other.direct),
        ("trim-level", one.trim_level == other.trim_level),
        ("uuid", one.uuid.is_none() || other.uuid.is_none() || one.uuid == other.uuid),
        ("nbd-shared", one.is_shared() == other.is_shared()),
        ("nbd-reconnect, TLS, or what is for it", nbd(one) == nbd(other)),
    ];
    settings.into_iter().find(|(_, same)| !same).map(|(key, _)| key)
}

/// A path to a disk, for as long as a LUN has it.
#[derive(Debug)]
pub struct DiskPath {
    disk: Arc<Disk>,
    place: usize,
}

impl DiskPath {
    /// The disk.
    pub const fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// The number that a nexus of its target has at the disk.
    #[inline]
    pub fn nexus(&self, nexus: NexusId) -> NexusId {
        // One that is none stays none.
        NexusId(nexus.0.saturating_add((self.place * SESSIONS) as u16))
    }
}

impl Drop for DiskPath {
    fn drop(&mut self) {
        // What its nexuses held goes with it.
        for nexus in 0..SESSIONS as u16 {
            self.disk.unit.nexus_lost(self.nexus(NexusId(nexus)));
        }
        self.disk.count.fetch_sub(1, Ordering::Relaxed);
        self.disk.lock()[self.place] = None;
    }
}

/// The disks that are served.
#[derive(Debug, Default)]
pub struct Registry {
    disks: Mutex<Vec<Weak<Disk>>>,
}

impl Registry {
    /// For who opens disks: nobody else does meanwhile.
    pub fn open(&self) -> Entries<'_> {
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|disk| disk.strong_count() > 0);
        Entries(disks)
    }
}

/// The disks that are served, while others are opened.
#[derive(Debug)]
pub struct Entries<'a>(MutexGuard<'a, Vec<Weak<Disk>>>);

impl Entries<'_> {
    fn iter(&self) -> impl Iterator<Item = Arc<Disk>> {
        self.0.iter().filter_map(Weak::upgrade)
    }

    /// The disk that this thing is.
    pub fn by_thing(&self, thing: &Thing) -> Option<Arc<Disk>> {
        self.iter().find(|disk| disk.thing.is(thing))
    }

    /// The disk that has this identity.
    pub fn by_uuid(&self, uuid: Uuid) -> Option<Arc<Disk>> {
        self.iter().find(|disk| disk.uuid == uuid)
    }

    /// One more.
    pub fn add(&mut self, disk: &Arc<Disk>) {
        self.0.push(Arc::downgrade(disk));
    }
}
