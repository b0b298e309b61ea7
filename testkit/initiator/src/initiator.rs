//! One connection without I/O: it makes PDUs and takes a target's answers apart.

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{
    Bhs, DataOut, LoginRequest, LogoutReason, LogoutRequest, NopOut, Numbers, RESERVED_TAG, ReadyToTransfer,
    ScsiCommand, Stage, TaskAttribute, TaskFunction, TaskRequest, TextRequest,
};

use crate::answer::{Answer, Malformed, text};
use crate::pdu::{Pdu, WireError};

/// The name of the initiator, if a test gives none.
pub const INITIATOR: &str = "iqn.2001-04.com.example:host";
/// The ISID, if a test gives none.
pub const ISID: [u8; 6] = [0x80, 0, 0, 1, 2, 3];

/// The initiator's side of a connection.
///
/// It keeps to the rules only as far as a test wants: what its methods return can be changed in every field. The target's
/// answers it holds to these: StatSN goes up by one with each status and with nothing else (RFC 7143 4.2.2.2), ExpCmdSN
/// and MaxCmdSN never go back (4.2.2.1), digests are right, padding is zero.
#[derive(Debug, Clone)]
pub struct Initiator {
    /// The session's identifier on this side.
    pub isid: [u8; 6],
    /// Of the next command that is not immediate.
    pub cmd_sn: u32,
    /// Of the next status.
    pub exp_stat_sn: u32,
    /// The last ExpCmdSN of the target.
    pub exp_cmd_sn: u32,
    /// The last MaxCmdSN of the target.
    pub max_cmd_sn: u32,
    /// Which digests PDUs have, both ways.
    pub digests: Digests,
    itt: u32,
    input: Vec<u8>,
}

impl Default for Initiator {
    fn default() -> Self {
        Self {
            isid: ISID,
            cmd_sn: 1,
            exp_stat_sn: 0,
            exp_cmd_sn: 1,
            max_cmd_sn: 0,
            digests: Digests::default(),
            itt: 0,
            input: Vec::new(),
        }
    }
}

/// What a target did that RFC 7143 forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Bytes that are no PDU.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A PDU without meaning.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// 4.2.2.2: each status has the StatSN behind the last one's.
    #[error("StatSN is {found} instead of {expected}: {answer:?}")]
    StatSn {
        /// What came.
        found: u32,
        /// What was to come.
        expected: u32,
        /// The PDU.
        answer: Box<Answer>,
    },
    /// 4.2.2.1: ExpCmdSN and MaxCmdSN never go back, and MaxCmdSN is at least ExpCmdSN - 1.
    #[error("{what}: {answer:?}")]
    Window {
        /// Which rule.
        what: &'static str,
        /// The PDU.
        answer: Box<Answer>,
    },
}

impl Initiator {
    /// One with another ISID.
    #[must_use]
    pub fn with_isid(isid: [u8; 6]) -> Self {
        Self { isid, ..Self::default() }
    }

    /// A task tag that was not used before.
    pub const fn tag(&mut self) -> u32 {
        self.itt += 1;
        self.itt
    }

    /// The CmdSN of a PDU.
    fn number(&mut self, immediate: bool) -> u32 {
        let number = self.cmd_sn;
        self.cmd_sn = self.cmd_sn.wrapping_add(u32::from(!immediate));
        number
    }

    /// A header with its data; change it as needed.
    #[must_use]
    pub fn pdu(&self, bhs: &Bhs, data: &[u8]) -> Pdu {
        Pdu::of(bhs, data)
    }

    /// A whole PDU as it is on the wire.
    #[must_use]
    pub fn unit(&self, bhs: &Bhs, data: &[u8]) -> Vec<u8> {
        Pdu::of(bhs, data).to_bytes(self.digests)
    }

    /// A Login Request that wants to go from `stage` to `next`.
    pub const fn login_request(&mut self, stage: Stage, next: Stage) -> LoginRequest {
        LoginRequest {
            transit: true,
            cont: false,
            current_stage: stage,
            next_stage: next,
            version_max: 0,
            version_min: 0,
            isid: self.isid,
            tsih: 0,
            itt: self.tag(),
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        }
    }

    /// One Login Request on the wire; pairs are written `A=b C=d`.
    pub fn login(&mut self, stage: Stage, next: Stage, pairs: &str) -> Vec<u8> {
        Pdu::of(&self.login_request(stage, next).emit(), &text(pairs)).to_bytes(Digests::default())
    }

    /// A command in the order of CmdSN that moves nothing; change it as needed.
    pub fn bare(&mut self, cdb: &[u8]) -> ScsiCommand {
        let mut padded = [0; 16];
        padded[..cdb.len()].copy_from_slice(cdb);
        ScsiCommand {
            immediate: false,
            is_final: true,
            read: false,
            write: false,
            attribute: TaskAttribute::Simple,
            lun: 0,
            itt: self.tag(),
            expected_len: 0,
            cmd_sn: self.number(false),
            exp_stat_sn: self.exp_stat_sn,
            cdb: padded,
        }
    }

    /// A command that reads at most `expected_len` bytes.
    pub fn read(&mut self, cdb: &[u8], expected_len: u32) -> ScsiCommand {
        ScsiCommand { read: true, expected_len, ..self.bare(cdb) }
    }

    /// A command that writes `expected_len` bytes.
    pub fn write(&mut self, cdb: &[u8], expected_len: u32) -> ScsiCommand {
        ScsiCommand { write: true, expected_len, ..self.bare(cdb) }
    }

    /// The answer to an R2T in PDUs of at most `segment` bytes: what it asks for of `data`.
    ///
    /// # Panics
    /// If the R2T asks for more than there is.
    #[must_use]
    pub fn answer_r2t(&self, r2t: &ReadyToTransfer, data: &[u8], segment: usize) -> Vec<u8> {
        let asked = &data[r2t.offset as usize..][..r2t.len as usize];
        self.on_the_wire(&self.data_out(r2t.itt, r2t.ttt, r2t.offset, asked, segment))
    }

    /// Unsolicited Data-Out PDUs that carry `data` from `offset` on.
    #[must_use]
    pub fn unsolicited(&self, itt: u32, offset: u32, data: &[u8], segment: usize) -> Vec<u8> {
        self.on_the_wire(&self.data_out(itt, RESERVED_TAG, offset, data, segment))
    }

    /// A sequence of Data-Out PDUs that carry `data` from `offset` on, at most `segment` bytes each.
    #[must_use]
    pub fn data_out(&self, itt: u32, ttt: u32, offset: u32, data: &[u8], segment: usize) -> Vec<Pdu> {
        let count = data.len().div_ceil(segment);
        let pdu = |(number, piece): (usize, &[u8])| {
            let header = DataOut {
                is_final: number + 1 == count,
                lun: 0,
                itt,
                ttt,
                exp_stat_sn: self.exp_stat_sn,
                data_sn: number as u32,
                offset: offset + (number * segment) as u32,
            };
            Pdu::of(&header.emit(), piece)
        };
        data.chunks(segment).enumerate().map(pdu).collect()
    }

    fn on_the_wire(&self, pdus: &[Pdu]) -> Vec<u8> {
        pdus.iter().flat_map(|pdu| pdu.to_bytes(self.digests)).collect()
    }

    /// A NOP-Out that wants an answer.
    pub fn ping(&mut self, immediate: bool) -> NopOut {
        let (itt, cmd_sn) = (self.tag(), self.number(immediate));
        NopOut { immediate, lun: 0, itt, ttt: RESERVED_TAG, cmd_sn, exp_stat_sn: self.exp_stat_sn }
    }

    /// An immediate task management request.
    pub const fn manage(&mut self, function: TaskFunction, referenced_tag: u32, ref_cmd_sn: u32) -> TaskRequest {
        let (immediate, lun, exp_stat_sn) = (true, 0, self.exp_stat_sn);
        let (itt, cmd_sn) = (self.tag(), self.cmd_sn);
        TaskRequest { immediate, function, lun, itt, referenced_tag, cmd_sn, exp_stat_sn, ref_cmd_sn }
    }

    /// A Logout Request in the order of CmdSN.
    pub fn logout(&mut self, reason: LogoutReason) -> LogoutRequest {
        let (itt, cmd_sn) = (self.tag(), self.number(false));
        LogoutRequest { immediate: false, reason, itt, cid: 0, cmd_sn, exp_stat_sn: self.exp_stat_sn }
    }

    /// A Text Request in the order of CmdSN.
    pub fn text_request(&mut self) -> TextRequest {
        let (itt, cmd_sn, exp_stat_sn) = (self.tag(), self.number(false), self.exp_stat_sn);
        let (immediate, is_final, cont) = (false, true, false);
        TextRequest { immediate, is_final, cont, lun: 0, itt, ttt: RESERVED_TAG, cmd_sn, exp_stat_sn }
    }

    /// Bytes that came from the target.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
    }

    /// The next answer, once it is whole.
    ///
    /// # Panics
    /// If the target breaks a rule; [`Initiator::next_answer`] tells it instead.
    #[track_caller]
    pub fn answer(&mut self) -> Option<Answer> {
        match self.next_answer() {
            Ok(answer) => answer.map(|(answer, _)| answer),
            Err(violation) => panic!("{violation}"),
        }
    }

    /// The next answer and its PDU, once it is whole.
    ///
    /// # Errors
    /// What the target did wrong; its bytes stay where they are if they are no PDU.
    pub fn next_answer(&mut self) -> Result<Option<(Answer, Pdu)>, Violation> {
        let Some((pdu, len)) = Pdu::parse_strictly(&self.input, self.digests)? else { return Ok(None) };
        self.input.drain(..len);
        let answer = Answer::parse(&pdu)?;
        self.check(&answer)?;
        Ok(Some((answer, pdu)))
    }

    fn check(&mut self, answer: &Answer) -> Result<(), Violation> {
        let (numbers, uses_up) = answer.numbers();
        if let Some(found) = answer.stat_sn() {
            if self.max_cmd_sn == 0 && matches!(answer, Answer::Login(..)) {
                // The first answer of all.
                self.exp_stat_sn = found;
                (self.exp_cmd_sn, self.max_cmd_sn) = (numbers.exp_cmd_sn, numbers.max_cmd_sn);
            }
            if found != self.exp_stat_sn {
                return Err(Violation::StatSn { found, expected: self.exp_stat_sn, answer: answer.clone().into() });
            }
            self.exp_stat_sn = found.wrapping_add(u32::from(uses_up));
        }
        let Numbers { exp_cmd_sn, max_cmd_sn, .. } = numbers;
        let violated = |what| Violation::Window { what, answer: answer.clone().into() };
        if exp_cmd_sn.wrapping_sub(self.exp_cmd_sn).cast_signed() < 0 {
            return Err(violated("ExpCmdSN goes back"));
        }
        if max_cmd_sn.wrapping_sub(self.max_cmd_sn).cast_signed() < 0 {
            return Err(violated("MaxCmdSN goes back"));
        }
        if max_cmd_sn.wrapping_sub(exp_cmd_sn).cast_signed() < -1 {
            return Err(violated("MaxCmdSN is below the window"));
        }
        (self.exp_cmd_sn, self.max_cmd_sn) = (exp_cmd_sn, max_cmd_sn);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use iesp_iscsi::pdu::{CommandResponse, LoginResponse, LoginStatus, Residual};

    use super::*;

    /// Logged in, with 7 as the next StatSN and a window from 1 to 9.
    fn logged_in() -> Initiator {
        let mut initiator = Initiator::default();
        let request = initiator.login_request(Stage::OperationalNegotiation, Stage::FullFeaturePhase);
        let numbers = Numbers { stat_sn: 6, exp_cmd_sn: 1, max_cmd_sn: 9 };
        let response = LoginResponse { numbers, ..request.response(LoginStatus::Success) };
        initiator.receive(&Pdu::of(&response.emit(), &[]).to_bytes(Digests::default()));
        assert!(matches!(initiator.answer(), Some(Answer::Login(..))));
        initiator
    }

    fn status(stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32) -> Vec<u8> {
        let (itt, residual) = (2, Residual::None);
        let numbers = Numbers { stat_sn, exp_cmd_sn, max_cmd_sn };
        let response = CommandResponse { response: 0, status: 0, itt, residual, numbers, exp_data_sn: 0 };
        Pdu::of(&response.emit(), &[]).to_bytes(Digests::default())
    }

    #[test]
    fn numbers_that_go_on_are_right() {
        let mut initiator = logged_in();
        let bytes = [status(7, 2, 10), status(8, 2, 10)].concat();
        let (first, second) = bytes.split_at(50);
        initiator.receive(first);
        assert!(initiator.answer().is_some());
        assert!(initiator.answer().is_none());
        initiator.receive(second);
        assert!(initiator.answer().is_some());
        assert_eq!(initiator.exp_stat_sn, 9);
    }

    #[test]
    fn wrong_numbers_are_violations() {
        let after = |bytes: Vec<u8>| {
            let mut initiator = logged_in();
            initiator.receive(&bytes);
            initiator.next_answer()
        };
        assert!(matches!(after(status(8, 2, 10)), Err(Violation::StatSn { found: 8, expected: 7, .. })));
        assert!(matches!(after(status(7, 0, 10)), Err(Violation::Window { what: "ExpCmdSN goes back", .. })));
        assert!(matches!(after(status(7, 2, 8)), Err(Violation::Window { what: "MaxCmdSN goes back", .. })));
        let below = after(status(7, 12, 10));
        assert!(matches!(below, Err(Violation::Window { what: "MaxCmdSN is below the window", .. })), "{below:?}");
    }
}
