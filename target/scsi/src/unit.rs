//! The logical unit: what it is, what all I_T nexuses share, and what each of them has for itself.

use crate::capabilities::{Capabilities, Limits};
use crate::contract::{Completion, NexusId, Transfer, status};
use crate::identity::Identity;
use crate::mode::{Flag, Modes};
use crate::range::RangeLock;
use crate::sense::{Key, Sense};
use crate::task::Task;
use portable_atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What all I_T nexuses share.
#[derive(Debug)]
pub(crate) struct Unit {
    pub capabilities: Capabilities,
    /// Logical blocks now: [`Capabilities::blocks`] are those of the start.
    blocks: AtomicU64,
    pub limits: Limits,
    pub identity: Identity,
    pub modes: Modes,
    pub ranges: RangeLock,
    pub reservation: Reservation,
    /// START STOP UNIT stopped it.
    pub stopped: AtomicBool,
    /// What its blocks are kept in is not there: who it is is known, and no more.
    pub absent: bool,
}

impl Unit {
    /// Logical blocks that there are.
    #[inline]
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// By the backend, or by SWP.
    #[inline]
    pub(crate) fn is_write_protected(&self) -> bool {
        self.capabilities.read_only || self.modes.is_set(Flag::Swp)
    }

    /// A write with this FUA bit has to be durable before its status: there is a cache, and either FUA or WCE = 0 says
    /// not to trust it.
    #[inline]
    pub(crate) fn must_be_durable(&self, fua: bool) -> bool {
        self.capabilities.volatile_cache && (fua || !self.modes.is_set(Flag::Wce))
    }

    /// What a command left in the cache has to be durable before its status: WCE was cleared, or the unit stopped, after the
    /// command began. Whoever does either flushes afterwards, so that what was done before it looked is covered.
    #[inline]
    pub(crate) fn trusts_no_cache(&self) -> bool {
        self.capabilities.volatile_cache
            && (!self.modes.is_set_for_all(Flag::Wce) || self.stopped.load(Ordering::SeqCst))
    }

    /// CHECK CONDITION, in the format that D_SENSE asks for.
    pub(crate) fn check_condition(&self, sense: Sense) -> Completion {
        let sense = sense.encode(self.modes.is_set(Flag::DSense));
        Completion { status: status::CHECK_CONDITION, sense, ..Completion::GOOD }
    }
}

/// Who has the unit reserved by RESERVE(6) or (10) (SPC-2 5.5): 0 for nobody, else the nexus plus one.
#[derive(Debug)]
pub(crate) struct Reservation(AtomicU32);

impl Reservation {
    /// Someone else has it.
    #[inline]
    fn bars(&self, nexus: NexusId) -> bool {
        let holder = self.0.load(Ordering::Acquire);
        holder != 0 && holder != Self::id(nexus)
    }

    /// True when `nexus` has it now.
    pub(crate) fn take(&self, nexus: NexusId) -> bool {
        match self.0.compare_exchange(0, Self::id(nexus), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(holder) => holder == Self::id(nexus),
        }
    }

    /// Gives it back, if `nexus` has it.
    pub(crate) fn release(&self, nexus: NexusId) {
        let _ = self.0.compare_exchange(Self::id(nexus), 0, Ordering::AcqRel, Ordering::Acquire);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }

    fn id(nexus: NexusId) -> u32 {
        u32::from(nexus.0) + 1
    }
}

/// What an I_T nexus has for itself.
#[derive(Debug)]
pub(crate) struct Nexus {
    /// Pending unit attention conditions, one bit each.
    pending: AtomicU32,
    /// PREVENT ALLOW MEDIUM REMOVAL: it prevents. The medium can't be removed anyway.
    pub prevents_removal: AtomicBool,
}

/// Unit attention conditions (SAM-5 5.14), the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Attention {
    /// To a new I_T nexus all is new.
    PowerOnOrReset = 1 << 0,
    BusDeviceReset = 1 << 1,
    ModeParametersChanged = 1 << 2,
    CommandsCleared = 1 << 3,
    CapacityChanged = 1 << 4,
    InquiryChanged = 1 << 5,
    InventoryChanged = 1 << 6,
}

impl Attention {
    const ALL: [Self; 7] = [
        Self::PowerOnOrReset,
        Self::BusDeviceReset,
        Self::ModeParametersChanged,
        Self::CommandsCleared,
        Self::CapacityChanged,
        Self::InquiryChanged,
        Self::InventoryChanged,
    ];

    fn sense(self) -> Sense {
        let (asc, ascq) = match self {
            Self::PowerOnOrReset => (0x29, 0x00),
            Self::BusDeviceReset => (0x29, 0x03),
            Self::ModeParametersChanged => (0x2a, 0x01),
            Self::CommandsCleared => (0x2f, 0x00),
            Self::CapacityChanged => (0x2a, 0x09),
            Self::InquiryChanged => (0x3f, 0x03),
            Self::InventoryChanged => (0x3f, 0x0e),
        };
        Sense::new(Key::UnitAttention, asc, ascq)
    }
}

impl Nexus {
    const fn new() -> Self {
        Self { pending: AtomicU32::new(0), prevents_removal: AtomicBool::new(false) }
    }

    #[inline]
    fn has_attention(&self) -> bool {
        self.pending.load(Ordering::Acquire) != 0
    }

    /// The most important condition; it is pending no longer.
    pub(crate) fn take_attention(&self) -> Option<Sense> {
        let pending = self.pending.load(Ordering::Acquire);
        let set = Attention::ALL.into_iter().filter(|attention| pending & *attention as u32 != 0);
        for attention in set {
            // Another command of the nexus may have taken it meanwhile: it is reported once.
            let before = self.pending.fetch_and(!(attention as u32), Ordering::AcqRel);
            if before & attention as u32 != 0 {
                return Some(attention.sense());
            }
        }
        None
    }

    pub(crate) fn attend(&self, attention: Attention) {
        self.pending.fetch_or(attention as u32, Ordering::AcqRel);
    }

    /// It is no news any more.
    pub(crate) fn forget(&self, attention: Attention) {
        self.pending.fetch_and(!(attention as u32), Ordering::AcqRel);
    }

    /// A reset: what was pending before is old news (SAM-5 5.14).
    fn attend_only(&self, attention: Attention) {
        self.pending.store(attention as u32, Ordering::Release);
    }
}

/// Why a command isn't begun.
pub(crate) enum Refusal {
    Sense(Sense),
    Status(Completion),
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

/// A logical unit that up to `NEXUSES` I_T nexuses use at once. All its state is atomic: threads share it by reference,
/// and no command waits for a lock.
#[derive(Debug)]
pub struct LogicalUnit<const NEXUSES: usize = 64> {
    pub(crate) unit: Unit,
    pub(crate) nexuses: [Nexus; NEXUSES],
}

/// A logical unit as it is reached: by one LUN of one target. Where several lead to the same logical unit, each has its own
/// target port and LUN in its identity, and its own numbers for nexuses; the rest they share.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a, const NEXUSES: usize> {
    /// What all paths lead to.
    pub unit: &'a LogicalUnit<NEXUSES>,
    /// Who it is by this path.
    pub identity: &'a Identity,
}

/// The only path to a logical unit.
impl<'a, const NEXUSES: usize> From<&'a LogicalUnit<NEXUSES>> for Path<'a, NEXUSES> {
    #[inline]
    fn from(unit: &'a LogicalUnit<NEXUSES>) -> Self {
        Self { unit, identity: &unit.unit.identity }
    }
}

/// A failure of the transport that ends a command with CHECK CONDITION (RFC 7143 11.4.7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportFailure {
    /// Unsolicited data came that was not allowed.
    UnexpectedUnsolicitedData,
    /// Less unsolicited data than promised.
    NotEnoughUnsolicitedData,
    /// A digest didn't match.
    ProtocolServiceCrc,
    /// A SNACK was rejected.
    SnackRejected,
    /// Data came out of place or out of order.
    DataPhaseError,
    /// No buffer for the command.
    InsufficientResources,
    /// The target failed inside.
    InternalTargetFailure,
}

impl<const NEXUSES: usize> LogicalUnit<NEXUSES> {
    /// A unit after power on.
    #[must_use]
    pub fn new(capabilities: Capabilities, identity: Identity) -> Self {
        Self {
            unit: Unit {
                limits: Limits::of(&capabilities),
                modes: Modes::new(&capabilities),
                blocks: AtomicU64::new(capabilities.blocks),
                capabilities,
                identity,
                ranges: RangeLock::new(),
                reservation: Reservation(AtomicU32::new(0)),
                stopped: AtomicBool::new(false),
                absent: false,
            },
            nexuses: [const { Nexus::new() }; NEXUSES],
        }
    }

    /// What its blocks are kept in is not there yet: commands that need them, and READ CAPACITY, are answered NOT READY. When it
    /// comes, another logical unit takes the place of this one.
    #[must_use]
    pub fn without_medium(mut self) -> Self {
        self.unit.absent = true;
        self
    }

    /// Logical blocks that there are.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.unit.blocks()
    }

    /// What the backend could do at the start.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.unit.capabilities
    }

    /// For a driver that streams: commands whose data are wanted in one piece, COMPARE AND WRITE above all, have at most so
    /// many logical blocks of them.
    #[must_use]
    pub fn with_buffers_of(mut self, blocks: u32) -> Self {
        let most = u8::try_from(blocks / 2).unwrap_or(u8::MAX);
        self.unit.limits.compare_and_write = self.unit.limits.compare_and_write.min(most);
        self
    }

    /// A write with this FUA bit that was done has to be durable before its status.
    #[must_use]
    pub fn must_be_durable(&self, fua: bool) -> bool {
        self.unit.must_be_durable(fua) || self.unit.trusts_no_cache()
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.unit.identity
    }

    /// Decodes a command and checks all that can be checked without its data: a command that is refused has a [`Task`]
    /// too, whose first step is done. `luns` is the target's inventory, for REPORT LUNS: 255 at most each.
    #[inline]
    #[must_use]
    pub fn begin(&self, nexus: NexusId, luns: &[u16], cdb: &[u8; 16], transfer: Transfer) -> Task {
        let Some(state) = self.nexuses.get(usize::from(nexus.0)) else { return Task::ended(nexus, Completion::BUSY) };
        Task::begin(&self.unit, state, nexus, luns, cdb, transfer).unwrap_or_else(|refusal| match refusal {
            Refusal::Sense(sense) => Task::ended(nexus, self.unit.check_condition(sense)),
            Refusal::Status(completion) => Task::ended(nexus, completion),
        })
    }

    /// A session was established: its nexus begins afresh, and is told so (29h/00h).
    pub fn nexus_established(&self, nexus: NexusId) {
        self.unit.reservation.release(nexus);
        if let Some(state) = self.nexuses.get(usize::from(nexus.0)) {
            state.prevents_removal.store(false, Ordering::Release);
            state.attend_only(Attention::PowerOnOrReset);
        }
    }

    /// I_T nexus loss (SAM-5 6.3.4): logout, or the connection is gone. What the nexus had is given back.
    pub fn nexus_lost(&self, nexus: NexusId) {
        self.unit.reservation.release(nexus);
        if let Some(state) = self.nexuses.get(usize::from(nexus.0)) {
            state.prevents_removal.store(false, Ordering::Release);
            state.pending.store(0, Ordering::Release);
        }
    }

    /// Logical unit reset (SAM-5 6.3.3): asked for by LOGICAL UNIT RESET of the nexus `by`, or part of a target reset
    /// where there is none. The driver has aborted all commands. The reservation is gone, the mode pages are back at their
    /// defaults, the unit is started, and every nexus (SAM-5 6.2: the asking one too) gets a unit attention.
    pub fn reset(&self, by: Option<NexusId>) {
        self.unit.reservation.clear();
        self.unit.modes.reset();
        self.unit.stopped.store(false, Ordering::Release);
        let attention = if by.is_some() { Attention::BusDeviceReset } else { Attention::PowerOnOrReset };
        for state in &self.nexuses {
            state.prevents_removal.store(false, Ordering::Release);
            state.attend_only(attention);
        }
    }

    /// The unit has so many logical blocks from now on. Every nexus is told (2Ah/09h, CAPACITY DATA HAS CHANGED) where that
    /// is another number. Blocks that went must stay readable and writable until commands that were begun have ended.
    pub fn resize(&self, blocks: u64) {
        if self.unit.blocks.swap(blocks, Ordering::Relaxed) != blocks {
            for state in &self.nexuses {
                state.attend(Attention::CapacityChanged);
            }
        }
    }

    /// The target has other logical units than it had: the nexus is told (3Fh/0Eh, REPORTED LUNS DATA HAS CHANGED).
    pub fn inventory_changed(&self, nexus: NexusId) {
        if let Some(state) = self.nexuses.get(usize::from(nexus.0)) {
            state.attend(Attention::InventoryChanged);
        }
    }

    /// The nexus was told of the target's logical units by REPORT LUNS, of this one or of another: it need not be told that
    /// they have changed (SPC-4 7.8.8, LUICLR). Where [`Completion::inventory_reported`] says so, the driver calls this for
    /// each logical unit of the target.
    pub fn inventory_reported(&self, nexus: NexusId) {
        if let Some(state) = self.nexuses.get(usize::from(nexus.0)) {
            state.forget(Attention::InventoryChanged);
        }
    }

    /// It has a number that another logical unit had while this nexus was there: what INQUIRY says is not what it said (3Fh/03h,
    /// INQUIRY DATA HAS CHANGED).
    pub fn inquiry_changed(&self, nexus: NexusId) {
        if let Some(state) = self.nexuses.get(usize::from(nexus.0)) {
            state.attend(Attention::InquiryChanged);
        }
    }

    /// CLEAR TASK SET by `by` ended commands of `affected`: that one is told (SAM-5 7.5), unless it is the same.
    pub fn tasks_cleared(&self, by: NexusId, affected: NexusId) {
        if by != affected
            && let Some(state) = self.nexuses.get(usize::from(affected.0))
        {
            state.attend(Attention::CommandsCleared);
        }
    }

    /// How a command ends that the transport failed.
    #[must_use]
    pub fn transport_failure(&self, what: TransportFailure) -> Completion {
        self.unit.check_condition(match what {
            TransportFailure::UnexpectedUnsolicitedData => Sense::UNEXPECTED_UNSOLICITED_DATA,
            TransportFailure::NotEnoughUnsolicitedData => Sense::NOT_ENOUGH_UNSOLICITED_DATA,
            TransportFailure::ProtocolServiceCrc => Sense::PROTOCOL_SERVICE_CRC_ERROR,
            TransportFailure::SnackRejected => Sense::READ_ERROR_SNACK_REJECTED,
            TransportFailure::DataPhaseError => Sense::DATA_PHASE_ERROR,
            TransportFailure::InsufficientResources => Sense::INSUFFICIENT_RESOURCES,
            TransportFailure::InternalTargetFailure => Sense::INTERNAL_TARGET_FAILURE,
        })
    }
}

/// Unit attention conditions and reservations: what stands before any look at the command itself (SAM-5 5.3.3).
#[inline]
pub(crate) fn admit(unit: &Unit, state: &Nexus, nexus: NexusId, passes: bool, shared: bool) -> Result<(), Refusal> {
    if state.has_attention()
        && !passes
        && let Some(sense) = state.take_attention()
    {
        return Err(Refusal::Sense(sense));
    }
    if unit.reservation.bars(nexus) && !shared {
        return Err(Refusal::Status(Completion::RESERVATION_CONFLICT));
    }
    Ok(())
}
