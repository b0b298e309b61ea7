//! Stages, names, refusals.

use std::format;

use crate::login::fixture::*;
use crate::login::{Admission, LoginStatus, Progress};
use crate::pdu::{LoginRequest, Stage};

#[test]
fn straight_to_full_feature_phase() {
    let mut talk = Talk::new(Site::default());
    assert!(!talk.login.has_begun());
    let answer = talk.complete(go(OPERATIONAL, FULL), &normal("HeaderDigest=None,CRC32C"));
    assert_eq!(answer, "HeaderDigest=None TargetPortalGroupTag=1 MaxRecvDataSegmentLength=262144");
    assert!(talk.login.has_begun());
    let login = talk.login.established().unwrap();
    assert_eq!((login.initiator, login.target), (INITIATOR, Some(TARGET)));
    assert_eq!((login.isid, login.cid), ([0x80, 0, 0, 1, 2, 3], 0));
    assert_eq!(login.parameters.max_recv_data_segment_length, 262_144);
}

#[test]
fn through_both_stages() {
    let mut talk = Talk::new(Site { alias: Some("disk"), ..Site::default() });
    let (response, answer) = talk.on(go(SECURITY, OPERATIONAL), &normal("AuthMethod=CHAP,None"));
    assert!(response.transit);
    assert_eq!(response.next_stage, OPERATIONAL);
    assert_eq!(answer, "AuthMethod=None TargetPortalGroupTag=1 TargetAlias=disk");
    // 13.12: declared once, in the operational stage, whatever follows.
    let (response, answer) = talk.on(stay(OPERATIONAL), "MaxRecvDataSegmentLength=65536");
    assert!(!response.transit);
    assert_eq!(answer, "MaxRecvDataSegmentLength=262144");
    assert_eq!(talk.complete(go(OPERATIONAL, FULL), "InitiatorAlias=me"), "");
    let login = talk.login.established().unwrap();
    assert_eq!(login.initiator_alias, Some("me"));
    assert_eq!(login.parameters.peer_max_recv_data_segment_length, 65536);
}

#[test]
fn from_security_to_full_feature_phase() {
    let mut talk = Talk::new(Site::default());
    let answer = talk.complete(go(SECURITY, FULL), &normal("AuthMethod=None"));
    assert_eq!(answer, "AuthMethod=None TargetPortalGroupTag=1");
    // Nothing was declared: the default holds.
    assert_eq!(talk.login.established().unwrap().parameters.max_recv_data_segment_length, 8192);
}

#[test]
fn a_security_stage_without_a_method_is_left_where_none_is_needed() {
    let mut talk = Talk::new(Site::default());
    assert!(talk.on(go(SECURITY, OPERATIONAL), &normal("")).0.transit);
    talk.complete(go(OPERATIONAL, FULL), "");
}

#[test]
fn discovery_session() {
    let mut talk = Talk::new(Site::default());
    assert_eq!(talk.complete(go(OPERATIONAL, FULL), &discovery("")), "MaxRecvDataSegmentLength=262144");
    assert_eq!(talk.login.established().unwrap().target, None);

    // 13.9: the tag is told where TargetName is; the session is for discovery all the same.
    let mut talk = Talk::new(Site::default());
    let answer = talk.complete(go(OPERATIONAL, FULL), &discovery(&format!("TargetName={TARGET}")));
    assert_eq!(answer, "TargetPortalGroupTag=1 MaxRecvDataSegmentLength=262144");
    assert_eq!(talk.login.established().unwrap().target, None);
}

#[test]
fn names_that_are_missing_or_wrong() {
    let long = "n".repeat(224);
    let cases = [
        ("", LoginStatus::MissingParameter),
        (&format!("TargetName={TARGET}"), LoginStatus::MissingParameter),
        (&format!("InitiatorName= TargetName={TARGET}"), LoginStatus::MissingParameter),
        (&format!("InitiatorName={INITIATOR}"), LoginStatus::MissingParameter),
        (&format!("InitiatorName={INITIATOR} SessionType=Normal"), LoginStatus::MissingParameter),
        (&format!("InitiatorName={INITIATOR} TargetName="), LoginStatus::MissingParameter),
        (&format!("InitiatorName={INITIATOR} TargetName={TARGET}x"), LoginStatus::NotFound),
        (&format!("InitiatorName={INITIATOR}x TargetName={TARGET}"), LoginStatus::AuthorizationFailure),
        (&format!("InitiatorName={INITIATOR} SessionType=Any"), LoginStatus::SessionTypeNotSupported),
        (&format!("InitiatorName={long} TargetName={TARGET}"), LoginStatus::InitiatorError),
        (&format!("InitiatorName={INITIATOR} TargetName={long}"), LoginStatus::InitiatorError),
        (&format!("InitiatorName=a\u{7}b TargetName={TARGET}"), LoginStatus::InitiatorError),
    ];
    for (pairs, status) in cases {
        for stage in [SECURITY, OPERATIONAL] {
            assert_eq!(Talk::new(Site::default()).fail(stay(stage), pairs), status, "{pairs}");
        }
    }
}

#[test]
fn the_surroundings_refuse() {
    let cases = [
        (Admission::NotFound, LoginStatus::NotFound, 0x0203),
        (Admission::Forbidden, LoginStatus::AuthorizationFailure, 0x0202),
        (Admission::Unavailable, LoginStatus::ServiceUnavailable, 0x0301),
    ];
    for (admission, status, code) in cases {
        let site = || Site { admission, discovery: admission, ..Site::default() };
        assert_eq!(Talk::new(site()).fail(stay(SECURITY), &normal("")), status);
        assert_eq!(Talk::new(site()).fail(stay(SECURITY), &discovery("")), status);
        assert_eq!(status.code(), code);
    }
}

#[test]
fn a_full_target_has_room_for_whom_it_knows() {
    let site = || Site { only_for: Some(stay(OPERATIONAL).isid), ..Site::default() };
    Talk::new(site()).complete(go(OPERATIONAL, FULL), &normal(""));
    let other = LoginRequest { isid: [0; 6], ..go(OPERATIONAL, FULL) };
    assert_eq!(Talk::new(site()).fail(other, &normal("")), LoginStatus::OutOfResources);
    Talk::new(site()).complete(other, &discovery(""));
    assert_eq!(LoginStatus::OutOfResources.code(), 0x0302);
}

#[test]
fn versions() {
    // 11.12.4: any Version-max is served with version 0, as long as 0 is in the range.
    let mut talk = Talk::new(Site::default());
    let (response, _) = talk.on(LoginRequest { version_max: 9, ..stay(SECURITY) }, &normal(""));
    assert_eq!((response.version_max, response.version_active), (0, 0));
    let request = LoginRequest { version_max: 1, version_min: 1, ..stay(SECURITY) };
    assert_eq!(Talk::new(Site::default()).fail(request, &normal("")), LoginStatus::UnsupportedVersion);
}

#[test]
fn connections_to_a_session_that_is_there_or_not() {
    let request = |tsih| LoginRequest { tsih, ..stay(OPERATIONAL) };
    assert_eq!(Talk::new(Site::default()).fail(request(TSIH), &normal("")), LoginStatus::TooManyConnections);
    assert_eq!(Talk::new(Site::default()).fail(request(TSIH + 1), &normal("")), LoginStatus::SessionDoesNotExist);
    assert_eq!(Talk::new(Site::default()).fail(request(TSIH), &discovery("")), LoginStatus::SessionDoesNotExist);
}

/// Whether there is a session with a TSIH is told to an initiator that has proved who it is, and to no other.
#[test]
fn tsihs_are_not_told_before_authentication() {
    let answers = [TSIH, TSIH + 1].map(|tsih| {
        let site = Site { admission: Admission::Authenticated, initiator: Some(("a", b"secret")), ..Site::default() };
        let mut talk = Talk::new(site);
        let request = LoginRequest { tsih, ..go(SECURITY, OPERATIONAL) };
        let first = talk.on(request, &normal("AuthMethod=CHAP")).1;
        let second = talk.on(request, "CHAP_A=5").1;
        let wrong = talk.fail(request, &format!("CHAP_N=a CHAP_R=0x{}", "0".repeat(32)));
        (first, second, wrong)
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].2, LoginStatus::AuthenticationFailure);
}

#[test]
fn the_response_has_no_new_tsih_before_the_driver_gives_one() {
    let mut talk = Talk::new(Site::default());
    let (progress, _) = talk.raw(go(OPERATIONAL, FULL), &text(&normal("")));
    assert!(matches!(progress, Progress::Complete(response, _) if response.tsih == 0));
    let (progress, _) =
        Talk::new(Site::default()).raw(LoginRequest { tsih: 9, ..stay(OPERATIONAL) }, &text(&normal("")));
    assert!(matches!(progress, Progress::Failed(response) if response.tsih == 9));
}

#[test]
fn stages_that_there_are_not() {
    let first = [
        stay(Stage::Reserved),
        stay(FULL),
        go(SECURITY, SECURITY),
        go(SECURITY, Stage::Reserved),
        go(OPERATIONAL, SECURITY),
        go(OPERATIONAL, OPERATIONAL),
        go(OPERATIONAL, Stage::Reserved),
        go(FULL, FULL),
        // 11.12.2: a request whose text goes on does not transit.
        LoginRequest { cont: true, ..go(OPERATIONAL, FULL) },
    ];
    for request in first {
        assert_eq!(Talk::new(Site::default()).fail(request, &normal("")), LoginStatus::InitiatorError, "{request:?}");
    }
    // NSG is reserved, and ignored, where T is not set.
    let request = LoginRequest { next_stage: Stage::Reserved, ..stay(SECURITY) };
    assert_eq!(Talk::new(Site::default()).on(request, &normal("")).0.next_stage, SECURITY);
}

#[test]
fn a_stage_is_not_left_or_entered_unasked() {
    for (began, next) in [(SECURITY, OPERATIONAL), (OPERATIONAL, SECURITY)] {
        let mut talk = Talk::new(Site::default());
        talk.on(stay(began), &normal(""));
        assert_eq!(talk.fail(stay(next), ""), LoginStatus::InitiatorError);
    }
    let mut talk = Talk::new(Site::default());
    talk.on(go(SECURITY, OPERATIONAL), &normal(""));
    assert_eq!(talk.fail(go(SECURITY, FULL), ""), LoginStatus::InitiatorError);
}

#[test]
fn what_the_first_request_says_stays() {
    let others = [
        LoginRequest { isid: [0; 6], ..stay(SECURITY) },
        LoginRequest { tsih: 1, ..stay(SECURITY) },
        LoginRequest { cid: 1, ..stay(SECURITY) },
    ];
    for other in others {
        let mut talk = Talk::new(Site::default());
        talk.on(stay(SECURITY), &normal(""));
        assert_eq!(talk.fail(other, ""), LoginStatus::InitiatorError);
    }
    let mut talk = Talk::new(Site::default());
    talk.on(stay(SECURITY), &normal(""));
    talk.on(LoginRequest { itt: 2, ..stay(SECURITY) }, "");
}

#[test]
fn nothing_goes_on_after_the_end() {
    let mut talk = Talk::new(Site::default());
    talk.complete(go(OPERATIONAL, FULL), &normal(""));
    assert!(matches!(talk.raw(stay(OPERATIONAL), b"").0, Progress::Failed(_)));
    let mut talk = Talk::new(Site::default());
    talk.fail(stay(SECURITY), "");
    assert_eq!(talk.fail(stay(SECURITY), &normal("")), LoginStatus::InvalidDuringLogin);
}

#[test]
fn fault_24_a_name_and_a_stage_that_are_not_there_are_refused() {
    let pairs = normal("").replace(TARGET, "iqn.2001-04.com.example:other");
    assert_eq!(Talk::new(Site::default()).fail(go(OPERATIONAL, FULL), &pairs), LoginStatus::NotFound);
    assert_eq!(Talk::new(Site::default()).fail(stay(Stage::Reserved), &normal("")), LoginStatus::InitiatorError);
}
