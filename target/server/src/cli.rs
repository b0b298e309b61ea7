//! The command line: iESP's letters, each with a long name.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};

use crate::commands::Command;
use crate::config::names;
use crate::{metrics, size, snmp};

/// What a disk is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendKind {
    /// A file or a block device.
    File,
    /// Memory: `-d` is its size, and it is gone at the end.
    Ram,
    /// An export of an NBD server.
    Nbd,
}

/// How reads and writes of files and block devices are waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum IoEngine {
    /// By io_uring, where the kernel has it and lets iesp use it.
    #[default]
    Auto,
    /// By io_uring, or not at all.
    IoUring,
    /// By threads.
    Threads,
}

/// An iSCSI target: serves disk images, block devices and memory to initiators on the network.
///
/// Without arguments it serves a 1 GiB sparse image in your data folder, to this machine alone.
#[derive(Debug, Clone, Parser)]
#[command(name = "iesp", version, disable_help_flag = true, disable_help_subcommand = true)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Something else than to serve.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Configuration file (TOML): several targets, who may log in where, limits, logs. What stands on the command line
    /// holds whatever the file says. SIGHUP reads it again.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What the disks are kept in.
    #[arg(short = 'b', long = "backend", value_name = "TYPE", value_enum, default_value = "file")]
    pub backend: BackendKind,

    /// What to serve: the path of a disk image or a block device (with `-b ram`: a size, as in 1G;
    /// with `-b nbd`: HOST:PORT, nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH; nbds:// by TLS). Given several times, it makes LUN
    /// 0, 1, 2 and so on.
    #[arg(short = 'd', long = "device", value_name = "X", action = ArgAction::Append, value_parser = names::device)]
    pub devices: Vec<String>,

    /// Target name. Some initiators (Windows, ESXi) want the form iqn.YYYY-MM.DOMAIN:NAME.
    #[arg(short = 't', long = "target-name", value_name = "NAME", default_value = "test")]
    pub target_name: String,

    /// Address to listen on, IPv4 or IPv6, with or without a port; may be given several times. [default: 0.0.0.0; without
    /// -d: 127.0.0.1]
    #[arg(short = 'i', long = "listen", value_name = "ADDR", action = ArgAction::Append)]
    pub listen: Vec<String>,

    /// TCP port for the addresses that name none; 0 takes a free one.
    #[arg(short = 'p', long = "port", value_name = "PORT", default_value_t = 3260)]
    pub port: u16,

    /// Trim level: 0 = off, 1 = UNMAP and WRITE SAME give space back, 2 = plain writes of zeros do so, too.
    #[arg(short = 'T', long = "trim-level", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub trim_level: u8,

    /// Log level of the log file (F) and of the screen (S): debug, info, warning or error.
    #[arg(short = 'L', long = "log-level", value_name = "F,S", default_value = "error,error")]
    pub log_level: String,

    /// Log file.
    #[arg(short = 'l', long = "log-file", value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// No digests.
    #[arg(short = 'D', long = "no-digests")]
    pub no_digests: bool,

    /// Answer SNMP (versions 1, 2c and 3) on this UDP port; 161 is the usual one, 0 takes a free one.
    #[arg(short = 'S', long = "snmp-port", value_name = "PORT")]
    pub snmp_port: Option<u16>,

    /// Community that SNMP requests of versions 1 and 2c must name. [default: public; none with --snmp-users]
    #[arg(long, value_name = "NAME", requires = "snmp_port")]
    pub snmp_community: Option<String>,

    /// Address to answer SNMP on, IPv4 or IPv6.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", requires = "snmp_port")]
    pub snmp_listen: IpAddr,

    #[command(flatten)]
    pub snmp: snmp::SnmpOptions,

    #[command(flatten)]
    pub metrics: metrics::MetricsOptions,

    /// Write the process id to a file, which is removed at exit.
    #[arg(short = 'P', long = "pid-file", value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Become a daemon: return once it serves.
    #[arg(short = 'f', long = "daemon")]
    pub daemon: bool,

    /// Make an image that is missing, sparse and of this size (as in 10G). An image that is there stays as it is.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub create: Option<u64>,

    /// Bytes in a logical block: 512 or 4096.
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = ["512", "4096"])]
    pub block_size: String,

    /// Bytes in a physical block: 512 or 4096, at least a logical one.
    #[arg(long, value_name = "BYTES", default_value = "4096", value_parser = ["512", "4096"])]
    pub physical_block_size: String,

    /// Refuse writes.
    #[arg(long)]
    pub read_only: bool,

    /// Read and write files and block devices past the system's page cache (O_DIRECT): for disks that are faster than a copy
    /// in memory is worth, and where memory is for others.
    #[arg(long)]
    pub direct: bool,

    /// How reads and writes of files and block devices are waited for.
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t)]
    pub io_engine: IoEngine,

    /// The disk's UUID, from which its serial number comes, in place of the one that is kept beside the image (of an NBD
    /// export: in the state folder of this machine); for one disk. Give it where several iesp serve the same export.
    #[arg(long, value_name = "UUID", value_parser = names::uuid)]
    pub uuid: Option<uuid::Uuid>,

    /// Serve a file although it begins like an image of another kind (QCOW2, VMDK, VHDX, VDI, ...): initiators get the bytes of the
    /// image itself.
    #[arg(long)]
    pub raw: bool,

    /// Serve a block device or file for writing although it is in use: mounted, swap space, or below a loop device, LVM or
    /// RAID. Two that write to one file system destroy it.
    #[arg(long)]
    pub yes_in_use: bool,

    /// Serve all disks or none: where one is missing at the start, end. [default: the others are served, and what is missing is
    /// tried again]
    #[arg(long)]
    pub strict: bool,

    /// Seconds for which commands wait for an NBD server that is away; then they fail. Linux initiators give a command up
    /// after 30.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub nbd_reconnect: u16,

    /// Whether other clients, such as another iesp, write to the NBD export, too. Then writes since the last flush are lost
    /// with the connection, and flushes fail; otherwise they are written again. [default: true where --uuid is given]
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub nbd_shared: Option<bool>,

    /// For nbds:// and nbds+unix://, which is NBD by TLS: file with the CAs' certificates (PEM) of which one has to have signed
    /// the server's. [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    pub nbd_ca: Option<PathBuf>,

    /// File with the certificate (PEM, with its chain) by which iesp proves itself to an NBD server; with --nbd-key.
    #[arg(long, value_name = "FILE", requires = "nbd_key")]
    pub nbd_cert: Option<PathBuf>,

    /// File with the private key (PEM) of --nbd-cert.
    #[arg(long, value_name = "FILE", requires = "nbd_cert")]
    pub nbd_key: Option<PathBuf>,

    /// Name or address that an NBD server's certificate has to be for. [default: the host in the URI; for a Unix domain
    /// socket: localhost]
    #[arg(long, value_name = "NAME")]
    pub nbd_server_name: Option<String>,

    /// Only initiators that prove this CHAP name may log in; with --chap-secret-file.
    #[arg(long, value_name = "NAME", requires = "chap_secret_file")]
    pub chap_user: Option<String>,

    /// File whose first line is the secret of --chap-user.
    #[arg(long, value_name = "FILE", requires = "chap_user")]
    pub chap_secret_file: Option<PathBuf>,

    /// CHAP name by which the target proves itself where it is asked to; with --mutual-secret-file.
    #[arg(long, value_name = "NAME", requires_all = ["mutual_secret_file", "chap_user"])]
    pub mutual_user: Option<String>,

    /// File whose first line is the secret of --mutual-user.
    #[arg(long, value_name = "FILE", requires = "mutual_user")]
    pub mutual_secret_file: Option<PathBuf>,

    /// The socket by which `iesp status` and `iesp sessions` ask, in place of the usual one in the user's runtime folder.
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,

    /// Show each unit and command with its fields, of all initiators or of the one of this name.
    #[arg(long, value_name = "INITIATOR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub trace_pdu: Option<String>,

    /// Threads that serve connections. [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Show this help.
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,
}
