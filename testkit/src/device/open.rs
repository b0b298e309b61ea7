//! From what a user wrote to an open device.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::fault_spec::{self, SpecError};
use super::faulty::Faulty;
use super::file::{FileAccess, FileDevice};
use super::iscsi::Iscsi;
use super::memory::Memory;
use super::{Device, guard};
use crate::iscsi::{self, Url};
use crate::size::{SizeError, parse_size};

/// When to bypass the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Direct {
    /// On block devices, where the block size allows it.
    #[default]
    Auto,
    /// Always, or refuse.
    On,
    /// Never.
    Off,
}

/// What the device is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// It will be overwritten.
    pub write: bool,
    /// Overwrite it even when it is in use or holds something.
    pub destroy: bool,
    /// Bypass the page cache.
    pub direct: Direct,
    /// The alignment in bytes of every call that will come: O_DIRECT may need more.
    pub alignment: u64,
    /// Over iSCSI several threads share a session.
    pub shared: bool,
}

/// Why a device could not be opened: one line, with what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The system refused.
    #[error("cannot open {device}: {source}")]
    Io {
        /// What was to be opened.
        device: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is something on the disk, or it is in use.
    #[error("{device} would be overwritten, but {why}: give --yes-destroy-data if that is what you want")]
    Precious {
        /// What was to be opened.
        device: String,
        /// What speaks against it.
        why: String,
    },
    /// The device wants larger blocks than the run uses.
    #[error("{device} takes only multiples of {needed} bytes{}: use -b {needed} or larger", if *.direct { " with --direct on" } else { "" })]
    Alignment {
        /// What was to be opened.
        device: String,
        /// What it takes.
        needed: u32,
        /// Whether O_DIRECT is the reason.
        direct: bool,
    },
    /// The session could not be opened.
    #[error(transparent)]
    Iscsi(#[from] iscsi::Error),
    /// The list of faults behind `faulty:` is wrong.
    #[error(transparent)]
    Faults(#[from] SpecError),
    /// The size behind `ram:` is wrong.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// It is too small to be a disk.
    #[error("{0} has no room for a single block")]
    Empty(String),
}

/// Opens the device that `spec` names: a path, `iscsi://…`, `ram:SIZE`, or `faulty:FAULTS:` before any of these.
///
/// # Errors
/// [`OpenError`], in words for the user.
pub fn open(spec: &str, access: Access) -> Result<Arc<dyn Device>, OpenError> {
    if let Some(rest) = spec.strip_prefix("faulty:") {
        let (faults, inner) = fault_spec::parse(rest)?;
        return Ok(Arc::new(Faulty::new(open(inner, access)?, faults)));
    }
    let device: Arc<dyn Device> = if let Some(size) = spec.strip_prefix("ram:") {
        Arc::new(Memory::new(parse_size(size)?, 512))
    } else if spec.starts_with("iscsi://") {
        Arc::new(Url::parse(spec).and_then(|url| Iscsi::open(&url, access.shared))?)
    } else {
        return Ok(Arc::new(open_file(spec, access)?));
    };
    check(spec, access, &*device)?;
    Ok(device)
}

/// As [`open()`], for a path alone.
///
/// # Errors
/// [`OpenError`], in words for the user.
pub fn open_file(spec: &str, access: Access) -> Result<FileDevice, OpenError> {
    let device = open_path(spec, access)?;
    check(spec, access, &device)?;
    Ok(device)
}

/// Refuses a disk that the run cannot use, or should not.
fn check(spec: &str, access: Access, device: &dyn Device) -> Result<(), OpenError> {
    let geometry = device.geometry();
    if geometry.size < u64::from(geometry.logical_block) {
        return Err(OpenError::Empty(spec.to_owned()));
    }
    if !access.alignment.is_multiple_of(u64::from(geometry.logical_block)) {
        let direct = access.direct == Direct::On;
        return Err(OpenError::Alignment { device: spec.to_owned(), needed: geometry.logical_block, direct });
    }
    if access.write && !access.destroy {
        let holds = guard::what_it_holds(device).map_err(|source| OpenError::Io { device: spec.to_owned(), source })?;
        if let Some(why) = holds {
            return Err(OpenError::Precious { device: spec.to_owned(), why });
        }
    }
    Ok(())
}

fn open_path(spec: &str, access: Access) -> Result<FileDevice, OpenError> {
    let path: PathBuf = spec.into();
    let failed = |source| OpenError::Io { device: spec.to_owned(), source };
    let block_device = path.metadata().map_err(failed)?.file_type().is_block_device();
    if block_device
        && access.write
        && !access.destroy
        && let Some(why) = guard::who_uses(&path).map_err(failed)?
    {
        return Err(OpenError::Precious { device: spec.to_owned(), why });
    }
    let direct = match access.direct {
        Direct::On => true,
        Direct::Off => false,
        Direct::Auto => block_device && takes_direct(&path, access),
    };
    FileDevice::open(&path, FileAccess { write: access.write, direct }).map_err(failed)
}

/// Whether O_DIRECT works here with the alignment that the run has.
fn takes_direct(path: &Path, access: Access) -> bool {
    FileDevice::open(path, FileAccess { write: false, direct: true })
        .is_ok_and(|device| access.alignment.is_multiple_of(u64::from(device.geometry().logical_block)))
}
