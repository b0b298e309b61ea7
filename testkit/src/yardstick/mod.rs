//! The yardstick: the least that a target can do.
//!
//! A server that speaks just enough iSCSI for libiscsi to log in, and then answers the same bytes with the same system
//! calls as a real target, and does nothing else: one `recv` takes what came, each read is one `pread` into the send
//! buffer, each write one `pwrite` out of the receive buffer, one `send` answers all of it. What a real target uses
//! beyond this is its own doing; the ratio of the two is what `cargo xtask bench` prints.
//!
//! What it leaves out on purpose: access control, digests, ordering by CmdSN, more than one logical unit, caching modes,
//! flushes, unmapping, errors of the protocol that are survived. **It must never serve data that anyone needs**, and it
//! listens on loopback addresses only.
//!
//! - `connection::Connection`: one thread, one connection, two buffers.
//! - `login`: the text negotiation, by fixed answers.
//! - `scsi`: the commands that describe the disk.

mod connection;
mod login;
mod scsi;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Bytes of a logical block.
pub const BLOCK_SIZE: u32 = 512;

/// The file that is served as LUN 0.
#[derive(Debug)]
pub struct Disk {
    file: File,
    blocks: u64,
}

impl Disk {
    /// Opens a file for reading and writing; what is behind its last whole block is not served.
    ///
    /// # Errors
    /// It cannot be opened, or holds no block.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let blocks = file.metadata()?.len() / u64::from(BLOCK_SIZE);
        if blocks == 0 {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is smaller than one block of 512 bytes"));
        }
        Ok(Self { file, blocks })
    }

    /// Offset in bytes of a range of blocks that lies on the disk.
    fn offset(&self, lba: u64, blocks: u32) -> Option<u64> {
        let end = lba.checked_add(u64::from(blocks))?;
        (end <= self.blocks).then(|| lba * u64::from(BLOCK_SIZE))
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

/// A listening yardstick.
#[derive(Debug)]
pub struct Yardstick {
    listener: TcpListener,
    disk: Arc<Disk>,
    target: Arc<str>,
}

impl Yardstick {
    /// Listens; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// The address is not a loopback address, or cannot be bound.
    pub fn bind(address: SocketAddr, disk: Disk, target: &str) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let reason = "the yardstick checks nothing and serves loopback addresses only";
            return Err(io::Error::new(ErrorKind::InvalidInput, reason));
        }
        Ok(Self { listener: TcpListener::bind(address)?, disk: Arc::new(disk), target: target.into() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for ever, each connection in a thread of its own.
    ///
    /// # Errors
    /// No connection can be accepted any more, or no thread started.
    pub fn serve(self) -> io::Result<()> {
        loop {
            let (stream, peer) = self.listener.accept()?;
            let (disk, target) = (Arc::clone(&self.disk), Arc::clone(&self.target));
            thread::Builder::new().name("connection".to_owned()).spawn(move || {
                let served = connection::Connection::new(stream, disk, target).and_then(|mut c| c.serve());
                match served.map_err(|error| (error.kind(), error)) {
                    // A peer may leave without a word.
                    Ok(()) | Err((ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, _)) => {}
                    Err((_, error)) => eprintln!("yardstick: connection from {peer}: {error}"),
                }
            })?;
        }
    }
}
