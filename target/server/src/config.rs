//! What is to be done, checked: made from the command line before anything is opened.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use iesp_scsi::Identity;

use crate::backend::NbdAddress;
use crate::cli::{BackendKind, Cli};
use crate::failure::Failure;
use crate::size;
use crate::snmp;
use crate::target::PORTAL_GROUP;

/// The size of the image that is made where no disk was named.
const DEMO_SIZE: u64 = 1 << 30;

/// Most LUNs: flat space would allow more, peripheral addressing is what every initiator speaks (SAM-5 4.7.7.2).
const LUNS: usize = 255;

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// iSCSI name.
    pub target_name: String,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The disks, by LUN.
    pub disks: Vec<DiskConfig>,
    /// Who may log in.
    pub access: Access,
    /// Digests may be negotiated.
    pub digests: bool,
    /// Threads that serve connections.
    pub threads: usize,
    /// The SNMP agent, where one is wanted.
    pub snmp: Option<snmp::Config>,
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
    },
}

/// One disk.
#[derive(Debug, Clone)]
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
    /// iESP's trim level.
    pub trim_level: u8,
    /// In place of the one that is kept.
    pub uuid: Option<uuid::Uuid>,
}

/// Who may log in.
#[derive(Debug, Default)]
pub struct Access {
    /// What initiators prove; `None`: nothing.
    pub user: Option<Credentials>,
    /// What the target proves.
    pub own: Option<Credentials>,
}

/// A CHAP name and its secret, which no log shows.
pub struct Credentials {
    /// CHAP_N.
    pub name: String,
    /// The secret.
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Config {
    /// From the command line.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub fn new(cli: &Cli) -> Result<Self, Failure> {
        let target_name = check_name(&cli.target_name)?;
        let demo = cli.devices.is_empty();
        let disks = disks(cli, demo)?;
        for (flag, file) in [("-l", &cli.log_file), ("-P", &cli.pid_file)] {
            if let Some(file) = file.as_deref().filter(|file| is_among(file, &disks)) {
                let message =
                    format!("{flag} {}: this is a disk that is to be served: name another file", file.display());
                return Err(Failure::usage(message));
            }
        }
        let default = if demo { "127.0.0.1" } else { "0.0.0.0" };
        let mut listen = Vec::new();
        for address in cli.listen.iter().map(String::as_str).chain(cli.listen.is_empty().then_some(default)) {
            listen.extend(resolve(address, cli.port)?);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            target_name,
            listen,
            disks,
            access: access(cli)?,
            digests: !cli.no_digests,
            threads: cli.threads.map_or(cores, usize::from),
            snmp: cli.snmp_port.map(|port| snmp::Config {
                listen: SocketAddr::new(cli.snmp_listen, port),
                community: cli.snmp_community.clone(),
            }),
        })
    }
}

fn disks(cli: &Cli, demo: bool) -> Result<Vec<DiskConfig>, Failure> {
    let number = |text: &str| text.parse::<u32>().unwrap_or(512);
    let (block_size, physical) =
        (number(&cli.block_size), number(&cli.physical_block_size).max(number(&cli.block_size)));
    let disk = |source, create| DiskConfig {
        source,
        create,
        block_size,
        physical_exponent: (physical / block_size).trailing_zeros() as u8,
        read_only: cli.read_only,
        trim_level: cli.trim_level,
        uuid: cli.uuid,
    };
    if let Some(create) = cli.create
        && create % u64::from(block_size) != 0
    {
        return Err(Failure::usage(format!(
            "--create {create} is no multiple of the block size of {block_size} bytes"
        )));
    }
    if demo && cli.backend == BackendKind::File {
        let create = cli.create.unwrap_or(DEMO_SIZE);
        return Ok(vec![disk(Source::Path(data_folder()?.join("disk.img")), Some(create))]);
    }
    if demo {
        return Err(Failure::usage(match cli.backend {
            BackendKind::Nbd => "-b nbd needs an export: add -d HOST:PORT or -d nbd://HOST:PORT/EXPORT",
            _ => "-b ram needs a size: add -d SIZE, for example -d 1G",
        }));
    }
    if cli.uuid.is_some() && cli.devices.len() > 1 {
        return Err(Failure::usage("--uuid is for one disk: two disks must not have the same identity"));
    }
    if cli.devices.len() > LUNS {
        return Err(Failure::usage(format!("{} disks are too many: {LUNS} is the most", cli.devices.len())));
    }
    let export = |device: &String| match NbdAddress::parse(device) {
        Ok(_) if cli.create.is_some() => {
            Err(Failure::usage("--create makes images: an NBD export is made on its server"))
        }
        Ok(address) => Ok(Source::Nbd { address, reconnect: Duration::from_secs(cli.nbd_reconnect.into()) }),
        Err(error) => Err(Failure::usage(format!("-d {error}"))),
    };
    let source = |device: &String| match cli.backend {
        BackendKind::Nbd => export(device),
        BackendKind::File if NbdAddress::is_uri(device) => export(device),
        BackendKind::File => Ok(Source::Path(PathBuf::from(device))),
        BackendKind::Ram => match size::parse(device) {
            Ok(len) => Ok(Source::Ram(len)),
            Err(error) => Err(Failure::usage(format!("-d {device}: {error}"))),
        },
    };
    cli.devices.iter().map(|device| Ok(disk(source(device)?, cli.create))).collect()
}

/// Whether a file is one of the disks, by this name or another.
fn is_among(file: &Path, disks: &[DiskConfig]) -> bool {
    use std::os::unix::fs::MetadataExt;
    let node = |path: &Path| std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    disks.iter().any(|disk| match &disk.source {
        Source::Path(path) => path == file || node(file).is_some_and(|this| node(path) == Some(this)),
        Source::Ram(_) | Source::Nbd { .. } => false,
    })
}

/// The user's data folder (XDG base directory specification).
pub fn data_folder() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    let base = base
        .ok_or_else(|| Failure::usage("there is no home folder for a disk image: name one with -d FILE --create 1G"))?;
    Ok(base.join("iesp"))
}

/// RFC 7143 4.2.7: what an iSCSI name is made of. Plain names are iESP's habit, and taken.
fn check_name(name: &str) -> Result<String, Failure> {
    let name = name.to_lowercase();
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || ".-:".contains(letter);
    if !name.chars().all(allowed) {
        let message = format!("-t {name}: a target name is made of letters, digits, '.', '-' and ':' only");
        return Err(Failure::usage(message));
    }
    if Identity::new([0; 16], &name, PORTAL_GROUP, 0).is_err() {
        return Err(Failure::usage(format!("-t {name}: a target name has 1 to 223 characters")));
    }
    Ok(name)
}

fn resolve(address: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = match address.rsplit_once(':') {
        Some((host, own)) if own.parse::<u16>().is_ok() => (host, own.parse().unwrap_or(port)).to_socket_addrs(),
        _ => (address, port).to_socket_addrs(),
    };
    let addresses: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
    if addresses.is_empty() {
        let message =
            format!("-i {address}: no such address: give one of this machine's, as in 192.168.1.10 or [::1]:3260");
        return Err(Failure::usage(message));
    }
    Ok(addresses)
}

fn access(cli: &Cli) -> Result<Access, Failure> {
    let credentials = |name: &Option<String>, file: &Option<PathBuf>| match (name, file) {
        (Some(name), Some(file)) => Ok(Some(Credentials { name: name.clone(), secret: secret(file)? })),
        _ => Ok::<_, Failure>(None),
    };
    let user = credentials(&cli.chap_user, &cli.chap_secret_file)?;
    let own = credentials(&cli.mutual_user, &cli.mutual_secret_file)?;
    if let (Some(user), Some(own)) = (&user, &own)
        && user.secret == own.secret
    {
        // RFC 7143 9.2.1.
        return Err(Failure::usage(
            "the secrets of --chap-user and --mutual-user must differ: each proves another side",
        ));
    }
    Ok(Access { user, own })
}

fn secret(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("the secret file {} cannot be read: {error}", file.display())))?;
    let secret = text.lines().next().unwrap_or_default();
    if secret.is_empty() {
        let message = format!("the secret file {} is empty: put the secret on its first line", file.display());
        return Err(Failure::usage(message));
    }
    Ok(secret.to_owned())
}
