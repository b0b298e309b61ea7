//! A unit in a line (RFC 7143 11).

use std::fmt::Write;

use iesp_iscsi::pdu::{Bhs, LoginStatus, Opcode, RESERVED_TAG};

use super::{cdb, sense};

/// Its name, flags, tags, numbers and what it carries.
pub fn describe(bhs: &Bhs, ahs: &[u8], data: &[u8]) -> String {
    let Some(opcode) = bhs.opcode() else {
        return format!("unknown opcode {:#04x}  itt={}", bhs.0[0] & 0x3f, tag(bhs.itt()));
    };
    let mut line = Line(String::with_capacity(200));
    line.word(name(opcode));
    if bhs.immediate() && is_request(opcode) {
        line.word("immediate");
    }
    flags(&mut line, opcode, bhs);
    line.put(format_args!("itt={}", tag(bhs.itt())));
    fields(&mut line, opcode, bhs, data);
    if !ahs.is_empty() {
        line.put(format_args!("ahs={}", ahs.len()));
    }
    if bhs.data_len() > 0 {
        line.put(format_args!("data={}", bhs.data_len()));
    }
    contents(&mut line, opcode, bhs, data);
    line.0
}

struct Line(String);

impl Line {
    fn word(&mut self, word: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(word);
    }

    fn put(&mut self, field: std::fmt::Arguments<'_>) {
        self.0.push(' ');
        // Into a string: it cannot fail.
        let _ = self.0.write_fmt(field);
    }

    fn flag(&mut self, is_set: bool, name: &str) {
        if is_set {
            self.word(name);
        }
    }
}

fn tag(tag: u32) -> String {
    if tag == RESERVED_TAG { "none".to_owned() } else { format!("{tag:#x}") }
}

const fn name(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::NopOut => "NOP-Out",
        Opcode::ScsiCommand => "SCSI Command",
        Opcode::TaskRequest => "Task Management Request",
        Opcode::LoginRequest => "Login Request",
        Opcode::TextRequest => "Text Request",
        Opcode::DataOut => "SCSI Data-Out",
        Opcode::LogoutRequest => "Logout Request",
        Opcode::SnackRequest => "SNACK Request",
        Opcode::NopIn => "NOP-In",
        Opcode::CommandResponse => "SCSI Response",
        Opcode::TaskResponse => "Task Management Response",
        Opcode::LoginResponse => "Login Response",
        Opcode::TextResponse => "Text Response",
        Opcode::DataIn => "SCSI Data-In",
        Opcode::LogoutResponse => "Logout Response",
        Opcode::ReadyToTransfer => "Ready To Transfer",
        Opcode::AsyncMessage => "Asynchronous Message",
        Opcode::Reject => "Reject",
    }
}

const fn is_request(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::NopOut
            | Opcode::ScsiCommand
            | Opcode::TaskRequest
            | Opcode::LoginRequest
            | Opcode::TextRequest
            | Opcode::LogoutRequest
    )
}

fn flags(line: &mut Line, opcode: Opcode, bhs: &Bhs) {
    let bits = bhs.0[1];
    let set = |bit: u8| bits & bit != 0;
    match opcode {
        Opcode::ScsiCommand => {
            line.flag(set(0x80), "F");
            line.flag(set(0x40), "R");
            line.flag(set(0x20), "W");
            line.word(match bits & 7 {
                0 => "untagged",
                1 => "simple",
                2 => "ordered",
                3 => "head-of-queue",
                4 => "ACA",
                _ => "attribute?",
            });
        }
        Opcode::CommandResponse | Opcode::DataIn => {
            line.flag(set(0x80), "F");
            line.flag(opcode == Opcode::DataIn && set(0x40), "A");
            line.flag(set(0x04), "O");
            line.flag(set(0x02), "U");
            line.flag(opcode == Opcode::DataIn && set(0x01), "S");
        }
        Opcode::LoginRequest | Opcode::LoginResponse => {
            let stage = |bits: u8| ["security", "operational", "2", "full-feature"][usize::from(bits & 3)];
            line.flag(set(0x80), "T");
            line.flag(set(0x40), "C");
            line.put(format_args!("stage={}", stage(bits >> 2)));
            if set(0x80) {
                line.put(format_args!("next={}", stage(bits)));
            }
        }
        Opcode::TextRequest | Opcode::TextResponse => {
            line.flag(set(0x80), "F");
            line.flag(set(0x40), "C");
        }
        Opcode::DataOut => line.flag(set(0x80), "F"),
        _ => {}
    }
}

fn fields(line: &mut Line, opcode: Opcode, bhs: &Bhs, data: &[u8]) {
    let b = &bhs.0;
    let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
    match opcode {
        Opcode::ScsiCommand => line.put(format_args!("lun={} edtl={}", lun(bhs), word(20))),
        Opcode::CommandResponse => {
            let response = match b[2] {
                0 => "completed".to_owned(),
                1 => "target-failure".to_owned(),
                other => format!("{other:#04x}"),
            };
            line.put(format_args!("response={response} status={}", sense::status(b[3])));
            residual(line, b[1], word(44));
            line.put(format_args!("expdatasn={}", word(36)));
        }
        Opcode::DataIn => {
            line.put(format_args!("datasn={} offset={}", word(36), word(40)));
            if b[1] & 1 != 0 {
                line.put(format_args!("status={}", sense::status(b[3])));
                residual(line, b[1], word(44));
            }
        }
        Opcode::DataOut => {
            line.put(format_args!("ttt={} datasn={} offset={}", tag(word(20)), word(36), word(40)));
        }
        Opcode::ReadyToTransfer => {
            let (sn, offset, len) = (word(36), word(40), word(44));
            line.put(format_args!("lun={} ttt={} r2tsn={sn} offset={offset} length={len}", lun(bhs), tag(word(20))));
        }
        Opcode::TaskRequest => {
            let function = task_function(b[1] & 0x7f);
            line.put(format_args!("{function} lun={} reference={} refcmdsn={}", lun(bhs), tag(word(20)), word(32)));
        }
        Opcode::TaskResponse => line.put(format_args!("response={}", task_response(b[2]))),
        Opcode::LoginRequest => {
            line.put(format_args!("version={}-{} isid={} tsih={} cid={}", b[3], b[2], isid(b), half(14), half(20)));
        }
        Opcode::LoginResponse => {
            let status = LoginStatus::from_code(half(36));
            line.put(format_args!("isid={} tsih={} status={:04x} ({status})", isid(b), half(14), half(36)));
        }
        Opcode::LogoutRequest => {
            let reason = match b[1] & 0x7f {
                0 => "close-session",
                1 => "close-connection",
                2 => "remove-for-recovery",
                _ => "unknown",
            };
            line.put(format_args!("reason={reason} cid={}", half(20)));
        }
        Opcode::LogoutResponse => {
            line.put(format_args!("response={} time2wait={} time2retain={}", b[2], half(40), half(42)));
        }
        Opcode::NopOut | Opcode::NopIn => line.put(format_args!("lun={} ttt={}", lun(bhs), tag(word(20)))),
        Opcode::TextRequest | Opcode::TextResponse => line.put(format_args!("ttt={}", tag(word(20)))),
        Opcode::SnackRequest => {
            line.put(format_args!(
                "type={} ttt={} begrun={} runlength={}",
                b[1] & 0xf,
                tag(word(20)),
                word(40),
                word(44)
            ));
        }
        Opcode::AsyncMessage => {
            let event = match b[36] {
                0 => "SCSI-event",
                1 => "logout-request",
                2 => "connection-dropped",
                3 => "session-dropped",
                4 => "negotiation-request",
                _ => "vendor-specific",
            };
            line.put(format_args!("{event} parameters={},{},{}", half(38), half(40), half(42)));
        }
        Opcode::Reject => {
            line.put(format_args!("reason={}", reject_reason(b[2])));
            if let Some(header) = data.first_chunk::<48>() {
                let rejected = Bhs(*header);
                let name = rejected.opcode().map_or("unknown opcode", name);
                line.put(format_args!("of=\"{name} itt={}\"", tag(rejected.itt())));
            }
        }
    }
    if is_request(opcode) {
        line.put(format_args!("cmdsn={} expstatsn={}", bhs.cmd_sn(), bhs.exp_stat_sn()));
    } else if matches!(opcode, Opcode::DataOut | Opcode::SnackRequest) {
        line.put(format_args!("expstatsn={}", bhs.exp_stat_sn()));
    } else {
        line.put(format_args!("statsn={} expcmdsn={} maxcmdsn={}", word(24), word(28), word(32)));
    }
}

fn contents(line: &mut Line, opcode: Opcode, bhs: &Bhs, data: &[u8]) {
    match opcode {
        Opcode::ScsiCommand => {
            let mut cdb = [0; 16];
            cdb.copy_from_slice(&bhs.0[32..48]);
            line.put(format_args!(" {}", cdb::describe(&cdb)));
        }
        Opcode::CommandResponse if data.len() > 2 => line.put(format_args!(" {}", sense::describe(&data[2..]))),
        Opcode::LoginRequest | Opcode::LoginResponse | Opcode::TextRequest | Opcode::TextResponse => text(line, data),
        _ => {}
    }
}

/// The pairs of a text. What proves who somebody is stays out of logs: a challenge and its response are enough to try
/// secrets on.
fn text(line: &mut Line, data: &[u8]) {
    for pair in data.split(|byte| *byte == 0).filter(|pair| !pair.is_empty()) {
        let pair = String::from_utf8_lossy(pair);
        match pair.split_once('=') {
            Some((key @ ("CHAP_R" | "CHAP_C"), _)) => line.put(format_args!(" {key}=...")),
            _ => line.put(format_args!(" {pair}")),
        }
    }
}

fn lun(bhs: &Bhs) -> String {
    iesp_scsi::lun_number(bhs.lun()).map_or_else(|| format!("{:#018x}", bhs.lun()), |number| number.to_string())
}

fn isid(b: &[u8]) -> String {
    b[8..14].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn residual(line: &mut Line, flags: u8, count: u32) {
    if flags & 0x04 != 0 {
        line.put(format_args!("overflow={count}"));
    } else if flags & 0x02 != 0 {
        line.put(format_args!("underflow={count}"));
    }
}

const fn task_function(function: u8) -> &'static str {
    match function {
        1 => "ABORT TASK",
        2 => "ABORT TASK SET",
        3 => "CLEAR ACA",
        4 => "CLEAR TASK SET",
        5 => "LOGICAL UNIT RESET",
        6 => "TARGET WARM RESET",
        7 => "TARGET COLD RESET",
        8 => "TASK REASSIGN",
        _ => "unknown function",
    }
}

const fn task_response(response: u8) -> &'static str {
    match response {
        0 => "complete",
        1 => "task-does-not-exist",
        2 => "lun-does-not-exist",
        3 => "task-still-allegiant",
        4 => "reassignment-not-supported",
        5 => "function-not-supported",
        6 => "authorization-failed",
        255 => "rejected",
        _ => "unknown",
    }
}

const fn reject_reason(reason: u8) -> &'static str {
    match reason {
        2 => "data-digest-error",
        3 => "SNACK-reject",
        4 => "protocol-error",
        5 => "command-not-supported",
        6 => "too-many-immediate-commands",
        7 => "task-in-progress",
        8 => "invalid-data-ack",
        9 => "invalid-pdu-field",
        10 => "long-operation-reject",
        12 => "waiting-for-logout",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bhs(opcode: Opcode, bytes: &[(usize, &[u8])]) -> Bhs {
        let mut bhs = Bhs::new(opcode);
        for (at, bytes) in bytes {
            bhs.0[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        bhs
    }

    #[test]
    fn a_command_and_its_answer() {
        let command = bhs(
            Opcode::ScsiCommand,
            &[
                (1, &[0xc1]),
                (9, &[3]),
                (19, &[7]),
                (22, &[0x10, 0]),
                (27, &[5]),
                (31, &[9]),
                (32, &[0x28, 8, 0, 0, 1, 0, 0, 0, 8]),
            ],
        );
        assert_eq!(
            describe(&command, &[], &[]),
            "SCSI Command F R simple itt=0x7 lun=3 edtl=4096 cmdsn=5 expstatsn=9  READ(10) lba=256 blocks=8 FUA"
        );
        let sense = [0, 18, 0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcb, 0, 5];
        let mut response = bhs(
            Opcode::CommandResponse,
            &[(1, &[0x82]), (3, &[2]), (19, &[7]), (27, &[9]), (31, &[6]), (35, &[80]), (46, &[0x10, 0])],
        );
        response.set_data_len(sense.len());
        assert_eq!(
            describe(&response, &[], &sense),
            "SCSI Response F U itt=0x7 response=completed status=CHECK-CONDITION underflow=4096 expdatasn=0 statsn=9 \
             expcmdsn=6 maxcmdsn=80 data=20  ILLEGAL REQUEST 24/00 INVALID FIELD IN CDB, CDB byte 5 bit 3"
        );
    }

    #[test]
    fn text_without_proofs() {
        let login = bhs(Opcode::LoginRequest, &[(1, &[0x81]), (8, &[0x80, 1, 2, 3, 4, 5])]);
        let text = b"CHAP_N=anna\0CHAP_R=0x0123\0CHAP_I=7\0";
        assert_eq!(
            describe(&login, &[], text),
            "Login Request T stage=security next=operational itt=0x0 version=0-0 isid=800102030405 tsih=0 cid=0 cmdsn=0 \
             expstatsn=0  CHAP_N=anna  CHAP_R=...  CHAP_I=7"
        );
    }

    /// Whatever comes has a line, and none panics.
    #[test]
    fn any_header() {
        for first in 0..=255_u8 {
            for filling in [0, 0x55, 0xff] {
                let mut bytes = [filling; 48];
                bytes[0] = first;
                for data in [&[][..], &[0xff; 3], &[0; 60]] {
                    assert!(!describe(&Bhs(bytes), &[1, 2], data).is_empty());
                }
            }
        }
    }
}
