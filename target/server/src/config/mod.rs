//! What is to be done, checked: made from the command line and the configuration file before anything is opened.

mod check;
mod document;
mod file;
mod flags;
pub mod names;
mod section;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use check::check;
pub use flags::Given;
pub use names::data_folder;
pub use section::Section;

use crate::access::{Access, Credentials};
use crate::backend::{NbdAddress, TlsFiles};
use crate::cli::{Cli, IoEngine};
use crate::failure::Failure;
use crate::logging;
use crate::system;
use crate::target::SESSIONS;
use crate::{metrics, snmp};

/// The largest LUN: flat space would allow more, peripheral addressing is what every initiator speaks (SAM-5 4.7.7.2).
const LUN_MAX: u16 = 254;

/// Most commands of one initiator.
const WINDOW_MAX: u32 = 128;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that it is from.
    pub file: Option<PathBuf>,
    /// The targets.
    pub targets: Vec<TargetConfig>,
    /// Where to listen.
    pub portals: Vec<PortalConfig>,
    /// Who may ask for the targets.
    pub discovery: Access,
    /// The rules for all connections.
    pub limits: Limits,
    /// Threads that serve connections.
    pub threads: usize,
    /// How files and devices are waited for.
    pub engine: IoEngine,
    /// A disk that is not there at the start ends the program.
    pub strict: bool,
    /// The SNMP agent, where one is wanted.
    pub snmp: Option<snmp::Config>,
    /// Where metrics are served, where they are.
    pub metrics: Option<metrics::Listen>,
    /// The log.
    pub log: logging::Config,
    /// Where the process id goes.
    pub pid_file: Option<PathBuf>,
    /// The socket by which it is asked, in place of the usual one.
    pub control: Option<PathBuf>,
}

/// A target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetConfig {
    /// iSCSI name.
    pub name: String,
    /// What people call it.
    pub alias: Option<String>,
    /// The disks, each with its LUN.
    pub disks: Vec<(u16, DiskConfig)>,
    /// Who may log in.
    pub access: Access,
    /// The names of the portals at which it is offered; `None`: at all.
    pub portals: Option<Vec<String>>,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalConfig {
    /// By what targets name it; several addresses may share a name.
    pub name: Option<String>,
    /// The address.
    pub address: SocketAddr,
}

/// The rules for all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Digests may be negotiated.
    pub digests: bool,
    /// Connections, logged in or not.
    pub connections: usize,
    /// Sessions of a target.
    pub sessions: usize,
    /// Commands that an initiator may have under way.
    pub window: u32,
    /// Bytes for the payloads of all connections together.
    pub memory: usize,
    /// For a login as a whole.
    pub login_timeout: Duration,
    /// Silence after which an initiator is asked whether it is there; 0: never.
    pub keepalive: Duration,
    /// How long it may take to answer that.
    pub keepalive_answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            digests: true,
            connections: 4096,
            sessions: SESSIONS,
            window: WINDOW_MAX,
            memory: 1 << 30,
            login_timeout: Duration::from_secs(15),
            keepalive: Duration::from_secs(30),
            keepalive_answer: Duration::from_secs(30),
        }
    }
}

/// Where a disk's blocks are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or a block device.
    Path(PathBuf),
    /// So many bytes of memory.
    Ram(u64),
    /// An export of an NBD server.
    Nbd {
        /// Where it is.
        address: NbdAddress,
        /// How long commands wait for a server that is away.
        reconnect: Duration,
        /// Whether other clients write to it; [`DiskConfig::is_shared`] where nothing is said.
        shared: Option<bool>,
        /// For TLS.
        tls: TlsFiles,
    },
}

/// For people.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Ram(_) => f.write_str("memory"),
            Self::Nbd { address, .. } => address.fmt(f),
        }
    }
}

/// Where a configuration file asks for something, for messages: `iesp.toml:3:8`. That it stands elsewhere makes nothing
/// another thing.
#[derive(Clone, Default)]
pub struct Origin(Option<Box<str>>);

impl Origin {
    /// This place.
    pub fn of(place: String) -> Self {
        Self(Some(place.into()))
    }

    /// What to say first of something; nothing where the command line asked for it.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A configuration is shown the same wherever it stands.
        f.write_str("…")
    }
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// One disk.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskConfig {
    /// Where its blocks are.
    pub source: Source,
    /// Make it where it is missing, of this many bytes.
    pub create: Option<u64>,
    /// Bytes.
    pub block_size: u32,
    /// log2 of logical blocks in a physical one.
    pub physical_exponent: u8,
    /// Writes are refused.
    pub read_only: bool,
    /// Past the page cache.
    pub direct: bool,
    /// iESP's trim level.
    pub trim_level: u8,
    /// In place of the one that is kept.
    pub uuid: Option<uuid::Uuid>,
    /// It is served although it begins like the image of a virtual machine's disk.
    pub raw: bool,
    /// It is served for writing although somebody uses it, such as a mount.
    pub in_use: bool,
    /// Where it is asked for.
    pub origin: Origin,
}

impl DiskConfig {
    /// Whether other clients write to an NBD export. A UUID is given where several machines serve one export.
    pub fn is_shared(&self) -> bool {
        match self.source {
            Source::Nbd { shared, .. } => shared.unwrap_or(self.uuid.is_some()),
            _ => false,
        }
    }
}

impl Config {
    /// From the command line, and the file that it may name.
    ///
    /// # Errors
    /// What is wrong and what to do; of a file, everything that is.
    pub fn load(cli: &Cli, given: &Given) -> Result<Self, Failure> {
        let config = match &cli.config {
            None => flags::config(cli, given)?,
            Some(path) => {
                let mut config = Self { file: Some(path.clone()), ..file::load(path)? };
                flags::override_with(&mut config, cli, given)?;
                config
            }
        };
        flags::check_tls(&config, given)?;
        config.check_files()?;
        Ok(config)
    }

    /// What iesp writes must not be a disk.
    fn check_files(&self) -> Result<(), Failure> {
        let log = self.log.files().map(|file| ("the log file (-l)", file));
        let pid_file = self.pid_file.as_deref().map(|file| ("the PID file (-P)", file));
        for (what, file) in log.chain(pid_file) {
            if self.disks().any(|disk| is_at(file, &disk.source)) {
                let message =
                    format!("{what} {}: this is a disk that is to be served: name another file", file.display());
                return Err(Failure::usage(message));
            }
        }
        Ok(())
    }

    /// What is better done in another way, each in a line.
    pub fn advice(&self) -> Vec<String> {
        let all = self.targets.iter().map(|target| &target.access).chain([&self.discovery]);
        let mut advice: Vec<_> = all.flat_map(Access::credentials).filter_map(Credentials::weakness).collect();
        // Targets may share a user.
        advice.sort_unstable();
        advice.dedup();
        advice
    }

    /// The disks of all targets.
    pub fn disks(&self) -> impl Iterator<Item = &DiskConfig> {
        self.targets.iter().flat_map(|target| target.disks.iter().map(|(_, disk)| disk))
    }
}

/// Whether a file is a disk, by this name or another.
fn is_at(file: &Path, source: &Source) -> bool {
    match source {
        Source::Path(path) => path == file || system::is_same(path, file),
        Source::Ram(_) | Source::Nbd { .. } => false,
    }
}
