//! The configuration file.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;
use uuid::Uuid;

use super::document::Document;
use super::section::{Section, Spot};
use super::{
    Config, DiskConfig, LUN_MAX, Limits, Origin, PortalConfig, Source, TargetConfig, WINDOW_MAX, flags, names,
};
use crate::access::{Access, Credentials, Pattern, User};
use crate::backend::{NbdAddress, TlsFiles};
use crate::cli::IoEngine;
use crate::failure::Failure;
use crate::target::SESSIONS;
use crate::{disk, logging, metrics, size, snmp};

/// What a disk is made of, by one of these keys.
const SOURCES: [&str; 3] = ["file", "ram", "nbd"];

/// Most bytes of a file: none that people write is as long.
const LONGEST: u64 = 4 << 20;

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, Failure> {
    read(path).map_err(|error| match error {
        Unreadable::Io(message) => Failure::usage(message),
        Unreadable::Wrong(document) => {
            let problems = document.render();
            Failure::several(problems.trim_end(), document.summary())
        }
    })
}

/// Why a file gives no configuration.
pub enum Unreadable {
    /// It cannot be read; one line.
    Io(String),
    /// What is wrong with it.
    Wrong(Box<Document>),
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path) -> Result<Config, Unreadable> {
    let cannot = |error: &dyn std::fmt::Display| {
        Unreadable::Io(format!("the configuration file {} cannot be read: {error}", path.display()))
    };
    let metadata = std::fs::metadata(path).map_err(|error| cannot(&error))?;
    if metadata.len() > LONGEST {
        return Err(cannot(&"it is longer than 4 MiB"));
    }
    let bytes = std::fs::read(path).map_err(|error| cannot(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        cannot(&format!("line {line} is no text in UTF-8"))
    })?;
    let document = Document::new(path, text);
    match parse(&document) {
        Some(config) if document.is_right() => Ok(config),
        _ => Err(Unreadable::Wrong(Box::new(document))),
    }
}

fn parse(document: &Document) -> Option<Config> {
    let (table, errors) = DeTable::parse_recoverable(document.text());
    for error in &errors {
        document.report(error.span().unwrap_or(0..0), syntax(error.message()));
    }
    if !errors.is_empty() {
        // What was made of the rest is a guess: what is wrong with it may not be.
        return None;
    }
    let root = Section::root(document, table.get_ref());
    let config = Reader { folder: document.path.parent().unwrap_or(Path::new("")) }.config(&root);
    root.done();
    config
}

/// What the parser says, with what to do.
fn syntax(message: &str) -> String {
    let message = message.replace('\n', ", ");
    match () {
        () if message.starts_with("duplicate key") => "this is there already: leave one of the two out".to_owned(),
        () if message.starts_with("string values must be quoted") => "text stands in quotes, as in \"text\"".to_owned(),
        () => message,
    }
}

/// Reads with file names that are relative to a folder.
struct Reader<'a> {
    folder: &'a Path,
}

impl Reader<'_> {
    fn config(&self, root: &Section<'_>) -> Option<Config> {
        let portals = self.portals(root);
        let targets = self.targets(root, &portals);
        let discovery = root.section("discovery").map(|section| {
            let access = self.access(&section);
            section.done();
            access
        });
        let threads = root.number("threads", 1..=256, "").map(|spot| spot.value);
        let engines = [("auto", IoEngine::Auto), ("io-uring", IoEngine::IoUring), ("threads", IoEngine::Threads)];
        let engine = root.choice("io-engine", &engines);
        let strict = root.boolean("strict").is_some_and(|strict| strict.value);
        let snmp = self.snmp(root);
        let metrics = Self::metrics(root);
        let log = root.section("log").map(|section| logging::Config::read(&section, self.folder));
        let pid_file = root.text("pid-file", "the name of a file").map(|file| self.folder.join(file.value));
        let control = root.text("control", "the name of a socket").map(|socket| self.folder.join(socket.value));
        let limits = limits(root);
        Some(Config {
            file: None,
            targets: targets?,
            portals: portals.into_iter().map(|portal| portal.value).collect(),
            discovery: discovery.unwrap_or_default(),
            limits,
            threads: threads.unwrap_or_else(flags::cores),
            engine: engine.unwrap_or_default(),
            strict,
            snmp,
            metrics,
            log: log.unwrap_or_default(),
            pid_file,
            control,
        })
    }

    fn portals(&self, root: &Section<'_>) -> Vec<Spot<PortalConfig>> {
        const WANTED: &str = "an address, as in \"192.168.1.10\" or \"[::1]:3260\"";
        let mut portals: Vec<Spot<PortalConfig>> = Vec::new();
        for section in root.sections("portal") {
            let name = section.text("name", "a name").map(|name| name.value.to_owned());
            let port = section.number("port", 0..=65535, "").map_or(3260, |port| port.value);
            let listen = section.texts("listen", WANTED);
            for text in section.required(listen, "listen", WANTED).unwrap_or_default() {
                match names::resolve(text.value, port) {
                    Ok(addresses) => {
                        for address in addresses {
                            let same =
                                |other: &Spot<PortalConfig>| other.value.address == address && address.port() != 0;
                            if portals.iter().any(same) {
                                let message = format!("{address} is there already: name each address once");
                                section.report(text.span.clone(), message);
                            }
                            let value = PortalConfig { name: name.clone(), address };
                            portals.push(Spot { value, span: text.span.clone() });
                        }
                    }
                    Err(what) => section.report(text.span, format!("listen = \"{}\": {what}", text.value)),
                }
            }
            section.done();
        }
        if portals.is_empty() && !root.has("portal") {
            let address = std::net::SocketAddr::from(([0, 0, 0, 0], 3260));
            portals.push(Spot { value: PortalConfig { name: None, address }, span: 0..0 });
        }
        portals
    }

    fn targets(&self, root: &Section<'_>, portals: &[Spot<PortalConfig>]) -> Option<Vec<TargetConfig>> {
        let sections = root.sections("target");
        if sections.is_empty() {
            if !root.has("target") {
                root.report(
                    0..0,
                    "there is no target: add one by [[target]], with a name and at least one [[target.lun]]",
                );
            }
            return None;
        }
        let mut seen = Seen::default();
        let targets: Vec<_> = sections.into_iter().map(|section| self.target(section, portals, &mut seen)).collect();
        targets.into_iter().collect()
    }

    fn target(&self, section: Section<'_>, portals: &[Spot<PortalConfig>], seen: &mut Seen) -> Option<TargetConfig> {
        const WANTED: &str = "a name, as in \"iqn.2026-01.home.nas:disk\"";
        let name = section.parse("name", WANTED, names::target_name);
        let name = section.required(name, "name", WANTED);
        if let Some(name) = &name
            && let Some(before) = seen.names.insert(name.value.clone(), ())
        {
            let () = before;
            let message =
                format!("name = \"{}\": there is a target of this name already: give each its own", name.value);
            section.report(name.span.clone(), message);
        }
        let alias = section.parse("alias", "a name for people", |alias| {
            if alias.is_empty() || alias.len() > 255 || alias.chars().any(char::is_control) {
                return Err("an alias has 1 to 255 bytes, and no control characters");
            }
            Ok(alias.to_owned())
        });
        let at = section.texts("portals", "the name of a portal").map(|names| {
            for name in &names {
                if !portals.iter().any(|portal| portal.value.name.as_deref() == Some(name.value)) {
                    let mut there: Vec<_> = portals.iter().filter_map(|portal| portal.value.name.as_deref()).collect();
                    there.dedup();
                    let there = if there.is_empty() {
                        "no portal has a name: give one a name by `name = ` in its [[portal]]".to_owned()
                    } else {
                        format!("there are {}", there.join(", "))
                    };
                    section
                        .report(name.span.clone(), format!("portals: no portal is called \"{}\": {there}", name.value));
                }
            }
            names.into_iter().map(|name| name.value.to_owned()).collect()
        });
        let mut disks = Vec::new();
        for (index, lun) in section.sections("lun").into_iter().enumerate() {
            let span = lun.span.clone();
            let Some((number, disk)) = self.disk(lun, index, seen) else { continue };
            if disks.iter().any(|(other, _)| *other == number) {
                let message = format!("LUN {number} is there already in this target: give each disk its own `number`");
                section.report(span, message);
            }
            disks.push((number, disk));
        }
        if !section.has("lun") {
            let message = "[target] has no disk: add one by [[target.lun]] with `file = `, `ram = ` or `nbd = `";
            section.report(section.span.clone(), message);
        }
        disks.sort_by_key(|(number, _)| *number);
        let access = self.access(&section);
        section.done();
        Some(TargetConfig { name: name?.value, alias: alias.map(|alias| alias.value), disks, access, portals: at })
    }

    fn disk(&self, section: Section<'_>, index: usize, seen: &mut Seen) -> Option<(u16, DiskConfig)> {
        let number = section.number("number", 0..=LUN_MAX.into(), "").map_or(index as u16, |number| number.value);
        let source = self.source(&section);
        let block_size = section.number_of("block-size", &[512, 4096]).map_or(512, |size| size.value);
        let physical = section.number_of("physical-block-size", &[512, 4096]);
        if let Some(physical) = physical.as_ref().filter(|physical| physical.value < block_size) {
            let message = format!(
                "physical-block-size = {}: a physical block is at least a logical one of {block_size} bytes",
                physical.value
            );
            section.report(physical.span.clone(), message);
        }
        let physical = physical.map_or(4096, |physical| physical.value).max(block_size);
        let create = section.size("create");
        if let Some(create) = &create {
            if create.value % u64::from(block_size) != 0 {
                let message = format!("create = {}: {}", create.value, size::no_multiple(create.value, block_size));
                section.report(create.span.clone(), message);
            }
            if !section.has("file") {
                section.report(create.span.clone(), "create: it makes images: it goes with `file = `");
            }
        }
        if let Some(Source::Ram(len)) = source
            && len % u64::from(block_size) != 0
        {
            let message = format!("ram = {len}: {}", size::no_multiple(len, block_size));
            section.report(section.key_span("ram").unwrap_or(0..0), message);
        }
        let read_only = section.boolean("read-only").is_some_and(|read_only| read_only.value);
        let direct = section.boolean("direct").is_some_and(|direct| direct.value);
        let raw = section.boolean("raw").is_some_and(|raw| raw.value);
        let in_use = section.boolean("yes-in-use").is_some_and(|in_use| in_use.value);
        let trim_level = section.number("trim-level", 0..=2, "").map_or(1, |level| level.value);
        let uuid = section.parse("uuid", "a UUID", names::uuid);
        if let (Some(uuid), Some(source)) = (&uuid, &source) {
            // Two paths to one disk have one identity.
            let other = |(other, at): &(Uuid, Source)| *other == uuid.value && !disk::may_be_same(at, source);
            if seen.uuids.iter().any(other) {
                let message = "uuid: another disk has it: two disks must not have the same identity";
                section.report(uuid.span.clone(), message);
            }
            seen.uuids.push((uuid.value, source.clone()));
        }
        let made_of = SOURCES.into_iter().find_map(|key| section.key_span(key)).unwrap_or(section.span.clone());
        let origin = Origin::of(section.locate(&made_of));
        section.done();
        let disk = DiskConfig {
            source: source?,
            create: create.map(|create| create.value),
            block_size,
            physical_exponent: (physical / block_size).trailing_zeros() as u8,
            read_only,
            direct,
            trim_level,
            uuid: uuid.map(|uuid| uuid.value),
            raw,
            in_use,
            origin,
        };
        Some((number, disk))
    }

    fn source(&self, section: &Section<'_>) -> Option<Source> {
        let file = section.text("file", "the path of a disk image or a block device");
        let ram = section.size("ram");
        let nbd = section.parse("nbd", "HOST:PORT or nbd://HOST:PORT/EXPORT", NbdAddress::parse);
        let reconnect = section.number("nbd-reconnect", 1..=3600, " of seconds");
        if let (Some(reconnect), false) = (&reconnect, section.has("nbd")) {
            section.report(reconnect.span.clone(), "nbd-reconnect: it goes with `nbd = `");
        }
        let shared = section.boolean("nbd-shared");
        if let (Some(shared), false) = (&shared, section.has("nbd")) {
            section.report(shared.span.clone(), "nbd-shared: it goes with `nbd = `");
        }
        let tls = self.tls(section, nbd.as_ref().is_some_and(|nbd| nbd.value.tls));
        let there: Vec<_> = SOURCES.into_iter().filter(|key| section.has(key)).collect();
        match there[..] {
            [] => {
                let message = "[target.lun] says not what it is made of: add `file = `, `ram = ` or `nbd = `";
                section.report(section.span.clone(), message);
                return None;
            }
            [_] => {}
            [_, second, ..] => {
                let span = section.key_span(second).unwrap_or(0..0);
                section.report(
                    span,
                    format!("a disk is made of one thing: leave out all but one of {}", there.join(", ")),
                );
                return None;
            }
        }
        if let Some(file) = file {
            let path = self.folder.join(file.value);
            if file.value.is_empty() {
                section.report(file.span, "file = \"\": name a disk image or a block device");
            }
            return Some(Source::Path(path));
        }
        if let Some(ram) = ram {
            return Some(Source::Ram(ram.value));
        }
        let reconnect = Duration::from_secs(reconnect.map_or(20, |reconnect| reconnect.value));
        Some(Source::Nbd { address: nbd?.value, reconnect, shared: shared.map(|shared| shared.value), tls })
    }

    fn tls(&self, section: &Section<'_>, wanted: bool) -> TlsFiles {
        let path = |key| section.text(key, "the path of a PEM file").map(|file| self.folder.join(file.value));
        let files = TlsFiles {
            ca: path("nbd-ca"),
            certificate: path("nbd-cert"),
            key: path("nbd-key"),
            server_name: section.text("nbd-server-name", "a host's name").map(|name| name.value.to_owned()),
        };
        let there =
            ["nbd-ca", "nbd-cert", "nbd-key", "nbd-server-name"].into_iter().find_map(|key| section.key_span(key));
        match there {
            Some(span) if !wanted => {
                section.report(span, "it is for NBD by TLS: write `nbd = \"nbds://HOST:PORT/EXPORT\"`");
            }
            Some(span) if files.certificate.is_some() != files.key.is_some() => {
                section.report(span, "nbd-cert and nbd-key go together");
            }
            _ => {}
        }
        files
    }

    fn access(&self, section: &Section<'_>) -> Access {
        let initiators = patterns(section);
        let mut users: Vec<User> = Vec::new();
        for chap in section.sections("chap") {
            let initiators = patterns(&chap);
            let span = chap.span.clone();
            let credentials = self.credentials(&chap);
            chap.done();
            let Some(credentials) = credentials else { continue };
            let same = |user: &User| user.credentials.name == credentials.name && user.initiators == initiators;
            if users.iter().any(same) {
                let message = format!("chap: there is a user \"{}\" already: give each one entry", credentials.name);
                section.report(span, message);
            }
            users.push(User { credentials, initiators });
        }
        let own = section.section("mutual-chap").and_then(|mutual| {
            let span = mutual.span.clone();
            let own = self.credentials(&mutual);
            mutual.done();
            if users.is_empty() && !section.has("chap") {
                let message =
                    "mutual-chap: the target proves itself only to initiators that have: add [[chap]] beside it";
                section.report(span.clone(), message);
            }
            // RFC 7143 9.2.1.
            if own.as_ref().is_some_and(|own| users.iter().any(|user| user.credentials.secret == own.secret)) {
                section.report(
                    span,
                    "mutual-chap: its secret is an initiator's, too: take another, as each proves another side",
                );
            }
            own
        });
        Access { initiators, users, own }
    }

    fn credentials(&self, section: &Section<'_>) -> Option<Credentials> {
        let user = section.text("user", "a CHAP name");
        let user = section.required(user, "user", "a CHAP name");
        if let Some(user) = user.as_ref().filter(|user| user.value.is_empty() || user.value.len() > 255) {
            section.report(user.span.clone(), "user: a CHAP name has 1 to 255 bytes");
        }
        let secret = self.secret(section, ["secret", "secret-file", "secret-env"]);
        Some(Credentials { name: user?.value.to_owned(), secret: secret? })
    }

    /// A secret: it stands there, in a file, or in a variable of the environment.
    fn secret(&self, section: &Section<'_>, [here, file, variable]: [&'static str; 3]) -> Option<String> {
        let here_text = section.text(here, "a secret in quotes");
        let in_file = section.text(file, "the name of a file whose first line is the secret");
        let in_variable = section.text(variable, "the name of a variable of the environment");
        let there: Vec<_> = [here, file, variable].into_iter().filter(|key| section.has(key)).collect();
        match there[..] {
            [] => {
                let message =
                    format!("[{}] has no secret: add `{here} = `, `{file} = ` or `{variable} = `", section.name());
                section.report(section.span.clone(), message);
                return None;
            }
            [_] => {}
            [_, second, ..] => {
                let span = section.key_span(second).unwrap_or(0..0);
                section.report(span, format!("there is one secret: leave out all but one of {}", there.join(", ")));
                return None;
            }
        }
        let (found, span): (Result<String, String>, Range<usize>) = if let Some(text) = here_text {
            (Ok(text.value.to_owned()), text.span)
        } else if let Some(name) = in_file {
            (names::secret(&self.folder.join(name.value)), name.span)
        } else {
            let name = in_variable?;
            let value = std::env::var(name.value);
            let missing = |_| format!("the environment has no variable {}: set it, or use secret-file", name.value);
            (value.map_err(missing), name.span)
        };
        match found {
            Ok(secret) if secret.is_empty() => {
                section
                    .report(span, "the secret is empty: give one of 12 to 16 characters, which every initiator takes");
                None
            }
            Ok(secret) => Some(secret),
            Err(what) => {
                section.report(span, what);
                None
            }
        }
    }

    fn snmp(&self, root: &Section<'_>) -> Option<snmp::Config> {
        let section = root.section("snmp")?;
        let listen = section.parse("listen", "an address, as in \"127.0.0.1:161\"", |text| {
            let wrong = || format!("'{text}' is no address: give one as in \"127.0.0.1:161\"");
            names::resolve(text, 161).ok().and_then(|found| found.into_iter().next()).ok_or_else(wrong)
        });
        let listen = listen.map_or_else(|| std::net::SocketAddr::from(([127, 0, 0, 1], 161)), |listen| listen.value);
        let community = section.text("community", "a name").map(|community| community.value);
        let users = section.text("users-file", "the name of a file").map(|file| {
            snmp::users::read(&self.folder.join(file.value)).unwrap_or_else(|failure| {
                section.report(file.span, failure.to_string());
                Vec::new()
            })
        });
        let engine_file = section.text("engine-file", "the name of a file");
        let text = |key| section.text(key, "text").map_or_else(String::new, |text| text.value.to_owned());
        let (contact, location) = (text("contact"), text("location"));
        let plain_tables = section.boolean("plain-tables").is_some_and(|plain| plain.value);
        section.done();
        Some(snmp::Config {
            engine_file: engine_file.map(|file| self.folder.join(file.value)),
            contact,
            location,
            plain_tables,
            ..snmp::Config::new(listen, community, users.unwrap_or_default())
        })
    }

    fn metrics(root: &Section<'_>) -> Option<metrics::Listen> {
        const WANTED: &str = "an address and a port, as in \"127.0.0.1:9260\"";
        let section = root.section("metrics")?;
        let listen = section.parse("listen", WANTED, str::parse::<metrics::Listen>);
        let listen = section.required(listen, "listen", WANTED);
        section.done();
        Some(listen?.value)
    }
}

/// What there may be only once in a file.
#[derive(Default)]
struct Seen {
    names: HashMap<String, ()>,
    uuids: Vec<(Uuid, Source)>,
}

fn patterns(section: &Section<'_>) -> Option<Vec<Pattern>> {
    let names = section.texts("initiators", "an initiator's name, or the start of it and '*'")?;
    for name in &names {
        let inner = name.value.strip_suffix('*').unwrap_or(name.value);
        if name.value.is_empty() || inner.contains('*') || inner.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let message =
                format!("initiators = \"{}\": give a whole name, or its start with one '*' at the end", name.value);
            section.report(name.span.clone(), message);
        }
    }
    Some(names.into_iter().map(|name| Pattern::new(name.value)).collect())
}

fn limits(root: &Section<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = root.section("limits") else { return limits };
    if let Some(digests) = section.boolean("digests") {
        limits.digests = digests.value;
    }
    if let Some(connections) = section.number("connections", 1..=65535, "") {
        limits.connections = connections.value;
    }
    if let Some(sessions) = section.number("sessions", 1..=SESSIONS as u64, "") {
        limits.sessions = sessions.value;
    }
    if let Some(window) = section.number("window", 1..=WINDOW_MAX.into(), " of commands") {
        limits.window = window.value;
    }
    if let Some(memory) = section.size("memory") {
        let least = 16 << 20;
        if memory.value < least {
            section.report(memory.span, "memory: the largest command needs 16M: give at least that");
        }
        limits.memory = usize::try_from(memory.value).unwrap_or(usize::MAX);
    }
    let seconds = |key, range| section.number(key, range, " of seconds").map(|spot| Duration::from_secs(spot.value));
    if let Some(time) = seconds("login-timeout", 1..=3600) {
        limits.login_timeout = time;
    }
    if let Some(time) = seconds("keepalive", 0..=86400) {
        limits.keepalive = time;
    }
    if let Some(time) = seconds("keepalive-answer", 1..=3600) {
        limits.keepalive_answer = time;
    }
    section.done();
    limits
}

#[cfg(test)]
pub mod tests;
