//! What the log is to show, and where.

use std::path::{Path, PathBuf};

use tracing_subscriber::filter::LevelFilter;

use super::syslog;
use crate::config::Section;
use crate::failure::Failure;

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it goes.
    pub outputs: Vec<Output>,
    /// Parts with levels of their own.
    pub parts: Vec<(Part, LevelFilter)>,
    /// Whose units are shown.
    pub trace: Trace,
}

/// Whose units are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trace {
    /// Nobody's.
    #[default]
    Off,
    /// All.
    All,
    /// Those of one initiator.
    Only(String),
}

impl Trace {
    /// What `--trace-pdu` says.
    pub fn from_flag(initiator: &str) -> Self {
        // RFC 3722 3: names are compared in small letters.
        if initiator.is_empty() { Self::All } else { Self::Only(initiator.to_lowercase()) }
    }
}

/// A place that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What is shown there.
    pub level: LevelFilter,
    /// Which one it is.
    pub kind: Kind,
}

/// The kinds of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Standard error.
    Screen(Format),
    /// A file.
    File(PathBuf, Format),
    /// The journal of systemd.
    Journald,
    /// A syslog server (RFC 5424).
    Syslog(syslog::Address),
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Parts of the program that have levels of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Start, configuration, stop.
    Server,
    /// Connections, logins and sessions.
    Session,
    /// Disks.
    Disk,
    /// NBD.
    Nbd,
    /// SNMP.
    Snmp,
    /// The lines that sum up.
    Summary,
    /// The units that `--trace-pdu` shows.
    Pdu,
}

/// What parts are called.
const PARTS: [(&str, Part); 7] = [
    ("server", Part::Server),
    ("session", Part::Session),
    ("disk", Part::Disk),
    ("nbd", Part::Nbd),
    ("snmp", Part::Snmp),
    ("summary", Part::Summary),
    ("pdu", Part::Pdu),
];

impl Part {
    /// Which part events of this target are from.
    pub fn of(target: &str) -> Self {
        let is_in = |module: &str| target.starts_with(module);
        match () {
            () if is_in("iesp::backend::nbd") => Self::Nbd,
            () if is_in("iesp::backend") || is_in("iesp::disk") => Self::Disk,
            () if is_in("iesp::connection") => Self::Session,
            () if is_in("iesp::snmp") || is_in("iesp_snmp") => Self::Snmp,
            () if is_in(super::SUMMARY) => Self::Summary,
            () if is_in(super::PDU) => Self::Pdu,
            () => Self::Server,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        PARTS.iter().find(|(_, part)| *part == self).map_or("server", |(name, _)| name)
    }
}

/// The levels of the parts that have their own.
#[derive(Debug)]
pub struct Levels([Option<LevelFilter>; PARTS.len()]);

impl Levels {
    /// Of a part, where the output has `level`.
    pub fn of(&self, part: Part, level: LevelFilter) -> LevelFilter {
        self.0[part as usize].unwrap_or(level)
    }

    /// The most that any part shows, where the output has `level`.
    pub fn most(&self, level: LevelFilter) -> LevelFilter {
        self.0.iter().flatten().copied().fold(level, LevelFilter::max)
    }
}

/// The words for levels.
const LEVELS: [(&str, LevelFilter); 5] = [
    ("debug", LevelFilter::DEBUG),
    ("info", LevelFilter::INFO),
    ("warning", LevelFilter::WARN),
    ("error", LevelFilter::ERROR),
    ("off", LevelFilter::OFF),
];

impl Default for Config {
    fn default() -> Self {
        let screen = Output { level: LevelFilter::ERROR, kind: Kind::Screen(Format::Text) };
        Self { outputs: vec![screen], parts: Vec::new(), trace: Trace::Off }
    }
}

impl Config {
    /// From iESP's flags: `levels` is its `F,S`, of the file and of the screen; one level is for both.
    ///
    /// # Errors
    /// An unknown level.
    pub fn from_flags(levels: &str, file: Option<&Path>) -> Result<Self, Failure> {
        let mut config = Self { outputs: Vec::new(), ..Self::default() };
        config.override_with(levels, file)?;
        Ok(config)
    }

    /// The flags hold for the screen and for the file.
    ///
    /// # Errors
    /// An unknown level.
    pub fn override_with(&mut self, levels: &str, file: Option<&Path>) -> Result<(), Failure> {
        let (of_file, of_screen) = levels.split_once(',').unwrap_or((levels, levels));
        let (of_file, of_screen) = (level(of_file)?, level(of_screen)?);
        let mut path = file.map(|path| (path.to_owned(), Format::Text));
        let mut format = Format::Text;
        for output in &self.outputs {
            match &output.kind {
                Kind::Screen(old) => format = *old,
                Kind::File(old, format) if path.is_none() => path = Some((old.clone(), *format)),
                _ => {}
            }
        }
        self.outputs.retain(|output| !matches!(output.kind, Kind::Screen(_) | Kind::File(..)));
        self.outputs.push(Output { level: of_screen, kind: Kind::Screen(format) });
        if let Some((path, format)) = path {
            self.outputs.push(Output { level: of_file, kind: Kind::File(path, format) });
        }
        Ok(())
    }

    /// From the section of a configuration file; names of files are relative to `folder`.
    pub fn read(section: &Section<'_>, folder: &Path) -> Self {
        let mut config = Self { outputs: Vec::new(), ..Self::default() };
        let default = section.choice("level", &LEVELS);
        let level_in = |table: &Section<'_>| table.choice("level", &LEVELS).or(default).unwrap_or(LevelFilter::INFO);
        let format_in = |table: &Section<'_>| {
            table.choice("format", &[("text", Format::Text), ("json", Format::Json)]).unwrap_or(Format::Text)
        };
        match section.section("screen") {
            Some(screen) => {
                let (level, format) = (level_in(&screen), format_in(&screen));
                screen.done();
                config.outputs.push(Output { level, kind: Kind::Screen(format) });
            }
            // It speaks of errors, unless it is told otherwise.
            None => {
                let level = default.unwrap_or(LevelFilter::ERROR);
                config.outputs.push(Output { level, kind: Kind::Screen(Format::Text) });
            }
        }
        if let Some(file) = section.section("file") {
            let (level, format) = (level_in(&file), format_in(&file));
            let path = file.text("path", "the name of a file");
            if let Some(path) = file.required(path, "path", "the name of a file") {
                config.outputs.push(Output { level, kind: Kind::File(folder.join(path.value), format) });
            }
            file.done();
        }
        if let Some(journald) = section.section("journald") {
            config.outputs.push(Output { level: level_in(&journald), kind: Kind::Journald });
            journald.done();
        }
        if let Some(syslog) = section.section("syslog") {
            const WANTED: &str = "udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH";
            let level = level_in(&syslog);
            let address = syslog.parse("address", WANTED, syslog::Address::parse);
            if let Some(address) = syslog.required(address, "address", WANTED) {
                config.outputs.push(Output { level, kind: Kind::Syslog(address.value) });
            }
            syslog.done();
        }
        if let Some(parts) = section.section("parts") {
            for (name, part) in PARTS {
                if let Some(level) = parts.choice(name, &LEVELS) {
                    config.parts.push((part, level));
                }
            }
            parts.done();
        }
        if let Some(trace) = section.text_or_boolean("trace-pdu", "true, false or an initiator's name") {
            config.trace = match trace {
                Ok(name) => Trace::from_flag(name),
                Err(true) => Trace::All,
                Err(false) => Trace::Off,
            };
        }
        config
    }

    /// The levels of the parts.
    pub fn levels(&self) -> Levels {
        let mut levels = [None; PARTS.len()];
        for (part, level) in &self.parts {
            levels[*part as usize] = Some(*level);
        }
        levels[Part::Pdu as usize] = Some(if self.trace == Trace::Off { LevelFilter::OFF } else { LevelFilter::TRACE });
        Levels(levels)
    }

    /// The files that it writes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.outputs.iter().filter_map(|output| match &output.kind {
            Kind::File(path, _) => Some(path.as_path()),
            _ => None,
        })
    }
}

fn level(text: &str) -> Result<LevelFilter, Failure> {
    LEVELS.iter().take(4).find(|(word, _)| *word == text).map(|(_, level)| *level).ok_or_else(|| {
        Failure::usage(format!("-L: '{text}' is no log level: use debug, info, warning or error, as in -L info,error"))
    })
}
