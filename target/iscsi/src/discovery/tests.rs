//! Text exchanges: SendTargets, what else may be said, and initiators that do anything.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use proptest::prelude::*;

use super::{Nexus, TextPhase};
use crate::login::fixture::{INITIATOR, Site, TARGET, config, text, untext};
use crate::params::Parameters;
use crate::pdu::{Bhs, RESERVED_TAG, RejectReason, TextRequest, TextResponse};
use crate::text::TEXT_MAX;

const PORTALS: &str = "TargetAddress=192.0.2.1:3260,1 TargetAddress=[2001:db8::1]:3260,1";

struct Talk {
    text: TextPhase,
    parameters: Parameters,
    site: Site,
    target: Option<&'static str>,
}

fn ask(itt: u32, ttt: u32) -> TextRequest {
    TextRequest { immediate: true, is_final: true, cont: false, lun: 0, itt, ttt, cmd_sn: 1, exp_stat_sn: 1 }
}

/// The first request of an exchange.
fn first() -> TextRequest {
    ask(1, RESERVED_TAG)
}

impl Talk {
    fn discovery(site: Site) -> Self {
        Self { text: TextPhase::new(), parameters: Parameters::default(), site, target: None }
    }

    fn normal(site: Site) -> Self {
        Self { target: Some(TARGET), ..Self::discovery(site) }
    }

    fn raw(&mut self, request: TextRequest, data: &[u8]) -> Result<(TextResponse, Vec<u8>), RejectReason> {
        let mut out = vec![0; TEXT_MAX];
        let nexus = Nexus { initiator: INITIATOR, target: self.target };
        let (response, len) = self.text.request(&request, data, nexus, &mut self.parameters, &self.site, &mut out)?;
        out.truncate(len);
        assert_eq!(response.itt, request.itt);
        assert_eq!(response.is_final, response.ttt == RESERVED_TAG);
        Ok((response, out))
    }

    /// The one response to a request that is the whole exchange.
    fn all(&mut self, pairs: &str) -> Result<String, RejectReason> {
        self.raw(first(), &text(pairs)).map(|(response, out)| {
            assert!(response.is_final && !response.cont);
            untext(&out)
        })
    }
}

#[test]
fn fault_24_addresses_have_brackets_where_they_are_ipv6() {
    let answer = Talk::discovery(Site::default()).all("SendTargets=All").unwrap();
    assert_eq!(answer, format!("TargetName={TARGET} {PORTALS}"));
    let site = Site { portals: vec!["[fe80::1%2]:860".parse().unwrap()], ..Site::default() };
    let answer = Talk::discovery(site).all("SendTargets=All").unwrap();
    assert_eq!(answer, format!("TargetName={TARGET} TargetAddress=[fe80::1]:860,1"));
}

#[test]
fn targets_of_a_discovery_session() {
    let site = || Site {
        targets: ["iqn.a", "test", "iqn.hidden"].map(String::from).into(),
        forbidden: vec!["iqn.hidden".into()],
        ..Site::default()
    };
    let cases = [
        ("All", Ok(format!("TargetName=iqn.a {PORTALS} TargetName=test {PORTALS}"))),
        ("iqn.a", Ok(format!("TargetName=iqn.a {PORTALS}"))),
        // RFC 3722 3: capitals mean the same.
        ("IQN.A", Ok(format!("TargetName=iqn.a {PORTALS}"))),
        ("test", Ok(format!("TargetName=test {PORTALS}"))),
        // What an initiator may not use does not exist for it.
        ("iqn.hidden", Ok(String::new())),
        ("iqn.none", Ok(String::new())),
        ("eui.0123456789ABCDEF", Ok(String::new())),
        ("naa.0123456789ABCDEF", Ok(String::new())),
        ("", Ok(String::new())),
        ("all", Err(RejectReason::ProtocolError)),
        ("Alle", Err(RejectReason::ProtocolError)),
        ("A", Err(RejectReason::ProtocolError)),
        ("iqn.a,test", Ok(String::new())),
    ];
    for (value, expected) in cases {
        assert_eq!(Talk::discovery(site()).all(&format!("SendTargets={value}")), expected, "{value}");
    }
    let none = Site { targets: vec![], ..Site::default() };
    assert_eq!(Talk::discovery(none).all("SendTargets=All").unwrap(), "");
}

#[test]
fn targets_of_a_normal_session() {
    let own = Ok(format!("TargetName={TARGET} {PORTALS}"));
    let site = || Site { targets: ["iqn.other", TARGET].map(String::from).into(), ..Site::default() };
    let cases = [
        ("", own.clone()),
        (TARGET, own.clone()),
        // MUST NOT be supported: the others are not told.
        ("All", own),
        ("iqn.other", Ok(String::new())),
        ("iqn.none", Ok(String::new())),
        ("Alle", Err(RejectReason::ProtocolError)),
        ("A", Err(RejectReason::ProtocolError)),
    ];
    for (value, expected) in cases {
        assert_eq!(Talk::normal(site()).all(&format!("SendTargets={value}")), expected, "{value}");
    }
}

#[test]
fn a_send_targets_gone_wrong_is_rejected_and_the_next_one_answered() {
    let mut talk = Talk::normal(Site::default());
    for pairs in [
        "SendTargetsPlease=All",
        "SendTargets=Alle",
        "SendTargets=A",
        "sENDtARGETS=aLL",
        "SendTargets=All SendTargets=All",
        "SendTargets=All MaxRecvDataSegmentLength=512",
        "X-a=b SendTargets=All",
    ] {
        assert_eq!(talk.all(pairs), Err(RejectReason::ProtocolError), "{pairs}");
    }
    assert_eq!(talk.all("SendTargets=All"), Ok(format!("TargetName={TARGET} {PORTALS}")));
}

#[test]
fn a_long_answer_takes_several_responses() {
    let names: Vec<String> = (0..500).map(|n| format!("iqn.2001-04.com.example:disk{n}")).collect();
    for (peer, targets) in [(512, 40), (8192, 500), (65536, 500)] {
        let site = Site { targets: names[..targets].into(), ..Site::default() };
        let mut talk = Talk::discovery(site);
        talk.parameters.peer_max_recv_data_segment_length = peer;
        let (mut response, mut out) = talk.raw(first(), &text("SendTargets=All")).unwrap();
        let mut answer = out;
        let mut responses = 1;
        while !response.is_final {
            // 11.11.2: C is set while text is left, and the initiator asks for it with no text of its own.
            assert!(response.cont);
            (response, out) = talk.raw(ask(1, response.ttt), b"").unwrap();
            assert!(!out.is_empty() && out.len() <= (peer as usize).min(TEXT_MAX));
            answer.extend(out);
            responses += 1;
        }
        assert!(responses > 1 && !response.cont);
        let expected: Vec<String> =
            names[..targets].iter().map(|name| format!("TargetName={name} {PORTALS}")).collect();
        assert_eq!(untext(&answer), expected.join(" "));
    }
}

#[test]
fn many_unknown_keys_are_all_answered() {
    let keys: Vec<String> = (0..1000).map(|n| format!("X{n}=")).collect();
    let mut talk = Talk::normal(Site::default());
    let (mut response, mut answer) = talk.raw(first(), &text(&keys.join(" "))).unwrap();
    while !response.is_final {
        let (next, out) = talk.raw(ask(1, response.ttt), b"").unwrap();
        (response, answer) = (next, [answer, out].concat());
    }
    let expected: Vec<String> = keys.iter().map(|key| format!("{key}NotUnderstood")).collect();
    assert_eq!(untext(&answer), expected.join(" "));
}

#[test]
fn a_request_in_pieces() {
    let mut talk = Talk::discovery(Site::default());
    let piece = |ttt| TextRequest { is_final: false, cont: true, ..ask(1, ttt) };
    let (response, out) = talk.raw(piece(RESERVED_TAG), b"SendTar").unwrap();
    // 11.10.2: no data for a text that goes on.
    assert!(!response.is_final && !response.cont && out.is_empty());
    let (response, out) = talk.raw(piece(response.ttt), b"gets=").unwrap();
    assert!(out.is_empty());
    let (response, out) = talk.raw(ask(1, response.ttt), b"All\0").unwrap();
    assert!(response.is_final);
    assert_eq!(untext(&out), format!("TargetName={TARGET} {PORTALS}"));
}

#[test]
fn a_request_without_end_is_rejected() {
    let mut talk = Talk::discovery(Site::default());
    let piece = |ttt| TextRequest { is_final: false, cont: true, ..ask(1, ttt) };
    let (response, _) = talk.raw(piece(RESERVED_TAG), &[b'A'; TEXT_MAX]).unwrap();
    assert_eq!(talk.raw(piece(response.ttt), b"A").unwrap_err(), RejectReason::LongOperationReject);
    // 7.11: that was the end of the exchange.
    assert_eq!(talk.raw(ask(1, response.ttt), b"").unwrap_err(), RejectReason::ProtocolError);
}

#[test]
fn an_exchange_that_the_initiator_does_not_end() {
    let mut talk = Talk::normal(Site::default());
    let open = |ttt| TextRequest { is_final: false, ..ask(1, ttt) };
    // 11.11.1: no final response to a request that is not final.
    let (response, out) = talk.raw(open(RESERVED_TAG), &text("MaxRecvDataSegmentLength=4096 X-a=b")).unwrap();
    assert!(!response.is_final && !response.cont);
    assert_eq!(untext(&out), "X-a=NotUnderstood");
    // 6.4: nothing takes effect before the end, and nothing comes twice.
    assert_eq!(talk.parameters.peer_max_recv_data_segment_length, 8192);
    let (response, out) = talk.raw(open(response.ttt), &text("InitiatorAlias=me")).unwrap();
    assert!(out.is_empty());
    let (response, _) = talk.raw(ask(1, response.ttt), b"").unwrap();
    assert!(response.is_final);
    assert_eq!(talk.parameters.peer_max_recv_data_segment_length, 4096);

    let (response, _) = talk.raw(open(RESERVED_TAG), &text("MaxRecvDataSegmentLength=1024")).unwrap();
    let again = talk.raw(ask(1, response.ttt), &text("MaxRecvDataSegmentLength=512"));
    assert_eq!(again.unwrap_err(), RejectReason::ProtocolError);
    assert_eq!(talk.parameters.peer_max_recv_data_segment_length, 4096);
}

#[test]
fn the_segment_length_may_be_declared_anew() {
    let mut talk = Talk::normal(Site::default());
    for length in [512, 65536] {
        assert_eq!(talk.all(&format!("MaxRecvDataSegmentLength={length}")), Ok(String::new()));
        assert_eq!(talk.parameters.peer_max_recv_data_segment_length, length);
    }
    for value in ["511", "16777216", "x"] {
        let pairs = format!("MaxRecvDataSegmentLength={value}");
        assert_eq!(talk.all(&pairs), Err(RejectReason::ProtocolError));
        assert_eq!(talk.parameters.peer_max_recv_data_segment_length, 65536);
    }
}

#[test]
fn keys_of_login_are_rejected() {
    let before = Parameters::default();
    for pair in [
        "HeaderDigest=CRC32C",
        "MaxBurstLength=512",
        "InitiatorName=a",
        "TargetName=a",
        "SessionType=Normal",
        "AuthMethod=None",
        "CHAP_A=5",
        "IFMarker=No",
        "TargetAddress=192.0.2.1",
        "TargetAlias=a",
        "TargetPortalGroupTag=1",
        "MaxRecvDataSegmentLength=512 MaxRecvDataSegmentLength=512",
        "MaxRecvDataSegmentLength=512 ErrorRecoveryLevel=0",
    ] {
        let mut talk = Talk::normal(Site::default());
        assert_eq!(talk.all(pair), Err(RejectReason::ProtocolError), "{pair}");
        // 7.11: partial results MUST NOT take effect.
        assert_eq!(talk.parameters, before);
    }
    for data in [&b"A"[..], b"A\0", b"=\0", b"A=\xff\0"] {
        assert_eq!(Talk::normal(Site::default()).raw(first(), data).unwrap_err(), RejectReason::ProtocolError);
    }
}

#[test]
fn tags_tell_exchanges_apart() {
    let mut talk = Talk::normal(Site::default());
    assert_eq!(talk.raw(ask(1, 5), b"").unwrap_err(), RejectReason::ProtocolError);
    assert_eq!(talk.raw(ask(RESERVED_TAG, RESERVED_TAG), b"").unwrap_err(), RejectReason::InvalidPduField);
    let open = |itt| TextRequest { is_final: false, ..ask(itt, RESERVED_TAG) };
    let (zero, _) = talk.raw(open(1), b"").unwrap();
    assert_eq!(talk.raw(ask(1, zero.ttt + 1), b"").unwrap_err(), RejectReason::ProtocolError);
    let (one, _) = talk.raw(open(1), &text("MaxRecvDataSegmentLength=512")).unwrap();
    // 6.4: the reserved tag starts anew; what was begun is forgotten.
    let (two, _) = talk.raw(open(2), b"").unwrap();
    assert_ne!(one.ttt, two.ttt);
    assert!(talk.raw(ask(2, two.ttt), b"").unwrap().0.is_final);
    assert_eq!(talk.parameters.peer_max_recv_data_segment_length, 8192);
    let (three, _) = talk.raw(open(3), b"").unwrap();
    assert_eq!(talk.raw(ask(4, three.ttt), b"").unwrap_err(), RejectReason::ProtocolError);
    assert_eq!(talk.raw(ask(3, three.ttt), b"").unwrap_err(), RejectReason::ProtocolError);
}

#[test]
fn an_exchange_may_begin_with_the_tag_0() {
    let mut talk = Talk::discovery(Site::default());
    let (response, out) = talk.raw(ask(1, 0), &text("SendTargets=All")).unwrap();
    assert!(response.is_final);
    assert_eq!(untext(&out), format!("TargetName={TARGET} {PORTALS}"));
    // It goes on with none.
    let (open, _) = talk.raw(TextRequest { is_final: false, ..first() }, b"").unwrap();
    assert_ne!(open.ttt, 0);
    assert_eq!(talk.raw(ask(1, 0), b"").unwrap_err(), RejectReason::ProtocolError);
}

#[test]
fn an_initiator_is_silent_while_an_answer_goes_on() {
    let targets = (0..50).map(|n| format!("iqn.2001-04.com.example:disk{n}")).collect();
    let mut talk = Talk::discovery(Site { targets, ..Site::default() });
    talk.parameters.peer_max_recv_data_segment_length = 512;
    let (response, _) = talk.raw(first(), &text("SendTargets=All")).unwrap();
    assert_eq!(talk.raw(ask(1, response.ttt), b"A=b\0").unwrap_err(), RejectReason::ProtocolError);
}

#[test]
fn a_pair_that_no_unit_holds_ends_the_exchange() {
    let mut talk = Talk::discovery(Site { targets: vec!["n".repeat(600)], ..Site::default() });
    talk.parameters.peer_max_recv_data_segment_length = 512;
    assert_eq!(talk.all("SendTargets=All"), Err(RejectReason::LongOperationReject));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_of_requests_is_answered(
        discovery: bool,
        requests in prop::collection::vec((any::<[[u8; 16]; 3]>(), 0u8..4, prop_oneof![
            3 => "(SendTargets=(All|iqn[.]a|)|MaxRecvDataSegmentLength=[0-9]{0,5}|[A-Za-z0-9=]{0,9}){0,2}\0?".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..60),
        ]), 1..12),
    ) {
        let targets = (0..20).map(|n| format!("iqn.2001-04.com.example:disk{n}")).collect();
        let mut talk = Talk { target: (!discovery).then_some(TARGET), ..Talk::discovery(Site { targets, ..Site::default() }) };
        talk.parameters.peer_max_recv_data_segment_length = 512;
        let mut tag = RESERVED_TAG;
        for (header, kind, data) in requests {
            let Ok(any) = TextRequest::parse(&Bhs(header.concat().try_into().unwrap())) else { continue };
            let request = match kind {
                0 => any,
                1 => first(),
                2 => ask(1, tag),
                _ => TextRequest { is_final: false, cont: true, ..ask(1, tag) },
            };
            if let Ok((response, out)) = talk.raw(request, &data) {
                prop_assert!(!(response.is_final && response.cont));
                prop_assert!(!response.is_final || request.is_final);
                prop_assert!(!request.cont || out.is_empty());
                prop_assert!(out.len() <= talk.parameters.peer_max_recv_data_segment_length.max(512) as usize);
                tag = response.ttt;
            }
            prop_assert!((512..1 << 24).contains(&talk.parameters.peer_max_recv_data_segment_length));
        }
    }
}
