//! Each key's rule (RFC 7143 clause 13), through a login.

use std::vec::Vec;
use std::{format, string::String};

use super::{Limits, Parameters};
use crate::keys::{Class, LENGTH_MAX, Rule, TABLE, TaskReporting, Use};
use crate::login::LoginStatus;
use crate::login::fixture::*;

/// What the results are when a text was offered.
fn results(limits: Limits, pairs: &str) -> Parameters {
    let mut talk = Talk::with(Site::default(), limits);
    talk.complete(go(OPERATIONAL, FULL), &normal(pairs));
    *talk.login.established().unwrap().parameters
}

/// Offers each value of a key alone, and looks at the answer's value.
fn offers(limits: Limits, key: &str, cases: &[(&str, &str)]) {
    for (value, expected) in cases {
        assert_eq!(answer(limits, &format!("{key}={value}")), format!("{key}={expected}"), "{key}={value}");
    }
}

#[test]
fn defaults_are_those_of_the_rfc() {
    let defaults = Parameters {
        header_digest: false,
        data_digest: false,
        max_recv_data_segment_length: 8192,
        peer_max_recv_data_segment_length: 8192,
        max_burst_length: 262_144,
        first_burst_length: 65536,
        max_outstanding_r2t: 1,
        initial_r2t: true,
        immediate_data: true,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        default_time2wait: 2,
        default_time2retain: 20,
        error_recovery_level: 0,
        task_reporting: TaskReporting::Rfc3720,
        protocol_level: 1,
    };
    assert_eq!(Parameters::default(), defaults);
    // They hold where nothing is offered, whatever the target would like.
    let limits = Limits { initial_r2t: false, immediate_data: false, max_burst_length: 512, ..Limits::default() };
    assert_eq!(results(limits, ""), Parameters { max_recv_data_segment_length: 262_144, ..defaults });
}

#[test]
fn the_table_names_each_key_once() {
    let mut names: Vec<_> = TABLE.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
    assert!(TABLE.len() <= 64, "a key is a bit of 64");
    assert!(names.iter().all(|name| Rule::find(name).is_some_and(|rule| rule.name == *name)));
    assert!(Rule::find("maxburstlength").is_none());
}

#[test]
fn digests() {
    for key in ["HeaderDigest", "DataDigest"] {
        let cases = [
            ("None", "None"),
            ("CRC32C", "CRC32C"),
            ("None,CRC32C", "None"),
            ("CRC32C,None", "CRC32C"),
            ("SHA,CRC32C", "CRC32C"),
            ("SHA", "Reject"),
            ("crc32c", "Reject"),
            ("", "Reject"),
            ("None,", "Reject"),
        ];
        offers(Limits::default(), key, &cases);
        let without = Limits { digests: false, ..Limits::default() };
        offers(without, key, &[("CRC32C", "Reject"), ("CRC32C,None", "None"), ("None", "None")]);
    }
    let digests = |p: Parameters| (p.header_digest, p.data_digest);
    assert_eq!(digests(results(Limits::default(), "HeaderDigest=CRC32C")), (true, false));
    assert_eq!(digests(results(Limits::default(), "DataDigest=CRC32C,None HeaderDigest=SHA")), (false, true));
}

#[test]
fn numbers_are_the_smaller_or_the_larger() {
    let limits = Limits {
        max_burst_length: 131_072,
        first_burst_length: 32768,
        max_outstanding_r2t: 4,
        default_time2wait: 5,
        default_time2retain: 10,
        ..Limits::default()
    };
    let bursts = [("512", "512"), ("131073", "131072"), ("16777215", "131072"), ("0x200", "512"), ("511", "Reject")];
    offers(limits, "MaxBurstLength", &bursts);
    offers(limits, "FirstBurstLength", &[("512", "512"), ("16777215", "32768"), ("16777216", "Reject")]);
    offers(limits, "MaxOutstandingR2T", &[("1", "1"), ("65535", "4"), ("0", "Reject"), ("65536", "Reject")]);
    offers(limits, "DefaultTime2Wait", &[("0", "5"), ("6", "6"), ("3600", "3600"), ("3601", "Reject")]);
    offers(limits, "DefaultTime2Retain", &[("0", "0"), ("3600", "10"), ("3601", "Reject")]);
    offers(limits, "MaxConnections", &[("1", "1"), ("65535", "1"), ("0", "Reject"), ("65536", "Reject")]);
    offers(limits, "ErrorRecoveryLevel", &[("0", "0"), ("1", "0"), ("2", "0"), ("3", "Reject")]);
    offers(limits, "iSCSIProtocolLevel", &[("0", "0"), ("1", "1"), ("2", "1"), ("31", "1"), ("32", "Reject")]);

    let all = "MaxBurstLength=65536 FirstBurstLength=4096 MaxOutstandingR2T=9 DefaultTime2Wait=7 DefaultTime2Retain=3 \
               iSCSIProtocolLevel=0";
    let p = results(limits, all);
    assert_eq!((p.max_burst_length, p.first_burst_length, p.max_outstanding_r2t), (65536, 4096, 4));
    assert_eq!((p.default_time2wait, p.default_time2retain, p.protocol_level), (7, 3, 0));
}

#[test]
fn fault_04_a_length_that_is_no_number_is_rejected() {
    for value in ["x", "", "-1", "1x", " 1", "512~1024", "512,1024", "Yes", "99999999999999999999999", "0x", "0512"] {
        let pairs = format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0MaxBurstLength={value}\0");
        let mut talk = Talk::new(Site::default());
        let (_, out) = talk.raw(go(OPERATIONAL, FULL), pairs.as_bytes());
        assert!(untext(&out).contains("MaxBurstLength=Reject"), "{value}");
        // 6.2: what is rejected stays as it was.
        assert_eq!(talk.login.established().unwrap().parameters.max_burst_length, 262_144);
    }
}

#[test]
fn fault_16_no_length_above_24_bits() {
    let limits = Limits {
        max_recv_data_segment_length: u32::MAX,
        max_burst_length: u32::MAX,
        first_burst_length: u32::MAX,
        ..Limits::default()
    };
    let pairs = "MaxBurstLength=16777215 FirstBurstLength=16777215 MaxRecvDataSegmentLength=16777215 InitialR2T=No";
    let mut talk = Talk::with(Site::default(), limits);
    let answer = talk.complete(go(OPERATIONAL, FULL), &normal(pairs));
    for key in ["MaxBurstLength", "FirstBurstLength", "MaxRecvDataSegmentLength"] {
        assert!(answer.contains(&format!("{key}=16777215")), "{answer}");
    }
    let p = talk.login.established().unwrap().parameters;
    let lengths =
        [p.max_recv_data_segment_length, p.peer_max_recv_data_segment_length, p.max_burst_length, p.first_burst_length];
    assert_eq!(lengths, [LENGTH_MAX; 4]);
    offers(limits, "MaxBurstLength", &[("16777216", "Reject"), ("0xffffffff", "Reject")]);
    // Nor below what a key allows.
    let none = Limits { max_recv_data_segment_length: 0, max_burst_length: 0, max_outstanding_r2t: 0, ..limits };
    let answer = Talk::with(Site::default(), none)
        .complete(go(OPERATIONAL, FULL), &normal("MaxBurstLength=4096 MaxOutstandingR2T=2"));
    assert!(answer.starts_with("MaxBurstLength=512 MaxOutstandingR2T=1"), "{answer}");
    assert!(answer.ends_with("MaxRecvDataSegmentLength=512"), "{answer}");
}

#[test]
fn booleans() {
    // (the target's wish, the offer, the result)
    let or = [(false, "No", "No"), (false, "Yes", "Yes"), (true, "No", "Yes"), (true, "Yes", "Yes")];
    for (initial_r2t, offer, result) in or {
        offers(Limits { initial_r2t, ..Limits::default() }, "InitialR2T", &[(offer, result)]);
        let limits = Limits { initial_r2t, ..Limits::default() };
        assert_eq!(results(limits, &format!("InitialR2T={offer}")).initial_r2t, result == "Yes");
    }
    let and = [(false, "No", "No"), (false, "Yes", "No"), (true, "No", "No"), (true, "Yes", "Yes")];
    for (immediate_data, offer, result) in and {
        let limits = Limits { immediate_data, ..Limits::default() };
        offers(limits, "ImmediateData", &[(offer, result)]);
        assert_eq!(results(limits, &format!("ImmediateData={offer}")).immediate_data, result == "Yes");
    }
    for key in ["DataPDUInOrder", "DataSequenceInOrder"] {
        offers(Limits::default(), key, &[("No", "Yes"), ("Yes", "Yes")]);
    }
    for key in ["InitialR2T", "ImmediateData", "DataPDUInOrder", "DataSequenceInOrder"] {
        offers(Limits::default(), key, &[("yes", "Reject"), ("", "Reject"), ("1", "Reject"), ("Yes,No", "Reject")]);
    }
}

#[test]
fn first_burst_is_never_above_max_burst() {
    // 13.14, in whichever order they are offered.
    for pairs in [
        "InitialR2T=No MaxBurstLength=4096 FirstBurstLength=65536",
        "FirstBurstLength=65536 MaxBurstLength=4096 InitialR2T=No",
    ] {
        assert!(answer(Limits::default(), pairs).ends_with("FirstBurstLength=4096"));
        assert_eq!(results(Limits::default(), pairs).first_burst_length, 4096);
    }
    // One of them alone, or later than the other.
    assert_eq!(results(Limits::default(), "MaxBurstLength=4096").first_burst_length, 4096);
    assert_eq!(results(Limits::default(), "FirstBurstLength=16777215").first_burst_length, 262_144);
    let mut talk = Talk::new(Site::default());
    talk.on(stay(OPERATIONAL), &normal("FirstBurstLength=65536"));
    talk.complete(go(OPERATIONAL, FULL), "MaxBurstLength=8192");
    assert_eq!(talk.login.established().unwrap().parameters.first_burst_length, 8192);
}

#[test]
fn first_burst_has_a_value_without_unsolicited_data_too() {
    let cases = [
        ("InitialR2T=Yes ImmediateData=No", "4096"),
        ("ImmediateData=No", "4096"),
        ("InitialR2T=No ImmediateData=No", "4096"),
        ("InitialR2T=Yes ImmediateData=Yes", "4096"),
    ];
    for (pairs, expected) in cases {
        for pairs in [format!("{pairs} FirstBurstLength=4096"), format!("FirstBurstLength=4096 {pairs}")] {
            let answer = answer(Limits::default(), &pairs);
            assert!(answer.ends_with(&format!("FirstBurstLength={expected}")), "{pairs}: {answer}");
        }
    }
    // One that it may not have does no harm there.
    let answer = answer(Limits::default(), "ImmediateData=No FirstBurstLength=0");
    assert!(answer.ends_with("FirstBurstLength=Irrelevant"), "{answer}");
}

#[test]
fn segment_length_is_declared_and_not_answered() {
    for (value, length) in [("512", 512), ("16777215", LENGTH_MAX), ("0x1000", 4096)] {
        let pairs = format!("MaxRecvDataSegmentLength={value}");
        assert_eq!(answer(Limits::default(), &pairs), "");
        assert_eq!(results(Limits::default(), &pairs).peer_max_recv_data_segment_length, length);
    }
    // 7.11: a declaration that is not acceptable ends the login.
    for value in ["511", "16777216", "x", ""] {
        let pairs = normal(&format!("MaxRecvDataSegmentLength={value}"));
        assert_eq!(Talk::new(Site::default()).fail(go(OPERATIONAL, FULL), &pairs), LoginStatus::InitiatorError);
    }
}

#[test]
fn task_reporting() {
    let cases = [("RFC3720", "RFC3720"), ("FastAbort,ResponseFence,RFC3720", "RFC3720"), ("FastAbort", "Reject")];
    offers(Limits::default(), "TaskReporting", &cases);
    let limits = Limits { response_fence: true, fast_abort: true, ..Limits::default() };
    offers(limits, "TaskReporting", &[("FastAbort,ResponseFence", "FastAbort"), ("x,ResponseFence", "ResponseFence")]);
    assert_eq!(results(limits, "TaskReporting=ResponseFence").task_reporting, TaskReporting::ResponseFence);
    assert_eq!(results(limits, "TaskReporting=FastAbort").task_reporting, TaskReporting::FastAbort);
}

#[test]
fn obsolete_keys_are_known_and_refused() {
    // 13.25: never NotUnderstood.
    for key in ["IFMarker", "OFMarker"] {
        offers(Limits::default(), key, &[("No", "No"), ("Yes", "No"), ("x", "Reject")]);
    }
    for key in ["IFMarkInt", "OFMarkInt"] {
        offers(Limits::default(), key, &[("2048", "Reject"), ("1~65535", "Reject")]);
    }
}

#[test]
fn keys_that_are_not_known() {
    for key in ["X-com.example.key", "X#key", "Foo", "maxburstlength", "SendTargetsPlease"] {
        offers(Limits::default(), key, &[("v", "NotUnderstood"), ("", "NotUnderstood")]);
    }
    assert_eq!(
        answer(Limits::default(), &format!("{}=v", "K".repeat(63))),
        format!("{}=NotUnderstood", "K".repeat(63))
    );
}

#[test]
fn what_has_no_effect_in_a_discovery_session_has_a_value() {
    let without_effect = [
        ("MaxConnections=8", "MaxConnections=1"),
        ("InitialR2T=Yes", "InitialR2T=Yes"),
        ("ImmediateData=Yes", "ImmediateData=Yes"),
        ("MaxBurstLength=512", "MaxBurstLength=512"),
        ("FirstBurstLength=512", "FirstBurstLength=512"),
        ("MaxOutstandingR2T=1", "MaxOutstandingR2T=1"),
        ("DataPDUInOrder=Yes", "DataPDUInOrder=Yes"),
        ("DataSequenceInOrder=Yes", "DataSequenceInOrder=Yes"),
        ("TaskReporting=RFC3720", "TaskReporting=RFC3720"),
        ("iSCSIProtocolLevel=1", "iSCSIProtocolLevel=1"),
        // 6.2: nor does a value that it may not have.
        ("MaxBurstLength=x", "MaxBurstLength=Irrelevant"),
    ];
    let relevant = [
        ("HeaderDigest=CRC32C", "HeaderDigest=CRC32C"),
        ("DefaultTime2Wait=3", "DefaultTime2Wait=3"),
        ("DefaultTime2Retain=20", "DefaultTime2Retain=0"),
        ("ErrorRecoveryLevel=0", "ErrorRecoveryLevel=0"),
        ("IFMarker=No", "IFMarker=No"),
    ];
    for (pair, expected) in without_effect.into_iter().chain(relevant) {
        let answer = Talk::new(Site::default()).complete(go(OPERATIONAL, FULL), &discovery(pair));
        assert_eq!(answer, format!("{expected} MaxRecvDataSegmentLength=262144"));
    }
}

#[test]
fn every_operational_key_is_answered_in_a_normal_session() {
    for rule in TABLE.iter().filter(|rule| rule.usage == Use::Operational) {
        let value = match rule.class {
            Class::List([first, ..]) => String::from(first.name),
            Class::Number { min, .. } => format!("{min}"),
            _ => String::from("Yes"),
        };
        let answered = answer(Limits::default(), &format!("{}={value}", rule.name));
        assert!(answered.starts_with(&format!("{}=", rule.name)), "{answered}");
        assert!(!answered.contains("NotUnderstood"));
    }
}
