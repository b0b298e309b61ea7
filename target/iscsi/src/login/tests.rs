//! The order of a login: stages, flags, names, refusals. Keys are in `params`, CHAP beside it.

extern crate std;

use std::{format, vec};

use super::fixture::*;
use super::{Admission, LoginStatus, Progress};
use crate::pdu::{LoginRequest, Stage};

#[test]
fn straight_to_full_feature_phase() {
    let mut talk = Talk::new(Site::default());
    let answer = talk.complete(go(OPERATIONAL, FULL), &normal("HeaderDigest=None,CRC32C"));
    assert_eq!(answer, "HeaderDigest=None TargetPortalGroupTag=1 MaxRecvDataSegmentLength=262144");
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
    assert_eq!(talk.complete(go(SECURITY, FULL), &normal("AuthMethod=None")), "AuthMethod=None TargetPortalGroupTag=1");
    // Nothing was declared: the default holds.
    assert_eq!(talk.login.established().unwrap().parameters.max_recv_data_segment_length, 8192);
}
