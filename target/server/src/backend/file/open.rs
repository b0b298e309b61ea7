//! From a path to an open file that may be served, or to words for a user.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::sys;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file.
    File,
    /// A disk of the machine's own.
    Device,
    /// A directory.
    Directory,
    /// What has no blocks, and what cannot be served here.
    Other,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// Writes are refused.
    pub read_only: bool,
    /// Past the page cache.
    pub direct: bool,
    /// Bytes of a logical block, of which the size must be a multiple.
    pub block_size: u32,
    /// UNMAP gives space back.
    pub unmap: bool,
    /// A write of zeros gives space back, too.
    pub unmap_zeros: bool,
    /// Of a block device: nobody else has it for himself, by a mount for example (open(2), O_EXCL).
    pub exclusive: bool,
}

/// Why a file cannot be served; what to do stands in the message.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none.
    #[error("there is no such file: make it with --create SIZE, for example --create 10G")]
    Missing,
    /// A directory.
    #[error("this is a directory: name a disk image or a block device")]
    Directory,
    /// Neither a file nor a block device.
    #[error("this is neither a file nor a block device")]
    Special,
    /// No permission to read it.
    #[error("no permission to read it: run iesp as a user who may, or change its mode")]
    NotReadable,
    /// No permission to write it.
    #[error("no permission to write it: change its mode, or serve it with --read-only")]
    NotWritable,
    /// Another process has it.
    #[error("it is in use: another iesp serves it already, or another program has it")]
    Locked,
    /// No blocks.
    #[error("it is empty: give it a size, for example with `truncate -s 10G`")]
    Empty,
    /// Not whole blocks.
    #[error(
        "its size of {size} bytes is no multiple of the block size of {block} bytes: `truncate -s {rounded}` makes it one"
    )]
    NotWholeBlocks {
        /// Bytes.
        size: u64,
        /// Bytes.
        block: u32,
        /// The next multiple, in bytes.
        rounded: u64,
    },
    /// The page cache cannot be left out.
    #[error("it cannot be read past the page cache: leave out --direct")]
    NotDirect,
    /// The page cache can be left out for larger blocks only.
    #[error("past the page cache it is read in larger blocks only: add --block-size {0}, or leave out --direct")]
    DirectBlocks(u32),
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl OpenError {
    /// The message where keys of a configuration file asked for it rather than flags.
    pub fn by_keys(&self) -> String {
        match self {
            Self::Missing => "there is no such file: add `create = \"10G\"`, for example, and it is made".to_owned(),
            Self::NotWritable => "no permission to write it: change its mode, or add `read-only = true`".to_owned(),
            Self::NotDirect => "it cannot be read past the page cache: leave out `direct`".to_owned(),
            Self::DirectBlocks(size) => format!(
                "past the page cache it is read in larger blocks only: add `block-size = {size}`, or leave out `direct`"
            ),
            other => other.to_string(),
        }
    }
}

/// What is at a path, where that can be served.
pub(super) fn kind(path: &Path) -> Result<Kind, OpenError> {
    let kind = match sys::kind(path) {
        Ok(kind) => kind,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(OpenError::Missing),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(OpenError::NotReadable),
        Err(error) => return Err(error.into()),
    };
    // Before it is opened: a FIFO would wait for its other end.
    match kind {
        Kind::Directory => Err(OpenError::Directory),
        Kind::Other => Err(OpenError::Special),
        Kind::File | Kind::Device => Ok(kind),
    }
}

/// Whether so many bytes are blocks.
pub(super) fn check_len(len: u64, block_size: u32) -> Result<(), OpenError> {
    if len == 0 {
        return Err(OpenError::Empty);
    }
    let block = u64::from(block_size);
    if len.is_multiple_of(block) {
        return Ok(());
    }
    Err(OpenError::NotWholeBlocks { size: len, block: block_size, rounded: len.next_multiple_of(block) })
}

/// Opens and locks a file or a block device; nothing of it is changed.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<(File, Kind), OpenError> {
    let kind = kind(path)?;
    let read_only = options.read_only;
    let exclusive = options.exclusive && kind == Kind::Device;
    let file = sys::open(path, read_only, options.direct, exclusive).map_err(|error| match error.kind() {
        // O_DIRECT (open(2)).
        ErrorKind::InvalidInput if options.direct => OpenError::NotDirect,
        ErrorKind::PermissionDenied if !read_only && File::open(path).is_ok() => OpenError::NotWritable,
        ErrorKind::ReadOnlyFilesystem => OpenError::NotWritable,
        ErrorKind::PermissionDenied => OpenError::NotReadable,
        ErrorKind::ResourceBusy => OpenError::Locked,
        _ => error.into(),
    })?;
    match file.try_lock() {
        Ok(()) => Ok((file, kind)),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Locked),
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}
