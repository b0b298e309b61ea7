//! A connection, which is a session too (MaxConnections is 1), in ErrorRecoveryLevel 0: no socket, no clock, no heap.
//!
//! The driver hands [`Connection::next`] the bytes that came and gets an [`Event`] for each unit; what is to be sent goes
//! to an [`crate::Outbox`]. A command becomes a task of the driver's: it calls [`Connection::collect`] with the length of the
//! data that the command takes, executes when that has come, sends Data-In units by [`Connection::data_in`], and ends
//! the task by that or by [`Connection::respond`].
//!
//! Payloads are not copied: what lies whole in the driver's buffer is handed on where it lies; for a large Data-Out unit
//! that has not come whole, [`Event::Place`] says where the rest is to be received.

mod control;
mod data_out;
mod receive;
mod send;
mod slots;
mod timers;
mod window;

pub use slots::TaskId;
pub use timers::Timeouts;

use crate::discovery::TextPhase;
use crate::login::{Established, Login};
use crate::outbox::Digests;
use crate::params::{Limits, Parameters};
use crate::pdu::{LoginResponse, LoginStatus, LogoutReason, TaskAttribute, TaskRequest};
use data_out::Placing;
use slots::Slots;
use timers::Timers;
use window::Window;

/// The most text that a login or text unit carries either way, in bytes: MaxRecvDataSegmentLength before it is
/// negotiated (RFC 7143 13.12).
pub const TEXT_MAX: usize = 8192;

/// An outbox must be able to take this much, or the largest data segment that this side receives and 64 bytes,
/// whichever is more, so that each unit can be answered.
pub const OUTBOX_MIN: usize = TEXT_MAX + 256;

/// What the bytes at the front of the input are.
#[derive(Debug)]
pub enum Received<'b> {
    /// Not a whole unit yet: call again when there are `need` bytes.
    Incomplete {
        /// Bytes, from the start of the input.
        need: usize,
    },
    /// The outbox has no room for the answer: send it, then call again.
    Full,
    /// A unit.
    Unit {
        /// Bytes that it took from the front of the input.
        consumed: usize,
        /// What it means.
        event: Event<'b>,
    },
}

/// What a unit means to the driver.
#[derive(Debug)]
pub enum Event<'b> {
    /// Nothing: it was answered, or is to be ignored.
    Handled,
    /// The login is complete and its last response lies in the outbox. Before that is sent, the session that this one
    /// takes the place of ([`Connection::established`]: same initiator name and ISID, RFC 7143 6.3.5) must have ended.
    LoggedIn,
    /// A SCSI command. Call [`Connection::collect`].
    Command(Command<'b>),
    /// A piece of a task's Data-Out Buffer.
    Data {
        /// The task.
        task: TaskId,
        /// Where in the buffer, in bytes.
        offset: u32,
        /// The piece; empty where it was received in place.
        data: &'b [u8],
        /// Everything has come: execute.
        complete: bool,
    },
    /// The header of a large Data-Out unit: its `len` bytes go to the task's buffer at `offset`, then
    /// [`Connection::trailer_len`] bytes follow; then call [`Connection::placed`].
    Place {
        /// The task.
        task: TaskId,
        /// Where in the buffer, in bytes.
        offset: u32,
        /// Bytes.
        len: u32,
    },
    /// The data of a task broke the rules: answer it with CHECK CONDITION and the sense data of RFC 7143 11.4.7.2.
    DataFault {
        /// The task, which takes no more data.
        task: TaskId,
        /// How.
        fault: CommandFault,
    },
    /// A task management function; the task that ABORT TASK names, if there is one. Answer by
    /// [`Connection::task_response`] when the affected tasks are quiet.
    TaskManagement(TaskRequest, Option<TaskId>),
    /// The initiator logs out. When all tasks are quiet, call [`Connection::logout_response`], send and close.
    Logout,
    /// The unit belongs behind others that have not come. Keep a copy and hand it to [`Connection::turn`] once
    /// [`Connection::expected_cmd_sn`] is its CmdSN, or close the connection.
    Early {
        /// Its CmdSN.
        cmd_sn: u32,
    },
}

/// A SCSI command that came.
#[derive(Debug, Clone, Copy)]
pub struct Command<'b> {
    /// Its task.
    pub task: TaskId,
    /// CmdSN.
    pub cmd_sn: u32,
    /// Logical unit.
    pub lun: u64,
    /// CDB; longer ones are not taken.
    pub cdb: [u8; 16],
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Bytes that the initiator expects to receive.
    pub data_in: u32,
    /// Bytes that the initiator has to send.
    pub data_out: u32,
    /// The first of these.
    pub immediate_data: &'b [u8],
    /// It fails: answer with CHECK CONDITION.
    pub fault: Option<CommandFault>,
}

/// Why a command fails before the device server sees it (RFC 7143 11.4.7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFault {
    /// A CDB of more than sixteen bytes, or a bidirectional command: none is supported.
    Unsupported,
    /// "Unexpected unsolicited data".
    Unexpected,
    /// "Incorrect amount of data".
    IncorrectAmount,
    /// "Protocol Service CRC error": a wrong digest, or a unit that is missing.
    Digest,
}

/// What [`Connection::collect`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collect {
    /// Everything came with the command: execute.
    Complete,
    /// More comes by [`Event::Data`] and [`Event::Place`].
    Pending,
}

/// Why a connection ends. What lies in the outbox is still to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The login was refused; the response said why.
    #[error("login refused: {0}")]
    LoginFailed(LoginStatus),
    /// The peer broke the protocol in a way that leaves nothing to synchronise on.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// A header digest was wrong: where the unit ends cannot be known (RFC 7143 7.7).
    #[error("header digest error")]
    HeaderDigest,
    /// The login took too long, or a NOP-In was not answered.
    #[error("timed out: {0}")]
    Timeout(&'static str),
}

/// What a connection counted (RFC 7147).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Units received.
    pub units: u64,
    /// SCSI Command units among them.
    pub commands: u64,
    /// SCSI Response units sent: a status that travels with data is none.
    pub responses: u64,
    /// NOP-Out units received.
    pub nops_received: u64,
    /// NOP-In units sent.
    pub nops_sent: u64,
    /// Wrong digests.
    pub digest_errors: u64,
    /// Units with format errors.
    pub format_errors: u64,
    /// 1 where the connection ended because the peer was silent for too long.
    pub timeouts: u64,
    /// Why the initiator logged out, once it did.
    pub logout: Option<LogoutReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Login,
    Full,
    /// A logout was taken: nothing else is.
    LoggingOut {
        itt: u32,
    },
}

/// A connection of an iSCSI target with at most `TASKS` tasks, some of them kept for immediate commands.
///
/// `TEXT` is how much text of a login or text exchange it takes, in bytes, and how much room its own answers have: RFC 7143
/// 6.1 asks for [`TEXT_MAX`]. A board without the memory for that takes less (initiators send 500 to 900), and refuses
/// what is longer.
#[derive(Debug)]
pub struct Connection<const TASKS: usize, const TEXT: usize = TEXT_MAX> {
    phase: Phase,
    login: Login<TEXT>,
    text: TextPhase<TEXT>,
    parameters: Parameters,
    discovery: bool,
    tsih: u16,
    stat_sn: u32,
    /// The last ExpStatSN of a command.
    acknowledged: u32,
    window: Window,
    slots: Slots<TASKS>,
    placing: Option<Placing>,
    /// Large units may be received in place.
    places: bool,
    early: receive::Early,
    timers: Timers,
    digests: Digests,
    /// The response that accepted the login.
    accepted: Option<LoginResponse>,
    statistics: Statistics,
}

impl<const TASKS: usize, const TEXT: usize> Connection<TASKS, TEXT> {
    /// As [`OUTBOX_MIN`], for this size of text.
    pub const OUTBOX_MIN: usize = TEXT + 256;

    /// A connection before its login. `tsih` is what its session will be called: not 0, unique among those there are
    /// (RFC 7143 11.12.6). `now` is in milliseconds of any clock that never goes back.
    pub fn new(limits: Limits, timeouts: Timeouts, tsih: u16, now: u64) -> Self {
        const { assert!(TEXT >= 1024 && TEXT <= TEXT_MAX, "text of 1 to 8 KiB") };
        Self {
            phase: Phase::Login,
            login: Login::new(limits),
            text: TextPhase::new(),
            parameters: Parameters::default(),
            discovery: false,
            tsih,
            stat_sn: 0,
            acknowledged: 0,
            window: Window::new(0),
            slots: Slots::new(),
            placing: None,
            places: true,
            early: receive::Early::default(),
            timers: Timers::new(timeouts, now),
            digests: Digests::default(),
            accepted: None,
            statistics: Statistics::default(),
        }
    }

    /// As [`Connection::new`], in place of a connection that is over, without a second one on the stack. What its driver asked for by
    /// [`Connection::take_units_whole`] and [`Connection::with_window`] stays.
    pub fn renew(&mut self, limits: Limits, timeouts: Timeouts, tsih: u16, now: u64) {
        // Each field by its name: none is forgotten.
        let Self {
            phase,
            login,
            text,
            parameters,
            discovery,
            tsih: its_tsih,
            stat_sn,
            acknowledged,
            window,
            slots,
            placing,
            places: _,
            early,
            timers,
            digests,
            accepted,
            statistics,
        } = self;
        *phase = Phase::Login;
        login.renew(limits);
        text.renew();
        *parameters = Parameters::default();
        *discovery = false;
        *its_tsih = tsih;
        *stat_sn = 0;
        *acknowledged = 0;
        *window = Window::new(0);
        slots.renew();
        *placing = None;
        *early = receive::Early::default();
        *timers = Timers::new(timeouts, now);
        *digests = Digests::default();
        *accepted = None;
        *statistics = Statistics::default();
    }

    /// The StatSN that comes next (RFC 7143 4.2.2.2).
    #[inline]
    pub const fn next_stat_sn(&self) -> u32 {
        self.stat_sn
    }

    /// Responses so far that the initiator had not seen when it sent its last command, by that one's ExpStatSN (RFC 7143 4.2.2.2): where
    /// each is answered at once, as many commands as it keeps in flight.
    #[inline]
    pub const fn unacknowledged(&self) -> u32 {
        self.stat_sn.wrapping_sub(self.acknowledged)
    }

    /// For a driver whose buffer holds every unit whole: there will be no [`Event::Place`].
    pub const fn take_units_whole(&mut self) {
        self.places = false;
    }

    /// Takes no more than this many commands at a time, and at least one.
    #[must_use]
    pub fn with_window(mut self, commands: u32) -> Self {
        self.slots.limit(commands);
        self
    }

    /// Who wants to log in, and to what, as far as that was said: the initiator's name, and the target's.
    pub fn asked(&self) -> Option<(&str, Option<&str>)> {
        self.login.asked()
    }

    /// Why the login was refused, for the log: what its status does not say. Empty where it says all.
    pub const fn refusal(&self) -> &'static str {
        self.login.refusal()
    }

    /// Whether a text exchange was begun and not ended: the answer to SendTargets may go on.
    pub const fn has_text_exchange(&self) -> bool {
        self.text.is_open()
    }

    /// Who logged in, once that is known.
    pub fn established(&self) -> Option<Established<'_>> {
        self.login.established()
    }

    /// What was negotiated.
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Digests in force.
    #[inline]
    pub const fn digests(&self) -> Digests {
        self.digests
    }

    /// Whether this is a normal session in full feature phase.
    pub const fn is_full_feature(&self) -> bool {
        matches!(self.phase, Phase::Full)
    }

    /// The CmdSN that is to come next.
    pub const fn expected_cmd_sn(&self) -> u32 {
        self.window.expected()
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, u64)> {
        self.slots.iter().map(|(id, slot)| (id, slot.command.lun))
    }

    /// What was counted.
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Bytes that the largest unit of an initiator can have: a driver's receive buffer must hold this much.
    pub const fn largest_unit(limits: &Limits) -> usize {
        let data = if limits.max_recv_data_segment_length as usize > TEXT {
            limits.max_recv_data_segment_length as usize
        } else {
            TEXT
        };
        crate::pdu::BHS_LEN + 255 * 4 + 4 + crate::pdu::padded(data) + 4
    }
}
