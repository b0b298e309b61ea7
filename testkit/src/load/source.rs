//! A disk that can be measured: opened once, with a queue for each thread.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::queue::{Calls, Iscsi, Queue};
use crate::device::file::FileDevice;
use crate::device::iscsi::initiator_name;
use crate::device::open::open_file;
use crate::device::{Access, Device, Geometry, OpenError, open};
use crate::iscsi::{self, Options, Session, Url};

/// How requests to a file or a block device are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Engine {
    /// io_uring, unless there is one request at a time, or the file is one that the kernel can only wait for (tmpfs)
    #[default]
    Auto,
    /// pread and pwrite, one after the other: what is in flight waits in the tool
    Pread,
    /// io_uring
    IoUring,
}

/// A disk that can be measured.
pub enum Source {
    /// A file or block device.
    File {
        /// The open file.
        device: Arc<FileDevice>,
        /// How requests are carried out.
        engine: Engine,
    },
    /// A logical unit over iSCSI.
    Iscsi {
        /// Where.
        url: Url,
        /// What it is.
        geometry: Geometry,
    },
    /// Anything else that can be opened: one request at a time.
    Other(Arc<dyn Device>),
}

impl Source {
    /// Opens what the user named.
    ///
    /// # Errors
    /// [`OpenError`], in words for the user.
    pub fn open(spec: &str, access: Access, engine: Engine) -> Result<Self, OpenError> {
        if spec.starts_with("iscsi://") {
            let geometry = open(spec, access)?.geometry();
            return Ok(Self::Iscsi { url: Url::parse(spec)?, geometry });
        }
        if spec.starts_with("ram:") || spec.starts_with("faulty:") {
            return Ok(Self::Other(open(spec, access)?));
        }
        Ok(Self::File { device: Arc::new(open_file(spec, access)?), engine })
    }

    /// What the disk is.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        match self {
            Self::File { device, .. } => device.geometry(),
            Self::Iscsi { geometry, .. } => *geometry,
            Self::Other(device) => device.geometry(),
        }
    }

    /// How the disk is reached, in words for the results.
    #[must_use]
    pub fn path(&self, depth: usize) -> String {
        match self {
            Self::File { device, engine } => {
                let cache = if device.is_direct() { "direct" } else { "through the page cache" };
                let engine = if uses_ring(device, *engine, depth) { "io_uring" } else { "pread" };
                format!("{engine}, {cache}")
            }
            Self::Iscsi { .. } => "iSCSI, one session a thread".to_owned(),
            Self::Other(_) => "one call at a time".to_owned(),
        }
    }

    /// A queue for requests of `block` bytes, for one thread. To be made on that thread.
    ///
    /// # Errors
    /// What the system or the target says; [`io::ErrorKind::Unsupported`] for several requests in flight where there
    /// can be only one.
    pub fn queue(&self, block: usize, depth: usize) -> io::Result<Box<dyn Queue>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::File { device, engine } if uses_ring(device, *engine, depth) => {
                Ok(Box::new(super::uring::Uring::new(device.clone(), block, depth)?))
            }
            Self::File { device, .. } => Ok(Box::new(Calls::new(device.clone(), block, depth))),
            Self::Iscsi { url, geometry } => {
                let session = Session::open(url, &initiator_name(), &Options::default()).map_err(io::Error::other)?;
                Ok(Box::new(Iscsi::new(session, block, geometry.logical_block, depth, iscsi::Access::default())))
            }
            Self::Other(device) if depth == 1 => Ok(Box::new(Calls::new(device.clone(), block, 1))),
            _ => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "only one request at a time is possible: use --depth 1"))
            }
        }
    }
}

/// Whether requests go through io_uring. A file that cannot be read without waiting is handed to the kernel's threads,
/// which costs more than the read itself: tmpfs is faster by pread, whatever is in flight.
fn uses_ring(device: &FileDevice, engine: Engine, depth: usize) -> bool {
    #[cfg(target_os = "linux")]
    return match engine {
        Engine::Pread => false,
        Engine::IoUring => true,
        Engine::Auto => depth > 1 && super::uring::can_try(device),
    };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (device, engine, depth);
        false
    }
}

/// Tells the kernel to forget what it has cached of a file, so that a measurement begins at the disk.
pub fn forget_cache(path: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(file) = std::fs::File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
}
