//! From what is wanted to logical units: all that can be told to be wrong is, before anything is made.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iesp_scsi::{Capabilities, Identity, LogicalUnit, Unmap};
use uuid::Uuid;

use super::claim::{Claim, known_uuid};
use super::identity;
use super::made::Record;
use super::registry::{Disk, Entries, PATHS, Registry, differs};
use super::thing::Thing;
use super::trouble::Trouble;
use crate::backend::{
    Absent, Backend, Facts, FileBackend, NbdBackend, NbdError, NbdOptions, OpenError, OpenOptions, Patience,
};
use crate::config::{DiskConfig, Source};
use crate::failure::Failure;
use crate::luns::Lun;
use crate::statistics::Statistics;
use crate::target::PORTAL_GROUP;
use crate::threads::Homes;

/// Most bytes that one command moves.
const MAX_TRANSFER: u32 = 16 << 20;

/// Bytes that a command moves best.
const OPTIMAL_TRANSFER: u32 = 256 << 10;

/// How long a file that is in use is tried again: the kernel takes its time to close what a process left that was killed.
const LOCKED: Duration = Duration::from_secs(1);

/// A logical unit that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The name of its target.
    pub target: &'a str,
    /// Its number.
    pub number: u16,
    /// What it is made from.
    pub config: &'a DiskConfig,
}

/// Where disks live.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Where they are counted.
    pub statistics: &'a Statistics,
    /// The threads that some live on.
    pub homes: &'a Homes,
    /// Those that are there.
    pub registry: &'a Registry,
    /// Whose place is kept: no other disk may have their identities.
    pub claims: &'a [Claim],
}

/// What becomes of a disk that is not there, and may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Without it there are no others either.
    Refused,
    /// It is left out.
    Accepted,
}

/// Why a disk cannot be had.
#[derive(Debug)]
enum Refused {
    /// It is not there, or somebody else has it: that may change by itself.
    Away(Failure),
    /// It is not what it should be: somebody has to do something.
    Wrong(Failure),
}

/// Opens all disks, or none: where one cannot be served nothing was changed. The answers stand in the order of `wanted`; those
/// that are away are failures there, where that is accepted.
///
/// # Errors
/// Which disk, why, and what to do.
pub fn open_all(
    wanted: &[Wanted<'_>],
    place: Place<'_>,
    absence: Absence,
) -> Result<Vec<Result<Arc<Lun>, Failure>>, Failure> {
    let mut entries = place.registry.open();
    let mut made = Made::default();
    // What is there is opened before what is missing is made.
    let mut found = find_all(wanted, &entries, place.homes, absence)?;
    for (one, found) in wanted.iter().zip(&mut found) {
        if let Ok((thing, how @ Found::Missing)) = found {
            match accept(make(one.config, &mut made), absence)? {
                Ok(backend) => {
                    *thing = Thing::of(&one.config.source);
                    *how = Found::Opened(Arc::new(backend));
                }
                Err(failure) => *found = Err(failure),
            }
        }
    }
    let away = wanted.iter().zip(&found).filter(|(_, found)| found.is_err()).map(|(one, _)| one.config);
    let claims = [Claim::of(away).as_slice(), place.claims].concat();
    let mut luns: Vec<Result<Arc<Lun>, Failure>> = Vec::with_capacity(wanted.len());
    for (one, found) in wanted.iter().zip(found) {
        let disk = match found {
            Err(failure) => Err(failure),
            Ok((_, Found::Served(disk))) => Ok(disk),
            Ok((_, Found::Same(index))) => match luns.get(index) {
                Some(Ok(other)) => Ok(Arc::clone(other.path.disk())),
                Some(Err(failure)) => Err(Failure::clone(failure)),
                None => Err(open_failure(one.config, &OpenError::Missing)),
            },
            Ok((thing, Found::Opened(backend))) => {
                let disk = Arc::new(disk(one, thing, backend, &entries, &claims, &mut made)?);
                entries.add(&disk);
                Ok(disk)
            }
            Ok((_, Found::Missing)) => Err(open_failure(one.config, &OpenError::Missing)),
        };
        luns.push(match disk {
            Ok(disk) => Ok(lun(*one, &disk, place.statistics)?),
            Err(failure) => Err(failure),
        });
    }
    made.keep();
    luns.iter().flatten().for_each(|lun| remember(&lun.config));
    Ok(luns)
}

/// A logical unit in place of a disk that is away, where it is known who it is.
pub fn placeholder(wanted: Wanted<'_>, statistics: &Statistics) -> Option<Arc<Lun>> {
    let config = wanted.config;
    let uuid = known_uuid(config)?;
    let backend: Arc<dyn Backend> = Arc::new(Absent);
    let unit = LogicalUnit::new(capabilities(&backend.facts(), config), named(wanted, uuid).ok()?).without_medium();
    // It is no entry of the registry: what comes in its place is another disk of this identity.
    let disk = Arc::new(Disk::new(Thing::Memory, uuid, config.clone(), backend, unit));
    lun(wanted, &disk, statistics).ok()
}

fn accept<T>(result: Result<T, Refused>, absence: Absence) -> Result<Result<T, Failure>, Failure> {
    match (result, absence) {
        (Ok(value), _) => Ok(Ok(value)),
        (Err(Refused::Away(failure)), Absence::Accepted) => Ok(Err(failure)),
        (Err(Refused::Away(failure) | Refused::Wrong(failure)), _) => Err(failure),
    }
}

/// What there is of a disk that is wanted.
enum Found {
    /// It is served already.
    Served(Arc<Disk>),
    /// It is the same as another one that is wanted, by its index.
    Same(usize),
    /// It was opened.
    Opened(Arc<dyn Backend>),
    /// It is to be made.
    Missing,
}

type Answer = Result<(Thing, Found), Failure>;

/// Looks for all disks at the same time: a server that does not answer keeps no other disk waiting.
fn find_all(
    wanted: &[Wanted<'_>],
    entries: &Entries<'_>,
    homes: &Homes,
    absence: Absence,
) -> Result<Vec<Answer>, Failure> {
    let things = at_once(wanted, |one| Thing::of(&one.config.source));
    let known = wanted.iter().zip(&things).enumerate().map(|(index, (one, thing))| {
        let earlier = wanted.iter().zip(&things).take(index);
        match known(one, thing, earlier, entries) {
            Err(Refused::Away(failure) | Refused::Wrong(failure)) => Err(failure),
            Ok(known) => Ok((one, known)),
        }
    });
    let known = known.collect::<Result<Vec<_>, Failure>>()?;
    let found = at_once(&known, |(one, known)| match known {
        Some(Known::Served(disk)) => Ok(Found::Served(Arc::clone(disk))),
        Some(Known::Same(index)) => Ok(Found::Same(*index)),
        None => Ok(open_existing(one.config, homes)?.map_or(Found::Missing, Found::Opened)),
    });
    let found = found.into_iter().zip(things);
    found.map(|(found, thing)| Ok(accept(found, absence)?.map(|found| (thing, found)))).collect()
}

/// What is known of a disk before it is opened.
enum Known {
    /// It is served already.
    Served(Arc<Disk>),
    /// It is the same as another one that is wanted, by its index.
    Same(usize),
}

fn known<'a>(
    wanted: &Wanted<'_>,
    thing: &Thing,
    earlier: impl Iterator<Item = (&'a Wanted<'a>, &'a Thing)>,
    entries: &Entries<'_>,
) -> Result<Option<Known>, Refused> {
    let config = wanted.config;
    if let Some(disk) = entries.by_thing(thing) {
        return match disk.differs(config) {
            None => Ok(Some(Known::Served(disk))),
            Some(key) => Err(other_way(config, &disk.describe(), key)),
        };
    }
    let same = earlier.enumerate().find(|(_, (_, other))| other.is(thing));
    let Some((index, (other, _))) = same else { return Ok(None) };
    let name = format!("{} (LUN {} of {})", other.config.source, other.number, other.target);
    match differs(other.config, config) {
        None => Ok(Some(Known::Same(index))),
        Some(key) => Err(other_way(config, &name, key)),
    }
}

/// Threads that look for disks.
const AT_ONCE: usize = 32;

/// Does this with each, on threads of their own, several at a time; the answers stand in order.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let mut done = Vec::with_capacity(items.len());
    for items in items.chunks(AT_ONCE) {
        let (first, others) = match items {
            [first, others @ ..] => (first, others),
            [] => break,
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = others.iter().map(|item| scope.spawn(|| work(item))).collect();
            done.push(work(first));
            let join = |thread: std::thread::ScopedJoinHandle<'_, R>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            done.extend(others.into_iter().map(join));
        });
    }
    done
}

fn other_way(config: &DiskConfig, other: &str, key: &str) -> Refused {
    let message =
        format!("this is the same disk as {other}, with another setting ({key}): give both the same, or serve it once");
    Refused::Wrong(complain(config, &message))
}

/// Images and identities that were made, and are removed again unless all went well.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // Best effort: the failure that led here is what is told.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn options(disk: &DiskConfig) -> OpenOptions {
    OpenOptions {
        read_only: disk.read_only,
        direct: disk.direct,
        block_size: disk.block_size,
        unmap: disk.trim_level > 0,
        unmap_zeros: disk.trim_level > 1,
        exclusive: !disk.read_only && !disk.in_use,
    }
}

/// What is to be said of a disk, with its name and where it is asked for.
fn complain(disk: &DiskConfig, what: &dyn std::fmt::Display) -> Failure {
    let message = match &disk.source {
        Source::Ram(len) => format!("{len} bytes of memory: {what}"),
        source => format!("{source}: {what}"),
    };
    Failure::runtime(match disk.origin.get() {
        Some(place) => format!("{place}: {message}"),
        None => message,
    })
}

/// As [`complain`], in the words of who asked for the disk: flags, or keys of a file.
fn open_failure(disk: &DiskConfig, error: &OpenError) -> Failure {
    match disk.origin.get() {
        Some(_) => complain(disk, &error.by_keys()),
        None => complain(disk, error),
    }
}

fn refused(disk: &DiskConfig, error: &OpenError) -> Refused {
    let failure = open_failure(disk, error);
    match error {
        OpenError::Missing | OpenError::NotReadable | OpenError::NotWritable | OpenError::Locked | OpenError::Io(_) => {
            Refused::Away(failure)
        }
        _ => Refused::Wrong(failure),
    }
}

/// Looks whether a disk could be served now, without taking it: it may be served already. An export is not asked.
///
/// # Errors
/// Why not, and what to do.
pub fn look_at(disk: &DiskConfig) -> Result<(), Failure> {
    let Source::Path(path) = &disk.source else { return Ok(()) };
    match FileBackend::look_at(path, disk.block_size) {
        Ok(()) => {}
        Err(OpenError::Missing) if disk.create.is_some() => return Ok(()),
        Err(error) => return Err(open_failure(disk, &error)),
    }
    check_use(path, disk)?;
    let mut beginning = Vec::new();
    // What cannot be read is told when it is served.
    let _ = File::open(path).and_then(|file| file.take(BEGINNING as u64).read_to_end(&mut beginning));
    check_format(disk, &beginning)
}

/// Looks whether several disks could be served beside each other: two that have one identity cannot.
pub fn look_at_all<'a>(disks: impl Iterator<Item = &'a DiskConfig>) -> Vec<Failure> {
    let mut wrong = Vec::new();
    let mut known: Vec<(Uuid, Thing, &DiskConfig)> = Vec::new();
    for disk in disks {
        wrong.extend(look_at(disk).err());
        let Some(uuid) = known_uuid(disk) else { continue };
        let thing = Thing::of(&disk.source);
        match known.iter().find(|(other, at, _)| *other == uuid && !at.is(&thing)) {
            Some((.., other)) => wrong.push(taken(disk, uuid, &other.source.to_string())),
            None => known.push((uuid, thing, disk)),
        }
    }
    wrong
}

/// `None`: it is missing, and may be made.
fn open_existing(disk: &DiskConfig, homes: &Homes) -> Result<Option<Arc<dyn Backend>>, Refused> {
    let opened = match &disk.source {
        Source::Nbd { address, reconnect, tls, .. } => {
            let OpenOptions { read_only, block_size, unmap, unmap_zeros, .. } = options(disk);
            let (reconnect, tls) = (*reconnect, tls.clone());
            let shared = disk.is_shared();
            let options = NbdOptions { read_only, block_size, unmap, unmap_zeros, reconnect, shared, tls };
            return match NbdBackend::open(address, &options, homes) {
                Ok(backend) => Ok(Some(Arc::new(backend))),
                Err(error @ (NbdError::Connect(_) | NbdError::Io(_))) => Err(Refused::Away(complain(disk, &error))),
                Err(error) => Err(Refused::Wrong(complain(disk, &error))),
            };
        }
        Source::Path(path) => {
            check_use(path, disk).map_err(Refused::Wrong)?;
            open_file(path, disk)
        }
        Source::Ram(len) => FileBackend::memory(*len, &options(disk)),
    };
    match opened {
        Ok(backend) => {
            if let Source::Path(_) = &disk.source {
                check_format(disk, &beginning(&backend)).map_err(Refused::Wrong)?;
            }
            Ok(Some(Arc::new(backend)))
        }
        Err(OpenError::Missing) if disk.create.is_some() => Ok(None),
        Err(error) => Err(refused(disk, &error)),
    }
}

fn open_file(path: &Path, disk: &DiskConfig) -> Result<FileBackend, OpenError> {
    let deadline = Instant::now() + LOCKED;
    loop {
        match FileBackend::open(path, &options(disk)) {
            Err(OpenError::Locked) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            opened => return opened,
        }
    }
}

/// How many bytes say what kind of image a file is.
const BEGINNING: usize = 4096;

/// The first bytes of a disk.
fn beginning(backend: &FileBackend) -> Vec<u8> {
    let mut beginning = vec![0; backend.facts().len.min(BEGINNING as u64) as usize];
    // What cannot be read says nothing; reads of initiators will tell.
    let _ = backend.read(0, &mut beginning, Patience::Any);
    beginning
}

/// An image of a virtual machine's disk is not the disk in it.
fn check_format(disk: &DiskConfig, beginning: &[u8]) -> Result<(), Failure> {
    let Some(found) = iesp_inspect::image_format(beginning).filter(|_| !disk.raw) else { return Ok(()) };
    let (name, format) = (found.name, found.format.unwrap_or("raw"));
    let meant = by(disk, "--raw", "`raw = true`");
    let message = format!(
        "this is {name}: initiators would get the bytes that it is made of, not the disk in it: make a raw image by `qemu-img \
         convert -O raw`, or serve the disk in it by `qemu-nbd -f {format} -k SOCKET` as NBD; if its bytes are meant, add {meant}"
    );
    Err(complain(disk, &message))
}

/// Two that write to one file system destroy it.
fn check_use(path: &Path, disk: &DiskConfig) -> Result<(), Failure> {
    if disk.read_only || disk.in_use {
        return Ok(());
    }
    // What is missing is told when it is opened.
    let user = iesp_inspect::who_uses(path).ok().flatten().or_else(|| who_serves_below(path));
    let Some(user) = user else { return Ok(()) };
    let (read_only, meant) =
        (by(disk, "--read-only", "`read-only = true`"), by(disk, "--yes-in-use", "`yes-in-use = true`"));
    let message = format!(
        "it is in use: {user}, and two that write to one disk destroy what is on it: end that first, or serve it with \
         {read_only}; if this is meant, add {meant}"
    );
    Err(complain(disk, &message))
}

/// Who has a file for himself that a device lies on, as every iesp has what it serves.
fn who_serves_below(path: &Path) -> Option<String> {
    let is_locked = |file: &PathBuf| {
        let tried = File::open(file).map(|file| file.try_lock_shared());
        matches!(tried, Ok(Err(std::fs::TryLockError::WouldBlock)))
    };
    let file = iesp_inspect::files_below(path).into_iter().find(is_locked)?;
    Some(format!("it lies on {}, which an iesp serves or another program has locked", file.display()))
}

/// A flag or a key, by what asked for the disk.
fn by(disk: &DiskConfig, flag: &'static str, key: &'static str) -> &'static str {
    if disk.origin.get().is_some() { key } else { flag }
}

fn make(disk: &DiskConfig, made: &mut Made) -> Result<FileBackend, Refused> {
    let (Source::Path(path), Some(len)) = (&disk.source, disk.create) else {
        return Err(refused(disk, &OpenError::Missing));
    };
    let record = disk.uuid.map(|uuid| Record::of(uuid, path)).transpose().map_err(Refused::Wrong)?;
    if let Some(record) = record.flatten().filter(Record::has_image) {
        let message = format!(
            "it is missing, and was there before under this uuid: mount its file system. To make an empty disk in its place, \
             give it another uuid, or remove {}",
            record.file().display()
        );
        return Err(Refused::Away(complain(disk, &message)));
    }
    // Its folder or its file system may come later.
    let cannot = |error: std::io::Error| {
        let why = match error.kind() {
            ErrorKind::AlreadyExists => "the link leads to a file that is not there: mount its file system".to_owned(),
            _ => error.to_string(),
        };
        Refused::Away(Failure::runtime(format!("{} cannot be made: {why}", path.display())))
    };
    if let Some(folder) = path.parent().filter(|folder| folder.ends_with("iesp")) {
        // The user's data folder; other folders are the user's to make.
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    let file = File::create_new(path).map_err(cannot)?;
    made.0.push(path.clone());
    file.set_len(len).map_err(cannot)?;
    file.sync_all().map_err(cannot)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::system::sync_folder(folder).map_err(cannot)?;
    FileBackend::open(path, &options(disk)).map_err(|error| refused(disk, &error))
}

/// A disk of its own, with its identity, which no other may have.
fn disk(
    wanted: &Wanted<'_>,
    thing: Thing,
    backend: Arc<dyn Backend>,
    entries: &Entries<'_>,
    claims: &[Claim],
    made: &mut Made,
) -> Result<Disk, Failure> {
    let config = wanted.config;
    let uuid = match (&config.source, config.uuid) {
        (_, Some(uuid)) => uuid,
        (Source::Ram(_), None) => Uuid::new_v4(),
        (Source::Path(path), None) => identity::of(path, &mut made.0)?,
        (Source::Nbd { address, .. }, None) => identity::of_export(address, &mut made.0)?,
    };
    if let Some(other) = entries.by_uuid(uuid) {
        return Err(taken(config, uuid, &other.describe()));
    }
    // One that is away comes back: initiators know it by this identity.
    if let Some(other) = claims.iter().find(|claim| claim.bars(uuid, &config.source)) {
        return Err(taken(config, uuid, &other.source().to_string()));
    }
    let unit = LogicalUnit::new(capabilities(&backend.facts(), config), named(*wanted, uuid)?);
    let disk = Disk::new(thing, uuid, config.clone(), backend, unit);
    let (watched, source) = (Arc::downgrade(disk.unit()), config.source.to_string());
    let block_shift = config.block_size.trailing_zeros();
    disk.backend().watch(Box::new(move |len| {
        // One that is gone has no size.
        let Some(unit) = watched.upgrade() else { return };
        let before = unit.blocks() << block_shift;
        unit.resize(len >> block_shift);
        tracing::warn!(disk = %source, before, len, "the disk has another size");
    }));
    Ok(disk)
}

/// Another disk has this identity.
fn taken(config: &DiskConfig, uuid: Uuid, other: &str) -> Failure {
    let kept = match &config.source {
        Source::Path(path) => Some(identity::place(path)),
        Source::Nbd { address, .. } => identity::place_of_export(address).ok(),
        Source::Ram(_) => None,
    };
    let remedy = match (config.uuid, kept) {
        (None, Some(kept)) => {
            format!("if it is a copy, remove {}, and it gets an identity of its own", kept.display())
        }
        _ => "give it another uuid, which `uuidgen` makes, or none".to_owned(),
    };
    let message = format!(
        "its identity (UUID {uuid}) is that of {other}, which is another disk: initiators would take the two for one and \
         destroy their data; {remedy}"
    );
    complain(config, &message)
}

/// An image that is there under an identity that was given is not made again when it is gone.
fn remember(config: &DiskConfig) {
    let (Source::Path(path), Some(_), Some(uuid)) = (&config.source, config.create, config.uuid) else { return };
    let kept = Record::of(uuid, path).and_then(|record| match record {
        Some(record) => record.keep(),
        None => Err(Failure::runtime("that the disk was made cannot be kept: set STATE_DIRECTORY or HOME")),
    });
    if let Err(failure) = kept {
        tracing::warn!(%failure, "where the disk is missing at a later start, it will be made again, empty");
    }
}

fn named(wanted: Wanted<'_>, uuid: Uuid) -> Result<Identity, Failure> {
    let Wanted { target, number, .. } = wanted;
    Identity::new(*uuid.as_bytes(), target, PORTAL_GROUP, number)
        .map_err(|error| Failure::runtime(format!("LUN {number} cannot have an identity: {error:?}")))
}

/// A path to a disk.
fn lun(wanted: Wanted<'_>, disk: &Arc<Disk>, statistics: &Statistics) -> Result<Arc<Lun>, Failure> {
    let Wanted { target, number, config } = wanted;
    if let Some(key) = disk.differs(config) {
        let (Refused::Away(failure) | Refused::Wrong(failure)) = other_way(config, &disk.describe(), key);
        return Err(failure);
    }
    let identity = named(wanted, disk.uuid())?;
    let row = statistics.row(target, number, &config.source.to_string());
    let path = disk.path(target, number).ok_or_else(|| {
        let message = format!("it is served by {PATHS} LUNs already, which is the most for one disk");
        complain(config, &message)
    })?;
    Ok(Arc::new(Lun {
        number,
        row,
        config: config.clone(),
        identity,
        unit: Arc::clone(disk.unit()),
        backend: Arc::clone(disk.backend()),
        block_shift: config.block_size.trailing_zeros(),
        trouble: Trouble::default(),
        path,
    }))
}

fn capabilities(facts: &Facts, disk: &DiskConfig) -> Capabilities {
    let blocks = |bytes: u32| bytes / disk.block_size;
    Capabilities {
        blocks: facts.len / u64::from(disk.block_size),
        block_size: disk.block_size,
        physical_block_exponent: disk.physical_exponent,
        read_only: facts.read_only,
        volatile_cache: facts.volatile_cache,
        unmap: (facts.discard_granularity != 0)
            .then(|| Unmap { granularity: blocks(facts.discard_granularity).max(1), alignment: 0 }),
        max_transfer_blocks: blocks(MAX_TRANSFER),
        optimal_transfer_blocks: blocks(OPTIMAL_TRANSFER),
        rotational: facts.rotational,
    }
}
