//! Discovery sessions (4.3) and text in full feature phase (11.10).

use iesp_iscsi::pdu::{LogoutReason, RejectReason, TaskFunction, TextRequest};

use crate::initiator::{Answer, INITIATOR, text};
use crate::pair::{Pair, Seen, limits};

pub fn discovery() -> Pair {
    let mut pair = Pair::new(limits());
    pair.log_in(&format!("InitiatorName={INITIATOR} SessionType=Discovery"));
    pair
}

#[track_caller]
fn asks(pair: &mut Pair, pairs: &str) -> String {
    let request = pair.initiator.text_request();
    assert_eq!(pair.unit(&request.emit(), &text(pairs)), []);
    let Answer::Text(response, text) = pair.answer() else { panic!("no Text Response") };
    assert!(response.is_final && !response.cont && response.itt == request.itt);
    text
}

/// Fault 24: an IPv4 address without brackets, the portal group, and nobody else's targets.
#[test]
fn fault_24_send_targets() {
    let all = "TargetName=test TargetAddress=127.0.0.1:3260,1";
    assert_eq!(asks(&mut discovery(), "SendTargets=All"), all);
    assert_eq!(asks(&mut discovery(), "SendTargets=test"), all);
    assert_eq!(asks(&mut discovery(), "SendTargets=iqn.2001-04.com.example:none"), "");
    let mut normal = Pair::full();
    assert_eq!(asks(&mut normal, "SendTargets="), all);
}

/// 11.10: a text request uses up a CmdSN, an immediate one does not.
#[test]
fn text_requests_have_their_place_in_the_order() {
    let mut pair = Pair::full();
    asks(&mut pair, "SendTargets=");
    assert_eq!(pair.target.expected_cmd_sn(), 2);
    let request = TextRequest { immediate: true, ..pair.initiator.text_request() };
    pair.unit(&request.emit(), &text("SendTargets="));
    let Answer::Text(response, _) = pair.answer() else { panic!("no Text Response") };
    assert_eq!((pair.target.expected_cmd_sn(), response.numbers.exp_cmd_sn), (2, 2));
}

/// 4.3: "the target MUST only accept PDUs of text and logout".
#[test]
fn a_discovery_session_takes_text_and_logout_alone() {
    let mut pair = discovery();
    let command = pair.initiator.bare(&[0]).emit();
    let ping = pair.initiator.ping(true).emit();
    let manage = pair.initiator.manage(TaskFunction::TargetColdReset, 0, 0).emit();
    for bhs in [command, ping, manage] {
        assert_eq!(pair.unit(&bhs, &[]), []);
        assert_eq!(pair.rejected(&bhs, 0), RejectReason::CommandNotSupported);
    }
    pair.initiator.cmd_sn = 1;
    let logout = pair.initiator.logout(LogoutReason::CloseSession);
    assert_eq!(pair.unit(&logout.emit(), &[]), [Seen::Logout]);
}

/// A Data-Out unit without a task has nowhere to go, in a discovery session too.
#[test]
fn data_out_in_a_discovery_session() {
    let mut pair = discovery();
    let units = pair.initiator.unsolicited(1, 0, &[0; 4096], 4096);
    assert_eq!(pair.send(&units[..1000]), []);
    assert_eq!(pair.send(&units[1000..]), []);
    assert!(asks(&mut pair, "SendTargets=All").contains("TargetName=test"));
}

/// 6.4, 13.12: MaxRecvDataSegmentLength may be declared anew; it holds for what follows.
#[test]
fn a_segment_length_that_is_declared_anew() {
    let mut pair = Pair::full();
    assert_eq!(asks(&mut pair, "MaxRecvDataSegmentLength=512"), "");
    let read = pair.initiator.read(&[8], 1024);
    let task = pair.command(&read, &[]);
    pair.read(task, &[1; 1024], 1024);
    assert_eq!(pair.answers().len(), 2);
}
