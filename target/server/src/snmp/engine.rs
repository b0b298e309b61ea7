//! The engine of version 3 from one run of the program to the next: its identity, and how often it started (RFC 3414
//! 2.2.2). Both are on the device before the engine answers, so that no message of an earlier run is taken for one of this.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;

/// What an engine is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// snmpEngineID.
    pub id: Vec<u8>,
    /// snmpEngineBoots.
    pub boots: u32,
}

/// Bytes of an ID that are random: enough that no two engines have the same ones.
const RANDOM: usize = 16;

/// RFC 3411 5: the format of RFC 3411, of no enterprise, with octets that the administrator (here: chance) chose.
const FRONT: [u8; 5] = [0x80, 0, 0, 0, 5];

/// RFC 3414 2.2.2.
const BOOTS_MAX: u32 = i32::MAX as u32;

/// Files that this process holds: until it ends, as their engines are its own.
static HELD: Mutex<Vec<(PathBuf, File)>> = Mutex::new(Vec::new());

/// The engine of this file, which starts once more. A file that is missing is made, with a new identity.
///
/// # Errors
/// What keeps it from being read or written, and what to do.
pub fn start(path: &Path) -> Result<Engine, Failure> {
    let shown = path.display();
    let cannot = |error: std::io::Error| {
        Failure::runtime(format!(
            "the SNMP engine's file {shown} cannot be kept: {error}; make it writable, or name another with --snmp-engine-file"
        ))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    let path = path.parent().map_or_else(
        || path.into(),
        |folder| {
            let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
            path.file_name().map_or_else(|| path.into(), |name| folder.join(name))
        },
    );
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if !held.iter().any(|(other, _)| *other == path) {
        // The lock is on a file of its own: the other one is replaced as a whole.
        let lock = OpenOptions::new().create(true).append(true).open(beside(&path, "lock")).map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => held.push((path.clone(), lock)),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::runtime(format!(
                    "the SNMP engine of {shown} runs already: two must not have the same identity; name another file with \
                     --snmp-engine-file"
                )));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
    }
    let before = match File::open(&path) {
        Ok(mut file) => {
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(cannot)?;
            parse(&text).ok_or_else(|| {
                Failure::runtime(format!(
                    "{shown} holds no SNMP engine's identity: put its own back, or remove the file for a new one"
                ))
            })?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut id = [0; FRONT.len() + RANDOM];
            id[..FRONT.len()].copy_from_slice(&FRONT);
            getrandom::fill(&mut id[FRONT.len()..]).map_err(|error| cannot(std::io::Error::other(error)))?;
            Engine { id: id.to_vec(), boots: 0 }
        }
        Err(error) => return Err(cannot(error)),
    };
    if before.boots >= BOOTS_MAX {
        return Err(Failure::runtime(format!(
            "the SNMP engine of {shown} has started too often for its identity: remove the file for a new one"
        )));
    }
    let engine = Engine { boots: before.boots + 1, ..before };
    keep(&path, &engine).map_err(cannot)?;
    Ok(engine)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Whole or not at all, and there after a power cut.
fn keep(path: &Path, engine: &Engine) -> std::io::Result<()> {
    let fresh = beside(path, "new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&fresh)?;
    let id: String = engine.id.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(file, "# The SNMP engine's identity, and how often it started. No other engine may have a copy.")?;
    writeln!(file, "id = {id}\nboots = {}", engine.boots)?;
    file.rewind()?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn parse(text: &str) -> Option<Engine> {
    let value = |name: &str| {
        let mut found = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix('='));
        found.next().map(str::trim)
    };
    let boots = value("boots")?.parse().ok()?;
    let digits = value("id")?;
    if digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    let id: Option<Vec<u8>> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect();
    // RFC 3411 5: SnmpEngineID.
    id.filter(|id| (5..=32).contains(&id.len())).map(|id| Engine { id, boots })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_grow_and_the_identity_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("below/engine");
        let first = start(&path).expect("an engine");
        assert_eq!((first.boots, first.id.len(), &first.id[..5]), (1, 21, &FRONT[..]));
        let second = start(&path).expect("an engine");
        assert_eq!(second, Engine { boots: 2, id: first.id.clone() });
        let other = start(&folder.path().join("other")).expect("an engine");
        assert_ne!(other.id, first.id);
        std::fs::write(&path, format!("id = 8000000005ff\nboots = {}\n", BOOTS_MAX - 1)).expect("written");
        assert_eq!(start(&path).expect("an engine").boots, BOOTS_MAX);
        assert!(start(&path).expect_err("too often").to_string().contains("too often"));
    }

    #[test]
    fn files_that_hold_none_are_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        for (number, text) in [
            "",
            "boots = 3",
            "id = 80",
            "id = 8000000005f\nboots = 1",
            "id = zz000000050101\nboots = 1",
            "id = 8000000005ff\nboots = -1",
            "id = äöü0\nboots = 1",
        ]
        .iter()
        .enumerate()
        {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, text).expect("written");
            let why = start(&path).expect_err(text).to_string();
            assert!(why.contains("remove the file"), "{why}");
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), *text);
        }
    }
}
