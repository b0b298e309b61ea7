//! Units out of bytes: framing, digests, the order of commands, and who handles what.

use super::window::Place;
use super::{Close, Command, CommandFault, Connection, Event, Phase, Received};
use crate::digest;
use crate::login::Environment;
use crate::outbox::{Digests, Outbox};
use crate::pdu::{
    Ahs, BHS_LEN, Bhs, Malformed, Opcode, RESERVED_TAG, RejectReason, ScsiCommand, TaskFunction, TaskRequest, padded,
    segments,
};

/// A Data-Out unit of at least this many bytes is received straight into its task's buffer where it has not come whole.
const PLACE_MIN: usize = 2048;

/// Most units that may wait for earlier ones.
const EARLY: usize = 16;

/// Tags of the commands that came before their turn: their Data-Out units wait with them.
#[derive(Debug)]
pub(super) struct Early {
    tags: [Option<(u32, u32)>; EARLY],
}

impl Default for Early {
    fn default() -> Self {
        Self { tags: [None; EARLY] }
    }
}

impl Early {
    fn cmd_sn(&self, itt: u32) -> Option<u32> {
        self.tags.iter().flatten().find(|(tag, _)| *tag == itt).map(|(_, cmd_sn)| *cmd_sn)
    }

    fn insert(&mut self, itt: u32, cmd_sn: u32) -> Result<(), Close> {
        let place = self.tags.iter_mut().find(|tag| tag.is_none());
        *place.ok_or(Close::Protocol("too many commands before their turn"))? = Some((itt, cmd_sn));
        Ok(())
    }

    fn remove(&mut self, cmd_sn: u32) {
        for tag in &mut self.tags {
            if tag.is_some_and(|(_, waiting)| waiting == cmd_sn) {
                *tag = None;
            }
        }
    }
}

impl<const TASKS: usize, const TEXT: usize> Connection<TASKS, TEXT> {
    /// Takes the next unit from the front of `input`. The time is in milliseconds.
    ///
    /// # Errors
    /// Why the connection is to be closed, after the outbox was sent.
    #[inline]
    pub fn next<'b>(
        &mut self,
        now: u64,
        input: &'b [u8],
        out: &mut Outbox<'_>,
        env: &mut dyn Environment,
    ) -> Result<Received<'b>, Close> {
        self.unit(now, input, out, env, true)
    }

    /// Takes a unit again that came before its turn ([`Event::Early`]): it was counted when it came.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn turn<'b>(
        &mut self,
        now: u64,
        unit: &'b [u8],
        out: &mut Outbox<'_>,
        env: &mut dyn Environment,
    ) -> Result<Received<'b>, Close> {
        self.unit(now, unit, out, env, false)
    }

    #[inline]
    fn unit<'b>(
        &mut self,
        now: u64,
        input: &'b [u8],
        out: &mut Outbox<'_>,
        env: &mut dyn Environment,
        fresh: bool,
    ) -> Result<Received<'b>, Close> {
        let Some(header) = input.first_chunk::<BHS_LEN>() else {
            return Ok(Received::Incomplete { need: BHS_LEN });
        };
        let bhs = Bhs(*header);
        let digests = self.digests;
        let segments = BHS_LEN + bhs.ahs_len();
        let data_at = segments + if digests.header { 4 } else { 0 };
        if digests.header {
            // The length of the rest is not to be trusted before the digest was seen.
            let Some(headers) = input.get(..data_at) else { return Ok(Received::Incomplete { need: data_at }) };
            self.check_header(headers)?;
        }
        let len = bhs.data_len();
        if len > self.receive_limit() {
            return Err(self.overlong(&bhs, out));
        }
        let total = data_at + len + digests.trailer_len(len);
        let Some(unit) = input.get(..total) else {
            if self.places
                && len >= PLACE_MIN
                && input.len() >= data_at
                && bhs.opcode() == Some(Opcode::DataOut)
                && let Some(event) = self.place(&bhs)
            {
                self.count(now, &bhs);
                return Ok(Received::Unit { consumed: data_at, event });
            }
            return Ok(Received::Incomplete { need: total });
        };
        if out.room() < Self::OUTBOX_MIN.max(len + 64) {
            return Ok(Received::Full);
        }
        if fresh {
            self.count(now, &bhs);
        }
        let data = &unit[data_at..data_at + len];
        if digests.data && len > 0 {
            let (covered, wire) = unit[data_at..].split_at(padded(len));
            if digest::digest(covered).to_le_bytes() != wire {
                let event = self.data_digest_error(&bhs, out);
                return Ok(Received::Unit { consumed: total, event });
            }
        }
        let event = self.dispatch(&bhs, &unit[BHS_LEN..segments], data, out, env)?;
        Ok(Received::Unit { consumed: total, event })
    }

    /// RFC 7143 7.8: Reject, and the unit is discarded; the task of a Data-Out unit fails.
    pub(super) fn data_digest_error<'b>(&mut self, bhs: &Bhs, out: &mut Outbox<'_>) -> Event<'b> {
        self.statistics.digest_errors += 1;
        self.reject(RejectReason::DataDigestError, bhs, out);
        if bhs.opcode() == Some(Opcode::DataOut) { self.data_out_lost(bhs) } else { Event::Handled }
    }

    fn count(&mut self, now: u64, bhs: &Bhs) {
        self.statistics.units += 1;
        match bhs.opcode() {
            Some(Opcode::ScsiCommand) => self.statistics.commands += 1,
            Some(Opcode::NopOut) => self.statistics.nops_received += 1,
            _ => {}
        }
        self.timers.heard(now);
    }

    fn check_header(&mut self, headers: &[u8]) -> Result<(), Close> {
        let (covered, wire) = headers.split_at(headers.len() - 4);
        if digest::digest(covered).to_le_bytes() == wire {
            return Ok(());
        }
        self.statistics.digest_errors += 1;
        Err(Close::HeaderDigest)
    }

    fn receive_limit(&self) -> usize {
        match self.phase {
            Phase::Login => TEXT,
            _ => self.parameters.max_recv_data_segment_length as usize,
        }
    }

    /// More data than was declared (RFC 7143 13.12). Nothing behind it can be trusted, so it is not drained.
    fn overlong(&mut self, bhs: &Bhs, out: &mut Outbox<'_>) -> Close {
        self.statistics.format_errors += 1;
        if self.phase == Phase::Login {
            return Close::LoginFailed(self.refuse_login(bhs, out));
        }
        if out.room() >= Self::OUTBOX_MIN {
            self.reject(RejectReason::ProtocolError, bhs, out);
        }
        Close::Protocol("a data segment longer than MaxRecvDataSegmentLength")
    }

    #[inline]
    fn dispatch<'b>(
        &mut self,
        bhs: &Bhs,
        ahs: &[u8],
        data: &'b [u8],
        out: &mut Outbox<'_>,
        env: &mut dyn Environment,
    ) -> Result<Event<'b>, Close> {
        match self.phase {
            Phase::Login => return self.login(bhs, data, out, env),
            Phase::LoggingOut { .. } => return Ok(Event::Handled),
            Phase::Full => {}
        }
        let Some(opcode) = bhs.opcode() else {
            self.reject(RejectReason::CommandNotSupported, bhs, out);
            return Ok(Event::Handled);
        };
        if opcode == Opcode::DataOut {
            if let Some(cmd_sn) = self.early.cmd_sn(bhs.itt()) {
                return Ok(Event::Early { cmd_sn });
            }
            return Ok(self.data_out(bhs, data, out));
        }
        // RFC 7143 4.3: a discovery session takes text and logout requests; all others are rejected. The answer to a NOP-In
        // of this side's is none.
        let is_answer = opcode == Opcode::NopOut && bhs.itt() == RESERVED_TAG;
        if self.discovery && !is_answer && !matches!(opcode, Opcode::TextRequest | Opcode::LogoutRequest) {
            self.reject(RejectReason::CommandNotSupported, bhs, out);
            return Ok(Event::Handled);
        }
        let ordered = matches!(
            opcode,
            Opcode::ScsiCommand | Opcode::TaskRequest | Opcode::TextRequest | Opcode::LogoutRequest | Opcode::NopOut
        ) && !bhs.immediate();
        if ordered {
            match self.window.place(bhs.cmd_sn(), self.slots.window()) {
                Place::Next => {}
                Place::Outside => return Ok(Event::Handled),
                Place::Early => {
                    self.early.insert(bhs.itt(), bhs.cmd_sn())?;
                    return Ok(Event::Early { cmd_sn: bhs.cmd_sn() });
                }
            }
            self.early.remove(bhs.cmd_sn());
        }
        match opcode {
            Opcode::ScsiCommand => Ok(self.scsi_command(bhs, ahs, data, out)),
            Opcode::NopOut => Ok(self.nop_out(bhs, data, out)),
            Opcode::TaskRequest => Ok(self.task_request(bhs, out)),
            Opcode::TextRequest => Ok(self.text_request(bhs, data, out, env)),
            Opcode::LogoutRequest => Ok(self.logout_request(bhs, out)),
            Opcode::SnackRequest => {
                // 11.16: ErrorRecoveryLevel 0 has no SNACK.
                self.reject(RejectReason::SnackReject, bhs, out);
                Ok(Event::Handled)
            }
            Opcode::LoginRequest => {
                self.reject(RejectReason::ProtocolError, bhs, out);
                Ok(Event::Handled)
            }
            _ => {
                self.reject(RejectReason::CommandNotSupported, bhs, out);
                Ok(Event::Handled)
            }
        }
    }

    /// A command was taken: the next CmdSN is expected. A rejected one is not counted (RFC 7143 11.17).
    #[inline]
    pub(super) fn accept(&mut self, immediate: bool) {
        if !immediate {
            self.window.advance();
        }
    }

    #[inline]
    fn scsi_command<'b>(&mut self, bhs: &Bhs, ahs: &[u8], data: &'b [u8], out: &mut Outbox<'_>) -> Event<'b> {
        let (Ok(command), Ok(unsupported)) = (ScsiCommand::parse(bhs), asks_too_much(ahs)) else {
            self.reject(RejectReason::InvalidPduField, bhs, out);
            return Event::Handled;
        };
        if command.itt == RESERVED_TAG {
            self.reject(RejectReason::InvalidPduField, bhs, out);
            return Event::Handled;
        }
        if self.slots.find(command.itt).is_some() {
            self.reject(RejectReason::TaskInProgress, bhs, out);
            return Event::Handled;
        }
        let Some(task) = self.slots.insert(command) else {
            self.reject(RejectReason::TooManyImmediateCommands, bhs, out);
            return Event::Handled;
        };
        self.accept(command.immediate);
        self.acknowledged = command.exp_stat_sn;
        let bidirectional = command.read && command.write;
        let fault = if unsupported || bidirectional {
            Some(CommandFault::Unsupported)
        } else {
            self.unsolicited_fault(&command, data.len())
        };
        if let Some(slot) = self.slots.slot_mut(task) {
            slot.out.received = data.len() as u32;
            slot.out.unsolicited = !command.is_final && fault.is_none();
        }
        Event::Command(Command {
            task,
            cmd_sn: command.cmd_sn,
            lun: command.lun,
            cdb: command.cdb,
            attribute: command.attribute,
            data_in: if command.read { command.expected_len } else { 0 },
            data_out: if command.write { command.expected_len } else { 0 },
            immediate_data: data,
            fault,
        })
    }

    /// ImmediateData, InitialR2T and FirstBurstLength (RFC 7143 13.10, 13.11, 13.14).
    #[inline]
    fn unsolicited_fault(&self, command: &ScsiCommand, immediate: usize) -> Option<CommandFault> {
        if immediate == 0 && command.is_final {
            return None;
        }
        let parameters = &self.parameters;
        if immediate > 0 && (!command.write || !parameters.immediate_data)
            || !command.is_final && parameters.initial_r2t
        {
            return Some(CommandFault::Unexpected);
        }
        let most = command.expected_len.min(parameters.first_burst_length) as usize;
        (immediate > most).then_some(CommandFault::IncorrectAmount)
    }

    fn task_request(&mut self, bhs: &Bhs, out: &mut Outbox<'_>) -> Event<'static> {
        let Ok(request) = TaskRequest::parse(bhs) else {
            self.reject(RejectReason::InvalidPduField, bhs, out);
            return Event::Handled;
        };
        self.accept(request.immediate);
        let mut named = None;
        if request.function == TaskFunction::AbortTask {
            named = self.slots.find(request.referenced_tag);
            let free = self.slots.window();
            if named.is_none() && self.window.skip(request.ref_cmd_sn, request.cmd_sn, free) {
                self.early.remove(request.ref_cmd_sn);
                self.task_response(&request, crate::pdu::TaskResult::Complete, out);
                return Event::Handled;
            }
        }
        Event::TaskManagement(request, named)
    }
}

/// Whether the additional header segments ask for what this side does not do: a CDB of more than sixteen bytes, or a
/// bidirectional command. It must not be run as if they were not there.
///
/// # Errors
/// Where they are malformed or of an unknown type.
#[inline]
fn asks_too_much(ahs: &[u8]) -> Result<bool, Malformed> {
    let mut any = false;
    for segment in segments(ahs) {
        match segment? {
            Ahs::ExtendedCdb(_) | Ahs::BidirectionalReadLen(_) => any = true,
            Ahs::Unknown(..) => return Err(Malformed { at: 4 }),
        }
    }
    Ok(any)
}

impl Digests {
    /// Those of a session.
    pub(super) const fn of(parameters: &crate::params::Parameters) -> Self {
        Self { header: parameters.header_digest, data: parameters.data_digest }
    }
}
