//! Requests and their answers, as bytes and as PDUs; and datagrams that are none.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use rasn::types::{Integer, ObjectIdentifier, OctetString};
use rasn_smi::v2::SimpleSyntax;
use rasn_snmp::v2::{
    BulkPdu, GetBulkRequest, GetNextRequest, GetRequest, InformRequest, ObjectSyntax, Pdu, Pdus, Report, Response,
    SetRequest, Trap, VarBind, VarBindValue,
};
use rasn_snmp::v2c::Message;

use crate::objects::{GROUPS, Index, Kind, Source, Table, find};
use crate::{Agent, Config, Value, Values};

pub(crate) const DESCR: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 1, 0];
const UNITS: &[u32] = &[1, 3, 6, 1, 2, 1, 142, 1, 10, 2, 1, 1];
const DATA_IN: &[u32] = &[1, 3, 6, 1, 2, 1, 142, 1, 10, 2, 1, 3];
const LAST: &[u32] = &[1, 3, 6, 1, 4, 1, 2021, 100, 3];

/// Rows of every table; numbers and texts that are always the same.
pub(crate) struct Fixed {
    rows: [Vec<Index>; Table::ALL.len()],
}

impl Fixed {
    /// So many disks and sessions.
    pub(crate) fn new(disks: u32, sessions: u32) -> Self {
        let rows = Table::ALL.map(|table| match table {
            Table::Disks => (1..=disks).map(|disk| Index::new(&[disk])).collect(),
            Table::Instance => vec![Index::new(&[1])],
            Table::Portals => vec![Index::new(&[1, 1]), Index::new(&[1, 2])],
            Table::TargetPortals => vec![Index::new(&[1, 1, 1]), Index::new(&[1, 2, 1])],
            Table::Nodes => vec![Index::new(&[1, 1])],
            Table::Sessions => (1..=sessions).map(|session| Index::new(&[1, 1, 7 * session])).collect(),
            Table::Connections => (1..=sessions).map(|session| Index::new(&[1, 1, 7 * session, 1])).collect(),
        });
        Self { rows }
    }
}

impl Values for Fixed {
    fn rows(&self, table: Table) -> &[Index] {
        &self.rows[table as usize]
    }

    fn value(&self, source: Source, _: Option<usize>) -> Option<Value> {
        let shown = GROUPS.iter().flat_map(|group| group.objects).find(|object| object.source == source)?;
        Some(match (shown.kind, source) {
            (Kind::Text, _) => Value::Text("x".repeat(100)),
            (Kind::Name, _) => Value::Name(vec![1, 3, 6]),
            // Nobody has such a thing: it is passed by.
            (_, Source::LogoutsForRecovery) => return None,
            (_, Source::DataIn) => Value::Number(8),
            _ => Value::Number(7),
        })
    }
}

fn answer(datagram: &[u8], community: &[u8]) -> Option<Vec<u8>> {
    let config = Config { community: Some(community.to_vec()), engine: None };
    Agent::new(config).answer(datagram, 0, &Fixed::new(2, 2))
}

pub(crate) fn asked(name: &[u32]) -> VarBind {
    VarBind { name: ObjectIdentifier::new_unchecked(name.to_vec().into()), value: VarBindValue::Unspecified }
}

pub(crate) fn pdu(names: &[&[u32]]) -> Pdu {
    Pdu {
        request_id: 0x1234,
        error_status: 0,
        error_index: 0,
        variable_bindings: names.iter().map(|n| asked(n)).collect(),
    }
}

pub(crate) fn get(names: &[&[u32]]) -> Pdus {
    Pdus::GetRequest(GetRequest(pdu(names)))
}

fn next(names: &[&[u32]]) -> Pdus {
    Pdus::GetNextRequest(GetNextRequest(pdu(names)))
}

fn bulk(non_repeaters: u32, max_repetitions: u32, names: &[&[u32]]) -> Pdus {
    let variable_bindings = names.iter().map(|name| asked(name)).collect();
    Pdus::GetBulkRequest(GetBulkRequest(BulkPdu {
        request_id: 0x1234,
        non_repeaters,
        max_repetitions,
        variable_bindings,
    }))
}

fn datagram(version: u8, community: &str, data: Pdus) -> Vec<u8> {
    let community = OctetString::from(community.as_bytes().to_vec());
    rasn::ber::encode(&Message { version: Integer::from(version), community, data }).expect("a message")
}

fn raw(version: u8, data: Pdus) -> Option<Vec<u8>> {
    answer(&datagram(version, "public", data), b"public")
}

/// The answer's PDU; version 0 is SNMPv1, version 1 is SNMPv2c.
#[track_caller]
fn ask(version: u8, data: Pdus) -> Pdu {
    let bytes = raw(version, data).expect("an answer");
    let message: Message<Pdus> = rasn::ber::decode(&bytes).expect("a message");
    assert_eq!(message.version, Integer::from(version));
    assert_eq!(&*message.community, b"public");
    let Pdus::Response(Response(pdu)) = message.data else { panic!("no response") };
    assert_eq!(pdu.request_id, 0x1234);
    pdu
}

fn names(pdu: &Pdu) -> Vec<Vec<u32>> {
    pdu.variable_bindings.iter().map(|binding| binding.name.to_vec()).collect()
}

fn status(pdu: &Pdu) -> (u32, u32) {
    (pdu.error_status, pdu.error_index)
}

#[test]
fn an_exchange_byte_for_byte() {
    #[rustfmt::skip]
    let request = [
        0x30, 0x2c, 0x02, 0x01, 0x01, 0x04, 0x06, b'p', b'u', b'b', b'l', b'i', b'c',
        0xa0, 0x1f, 0x02, 0x02, 0x12, 0x34, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00,
        0x30, 0x13, 0x30, 0x11, 0x06, 0x0d, 0x2b, 0x06, 0x01, 0x02, 0x01, 0x81, 0x0e, 0x01, 0x0a, 0x02, 0x01, 0x03, 0x00,
        0x05, 0x00,
    ];
    // An instance below the object: there is none.
    let absent = answer(&request, b"public").expect("an answer");
    #[rustfmt::skip]
    let expected = [
        0x30, 0x2c, 0x02, 0x01, 0x01, 0x04, 0x06, b'p', b'u', b'b', b'l', b'i', b'c',
        0xa2, 0x1f, 0x02, 0x02, 0x12, 0x34, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00,
        0x30, 0x13, 0x30, 0x11, 0x06, 0x0d, 0x2b, 0x06, 0x01, 0x02, 0x01, 0x81, 0x0e, 0x01, 0x0a, 0x02, 0x01, 0x03, 0x00,
        0x81, 0x00,
    ];
    assert_eq!(absent, expected);
    let there = raw(1, get(&[UNITS])).expect("an answer");
    // Counter32 is [APPLICATION 1], Counter64 is [APPLICATION 6] (RFC 2578).
    assert_eq!(&there[there.len() - 3..], [0x41, 1, 7]);
    let there = raw(1, get(&[DATA_IN])).expect("an answer");
    assert_eq!(&there[there.len() - 3..], [0x46, 1, 8]);
}

#[test]
fn get_and_what_is_absent() {
    let found = ask(1, get(&[DESCR, &[1, 3, 6, 1, 2, 1, 1, 1], &[1, 3, 6, 1, 9], UNITS]));
    assert_eq!(status(&found), (0, 0));
    let values: Vec<_> = found.variable_bindings.iter().map(|binding| &binding.value).collect();
    assert!(matches!(values[0], VarBindValue::Value(_)));
    assert_eq!(values[1..3], [&VarBindValue::NoSuchInstance, &VarBindValue::NoSuchObject]);
    assert!(matches!(values[3], VarBindValue::Value(_)));
    // Version 1: an error, with the request's variables and which of them it is.
    let refused = ask(0, get(&[DESCR, &[1, 3, 6, 1, 9]]));
    assert_eq!(status(&refused), (Pdu::ERROR_STATUS_NO_SUCH_NAME, 2));
    assert_eq!(refused.variable_bindings, pdu(&[DESCR, &[1, 3, 6, 1, 9]]).variable_bindings);
    assert_eq!(status(&ask(0, get(&[DESCR, UNITS, DATA_IN]))), (0, 0));
    assert_eq!(ask(1, get(&[])).variable_bindings, []);
}

fn walk(version: u8) -> Vec<Vec<u32>> {
    let mut found = vec![vec![0, 0]];
    loop {
        let at = found.last().cloned().unwrap_or_default();
        let answer = ask(version, next(&[&at]));
        let ended = answer.variable_bindings[0].value == VarBindValue::EndOfMibView;
        if ended || answer.error_status != 0 {
            let end = if version == 0 { (Pdu::ERROR_STATUS_NO_SUCH_NAME, 1) } else { (0, 0) };
            assert_eq!(status(&answer), end);
            assert_eq!(names(&answer), [at]);
            found.remove(0);
            return found;
        }
        found.extend(names(&answer));
    }
}

#[test]
fn walks() {
    let all = walk(1);
    assert!(all.is_sorted_by(|a, b| a < b));
    assert_eq!(all.last().map(Vec::as_slice), Some(LAST));
    assert!(all.len() > GROUPS.iter().map(|group| group.objects.len()).sum::<usize>());
    // Version 1 does not know Counter64, and goes past it.
    let known = walk(0);
    let big = |name: &Vec<u32>| find(name, &Fixed::new(2, 2)).expect("it is there").object.kind == Kind::Counter64;
    assert_eq!(known, all.iter().filter(|name| !big(name)).cloned().collect::<Vec<_>>());
    assert!(known.len() < all.len());
}

#[test]
fn bulk_requests() {
    let all = walk(1);
    // One that does not repeat, then two in turn.
    let found = ask(1, bulk(1, 2, &[&[1, 3], &[1, 3], UNITS]));
    let behind = |name: &[u32], steps: usize| all.iter().filter(|other| &other[..] > name).nth(steps).cloned();
    let expected = [(&[1, 3][..], 0), (&[1, 3], 0), (UNITS, 0), (&[1, 3], 1), (UNITS, 1)];
    let expected: Vec<_> = expected.into_iter().filter_map(|(name, steps)| behind(name, steps)).collect();
    assert_eq!(names(&found), expected);
    // To the end, and then no more.
    let found = ask(1, bulk(0, 1000, &[&all[all.len() - 2]]));
    assert_eq!(names(&found), [LAST, LAST]);
    assert_eq!(found.variable_bindings[1].value, VarBindValue::EndOfMibView);
    for (once, times, count) in [(0, 0, 0), (9, 5, 2), (2, 0, 2), (0, 1, 2), (u32::MAX, u32::MAX, 2)] {
        assert_eq!(ask(1, bulk(once, times, &[&[1, 3], UNITS])).variable_bindings.len(), count, "{once} {times}");
    }
    assert_eq!(ask(1, bulk(0, u32::MAX, &[])).variable_bindings, []);
    // As much as an Ethernet frame takes.
    for names in [&[&[1, 3][..]][..], &[&[1, 3][..]; 200]] {
        for once in [0, 1000] {
            let bytes = raw(1, bulk(once, 1000, names)).expect("an answer");
            assert!(bytes.len() <= 1472, "{}", bytes.len());
            assert!(bytes.len() > 1300 || names.len() == 1 && once == 1000, "{}", bytes.len());
        }
    }
    assert_eq!(raw(0, bulk(0, 1, &[DESCR])), None, "version 1 has no GETBULK");
}

#[test]
fn nothing_can_be_set() {
    for (version, expected) in [(0, Pdu::ERROR_STATUS_NO_SUCH_NAME), (1, Pdu::ERROR_STATUS_NOT_WRITABLE)] {
        let mut request = pdu(&[DESCR, UNITS]);
        let text = ObjectSyntax::Simple(SimpleSyntax::String(OctetString::from(b"mine".to_vec())));
        request.variable_bindings[0].value = VarBindValue::Value(text);
        let refused = ask(version, Pdus::SetRequest(SetRequest(request.clone())));
        assert_eq!(status(&refused), (expected, 1));
        assert_eq!(refused.variable_bindings, request.variable_bindings);
    }
}

#[test]
fn answers_that_are_too_big() {
    let many = vec![DESCR; 1000];
    let refused = ask(1, get(&many));
    assert_eq!((status(&refused), refused.variable_bindings.len()), ((Pdu::ERROR_STATUS_TOO_BIG, 0), 0));
    let refused = ask(0, get(&many));
    assert_eq!((status(&refused), refused.variable_bindings.len()), ((Pdu::ERROR_STATUS_TOO_BIG, 0), 1000));
    let bytes = raw(1, get(&many[..550])).expect("an answer");
    assert!((60_000..=65_507).contains(&bytes.len()), "{}", bytes.len());
}

#[test]
fn who_gets_no_answer() {
    let good = datagram(1, "public", get(&[DESCR]));
    assert!(answer(&good, b"public").is_some());
    for community in [&b""[..], b"Public", b"publi", b"publicc", b"private"] {
        assert_eq!(answer(&good, community), None);
    }
    for version in [2, 3, 127] {
        assert_eq!(raw(version, get(&[DESCR])), None, "version {version}");
    }
    for len in 0..good.len() {
        assert_eq!(answer(&good[..len], b"public"), None, "{len} bytes of a message");
    }
    let none = [
        Pdus::Response(Response(pdu(&[DESCR]))),
        Pdus::Trap(Trap(pdu(&[DESCR]))),
        Pdus::InformRequest(InformRequest(pdu(&[DESCR]))),
        Pdus::Report(Report(pdu(&[DESCR]))),
    ];
    for data in none {
        assert_eq!(raw(1, data), None);
    }
}

/// Valid messages of every kind, to be made invalid.
fn corpus() -> Vec<Vec<u8>> {
    let requests = [
        get(&[DESCR, UNITS]),
        next(&[&[1, 3], LAST]),
        bulk(1, 20, &[DESCR, &[1, 3], UNITS]),
        Pdus::SetRequest(SetRequest(pdu(&[DESCR, &[2, 999, u32::MAX]]))),
    ];
    requests.into_iter().flat_map(|data| [0, 1].map(|version| datagram(version, "public", data.clone()))).collect()
}

/// One change: a byte, a cut, an insertion, a repetition.
pub(crate) fn change(bytes: &mut Vec<u8>, kind: u8, at: usize, value: u8) {
    let at = at % bytes.len().max(1);
    match kind % 5 {
        0 if !bytes.is_empty() => bytes[at] = value,
        1 if !bytes.is_empty() => bytes[at] ^= 1 << (value % 8),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, value),
        _ => bytes.extend_from_within(at..(at + usize::from(value)).min(bytes.len())),
    }
}

#[track_caller]
fn is_harmless(bytes: &[u8]) {
    if let Some(answer) = answer(bytes, b"public") {
        assert!(answer.len() <= 65_507);
        let message: Message<Pdus> = rasn::ber::decode(&answer).expect("what is answered is a message");
        assert!(matches!(message.data, Pdus::Response(_)));
    }
}

/// 100,000 datagrams from a generator with a fixed seed: the same ones in each run.
#[test]
fn mutated_messages_do_no_harm() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    };
    let corpus = corpus();
    let mut answered = 0;
    for _ in 0..100_000 {
        let mut bytes = corpus[random() as usize % corpus.len()].clone();
        for _ in 0..=random() % 4 {
            change(&mut bytes, random() as u8, random() as usize, random() as u8);
        }
        is_harmless(&bytes);
        answered += u32::from(answer(&bytes, b"public").is_some());
    }
    // Neither all of them nor none were messages: the changes reach all depths.
    assert!((1_000..90_000).contains(&answered), "{answered}");
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        is_harmless(&bytes);
    }

    /// Behind a true header, so that the rest is looked at.
    #[test]
    fn any_pdu_does_no_harm(tag in 0xa0_u8..0xaa, bytes in proptest::collection::vec(any::<u8>(), 0..110), version in 0_u8..4) {
        let mut message = vec![0x02, 1, version, 0x04, 6];
        message.extend(b"public");
        message.extend([tag, bytes.len() as u8]);
        message.extend(&bytes);
        let mut datagram = vec![0x30, message.len() as u8];
        datagram.extend(message);
        is_harmless(&datagram);
    }
}
