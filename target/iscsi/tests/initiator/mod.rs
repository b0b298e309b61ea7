//! An initiator without I/O, for tests: it makes units and takes a target's answers apart.
//!
//! It keeps to the rules only as far as a test wants; the target's answers it holds to these in every test: StatSN goes up
//! by one with each status and with nothing else (RFC 7143 4.2.2.2), ExpCmdSN and MaxCmdSN never go back (4.2.2.1), digests
//! are right, padding is zero.
#![allow(dead_code)] // Each test program uses a part of it.

mod answer;

use iesp_iscsi::digest::digest;
use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{
    BHS_LEN, Bhs, DataOut, LoginRequest, LogoutReason, LogoutRequest, NopOut, Numbers, RESERVED_TAG, ReadyToTransfer,
    ScsiCommand, Stage, TaskAttribute, TaskFunction, TaskRequest, TextRequest, padded,
};

pub use answer::{Answer, text};

pub const INITIATOR: &str = "iqn.2001-04.com.example:host";
pub const ISID: [u8; 6] = [0x80, 0, 0, 1, 2, 3];

/// A session's side that asks.
pub struct Initiator {
    pub isid: [u8; 6],
    /// Of the next command that is not immediate.
    pub cmd_sn: u32,
    /// Of the next status.
    pub exp_stat_sn: u32,
    pub exp_cmd_sn: u32,
    pub max_cmd_sn: u32,
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

/// A whole unit as it is on the wire.
pub fn frame(digests: Digests, bhs: &Bhs, ahs: &[u8], data: &[u8]) -> Vec<u8> {
    assert_eq!(ahs.len() % 4, 0);
    let mut bhs = *bhs;
    bhs.set_data_len(data.len());
    bhs.0[4] = u8::try_from(ahs.len() / 4).expect("at most 255 words");
    let mut unit = [&bhs.0[..], ahs].concat();
    if digests.header {
        unit.extend(digest(&unit).to_le_bytes());
    }
    let start = unit.len();
    unit.extend(data);
    unit.resize(start + padded(data.len()), 0);
    if digests.data && !data.is_empty() {
        unit.extend(digest(&unit[start..]).to_le_bytes());
    }
    unit
}

impl Initiator {
    /// A task tag that was not used before.
    pub fn tag(&mut self) -> u32 {
        self.itt += 1;
        self.itt
    }

    /// The CmdSN of a unit.
    fn number(&mut self, immediate: bool) -> u32 {
        let number = self.cmd_sn;
        self.cmd_sn = self.cmd_sn.wrapping_add(u32::from(!immediate));
        number
    }

    pub fn unit(&self, bhs: &Bhs, data: &[u8]) -> Vec<u8> {
        frame(self.digests, bhs, &[], data)
    }

    /// One Login Request that wants to go from `stage` to `next`; pairs are written `A=b C=d`.
    pub fn login(&mut self, stage: Stage, next: Stage, pairs: &str) -> Vec<u8> {
        let request = LoginRequest {
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
        };
        frame(Digests::default(), &request.emit(), &[], &text(pairs))
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

    pub fn read(&mut self, cdb: &[u8], expected_len: u32) -> ScsiCommand {
        ScsiCommand { read: true, expected_len, ..self.bare(cdb) }
    }

    pub fn write(&mut self, cdb: &[u8], expected_len: u32) -> ScsiCommand {
        ScsiCommand { write: true, expected_len, ..self.bare(cdb) }
    }

    /// The answer to an R2T in units of at most `segment` bytes: what it asks for of `data`.
    pub fn answer_r2t(&self, r2t: &ReadyToTransfer, data: &[u8], segment: usize) -> Vec<u8> {
        let asked = &data[r2t.offset as usize..][..r2t.len as usize];
        self.sequence(r2t.itt, r2t.ttt, r2t.offset, asked, segment)
    }

    /// Unsolicited Data-Out units that carry `data` from `offset` on.
    pub fn unsolicited(&self, itt: u32, offset: u32, data: &[u8], segment: usize) -> Vec<u8> {
        self.sequence(itt, RESERVED_TAG, offset, data, segment)
    }

    fn sequence(&self, itt: u32, ttt: u32, offset: u32, data: &[u8], segment: usize) -> Vec<u8> {
        let count = data.len().div_ceil(segment);
        let unit = |(number, piece): (usize, &[u8])| {
            let unit = DataOut {
                is_final: number + 1 == count,
                lun: 0,
                itt,
                ttt,
                exp_stat_sn: self.exp_stat_sn,
                data_sn: number as u32,
                offset: offset + (number * segment) as u32,
            };
            self.unit(&unit.emit(), piece)
        };
        data.chunks(segment).enumerate().flat_map(unit).collect()
    }

    pub fn ping(&mut self, immediate: bool) -> NopOut {
        let (itt, cmd_sn) = (self.tag(), self.number(immediate));
        NopOut { immediate, lun: 0, itt, ttt: RESERVED_TAG, cmd_sn, exp_stat_sn: self.exp_stat_sn }
    }

    /// An immediate task management request.
    pub fn manage(&mut self, function: TaskFunction, referenced_tag: u32, ref_cmd_sn: u32) -> TaskRequest {
        let (immediate, lun, exp_stat_sn) = (true, 0, self.exp_stat_sn);
        let (itt, cmd_sn) = (self.tag(), self.cmd_sn);
        TaskRequest { immediate, function, lun, itt, referenced_tag, cmd_sn, exp_stat_sn, ref_cmd_sn }
    }

    pub fn logout(&mut self, reason: LogoutReason) -> LogoutRequest {
        let (itt, cmd_sn) = (self.tag(), self.number(false));
        LogoutRequest { immediate: false, reason, itt, cid: 0, cmd_sn, exp_stat_sn: self.exp_stat_sn }
    }

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
    pub fn answer(&mut self) -> Option<Answer> {
        let bhs = Bhs(*self.input.first_chunk::<BHS_LEN>()?);
        assert_eq!(bhs.ahs_len(), 0, "a target has no use for additional headers");
        let data_at = self.digests.header_len();
        let (len, trailer) = (bhs.data_len(), self.digests.trailer_len(bhs.data_len()));
        if self.input.len() < data_at + len + trailer {
            return None;
        }
        let unit: Vec<u8> = self.input.drain(..data_at + len + trailer).collect();
        if self.digests.header {
            assert_eq!(unit[BHS_LEN..data_at], digest(&bhs.0).to_le_bytes(), "header digest of {bhs:?}");
        }
        let body = &unit[data_at..data_at + padded(len)];
        assert!(body[len..].iter().all(|byte| *byte == 0), "padding of {bhs:?}");
        if self.digests.data && len > 0 {
            assert_eq!(unit[data_at + body.len()..], digest(body).to_le_bytes(), "data digest of {bhs:?}");
        }
        let answer = Answer::parse(&bhs, &body[..len]);
        self.check(&answer);
        Some(answer)
    }

    fn check(&mut self, answer: &Answer) {
        let (numbers, uses_up) = answer.numbers();
        if let Some(stat_sn) = answer.stat_sn() {
            if self.max_cmd_sn == 0 && matches!(answer, Answer::Login(..)) {
                // The first answer of all.
                self.exp_stat_sn = stat_sn;
                (self.exp_cmd_sn, self.max_cmd_sn) = (numbers.exp_cmd_sn, numbers.max_cmd_sn);
            }
            assert_eq!(stat_sn, self.exp_stat_sn, "StatSN of {answer:?}");
            self.exp_stat_sn = stat_sn.wrapping_add(u32::from(uses_up));
        }
        let Numbers { exp_cmd_sn, max_cmd_sn, .. } = numbers;
        assert!(exp_cmd_sn.wrapping_sub(self.exp_cmd_sn) as i32 >= 0, "ExpCmdSN goes back: {answer:?}");
        assert!(max_cmd_sn.wrapping_sub(self.max_cmd_sn) as i32 >= 0, "MaxCmdSN goes back: {answer:?}");
        // 4.2.2.1: at least ExpCmdSN - 1.
        assert!(max_cmd_sn.wrapping_sub(exp_cmd_sn) as i32 >= -1, "MaxCmdSN below the window: {answer:?}");
        (self.exp_cmd_sn, self.max_cmd_sn) = (exp_cmd_sn, max_cmd_sn);
    }
}
