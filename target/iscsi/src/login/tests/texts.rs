//! Texts over several requests, answers over several responses, keys where they may not be.

use std::vec::Vec;
use std::{format, string::String, vec};

use crate::login::fixture::*;
use crate::login::{Admission, LoginStatus, Progress};
use crate::params::Parameters;
use crate::pdu::LoginRequest;
use crate::text::TEXT_MAX;

fn more(stage: crate::pdu::Stage) -> LoginRequest {
    LoginRequest { cont: true, ..stay(stage) }
}

#[test]
fn a_text_in_pieces_is_one_text() {
    let whole = text(&normal("MaxBurstLength=1024 HeaderDigest=CRC32C"));
    for size in [1, 7, 64] {
        let mut talk = Talk::new(Site::default());
        let mut pieces = whole.chunks(size).peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_some() {
                // 11.12.2: no data, no transition.
                let (progress, out) = talk.raw(more(OPERATIONAL), piece);
                assert!(matches!(progress, Progress::Continue(r, 0) if !r.transit && !r.cont), "{progress:?}");
                assert_eq!(out, b"");
            } else {
                let (progress, out) = talk.raw(go(OPERATIONAL, FULL), piece);
                assert!(matches!(progress, Progress::Complete(..)));
                assert!(untext(&out).starts_with("MaxBurstLength=1024 HeaderDigest=CRC32C "));
            }
        }
    }
}

#[test]
fn a_text_without_end_is_refused() {
    let mut talk = Talk::new(Site::default());
    let piece = [b'A'; 4096];
    assert!(matches!(talk.raw(more(OPERATIONAL), &piece).0, Progress::Continue(..)));
    assert!(matches!(talk.raw(more(OPERATIONAL), &piece).0, Progress::Continue(..)));
    assert_eq!(talk.fail_raw(more(OPERATIONAL), b"A"), LoginStatus::OutOfResources);
}

#[test]
fn texts_of_no_form_are_refused() {
    for data in [&b"InitiatorName"[..], b"InitiatorName\0", b"=a\0", b"InitiatorName=\xff\0", b"In iator=a\0"] {
        assert_eq!(Talk::new(Site::default()).fail_raw(stay(SECURITY), data), LoginStatus::InitiatorError);
        let mut talk = Talk::new(Site::default());
        talk.on(stay(SECURITY), &normal(""));
        assert_eq!(talk.fail_raw(stay(SECURITY), data), LoginStatus::InitiatorError);
    }
}

/// 6.1: the NUL of the last pair may be left out: nothing else can be meant.
#[test]
fn the_last_pair_ends_with_the_text() {
    let mut talk = Talk::new(Site::default());
    let whole = text(&normal("MaxBurstLength=1024"));
    let (progress, out) = talk.raw(go(OPERATIONAL, FULL), whole.strip_suffix(b"\0").unwrap());
    assert!(matches!(progress, Progress::Complete(..)), "{progress:?}");
    assert!(untext(&out).starts_with("MaxBurstLength=1024 "));
}

#[test]
fn an_answer_that_is_too_long_goes_on_in_the_next_response() {
    let mut talk = Talk::new(Site::default());
    let names = text(&normal(""));
    let keys: Vec<String> = (0..1000).map(|n| format!("X{n}=")).collect();
    talk.on(stay(OPERATIONAL), &normal(""));
    let offered = text(&keys.join(" "));
    assert!(offered.len() <= TEXT_MAX && names.len() + offered.len() < TEXT_MAX);

    let mut answers = vec![];
    let (mut progress, mut out) = talk.raw(go(OPERATIONAL, FULL), &offered);
    let mut responses = 0;
    while let Progress::Continue(response, len) = progress {
        // 11.13.2: C and T are never set together.
        assert!(response.cont && !response.transit);
        assert!(len <= TEXT_MAX && len > TEXT_MAX - 64);
        answers.extend(out);
        responses += 1;
        (progress, out) = talk.raw(go(OPERATIONAL, FULL), b"");
    }
    assert!(matches!(progress, Progress::Complete(response, _) if !response.cont));
    answers.extend(out);
    assert_eq!(responses, 2);
    let expected: Vec<String> = keys.iter().map(|key| format!("{key}NotUnderstood")).collect();
    assert_eq!(untext(&answers), expected.join(" "));
}

#[test]
fn an_initiator_is_silent_while_an_answer_goes_on() {
    let keys: Vec<String> = (0..1000).map(|n| format!("X{n}=")).collect();
    for (request, data) in [(stay(OPERATIONAL), &b"A=b\0"[..]), (more(OPERATIONAL), b"")] {
        let mut talk = Talk::new(Site::default());
        talk.on(stay(OPERATIONAL), &normal(""));
        assert!(talk.on(stay(OPERATIONAL), &keys.join(" ")).0.cont);
        assert_eq!(talk.fail_raw(request, data), LoginStatus::InitiatorError);
    }
}

/// The whole answer to a text, through responses of at most `room` bytes, and what it led to.
fn split(mut talk: Talk, request: LoginRequest, pairs: &str, room: usize) -> (String, Option<Parameters>) {
    let (mut out, mut answers, mut data) = (vec![0; room], vec![], text(pairs));
    loop {
        let progress = talk.login.request(&request, &data, &mut talk.site, &mut out);
        let (Progress::Continue(response, len) | Progress::Complete(response, len)) = progress else {
            panic!("{progress:?}")
        };
        answers.extend(&out[..len]);
        if !response.cont {
            return (untext(&answers), talk.login.established().map(|login| *login.parameters));
        }
        data.clear();
    }
}

#[test]
fn results_do_not_depend_on_how_the_answer_is_split() {
    let operational = "FirstBurstLength=65536 X-a=b HeaderDigest=CRC32C IFMarker=No MaxBurstLength=4096 InitialR2T=No \
                       MaxOutstandingR2T=3 TaskReporting=FastAbort DefaultTime2Wait=9 MaxRecvDataSegmentLength=512";
    let site = || Site { alias: Some("disk"), ..Site::default() };
    let whole = split(Talk::new(site()), go(OPERATIONAL, FULL), &normal(operational), TEXT_MAX);
    assert!(whole.0.contains("FirstBurstLength=4096 "), "{}", whole.0);
    for room in 48..400 {
        let parts = split(Talk::new(site()), go(OPERATIONAL, FULL), &normal(operational), room);
        assert_eq!(parts, whole, "{room}");
    }
    // CHAP: the challenge that was not sent is not the one that counts.
    let site = || Site { admission: Admission::Authenticated, ..site() };
    for room in 110..200 {
        let (answer, _) = split(Talk::new(site()), stay(SECURITY), &normal("X-a=b AuthMethod=CHAP CHAP_A=7"), room);
        assert!(answer.starts_with("X-a=NotUnderstood AuthMethod=CHAP CHAP_A=7 CHAP_I="), "{answer}");
        assert!(answer.ends_with(" TargetPortalGroupTag=1 TargetAlias=disk"), "{answer}");
        assert_eq!(answer.split(' ').count(), 7);
    }
}

#[test]
fn a_buffer_without_room_ends_the_login() {
    let mut talk = Talk::new(Site::default());
    let progress = talk.login.request(&stay(OPERATIONAL), &text(&normal("")), &mut talk.site, &mut [0; 16]);
    assert!(matches!(progress, Progress::Failed(response) if response.status == LoginStatus::OutOfResources));
}

#[test]
fn keys_where_they_may_not_be() {
    let operational = ["AuthMethod=CHAP", "CHAP_A=5", "CHAP_N=a", "CHAP_R=0x00", "CHAP_I=1", "CHAP_C=0x00"];
    let cases = operational.map(|key| (OPERATIONAL, key)).into_iter();
    for (stage, key) in cases.chain([SECURITY, OPERATIONAL].map(|stage| (stage, "SendTargets=All"))) {
        let mut talk = Talk::new(Site::default());
        assert_eq!(talk.fail(stay(stage), &normal(key)), LoginStatus::InitiatorError, "{key}");
        assert!(!talk.login.refusal().is_empty(), "{key}");
    }
}

/// An initiator that wants no authentication says so in a login that begins in the operational stage.
#[test]
fn no_authentication_is_agreed_on_in_either_stage() {
    for (offered, stage) in [("None", OPERATIONAL), ("CHAP,None", OPERATIONAL), ("None", SECURITY)] {
        let mut talk = Talk::new(Site::default());
        let pairs = normal(&format!("AuthMethod={offered} HeaderDigest=None"));
        let answer = talk.complete(go(stage, FULL), &pairs);
        assert!(answer.contains("AuthMethod=None") && answer.contains("HeaderDigest=None"), "{answer}");
    }
    // Once.
    let mut talk = Talk::new(Site::default());
    talk.on(go(SECURITY, OPERATIONAL), &normal("AuthMethod=None"));
    assert_eq!(talk.fail(go(OPERATIONAL, FULL), "AuthMethod=None"), LoginStatus::InitiatorError);
    // Where authentication is asked for, it is not left out so.
    let site = Site { admission: Admission::Authenticated, ..Site::default() };
    let status = Talk::new(site).fail(go(OPERATIONAL, FULL), &normal("AuthMethod=None"));
    assert_eq!(status, LoginStatus::AuthenticationFailure);
}

/// What is said in SecurityNegotiation already means what it would mean in the operational stage, and may be said there again.
#[test]
fn early_keys_are_negotiated() {
    let keys = "MaxBurstLength=1024 HeaderDigest=CRC32C MaxRecvDataSegmentLength=4096 MaxConnections=1 IFMarker=No";
    let answers = "MaxBurstLength=1024 HeaderDigest=CRC32C MaxConnections=1 IFMarker=No";
    for again in [false, true] {
        let mut talk = Talk::new(Site::default());
        let (_, answer) = talk.on(go(SECURITY, OPERATIONAL), &normal(&format!("AuthMethod=None {keys}")));
        assert!(answer.starts_with(answers), "{answer}");
        let answer = talk.complete(go(OPERATIONAL, FULL), if again { keys } else { "" });
        assert_eq!(answer.starts_with(answers), again, "{answer}");
        let parameters = talk.login.established().unwrap().parameters;
        assert_eq!((parameters.max_burst_length, parameters.header_digest), (1024, true));
        assert_eq!(parameters.peer_max_recv_data_segment_length, 4096);
    }
    // But not changed.
    for other in ["MaxBurstLength=512", "HeaderDigest=None", "MaxRecvDataSegmentLength=512"] {
        let mut talk = Talk::new(Site::default());
        talk.on(go(SECURITY, OPERATIONAL), &normal(keys));
        assert_eq!(talk.fail(stay(OPERATIONAL), other), LoginStatus::InitiatorError, "{other}");
    }
}

/// From an initiator they say nothing, and are not answered.
#[test]
fn what_the_target_declares_is_let_pass() {
    for key in ["TargetAddress=192.0.2.1:3260,1", "TargetPortalGroupTag=1", "TargetAlias=disk"] {
        let answer = Talk::new(Site::default()).complete(go(OPERATIONAL, FULL), &normal(key));
        assert_eq!(answer, "TargetPortalGroupTag=1 MaxRecvDataSegmentLength=262144", "{key}");
    }
}

/// RFC 3722 3.
#[test]
fn names_are_the_same_in_capitals() {
    let capitals = |name: &str| name.to_ascii_uppercase();
    let pairs = format!("InitiatorName={} TargetName={}", capitals(INITIATOR), capitals(TARGET));
    let mut talk = Talk::new(Site::default());
    talk.on(go(SECURITY, OPERATIONAL), &pairs);
    talk.complete(go(OPERATIONAL, FULL), &normal(""));
    let login = talk.login.established().unwrap();
    assert_eq!((login.initiator, login.target), (INITIATOR, Some(TARGET)));
}

#[test]
fn a_key_that_comes_twice_breaks_the_protocol() {
    let operational = [
        "HeaderDigest=None",
        "MaxConnections=1",
        "InitialR2T=Yes",
        "MaxRecvDataSegmentLength=8192",
        "IFMarker=No",
        "FirstBurstLength=512",
        "TaskReporting=RFC3720",
        "MaxBurstLength=x",
        "InitiatorAlias=a",
    ];
    for key in operational {
        // 6.3: in one text, or in two.
        let twice = normal(&format!("{key} {key}"));
        assert_eq!(Talk::new(Site::default()).fail(stay(OPERATIONAL), &twice), LoginStatus::InitiatorError, "{key}");
        let mut talk = Talk::new(Site::default());
        talk.on(stay(OPERATIONAL), &normal(key));
        assert_eq!(talk.fail(stay(OPERATIONAL), key), LoginStatus::InitiatorError, "{key}");
    }
    let twice = normal("AuthMethod=None AuthMethod=None");
    assert_eq!(Talk::new(Site::default()).fail(stay(SECURITY), &twice), LoginStatus::InitiatorError);
    assert_eq!(Talk::new(Site::default()).fail(stay(SECURITY), &normal(&normal(""))), LoginStatus::InitiatorError);
}

#[test]
fn names_may_be_repeated_in_the_next_stage_but_not_changed() {
    let mut talk = Talk::new(Site::default());
    talk.on(go(SECURITY, OPERATIONAL), &normal("InitiatorAlias=a"));
    talk.complete(go(OPERATIONAL, FULL), &normal("InitiatorAlias=a"));

    let others = ["InitiatorName=b", "TargetName=b", "SessionType=Discovery", "SessionType=x", "InitiatorAlias=b"];
    for other in others {
        let mut talk = Talk::new(Site::default());
        talk.on(go(SECURITY, OPERATIONAL), &normal("InitiatorAlias=a"));
        assert_eq!(talk.fail(stay(OPERATIONAL), other), LoginStatus::InitiatorError, "{other}");
    }
    let long = format!("InitiatorAlias={}", "a".repeat(256));
    assert_eq!(Talk::new(Site::default()).fail(stay(SECURITY), &normal(&long)), LoginStatus::InitiatorError);
}

#[test]
fn answers_of_the_initiator_are_not_answered() {
    let mut talk = Talk::new(Site::default());
    talk.on(stay(OPERATIONAL), &normal(""));
    let answers =
        "TargetPortalGroupTag=NotUnderstood TargetAlias=Irrelevant MaxRecvDataSegmentLength=Reject X-a=Reject";
    assert_eq!(talk.on(stay(OPERATIONAL), answers).1, "");
    // They are no declarations either.
    assert_eq!(talk.complete(go(OPERATIONAL, FULL), "MaxRecvDataSegmentLength=512"), "");
    assert_eq!(talk.login.established().unwrap().parameters.peer_max_recv_data_segment_length, 512);
}
