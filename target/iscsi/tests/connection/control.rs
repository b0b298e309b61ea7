//! NOP (11.18, 11.19), logout (11.14, 11.15), time.

use iesp_iscsi::Close;
use iesp_iscsi::pdu::{AsyncEvent, LogoutReason, NopOut, RESERVED_TAG};

use crate::discovery::discovery;
use crate::initiator::Answer;
use crate::pair::{Pair, Seen, limits};

/// 11.18: the answer carries the ping's data, tag and LUN, and a StatSN.
#[test]
fn a_ping_is_answered() {
    for immediate in [false, true] {
        let mut pair = Pair::full();
        let ping = NopOut { lun: 3 << 48, ..pair.initiator.ping(immediate) };
        assert_eq!(pair.unit(&ping.emit(), b"some data"), []);
        let Answer::Nop(pong, data) = pair.answer() else { panic!("no NOP-In") };
        assert_eq!((pong.itt, pong.ttt, pong.lun, &data[..]), (ping.itt, RESERVED_TAG, 3 << 48, &b"some data"[..]));
        assert_eq!(pong.numbers.exp_cmd_sn, 1 + u32::from(!immediate));
    }
}

/// 11.19: no more of the data than the initiator can take.
#[test]
fn a_ping_that_is_longer_than_the_initiator_can_take() {
    let mut pair = Pair::full();
    let ping = pair.initiator.ping(false);
    pair.unit(&ping.emit(), &[7; 8192]);
    assert!(matches!(pair.answer(), Answer::Nop(_, data) if data == [7; 4096]));
}

/// Fault 17. 11.18.1: with the reserved task tag no answer is wanted.
#[test]
fn fault_17_a_nop_without_a_tag_is_not_answered() {
    let mut pair = Pair::full();
    let nop = NopOut { itt: RESERVED_TAG, ..pair.initiator.ping(true) };
    assert_eq!(pair.unit(&nop.emit(), &[]), []);
    let answer = NopOut { ttt: 77, ..nop };
    assert_eq!(pair.unit(&answer.emit(), b"data"), []);
    assert_eq!(pair.answers(), []);
}

/// Calls the target at each time that it asks for, until `end`; when and how the connection ended.
fn silence(pair: &mut Pair, end: u64) -> Option<(u64, Close)> {
    while let Some(due) = pair.target.poll_timeout()
        && due <= end
    {
        pair.now = pair.now.max(due);
        let now = pair.now;
        if let Err(close) = pair.with_outbox(|target, out| target.handle_timeout(now, out)) {
            return Some((now, close));
        }
    }
    pair.now = end;
    None
}

/// 11.19: the target pings a silent initiator, and gives one up that does not answer.
#[test]
fn a_silent_initiator_is_pinged_and_given_up() {
    let mut pair = Pair::full();
    assert_eq!(silence(&mut pair, 29_999), None);
    assert_eq!(pair.answers(), []);
    assert_eq!(silence(&mut pair, 59_999), None);
    let answers = pair.answers();
    let [Answer::Nop(ping, data)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((ping.itt, &data[..]), (RESERVED_TAG, &[][..]));
    assert_ne!(ping.ttt, RESERVED_TAG);
    assert!(matches!(silence(&mut pair, 100_000), Some((60_000, Close::Timeout(_)))));
}

/// 11.18: the answer to the ping, and any other unit, shows that the initiator lives.
#[test]
fn an_initiator_that_answers_is_kept() {
    // 4.3: one of a discovery session, too, whose requests other than text and logout are rejected.
    for mut pair in [Pair::full(), discovery()] {
        for round in 0..10 {
            assert_eq!(silence(&mut pair, round * 40_000 + 35_000), None);
            let Answer::Nop(ping, _) = pair.answer() else { panic!("no ping") };
            let nop = pair.initiator.ping(true);
            let answer = NopOut { itt: RESERVED_TAG, ttt: ping.ttt, lun: ping.lun, ..nop };
            pair.now = (round + 1) * 40_000 - 1;
            assert_eq!(pair.unit(&answer.emit(), &[]), []);
            assert_eq!(pair.answers(), []);
        }
    }
    let mut pair = Pair::full();
    assert_eq!(silence(&mut pair, 59_999), None);
    let ping = pair.initiator.ping(false);
    pair.unit(&ping.emit(), &[]);
    assert_eq!(silence(&mut pair, 89_998), None);
}

/// A slow one that reads for minutes has nothing to say, and would see a ping only behind all that waits for it.
#[test]
fn an_initiator_that_takes_what_waits_for_it_is_kept() {
    let mut pair = Pair::full();
    for round in 1..10 {
        assert_eq!(silence(&mut pair, round * 25_000), None);
        pair.target.peer_took(pair.now);
    }
    assert_eq!(pair.answers(), []);
    assert!(matches!(silence(&mut pair, 400_000), Some((285_000, Close::Timeout(_)))));
}

/// A login that is never finished ends in time, however many bytes of it come.
#[test]
fn a_slow_login_ends_in_time() {
    let mut pair = Pair::new(limits());
    let request = pair.initiator.login(
        iesp_iscsi::pdu::Stage::OperationalNegotiation,
        iesp_iscsi::pdu::Stage::FullFeaturePhase,
        "InitiatorName=iqn.2001-04.com.example:host",
    );
    for (second, byte) in request.iter().take(14).enumerate() {
        assert_eq!(silence(&mut pair, second as u64 * 1000), None);
        assert_eq!(pair.send(&[*byte]), []);
    }
    assert!(matches!(silence(&mut pair, 60_000), Some((15_000, Close::Timeout(_)))));
}

/// The same for one that goes on with whole requests that never say that they are the last.
#[test]
fn a_login_that_goes_round_in_circles_ends_in_time() {
    let mut pair = Pair::new(limits());
    let mut request = pair.initiator.login(
        iesp_iscsi::pdu::Stage::OperationalNegotiation,
        iesp_iscsi::pdu::Stage::FullFeaturePhase,
        "InitiatorName=iqn.2001-04.com.example:host TargetName=test",
    );
    request[1] &= 0x7f; // T=0
    for second in 0..14 {
        assert_eq!(silence(&mut pair, second * 1000), None);
        if second > 0 {
            request.truncate(48);
            request[5..8].fill(0);
        }
        assert_eq!(pair.send(&request), []);
        assert!(matches!(pair.answer(), Answer::Login(..)));
    }
    assert!(matches!(silence(&mut pair, 60_000), Some((15_000, Close::Timeout(_)))));
}

/// 11.14, 11.15: the reasons and what they are answered with.
#[test]
fn logout_with_all_reasons() {
    for (reason, cid, response) in [
        (LogoutReason::CloseSession, 0, None),
        (LogoutReason::CloseSession, 9, None),
        (LogoutReason::CloseConnection, 0, None),
        (LogoutReason::CloseConnection, 9, Some(1)),
        (LogoutReason::RemoveForRecovery, 0, Some(2)),
    ] {
        for immediate in [false, true] {
            let mut pair = Pair::full();
            let mut request = pair.initiator.logout(reason);
            (request.cid, request.immediate) = (cid, immediate);
            let seen = pair.unit(&request.emit(), &[]);
            if response.is_none() {
                assert_eq!(seen, [Seen::Logout]);
                assert_eq!(pair.answers(), []);
                // 11.14: nothing else is taken.
                let ping = pair.initiator.ping(true);
                assert_eq!(pair.unit(&ping.emit(), &[]), []);
                assert_eq!(pair.answers(), []);
                pair.with_outbox(|target, out| target.logout_response(out));
            } else {
                assert_eq!(seen, []);
            }
            let Answer::Logout(answer) = pair.answer() else { panic!("no Logout Response") };
            assert_eq!((answer.response, answer.itt), (response.unwrap_or(0), request.itt));
            // 13.15, 13.16: what holds where nothing was negotiated.
            assert_eq!(answer.time2wait, 2);
            if response.is_some() {
                let ping = pair.initiator.ping(true);
                pair.unit(&ping.emit(), &[]);
                assert!(matches!(pair.answer(), Answer::Nop(..)));
            }
        }
    }
}

/// 11.9: asynchronous messages use up a StatSN, and are for full feature phase.
#[test]
fn asynchronous_messages() {
    let mut pair = Pair::full();
    pair.with_outbox(|target, out| target.notify(AsyncEvent::LogoutRequest { time3: 3 }, out));
    let Answer::Async(message) = pair.answer() else { panic!("no asynchronous message") };
    assert_eq!((message.event, message.lun), (AsyncEvent::LogoutRequest { time3: 3 }, 0));
    let command = pair.initiator.bare(&[0]);
    let task = pair.command(&command, &[]);
    pair.respond(task, 0, &[], 0);
    assert!(matches!(pair.answer(), Answer::Status(..)));
    let mut pair = Pair::new(limits());
    pair.with_outbox(|target, out| target.notify(AsyncEvent::LogoutRequest { time3: 3 }, out));
    assert_eq!(pair.answers(), []);
}
