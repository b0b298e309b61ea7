//! What is malformed or not supported: Reject (11.17), CHECK CONDITION, or the end of the connection.

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{Bhs, LoginStatus, Opcode, RejectReason};
use iesp_iscsi::{Close, CommandFault};

use crate::initiator::{Answer, frame};
use crate::pair::{Pair, Seen};

/// A unit that is rejected, for this reason, and after which the session goes on. That the Reject has the reserved task tag
/// (fault 18) its parser makes sure of, that it carries the header `rejected` does.
#[track_caller]
fn rejects(bhs: &Bhs, ahs: &[u8], data: &[u8], reason: RejectReason) {
    for digests in [false, true] {
        let mut pair = if digests {
            Pair::with(crate::pair::limits(), "HeaderDigest=CRC32C DataDigest=CRC32C")
        } else {
            Pair::full()
        };
        let unit = frame(pair.initiator.digests, bhs, ahs, data);
        assert_eq!(pair.send(&unit), []);
        let mut sent = *bhs;
        sent.0[4] = (ahs.len() / 4) as u8;
        assert_eq!(pair.rejected(&sent, data.len()), reason);
        let ping = pair.initiator.ping(false);
        pair.unit(&ping.emit(), &[]);
        assert!(matches!(pair.answer(), Answer::Nop(..)));
    }
}

fn command(pair: &mut Pair) -> Bhs {
    pair.initiator.bare(&[0]).emit()
}

fn with(opcode: u8) -> Bhs {
    let mut bhs = Bhs([0; 48]);
    bhs.0[0] = opcode;
    bhs.0[1] = 0x80;
    bhs.0[27] = 1;
    bhs
}

/// Fault 18, 11.17: every opcode that no initiator may send here.
#[test]
fn fault_18_opcodes_that_nobody_sends() {
    for opcode in 0..=0x3f {
        let reason = match Opcode::from_byte(opcode) {
            Some(
                Opcode::NopOut
                | Opcode::ScsiCommand
                | Opcode::TaskRequest
                | Opcode::TextRequest
                | Opcode::DataOut
                | Opcode::LogoutRequest,
            ) => continue,
            Some(Opcode::SnackRequest) => RejectReason::SnackReject,
            Some(Opcode::LoginRequest) => RejectReason::ProtocolError,
            _ => RejectReason::CommandNotSupported,
        };
        rejects(&with(opcode), &[], &[], reason);
        rejects(&with(opcode | 0x40), &[], b"data", reason);
    }
}

/// Bit 7 of byte 1 is always 1 in these units, and says nothing: without it they mean the same (11.5, 11.14, 11.18).
#[test]
fn a_final_bit_that_says_nothing_may_be_missing() {
    let unfinished = |mut bhs: Bhs| {
        bhs.0[1] &= 0x7f;
        bhs
    };
    let mut pair = Pair::full();
    let ping = pair.initiator.ping(false).emit();
    assert_eq!(pair.unit(&unfinished(ping), b"ping"), []);
    assert!(matches!(pair.answer(), Answer::Nop(_, data) if data == b"ping"));
    let mut abort = with(0x42);
    (abort.0[1], abort.0[27]) = (2, 2);
    assert!(matches!(pair.unit(&abort, &[])[..], [Seen::Task(..)]));
    let mut logout = with(0x46);
    logout.0[1] = 0;
    assert!(matches!(pair.unit(&logout, &[])[..], [Seen::Logout]));
}

/// Fields that have one right value.
#[test]
fn fault_18_malformed_fields() {
    let mut no_tag = with(0x00);
    no_tag.0[16..20].fill(0xff);
    rejects(&no_tag, &[], &[], RejectReason::InvalidPduField);
    let mut no_tag = with(0x01);
    no_tag.0[16..20].fill(0xff);
    rejects(&no_tag, &[], &[], RejectReason::InvalidPduField);
    let mut reason = with(0x06);
    reason.0[1] = 0x83;
    rejects(&reason, &[], &[], RejectReason::InvalidPduField);
}

/// 11.17.1, reason 7: a task tag that is in use.
#[test]
fn a_task_tag_that_is_in_use() {
    let mut pair = Pair::full();
    let first = pair.initiator.bare(&[0]);
    pair.command(&first, &[]);
    let mut second = pair.initiator.bare(&[0]);
    second.itt = first.itt;
    assert_eq!(pair.unit(&second.emit(), &[]), []);
    assert_eq!(pair.rejected(&second.emit(), 0), RejectReason::TaskInProgress);
}

/// Fault 1: an additional header of each kind, whole, cut and empty. None is passed over as if it were not there.
#[test]
fn fault_01_additional_headers_of_each_kind() {
    let long_cdb = [&[0, 17, 1, 0][..], &[7; 16]].concat();
    let bidirectional = [0, 5, 2, 0, 0, 0, 16, 0];
    for ahs in [&long_cdb[..], &bidirectional, &[&long_cdb[..], &bidirectional].concat()] {
        let mut pair = Pair::full();
        let bhs = command(&mut pair);
        let unit = frame(Digests::default(), &bhs, ahs, &[]);
        let seen = pair.send(&unit);
        assert!(matches!(seen[..], [Seen::Command { fault: Some(CommandFault::Unsupported), .. }]), "{seen:?}");
    }
    let mut pair = Pair::full();
    let bhs = command(&mut pair);
    let longest = [0xff; 1020];
    for ahs in [&[0; 4][..], &[0; 1020], &longest, &[0, 1, 9, 0], &[0, 0, 1, 0], &[0, 0, 2, 0], &[0xff, 0xff, 1, 0]] {
        rejects(&bhs, ahs, &[], RejectReason::InvalidPduField);
    }
    // In a unit that has no use for it, it is no reason to stop.
    let mut pair = Pair::full();
    let ping = pair.initiator.ping(false).emit();
    assert_eq!(pair.send(&frame(Digests::default(), &ping, &[0; 1020], b"ping")), []);
    assert!(matches!(pair.answer(), Answer::Nop(_, data) if data == b"ping"));
}

/// A command that both reads and writes is not supported, and is not run as one of them.
#[test]
fn a_bidirectional_command() {
    let mut pair = Pair::full();
    let mut command = pair.initiator.write(&[0x2a], 512);
    command.read = true;
    let seen = pair.unit(&command.emit(), &[]);
    assert!(matches!(seen[..], [Seen::Command { fault: Some(CommandFault::Unsupported), .. }]), "{seen:?}");
}

/// Fault 2: a data segment above MaxRecvDataSegmentLength is told by its header alone: nothing of it is awaited.
#[test]
fn fault_02_a_data_segment_that_is_too_long() {
    for len in [8193, 1 << 20, (1 << 24) - 1] {
        for opcode in [0x00, 0x01, 0x04, 0x05, 0x3e] {
            let mut pair = Pair::full();
            let mut bhs = with(opcode);
            bhs.set_data_len(len);
            assert!(matches!(pair.close(&bhs.0), Close::Protocol(_)));
            assert_eq!(pair.rejected(&bhs, len), RejectReason::ProtocolError);
        }
    }
    let mut pair = Pair::full();
    let ping = pair.initiator.ping(false);
    assert_eq!(pair.unit(&ping.emit(), &[1; 8192]), []);
    assert!(matches!(pair.answer(), Answer::Nop(..)));
}

/// Fault 2, before the login: 8192 bytes are the most (13.12).
#[test]
fn fault_02_a_login_that_is_too_long() {
    let mut pair = Pair::new(crate::pair::limits());
    let mut bhs = with(0x43);
    bhs.set_data_len(8193);
    bhs.0[8..14].copy_from_slice(&[0x80, 1, 2, 3, 4, 5]);
    assert_eq!(pair.close(&bhs.0), Close::LoginFailed(LoginStatus::InitiatorError));
    // 11.13.3: the ISID is the request's.
    let isid = [0x80, 1, 2, 3, 4, 5];
    assert!(
        matches!(pair.answer(), Answer::Login(response, _) if response.status.code() >= 0x200 && response.isid == isid)
    );
}

/// 6.3: nothing but a login comes before full feature phase.
#[test]
fn nothing_comes_before_the_login() {
    for opcode in (0..=0x7f).filter(|opcode| opcode & 0x3f != 3) {
        let mut pair = Pair::new(crate::pair::limits());
        assert_eq!(pair.close(&with(opcode).0), Close::LoginFailed(LoginStatus::InvalidDuringLogin), "{opcode:02x}");
        assert!(matches!(pair.answer(), Answer::Login(response, _) if response.status.code() == 0x020b));
    }
}
