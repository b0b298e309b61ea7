//! Disks: opened, locked, with an identity of their own, made into logical units.

mod identity;
mod trouble;

pub use identity::state_folder;
pub use trouble::Trouble;

use std::fs::File;
use std::sync::Arc;

use iesp_scsi::{Capabilities, Identity, LogicalUnit, Unmap};

use crate::backend::{Backend, Facts, FileBackend, NbdBackend, NbdOptions, OpenError, OpenOptions};
use crate::config::{DiskConfig, Source};
use crate::failure::Failure;
use crate::luns::Lun;
use crate::statistics::Statistics;
use crate::target::PORTAL_GROUP;
use crate::threads::Homes;

/// Most bytes that one command moves.
const MAX_TRANSFER: u32 = 16 << 20;

/// Bytes that a command moves best.
const OPTIMAL_TRANSFER: u32 = 256 << 10;

/// A logical unit that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The name of its target.
    pub target: &'a str,
    /// Its number.
    pub number: u16,
    /// What it is made from.
    pub config: &'a DiskConfig,
}

/// Opens all disks, or none: where one cannot be served nothing was changed.
///
/// # Errors
/// Which disk, why, and what to do.
pub fn open_all(wanted: &[Wanted<'_>], statistics: &Statistics, homes: &Homes) -> Result<Vec<Arc<Lun>>, Failure> {
    // What is there is opened before what is missing is made.
    let existing = wanted.iter().map(|wanted| open_existing(wanted.config, homes));
    let mut backends: Vec<Option<Arc<dyn Backend>>> = existing.collect::<Result<_, _>>()?;
    let mut made = Made::default();
    for (wanted, backend) in wanted.iter().zip(&mut backends) {
        if backend.is_none() {
            *backend = Some(Arc::new(make(wanted.config, &mut made)?));
        }
    }
    let luns = wanted.iter().zip(backends.into_iter().flatten());
    let luns = luns.map(|(wanted, backend)| lun(*wanted, backend, statistics, &mut made));
    let luns = luns.collect::<Result<_, _>>()?;
    made.keep();
    Ok(luns)
}

/// Images and identities that were made, and are removed again unless all went well.
#[derive(Default)]
struct Made(Vec<std::path::PathBuf>);

impl Made {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // Best effort: the failure that led here is what is told.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn options(disk: &DiskConfig) -> OpenOptions {
    OpenOptions {
        read_only: disk.read_only,
        direct: disk.direct,
        block_size: disk.block_size,
        unmap: disk.trim_level > 0,
        unmap_zeros: disk.trim_level > 1,
    }
}

fn failure(disk: &DiskConfig, error: &dyn std::error::Error) -> Failure {
    let message = match &disk.source {
        Source::Ram(len) => format!("{len} bytes of memory: {error}"),
        source => format!("{source}: {error}"),
    };
    Failure::runtime(match disk.origin.get() {
        Some(place) => format!("{place}: {message}"),
        None => message,
    })
}

/// As [`failure`], in the words of who asked for the disk: flags, or keys of a file.
fn open_failure(disk: &DiskConfig, error: &OpenError) -> Failure {
    match disk.origin.get() {
        Some(place) => Failure::runtime(format!("{place}: {}: {}", disk.source, error.by_keys())),
        None => failure(disk, error),
    }
}

/// Looks whether a disk's file could be served now, without taking it: it may be served already.
///
/// # Errors
/// Why not, and what to do.
pub fn look_at(disk: &DiskConfig) -> Result<(), Failure> {
    let Source::Path(path) = &disk.source else { return Ok(()) };
    match FileBackend::look_at(path, disk.block_size) {
        Ok(()) => Ok(()),
        Err(OpenError::Missing) if disk.create.is_some() => Ok(()),
        Err(error) => Err(open_failure(disk, &error)),
    }
}

fn open_existing(disk: &DiskConfig, homes: &Homes) -> Result<Option<Arc<dyn Backend>>, Failure> {
    let opened = match &disk.source {
        Source::Nbd { address, reconnect, tls, .. } => {
            let OpenOptions { read_only, block_size, unmap, unmap_zeros, .. } = options(disk);
            let (reconnect, tls) = (*reconnect, tls.clone());
            let shared = disk.is_shared();
            let options = NbdOptions { read_only, block_size, unmap, unmap_zeros, reconnect, shared, tls };
            let backend = NbdBackend::open(address, &options, homes).map_err(|error| failure(disk, &error))?;
            return Ok(Some(Arc::new(backend)));
        }
        Source::Path(path) => FileBackend::open(path, &options(disk)),
        Source::Ram(len) => FileBackend::memory(*len, &options(disk)),
    };
    match opened {
        Ok(backend) => Ok(Some(Arc::new(backend))),
        Err(OpenError::Missing) if disk.create.is_some() => Ok(None),
        Err(error) => Err(open_failure(disk, &error)),
    }
}

fn make(disk: &DiskConfig, made: &mut Made) -> Result<FileBackend, Failure> {
    let (Source::Path(path), Some(len)) = (&disk.source, disk.create) else {
        return Err(open_failure(disk, &OpenError::Missing));
    };
    let cannot = |error: std::io::Error| Failure::runtime(format!("{} cannot be made: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| folder.ends_with("iesp")) {
        // The user's data folder; other folders are the user's to make.
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    let file = File::create_new(path).map_err(cannot)?;
    made.0.push(path.clone());
    file.set_len(len).map_err(cannot)?;
    file.sync_all().map_err(cannot)?;
    FileBackend::open(path, &options(disk)).map_err(|error| open_failure(disk, &error))
}

fn lun(
    wanted: Wanted<'_>,
    backend: Arc<dyn Backend>,
    statistics: &Statistics,
    made: &mut Made,
) -> Result<Arc<Lun>, Failure> {
    let Wanted { target, number, config } = wanted;
    let uuid = match (&config.source, config.uuid) {
        (_, Some(uuid)) => uuid,
        (Source::Ram(_), None) => uuid::Uuid::new_v4(),
        (Source::Path(path), None) => identity::of(path, &mut made.0)?,
        (Source::Nbd { address, .. }, None) => identity::of_export(address, &mut made.0)?,
    };
    let identity = Identity::new(*uuid.as_bytes(), target, PORTAL_GROUP, number)
        .map_err(|error| Failure::runtime(format!("LUN {number} cannot have an identity: {error:?}")))?;
    let unit = LogicalUnit::new(capabilities(&backend.facts(), config), identity);
    let row = statistics.row(target, number, &config.source.to_string());
    let block_shift = config.block_size.trailing_zeros();
    let trouble = Trouble::default();
    let lun = Arc::new(Lun { number, row, config: config.clone(), unit, backend, block_shift, trouble });
    let watched = Arc::downgrade(&lun);
    lun.backend.watch(Box::new(move |len| {
        // One that is gone has no size.
        let Some(lun) = watched.upgrade() else { return };
        let (disk, before) = (&lun.config.source, lun.bytes(lun.unit.blocks()));
        lun.unit.resize(len >> lun.block_shift);
        tracing::warn!(lun = lun.number, %disk, before, len, "the disk has another size");
    }));
    Ok(lun)
}

fn capabilities(facts: &Facts, disk: &DiskConfig) -> Capabilities {
    let blocks = |bytes: u32| bytes / disk.block_size;
    Capabilities {
        blocks: facts.len / u64::from(disk.block_size),
        block_size: disk.block_size,
        physical_block_exponent: disk.physical_exponent,
        read_only: facts.read_only,
        volatile_cache: facts.volatile_cache,
        unmap: (facts.discard_granularity != 0)
            .then(|| Unmap { granularity: blocks(facts.discard_granularity).max(1), alignment: 0 }),
        max_transfer_blocks: blocks(MAX_TRANSFER),
        optimal_transfer_blocks: blocks(OPTIMAL_TRANSFER),
        rotational: facts.rotational,
    }
}
