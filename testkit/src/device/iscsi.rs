//! A disk over iSCSI, through libiscsi: no kernel initiator, no root.
//!
//! A call is carried out by one command or by several that are in flight together. Each thread gets a session of its own by
//! [`Device::another`], or several threads share one.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::line::{Commands, Line, Shared};
use super::{Compared, Device, Discard, Geometry, Promise};
use crate::iscsi::{
    Access, Capacity, Cdb, Error, Failure, Options, Range, Residual, SenseKey, Session, Transfer, Url, unmap_parameters,
};
use crate::verify::content::fold;

/// A logical unit over iSCSI.
pub struct Iscsi {
    line: Line,
    url: Url,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    geometry: Geometry,
    /// The longest READ, WRITE and COMPARE AND WRITE in blocks.
    transfer: u32,
    /// The longest UNMAP and WRITE SAME in blocks.
    unmap: u32,
    write_same: u32,
}

/// The longest command here, in bytes, where the target sets no limit of its own.
const LONGEST: u32 = 8 << 20;

/// A range is moved by at most so many short commands, or by long ones.
const PIECES: u64 = 8;
/// So often a command is sent before what hinders it counts as a failure.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(20);
/// SAM-5 table 29.
const BUSY: u8 = 0x08;
const TASK_SET_FULL: u8 = 0x28;

/// Sessions of one program have names of their own: so one that is opened does not end another.
static SESSIONS: AtomicU32 = AtomicU32::new(0);

/// A name for the next session of this program.
#[must_use]
pub fn initiator_name() -> String {
    let number = SESSIONS.fetch_add(1, Relaxed);
    format!("iqn.2024-01.io.github.iesp:testkit-{}-{number}", std::process::id())
}

impl Iscsi {
    /// Logs in at `url`, `iscsi://[user[%secret]@]host[:port]/target/lun`. Where the session is `shared`, the calls of several
    /// threads are in flight together, and so they are over [`Device::another`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(url: &Url, shared: bool) -> Result<Self, Error> {
        let mut session = Session::open(url, &initiator_name(), &Options::default())?;
        let limits = limits(&mut session)?;
        let line = if shared {
            let portal = session.portal().to_owned();
            Line::Shared(Shared::new(session).map_err(|error| Error::Lost { portal, reason: error.to_string() })?)
        } else {
            Line::Own(Box::new(Mutex::new(session)))
        };
        Ok(Self { line, url: url.clone(), limits })
    }

    fn block(&self) -> u64 {
        u64::from(self.limits.geometry.logical_block)
    }

    /// Executes a command that has to succeed.
    fn execute(&self, what: &str, cdb: &Cdb, transfer: impl Fn() -> Transfer<Vec<u8>>) -> io::Result<Vec<u8>> {
        self.reply(cdb, transfer)?.map_err(|failure| io::Error::other(format!("{what}: {failure}")))
    }

    /// Executes a command; again when the target only had something to tell (SAM-5 5.14, UNIT ATTENTION) or was busy.
    fn reply(&self, cdb: &Cdb, transfer: impl Fn() -> Transfer<Vec<u8>>) -> io::Result<Result<Vec<u8>, Failure>> {
        let mut tries = 0;
        loop {
            let transfer = transfer();
            let reads = matches!(transfer, Transfer::In(_));
            let came = self.line.exchange(vec![(*cdb, transfer)]).map_err(io::Error::other)?;
            let reply = came.into_iter().next().ok_or(io::ErrorKind::UnexpectedEof)?;
            tries += 1;
            match reply.result {
                Err(failure) if tries < TRIES && failure.sense().is_some_and(|s| s.key == SenseKey::UnitAttention) => {}
                Err(Failure::Status(BUSY | TASK_SET_FULL)) if tries < TRIES => thread::sleep(PAUSE),
                Ok(()) if reads => return whole(reply.residual).map(|()| Ok(reply.buffer.unwrap_or_default())),
                Ok(()) => return Ok(Ok(Vec::new())),
                Err(failure) => return Ok(Err(failure)),
            }
        }
    }

    /// The parts of a range that a command of at most `most` blocks takes: first block, number of blocks.
    fn parts(&self, offset: u64, len: u64, most: u32) -> impl Iterator<Item = (u64, u32)> + use<> {
        let (start, end) = (offset / self.block(), (offset + len) / self.block());
        let most = u64::from(most.max(1));
        (start..end).step_by(most as usize).map(move |lba| (lba, (end - lba).min(most) as u32))
    }

    /// The longest command for this range: half of the ranges are moved by few long commands, half by several short
    /// ones that are in flight together. Which is which follows from the range, so that a run is repeated exactly.
    fn piece(&self, offset: u64, len: u64) -> u32 {
        let pieces = 1 + fold(offset, len) % (2 * PIECES);
        let blocks = len / self.block();
        let piece = if pieces > PIECES { blocks } else { blocks.div_ceil(pieces) };
        u32::try_from(piece).unwrap_or(u32::MAX).clamp(1, self.limits.transfer)
    }

    /// Sends commands for all parts of a range, and gives each one's data with its place in the range.
    fn together(&self, what: &str, commands: Commands) -> io::Result<Vec<Option<Vec<u8>>>> {
        let cdbs: Vec<_> = commands.iter().map(|(cdb, transfer)| (*cdb, matches!(transfer, Transfer::In(_)))).collect();
        let mut outcome: Vec<Option<Vec<u8>>> = vec![None; commands.len()];
        let mut refused = Vec::new();
        for completion in self.line.exchange(commands).map_err(io::Error::other)? {
            let index = completion.cookie as usize;
            match completion.result {
                Ok(()) => {
                    whole(completion.residual)
                        .map_err(|error| io::Error::new(error.kind(), format!("{what}: {error}")))?;
                    outcome[index] = completion.buffer;
                }
                Err(failure) => refused.push((index, completion.buffer, failure)),
            }
        }
        for (index, buffer, failure) in refused {
            let may_pass = matches!(failure, Failure::Status(BUSY | TASK_SET_FULL))
                || failure.sense().is_some_and(|sense| sense.key == SenseKey::UnitAttention);
            if !may_pass {
                return Err(io::Error::other(format!("{what}: {failure}")));
            }
            let buffer = buffer.unwrap_or_default();
            let (cdb, reads) = &cdbs[index];
            let again = || if *reads { Transfer::In(buffer.clone()) } else { Transfer::Out(buffer.clone()) };
            outcome[index] = Some(self.execute(what, cdb, again)?);
        }
        Ok(outcome)
    }
}

/// All data has to travel where the status is GOOD.
fn whole(residual: Residual) -> io::Result<()> {
    if residual == Residual::None {
        return Ok(());
    }
    let text = format!("status GOOD, but with a residual: {residual:?}");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
}

impl Device for Iscsi {
    fn geometry(&self) -> Geometry {
        self.limits.geometry
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let parts = self.parts(offset, data.len() as u64, self.piece(offset, data.len() as u64));
        let command = |(lba, blocks): (u64, u32)| {
            let buffer = vec![0; blocks as usize * self.block() as usize];
            (Cdb::read16(lba, blocks, Access::default()), Transfer::In(buffer))
        };
        let came = self.together("READ(16)", parts.map(command).collect())?;
        let mut rest = data;
        for part in came.into_iter().flatten() {
            let (place, behind) = rest.split_at_mut_checked(part.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            place.copy_from_slice(&part);
            rest = behind;
        }
        if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn write(&self, offset: u64, data: &[u8], fua: bool) -> io::Result<()> {
        let parts = self.parts(offset, data.len() as u64, self.piece(offset, data.len() as u64));
        let command = |(lba, blocks): (u64, u32)| {
            let start = (lba * self.block() - offset) as usize;
            let part = data[start..][..blocks as usize * self.block() as usize].to_vec();
            (Cdb::write16(lba, blocks, Access { fua, ..Access::default() }), Transfer::Out(part))
        };
        self.together("WRITE(16)", parts.map(command).collect()).map(drop)
    }

    fn flush(&self) -> io::Result<()> {
        self.execute("SYNCHRONIZE CACHE(10)", &Cdb::synchronize_cache10(), || Transfer::None).map(drop)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        for (lba, blocks) in self.parts(offset, len, self.limits.unmap) {
            let list = unmap_parameters(&[Range { lba, blocks }]).ok_or(io::ErrorKind::InvalidInput)?;
            let cdb = Cdb::unmap(list.len() as u16);
            self.execute("UNMAP", &cdb, || Transfer::Out(list.clone()))?;
        }
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        for (lba, blocks) in self.parts(offset, len, self.limits.write_same) {
            let cdb = Cdb::write_same16(lba, blocks, false);
            let zeros = || Transfer::Out(vec![0; self.block() as usize]);
            match self.reply(&cdb, zeros)? {
                Ok(_) => {}
                Err(failure) if is_unknown_command(&failure) => {
                    let (at, len) = (lba * self.block(), blocks as usize * self.block() as usize);
                    self.write(at, &vec![0; len], false)?;
                }
                Err(failure) => return Err(io::Error::other(format!("WRITE SAME(16): {failure}"))),
            }
        }
        Ok(())
    }

    fn compare_and_write(&self, offset: u64, expected: &[u8], new: &[u8]) -> io::Result<Compared> {
        let blocks = u8::try_from(expected.len() as u64 / self.block()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let cdb = Cdb::compare_and_write(offset / self.block(), blocks, Access::default());
        match self.reply(&cdb, || Transfer::Out([expected, new].concat()))? {
            Ok(_) => Ok(Compared::Written),
            // SBC-3 5.2: MISCOMPARE, MISCOMPARE DURING VERIFY OPERATION.
            Err(failure) if failure.sense().is_some_and(|sense| sense.key == SenseKey::Miscompare) => {
                Ok(Compared::Miscompare)
            }
            Err(failure) if is_unknown_command(&failure) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "the target has no COMPARE AND WRITE"))
            }
            Err(failure) => Err(io::Error::other(format!("COMPARE AND WRITE: {failure}"))),
        }
    }

    fn another(&self) -> io::Result<Option<Arc<dyn Device>>> {
        let shared = matches!(self.line, Line::Shared(_));
        Ok(Some(Arc::new(Self::open(&self.url, shared).map_err(io::Error::other)?)))
    }

    fn most_in_flight(&self) -> Option<usize> {
        self.line.most_in_flight()
    }
}

/// ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE (SPC-4 table 56).
fn is_unknown_command(failure: &Failure) -> bool {
    failure.sense().is_some_and(|sense| sense.key == SenseKey::IllegalRequest && (sense.asc, sense.ascq) == (0x20, 0))
}

fn limits(session: &mut Session) -> Result<Limits, Error> {
    let capacity = session.capacity()?;
    let page = session.inquiry(Some(0xb0)).unwrap_or_default();
    let word = |at: usize| match page.get(at..at + 4) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    };
    let own = (LONGEST / capacity.block_size).max(1);
    let or_own = |limit: u32| if limit == 0 { own } else { limit.min(own) };
    // SBC-3 6.5.3, Block Limits: maximum transfer length 8..11, maximum unmap LBA count 20..23, optimal unmap
    // granularity 28..31, maximum write same length 36..43, maximum compare and write length 5.
    let write_same = if word(36) == 0 { word(40) } else { u32::MAX };
    let granularity = u64::from(word(28).max(1)) * u64::from(capacity.block_size);
    Ok(Limits {
        geometry: Geometry {
            size: capacity.blocks.saturating_mul(u64::from(capacity.block_size)),
            logical_block: capacity.block_size,
            physical_block: capacity.block_size << capacity.physical_block_exponent,
            discard: discards(session, &capacity).then_some(Discard {
                granularity,
                reads: if capacity.lbprz { Promise::Zeros } else { Promise::Anything },
            }),
            zero: true,
            compare_and_write: u32::from(page.get(5).copied().unwrap_or(0)) * capacity.block_size,
        },
        transfer: or_own(word(8)),
        unmap: or_own(word(20)),
        write_same: or_own(write_same),
    })
}

/// SBC-3 6.5.4, Logical Block Provisioning: LBPU, the UNMAP command is supported.
fn discards(session: &mut Session, capacity: &Capacity) -> bool {
    capacity.lbpme && session.inquiry(Some(0xb2)).is_ok_and(|page| page.get(5).is_some_and(|flags| flags & 0x80 != 0))
}
