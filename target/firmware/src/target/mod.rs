//! The target of a board: its disks, who may log in, who is there. Everything here belongs to one thread.

mod connection;
mod door;
mod queue;
mod seats;

use core::cell::{Cell, RefCell};

use heapless::{String, Vec};
use iesp_iscsi::{Limits, Timeouts};
use iesp_scsi::{Capabilities, Identity, IdentityError, IoError, LogicalUnit, Unmap};

use crate::Clock;
use crate::board::{Board, Led, Panel};
use crate::card::BLOCK;
use crate::extents::Extents;
use crate::log::Log;
use crate::sd::{Erased, Error};
use crate::store::Store;
pub use connection::{Buffers, Carries, End, NO_CARRIES, Protocol, UNIT_OVERHEAD};
pub use queue::{Queued, Turn};
use seats::Seats;

/// Boards with room for units of so many bytes take data unasked.
const UNASKED_SEGMENT: u32 = 8192;

/// The tag of the one target portal group (RFC 7143 4.1).
const PORTAL_GROUP: u16 = 1;

/// Most logical units.
pub const LUNS: usize = 4;

/// Most pieces that a disk's file may lie in.
pub const PIECES: usize = 32;

/// Longest CHAP name and secret, in bytes.
pub const SECRET_MAX: usize = 64;

/// Most blocks of a READ or WRITE: they stream, so that this bounds their time and not their memory.
const MOST_BLOCKS: u32 = 2048;

/// Blocks that one request to the card moves where nothing else says so.
const OPTIMAL_BLOCKS: u32 = 16;

/// Who may log in by CHAP: name and secret.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// CHAP_N.
    pub name: String<SECRET_MAX>,
    /// At least 12 bytes.
    pub secret: String<SECRET_MAX>,
}

/// A disk to serve.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Where its blocks lie.
    pub extents: Extents<PIECES>,
    /// Who it is.
    pub uuid: [u8; 16],
    /// Writes are refused.
    pub read_only: bool,
}

/// A logical unit with what it stands on; `NEXUSES` connections may use it.
pub(crate) struct Lun<const NEXUSES: usize> {
    pub(crate) unit: LogicalUnit<NEXUSES>,
    pub(crate) extents: Extents<PIECES>,
    pub(crate) number: u16,
}

/// What was counted since the start, for SNMP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// iSCSI units received.
    pub units: u64,
    /// Bytes of payload that came, and that were sent.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Sessions that ended otherwise than by logout.
    pub failures: u32,
    /// Wrong digests.
    pub digest_errors: u32,
    /// Units with format errors.
    pub format_errors: u32,
    /// Logins accepted.
    pub logins: u32,
    /// Normal logouts.
    pub logouts: u32,
    /// Read commands, and bytes read.
    pub reads: u64,
    /// Bytes read from the disks.
    pub bytes_read: u64,
    /// Write commands.
    pub writes: u64,
    /// Bytes written to the disks.
    pub bytes_written: u64,
    /// Time that commands waited for the card, in microseconds.
    pub waited_us: u64,
    /// Errors of the card that reached an initiator.
    pub card_errors: u32,
}

/// The target: at most `CONNECTIONS` connections at a time.
pub struct Target<'m, B: Board, const CONNECTIONS: usize> {
    /// iSCSI name.
    pub(crate) name: String<223>,
    pub(crate) credentials: Option<Credentials>,
    /// What SendTargets tells, where that is not the address that the initiator reached.
    pub(crate) portal: Option<core::net::SocketAddr>,
    pub(crate) luns: Vec<Lun<CONNECTIONS>, LUNS>,
    inventory: Vec<u16, LUNS>,
    pub(crate) store: Queued<Store<'m, B::Card>, CONNECTIONS>,
    pub(crate) clock: B::Clock,
    pub(crate) panel: RefCell<Log<'m, B::Panel>>,
    pub(crate) random: RefCell<B::Random>,
    pub(crate) seats: Seats<CONNECTIONS>,
    pub(crate) counters: Cell<Counters>,
    trouble: Cell<Trouble>,
    /// Whether UNMAP was asked for by the configuration.
    trim: bool,
    last_tsih: Cell<u16>,
}

/// What the owner was told of the card.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    /// When of an error last.
    told_us: Option<u64>,
    /// That it is gone.
    gone: bool,
}

/// Why a disk cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// More disks than [`LUNS`].
    TooManyDisks,
    /// A disk of no blocks, or the card was not started.
    NoDisk,
    /// A disk cannot have an identity.
    Identity(IdentityError),
}

impl<'m, B: Board, const CONNECTIONS: usize> Target<'m, B, CONNECTIONS> {
    /// A target that nobody uses, without disks: they are added by [`add`](Self::add). `trim`: UNMAP is served where the card
    /// erases to zeros.
    pub fn new(
        name: String<223>,
        credentials: Option<Credentials>,
        store: Store<'m, B::Card>,
        (clock, panel, random): (B::Clock, Log<'m, B::Panel>, B::Random),
        trim: bool,
    ) -> Self {
        Self {
            name,
            credentials,
            portal: None,
            luns: Vec::new(),
            inventory: Vec::new(),
            store: Queued::new(store),
            clock,
            panel: RefCell::new(panel),
            random: RefCell::new(random),
            seats: Seats::new(),
            counters: Cell::new(Counters::default()),
            trouble: Cell::new(Trouble::default()),
            trim,
            last_tsih: Cell::new(0),
        }
    }

    /// Serves a disk of the card as the next logical unit. `buffer` is how many bytes of a
    /// command's data a connection holds in one piece: for COMPARE AND WRITE and the like.
    ///
    /// # Errors
    /// When there are too many, or it has no blocks.
    pub fn add(&mut self, disk: Disk, buffer: usize) -> Result<(), TargetError> {
        let facts = *self.store.get_mut().facts().ok_or(TargetError::NoDisk)?;
        let number = self.luns.len() as u16;
        if disk.extents.blocks() == 0 {
            return Err(TargetError::NoDisk);
        }
        let identity = Identity::new(disk.uuid, &self.name, PORTAL_GROUP, number).map_err(TargetError::Identity)?;
        let buffer = (buffer / BLOCK) as u32;
        let capabilities = Capabilities {
            blocks: disk.extents.blocks(),
            block_size: BLOCK as u32,
            physical_block_exponent: 0,
            read_only: disk.read_only || facts.write_protected,
            volatile_cache: true,
            // What was unmapped is promised to read as zeros: only a card that erases to zeros can keep that.
            unmap: (self.trim && facts.erased == Erased::Zeros).then_some(Unmap { granularity: 1, alignment: 0 }),
            max_transfer_blocks: MOST_BLOCKS,
            optimal_transfer_blocks: OPTIMAL_BLOCKS,
            rotational: false,
        };
        let unit = LogicalUnit::new(capabilities, identity).with_buffers_of(buffer);
        self.luns.push(Lun { unit, extents: disk.extents, number }).map_err(|_| TargetError::TooManyDisks)?;
        self.inventory.push(number).map_err(|_| TargetError::TooManyDisks)
    }

    /// Initiators reach the target by another address than it knows: it is behind a gateway.
    pub fn set_portal(&mut self, portal: Option<core::net::SocketAddr>) {
        self.portal = portal;
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    /// The panel, and the journal of its lines.
    pub fn with_panel<T>(&self, f: impl FnOnce(&mut Log<'m, B::Panel>) -> T) -> T {
        f(&mut self.panel.borrow_mut())
    }

    /// The card and its cache: whoever asks waits until those that asked before are done.
    pub fn store(&self) -> &Queued<Store<'m, B::Card>, CONNECTIONS> {
        &self.store
    }

    /// The clock.
    pub fn clock(&self) -> &B::Clock {
        &self.clock
    }

    pub(crate) fn lun(&self, number: u16) -> Option<&Lun<CONNECTIONS>> {
        self.luns.get(usize::from(number))
    }

    pub(crate) fn inventory(&self) -> &[u16] {
        &self.inventory
    }

    pub(crate) fn count(&self, f: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        f(&mut counters);
        self.counters.set(counters);
    }

    pub(crate) fn light(&self, led: Led, on: bool) {
        self.panel.borrow_mut().light(led, on);
    }

    /// RFC 7143 11.12.6: 0 is reserved; connections are few, so that what was given last is long forgotten.
    fn next_tsih(&self) -> u16 {
        let next = self.last_tsih.get().checked_add(1).unwrap_or(1);
        self.last_tsih.set(next);
        next
    }

    /// What a login may settle on, where one unit carries at most `segment` bytes.
    fn limits(segment: usize) -> Limits {
        let segment = segment as u32;
        // Where there is room, all of a WRITE of usual length comes unasked, in one piece: half of it behind the beginnings of
        // others would tear what the card is to write in one go. On a small board it would fill the socket, and an abort of
        // the command would stand behind its data.
        let unasked = segment >= UNASKED_SEGMENT;
        Limits {
            max_recv_data_segment_length: segment,
            max_burst_length: segment.saturating_mul(8),
            first_burst_length: if unasked { segment.saturating_mul(8) } else { segment },
            max_outstanding_r2t: 1,
            initial_r2t: !unasked,
            immediate_data: true,
            ..Limits::default()
        }
    }

    fn timeouts() -> Timeouts {
        // A seat is all that there is: a peer that is gone is to leave it soon.
        Timeouts { login: 15_000, ping_after: 15_000, ping_answer: 15_000 }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_us() / 1000
    }
}

/// What a card's failure means to a logical unit.
pub(crate) fn io_error(error: Error) -> IoError {
    match error {
        Error::Absent | Error::NotReady | Error::Changed | Error::Unsupported(_) => IoError::NotReady,
        Error::WriteProtected => IoError::ReadOnly,
        Error::OutOfRange | Error::Length => IoError::Other,
        _ => IoError::Medium,
    }
}
