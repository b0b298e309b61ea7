//! Initiators that do anything.

use std::vec::Vec;
use std::{format, string::String, vec};

use proptest::prelude::*;

use crate::login::fixture::*;
use crate::login::{Admission, Login, Progress};
use crate::params::Limits;
use crate::pdu::{Bhs, LoginRequest};
use crate::text::TEXT_MAX;

fn header() -> impl Strategy<Value = LoginRequest> {
    let likely = prop_oneof![
        Just(stay(SECURITY)),
        Just(stay(OPERATIONAL)),
        Just(go(SECURITY, OPERATIONAL)),
        Just(go(SECURITY, FULL)),
        Just(go(OPERATIONAL, FULL)),
        Just(LoginRequest { cont: true, ..stay(SECURITY) }),
        Just(LoginRequest { cont: true, ..stay(OPERATIONAL) }),
    ];
    let any = any::<[[u8; 16]; 3]>().prop_map(|b| LoginRequest::parse(&Bhs(b.concat().try_into().unwrap())).unwrap());
    prop_oneof![20 => likely, 1 => any]
}

fn pairs() -> impl Strategy<Value = String> {
    let key = prop::sample::select(crate::keys::TABLE.iter().map(|rule| rule.name).collect::<Vec<_>>());
    let value = prop_oneof![
        Just(String::new()),
        Just("Yes".into()),
        Just("No".into()),
        Just("None".into()),
        Just("CRC32C,None".into()),
        Just("CHAP".into()),
        Just("5,6,7,8".into()),
        Just("Reject".into()),
        Just("x".into()),
        Just("0x10".into()),
        any::<u32>().prop_map(|n| format!("{n}")),
        "[0-9]{1,25}",
        "0x[0-9a-f]{0,80}",
        "0b[A-Za-z0-9+/=]{0,80}",
        "[^ \0]{0,40}",
    ];
    let pair = prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key}={value}")),
        1 => "[A-Za-z0-9=. ]{0,80}",
    ];
    let pairs = prop::collection::vec(pair, 0..6).prop_map(|pairs| pairs.join(" "));
    prop_oneof![1 => Just(normal("")), 1 => Just(discovery("")), 2 => pairs.clone(), 2 => pairs.prop_map(|p| normal(&p))]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => pairs().prop_map(|pairs| text(&pairs)), 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_of_requests_is_answered(
        chap: bool,
        requests in prop::collection::vec((header(), data()), 1..12),
        room in prop_oneof![4 => Just(TEXT_MAX), 1 => 0usize..300],
    ) {
        let admission = if chap { Admission::Authenticated } else { Admission::Open };
        let mut site = Site { admission, discovery: admission, initiator: Some(("a", b"b")), ..Site::default() };
        let mut login = <Login>::new(Limits::default());
        let mut out = vec![0; room];
        for (request, data) in requests {
            let progress = login.request(&request, &data, &mut site, &mut out);
            match progress {
                Progress::Continue(response, len) => {
                    prop_assert!(len <= room);
                    prop_assert!(login.established().is_none());
                    // 11.13: T only where it was asked for, and never beside C; no text to a text that goes on.
                    prop_assert!(!response.transit || request.transit && !response.cont);
                    prop_assert!(!request.cont || len == 0);
                    prop_assert!(!response.transit || response.next_stage == request.next_stage);
                }
                Progress::Complete(response, len) => {
                    prop_assert!(len <= room && response.transit && !response.cont);
                    // No one comes in who was to prove what it did not.
                    prop_assert!(!chap);
                    let established = login.established().unwrap();
                    let parameters = established.parameters;
                    prop_assert!(parameters.first_burst_length <= parameters.max_burst_length);
                    prop_assert!((512..1 << 24).contains(&parameters.max_burst_length));
                    prop_assert!((512..1 << 24).contains(&parameters.peer_max_recv_data_segment_length));
                    prop_assert!(parameters.error_recovery_level == 0 && parameters.data_pdu_in_order);
                    break;
                }
                Progress::Failed(response) => {
                    prop_assert!(response.status.code() >= 0x0200 && login.established().is_none());
                    break;
                }
            }
        }
    }
}
