//! The command line alone, and over a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::{Config, DiskConfig, LUN_MAX, Limits, Origin, PortalConfig, Source, TargetConfig, names};
use crate::access::{Access, Credentials, User};
use crate::backend::{NbdAddress, TlsFiles};
use crate::cli::{BackendKind, Cli};
use crate::failure::Failure;
use crate::logging::Trace;
use crate::{logging, size, snmp};

/// The size of the image that is made where no disk was named.
const DEMO_SIZE: u64 = 1 << 30;

/// What stands on the command line, rather than being a default.
#[derive(Debug)]
pub struct Given(ArgMatches);

impl Given {
    /// Of these arguments.
    pub const fn new(matches: ArgMatches) -> Self {
        Self(matches)
    }

    fn has(&self, flag: &str) -> bool {
        self.0.value_source(flag) == Some(ValueSource::CommandLine)
    }

    fn any(&self, flags: &[&str]) -> bool {
        flags.iter().any(|flag| self.has(flag))
    }
}

/// From the command line alone.
pub fn config(cli: &Cli, given: &Given) -> Result<Config, Failure> {
    let name = target_name(cli)?;
    let demo = cli.devices.is_empty();
    let disks = disks(cli, given, demo)?;
    let access = access(cli)?;
    let portals = portals(cli, if demo { "127.0.0.1" } else { "0.0.0.0" })?;
    let target = TargetConfig { name, alias: None, disks, access: access.clone(), portals: None };
    Ok(Config {
        file: None,
        targets: vec![target],
        portals,
        discovery: access,
        limits: Limits { digests: !cli.no_digests, ..Limits::default() },
        threads: cli.threads.map_or_else(cores, usize::from),
        engine: cli.io_engine,
        strict: cli.strict,
        snmp: snmp_config(cli)?,
        metrics: cli.metrics.listen,
        log: log(cli)?,
        pid_file: cli.pid_file.clone(),
        control: cli.control.clone(),
    })
}

fn log(cli: &Cli) -> Result<logging::Config, Failure> {
    let mut log = logging::Config::from_flags(&cli.log_level, cli.log_file.as_deref())?;
    if let Some(initiator) = &cli.trace_pdu {
        log.trace = Trace::from_flag(initiator);
    }
    Ok(log)
}

/// Threads that serve connections where nothing is said.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What stands on the command line holds, whatever the file says.
pub fn override_with(config: &mut Config, cli: &Cli, given: &Given) -> Result<(), Failure> {
    const CHAP: [&str; 4] = ["chap_user", "chap_secret_file", "mutual_user", "mutual_secret_file"];
    const DISK: [&str; 15] = [
        "create",
        "block_size",
        "physical_block_size",
        "read_only",
        "direct",
        "trim_level",
        "uuid",
        "raw",
        "yes_in_use",
        "nbd_reconnect",
        "nbd_shared",
        "nbd_ca",
        "nbd_cert",
        "nbd_key",
        "nbd_server_name",
    ];
    if given.has("devices") {
        only_target(config, "-d")?.disks = disks(cli, given, false)?;
    } else if given.any(&DISK) {
        override_disks(config, cli, given)?;
    }
    if given.has("target_name") {
        only_target(config, "-t")?.name = target_name(cli)?;
    }
    if given.any(&CHAP) {
        let access = access(cli)?;
        for own in config.targets.iter_mut().map(|target| &mut target.access).chain([&mut config.discovery]) {
            (own.users, own.own) = (access.users.clone(), access.own.clone());
        }
    }
    if given.has("listen") {
        config.portals = portals(cli, "0.0.0.0")?;
        for target in &mut config.targets {
            target.portals = None;
        }
    } else if given.has("port") {
        for portal in &mut config.portals {
            portal.address.set_port(cli.port);
        }
    }
    if given.has("no_digests") {
        config.limits.digests = false;
    }
    if let Some(threads) = cli.threads {
        config.threads = threads.into();
    }
    if given.has("io_engine") {
        config.engine = cli.io_engine;
    }
    config.strict |= cli.strict;
    if given.has("snmp_port") {
        config.snmp = snmp_config(cli)?;
    }
    if cli.metrics.listen.is_some() {
        config.metrics = cli.metrics.listen;
    }
    if given.any(&["log_level", "log_file"]) {
        config.log.override_with(&cli.log_level, cli.log_file.as_deref())?;
    }
    if let Some(initiator) = &cli.trace_pdu {
        config.log.trace = Trace::from_flag(initiator);
    }
    if let Some(socket) = &cli.control {
        config.control = Some(socket.clone());
    }
    if let Some(file) = &cli.pid_file {
        config.pid_file = Some(file.clone());
    }
    Ok(())
}

/// The target that a flag speaks of.
fn only_target<'a>(config: &'a mut Config, flag: &str) -> Result<&'a mut TargetConfig, Failure> {
    match &mut config.targets[..] {
        [only] => Ok(only),
        _ => Err(Failure::usage(format!(
            "{flag} is for one target, and the configuration file has several: change it there, or leave {flag} out"
        ))),
    }
}

/// The flags of a disk without a `-d`: for all that the file names.
fn override_disks(config: &mut Config, cli: &Cli, given: &Given) -> Result<(), Failure> {
    if given.has("uuid") && config.disks().count() > 1 {
        return Err(Failure::usage("--uuid is for one disk: two disks must not have the same identity"));
    }
    for (_, disk) in config.targets.iter_mut().flat_map(|target| &mut target.disks) {
        let mut physical = disk.block_size << disk.physical_exponent;
        if given.has("block_size") {
            disk.block_size = number(&cli.block_size);
        }
        if given.has("physical_block_size") {
            physical = check_physical(number(&cli.physical_block_size), disk.block_size)?;
        }
        disk.physical_exponent = (physical.max(disk.block_size) / disk.block_size).trailing_zeros() as u8;
        if let (Some(create), Source::Path(_)) = (cli.create, &disk.source) {
            check_create(create, disk.block_size)?;
            disk.create = Some(create);
        }
        disk.read_only |= cli.read_only;
        disk.direct |= cli.direct;
        disk.raw |= cli.raw;
        disk.in_use |= cli.yes_in_use;
        if given.has("trim_level") {
            disk.trim_level = cli.trim_level;
        }
        disk.uuid = cli.uuid.or(disk.uuid);
        if let (true, Source::Nbd { reconnect, .. }) = (given.has("nbd_reconnect"), &mut disk.source) {
            *reconnect = Duration::from_secs(cli.nbd_reconnect.into());
        }
        if let Source::Nbd { tls, shared, .. } = &mut disk.source {
            *shared = cli.nbd_shared.or(*shared);
            let given = tls_files(cli);
            tls.ca = given.ca.or(tls.ca.take());
            tls.certificate = given.certificate.or(tls.certificate.take());
            tls.key = given.key.or(tls.key.take());
            tls.server_name = given.server_name.or(tls.server_name.take());
        }
    }
    Ok(())
}

fn tls_files(cli: &Cli) -> TlsFiles {
    TlsFiles {
        ca: cli.nbd_ca.clone(),
        certificate: cli.nbd_cert.clone(),
        key: cli.nbd_key.clone(),
        server_name: cli.nbd_server_name.clone(),
    }
}

/// Who names a CA does not mean to go without TLS.
pub fn check_tls(config: &Config, given: &Given) -> Result<(), Failure> {
    let by_tls = |disk: &DiskConfig| matches!(&disk.source, Source::Nbd { address, .. } if address.tls);
    let options = [("--nbd-ca", "nbd_ca"), ("--nbd-cert", "nbd_cert"), ("--nbd-server-name", "nbd_server_name")];
    match options.iter().find(|(_, name)| given.has(name)) {
        Some((option, _)) if !config.disks().any(by_tls) => Err(Failure::usage(format!(
            "{option} is for NBD by TLS: write the export as nbds://HOST:PORT/EXPORT or nbds+unix:///EXPORT?socket=PATH"
        ))),
        _ => Ok(()),
    }
}

fn target_name(cli: &Cli) -> Result<String, Failure> {
    names::target_name(&cli.target_name).map_err(|what| Failure::usage(format!("-t {}: {what}", cli.target_name)))
}

fn portals(cli: &Cli, default: &str) -> Result<Vec<PortalConfig>, Failure> {
    let mut portals = Vec::new();
    for address in cli.listen.iter().map(String::as_str).chain(cli.listen.is_empty().then_some(default)) {
        let found =
            names::resolve(address, cli.port).map_err(|what| Failure::usage(format!("-i {address}: {what}")))?;
        portals.extend(found.into_iter().map(|address| PortalConfig { name: None, address }));
    }
    Ok(portals)
}

fn snmp_config(cli: &Cli) -> Result<Option<snmp::Config>, Failure> {
    let Some(port) = cli.snmp_port else { return Ok(None) };
    let listen = std::net::SocketAddr::new(cli.snmp_listen, port);
    let options = &cli.snmp;
    let users = options.users.as_deref().map(snmp::users::read).transpose()?.unwrap_or_default();
    Ok(Some(snmp::Config {
        engine_file: options.engine_file.clone(),
        contact: options.contact.clone(),
        location: options.location.clone(),
        plain_tables: options.plain_tables,
        ..snmp::Config::new(listen, cli.snmp_community.as_deref(), users)
    }))
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or(512)
}

fn check_physical(physical: u32, block_size: u32) -> Result<u32, Failure> {
    if physical >= block_size {
        return Ok(physical);
    }
    Err(Failure::usage(format!(
        "--physical-block-size {physical}: a physical block is at least a logical one of {block_size} bytes"
    )))
}

fn check_create(create: u64, block_size: u32) -> Result<(), Failure> {
    if create.is_multiple_of(u64::from(block_size)) {
        return Ok(());
    }
    Err(Failure::usage(format!("--create {create} is no multiple of the block size of {block_size} bytes")))
}

fn disks(cli: &Cli, given: &Given, demo: bool) -> Result<Vec<(u16, DiskConfig)>, Failure> {
    let block_size = number(&cli.block_size);
    let physical = match (number(&cli.physical_block_size), given.has("physical_block_size")) {
        (physical, true) => check_physical(physical, block_size)?,
        (physical, false) => physical.max(block_size),
    };
    let disk = |source, create| DiskConfig {
        source,
        create,
        block_size,
        physical_exponent: (physical / block_size).trailing_zeros() as u8,
        read_only: cli.read_only,
        direct: cli.direct,
        trim_level: cli.trim_level,
        uuid: cli.uuid,
        raw: cli.raw,
        in_use: cli.yes_in_use,
        origin: Origin::default(),
    };
    if let Some(create) = cli.create {
        check_create(create, block_size)?;
    }
    if demo && cli.backend == BackendKind::File {
        let create = cli.create.unwrap_or(DEMO_SIZE);
        return Ok(vec![(0, disk(Source::Path(names::data_folder()?.join("disk.img")), Some(create)))]);
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
    let most = usize::from(LUN_MAX) + 1;
    if cli.devices.len() > most {
        return Err(Failure::usage(format!("{} disks are too many: {most} is the most", cli.devices.len())));
    }
    let export = |device: &String| match NbdAddress::parse(device) {
        Ok(_) if cli.create.is_some() => {
            Err(Failure::usage("--create makes images: an NBD export is made on its server"))
        }
        Ok(address) => {
            let reconnect = Duration::from_secs(cli.nbd_reconnect.into());
            Ok(Source::Nbd { address, reconnect, shared: cli.nbd_shared, tls: tls_files(cli) })
        }
        Err(error) => Err(Failure::usage(format!("-d {error}"))),
    };
    let source = |device: &String| match cli.backend {
        BackendKind::Nbd => export(device),
        BackendKind::File if NbdAddress::is_uri(device) => export(device),
        BackendKind::File => Ok(Source::Path(PathBuf::from(device))),
        BackendKind::Ram => match size::parse(device) {
            Ok(len) if len.is_multiple_of(block_size.into()) => Ok(Source::Ram(len)),
            Ok(len) => Err(Failure::usage(format!("-d {device}: {}", size::no_multiple(len, block_size)))),
            Err(error) => Err(Failure::usage(format!("-d {device}: {error}"))),
        },
    };
    let disks = (0..).zip(&cli.devices);
    disks.map(|(number, device)| Ok((number, disk(source(device)?, cli.create)))).collect()
}

fn access(cli: &Cli) -> Result<Access, Failure> {
    let credentials = |name: &Option<String>, file: &Option<PathBuf>| match (name, file) {
        (Some(name), Some(file)) => {
            Ok(Some(Credentials { name: name.clone(), secret: names::secret(file).map_err(Failure::usage)? }))
        }
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
    let users = user.map(|credentials| User { credentials, initiators: None });
    Ok(Access { initiators: None, users: users.into_iter().collect(), own })
}
