//! Version 3 as a manager sees it: discovery, levels, what is refused and how that is told, and messages that are none.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use rasn::types::{Integer, OctetString};
use rasn_smi::v1::Counter as Counter32;
use rasn_smi::v2::{ApplicationSyntax, ObjectSyntax};
use rasn_snmp::v2::{GetBulkRequest, Pdu, Pdus, Report, Response, SetRequest, VarBindValue};
use rasn_snmp::v3::{HeaderData, Message, ScopedPdu, ScopedPduData, USMSecurityParameters};

use super::keys::{Authentication, Privacy};
use super::{Account, Unfit, User, wire};
use crate::tests::{DESCR, Fixed, asked, change, get, pdu};
use crate::{Agent, Config, Engine};

const ENGINE: &[u8] = b"\x80\0\0\0\x05engine";
const BOOTS: u32 = 7;

const HASHES: [Authentication; 5] = [
    Authentication::Sha1,
    Authentication::Sha224,
    Authentication::Sha256,
    Authentication::Sha384,
    Authentication::Sha512,
];

fn account(name: &str, authentication: Authentication, privacy: Option<Privacy>) -> Account {
    let privacy = privacy.map(|privacy| (privacy, "hidden from all".into()));
    Account { name: name.into(), authentication, password: "shown to none".into(), privacy }
}

fn agent(users: &[User]) -> Agent {
    let engine = Engine { id: ENGINE.to_vec(), boots: BOOTS, salt: 1, users: users.to_vec() };
    Agent::new(Config { community: None, engine: Some(engine) })
}

/// A message that is about to be sent.
#[derive(Clone)]
struct Sent {
    flags: u8,
    engine: Vec<u8>,
    boots: u32,
    time: u32,
    user: Vec<u8>,
    context: (Vec<u8>, Vec<u8>),
    model: u32,
    max_size: u32,
    data: Pdus,
}

impl Sent {
    fn new(user: &str, flags: u8, data: Pdus) -> Self {
        let (engine, context) = (ENGINE.to_vec(), (ENGINE.to_vec(), Vec::new()));
        Self { flags, engine, boots: BOOTS, time: 100, user: user.into(), context, model: 3, max_size: 65_507, data }
    }

    fn bytes(&self, user: &User) -> Vec<u8> {
        let scoped = ScopedPdu {
            engine_id: self.context.0.clone().into(),
            name: self.context.1.clone().into(),
            data: self.data.clone(),
        };
        let (protocol, key) = &user.authentication;
        let mut parameters = USMSecurityParameters {
            authoritative_engine_id: self.engine.clone().into(),
            authoritative_engine_boots: self.boots.into(),
            authoritative_engine_time: self.time.into(),
            user_name: self.user.clone().into(),
            authentication_parameters: OctetString::default(),
            privacy_parameters: OctetString::default(),
        };
        if self.flags & 1 != 0 {
            parameters.authentication_parameters = vec![0; protocol.digest_len()].into();
        }
        let scoped_data = match &user.privacy {
            Some((privacy, key)) if self.flags & 2 != 0 => {
                let salt = [9; 8];
                parameters.privacy_parameters = salt.to_vec().into();
                let mut bytes = rasn::ber::encode(&scoped).expect("a PDU");
                privacy.encrypt(key, &super::message::vector(self.boots, self.time, salt), &mut bytes);
                ScopedPduData::EncryptedPdu(bytes.into())
            }
            _ => ScopedPduData::CleartextPdu(scoped),
        };
        let message = Message {
            version: 3.into(),
            global_data: HeaderData {
                message_id: 77.into(),
                max_size: self.max_size.into(),
                flags: vec![self.flags].into(),
                security_model: self.model.into(),
            },
            security_parameters: rasn::ber::encode(&parameters).expect("parameters").into(),
            scoped_data,
        };
        let mut bytes = rasn::ber::encode(&message).expect("a message");
        if self.flags & 1 != 0 {
            let digest = protocol.digest(key, &bytes);
            let place = wire::authentication_parameters(&bytes).expect("a place");
            bytes[place].copy_from_slice(&digest);
        }
        bytes
    }
}

/// What came back.
#[derive(Debug)]
struct Got {
    flags: u8,
    data: Pdus,
    engine: Vec<u8>,
    boots: Integer,
    salt: Vec<u8>,
}

fn open(bytes: &[u8], user: &User) -> Got {
    let message: Message = rasn::ber::decode(bytes).expect("a message");
    let parameters: USMSecurityParameters = rasn::ber::decode(&message.security_parameters).expect("parameters");
    let [flags] = *message.global_data.flags else { panic!("flags") };
    assert_eq!((message.version, message.global_data.message_id), (3.into(), 77.into()));
    if flags & 1 != 0 {
        let (protocol, key) = &user.authentication;
        let place = wire::authentication_parameters(bytes).expect("a place");
        let mut blank = bytes.to_vec();
        blank[place.clone()].fill(0);
        assert!(protocol.verify(key, &[&blank], &bytes[place]), "the answer's digest");
    }
    let salt = parameters.privacy_parameters.to_vec();
    let scoped = match (message.scoped_data, &user.privacy) {
        (ScopedPduData::CleartextPdu(scoped), _) => scoped,
        (ScopedPduData::EncryptedPdu(hidden), Some((privacy, key))) => {
            assert_eq!(flags & 2, 2);
            let mut bytes = hidden.to_vec();
            let number = |number: &Integer| u32::try_from(number).expect("a number");
            let (boots, time) =
                (number(&parameters.authoritative_engine_boots), number(&parameters.authoritative_engine_time));
            let vector = super::message::vector(boots, time, salt.clone().try_into().expect("a salt"));
            privacy.decrypt(key, &vector, &mut bytes);
            rasn::ber::decode(&bytes).expect("a PDU")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(*scoped.engine_id, *ENGINE);
    let engine = parameters.authoritative_engine_id.to_vec();
    Got { flags, data: scoped.data, engine, boots: parameters.authoritative_engine_boots, salt }
}

/// A report's counter (the number before its instance) and count.
#[track_caller]
fn reported(got: &Got) -> (Vec<u32>, u32) {
    let Pdus::Report(Report(pdu)) = &got.data else { panic!("{got:?}") };
    let [binding] = &pdu.variable_bindings[..] else { panic!("{pdu:?}") };
    let VarBindValue::Value(ObjectSyntax::ApplicationWide(ApplicationSyntax::Counter(Counter32(count)))) =
        binding.value
    else {
        panic!("{binding:?}")
    };
    (binding.name.to_vec(), count)
}

const USM_STATS: &[u32] = &[1, 3, 6, 1, 6, 3, 15, 1, 1];

#[test]
fn a_manager_discovers_the_engine_and_asks() {
    for authentication in HASHES {
        for privacy in [None, Some(Privacy::Aes128), Some(Privacy::Aes192), Some(Privacy::Aes256)] {
            let account = account("anna", authentication, privacy);
            let user = account.user(ENGINE).expect("a user");
            let mut agent = agent(std::slice::from_ref(&user));
            let values = Fixed::new(1, 1);
            // Nothing is known yet, not even the engine's name.
            let hello = Sent { engine: Vec::new(), user: Vec::new(), boots: 0, time: 0, ..Sent::new("", 4, get(&[])) };
            let told = open(&agent.answer(&hello.bytes(&user), 100, &values).expect("a report"), &user);
            assert_eq!(reported(&told), ([USM_STATS, &[4, 0]].concat(), 1));
            assert_eq!((told.flags, &told.engine[..], &told.boots), (0, ENGINE, &BOOTS.into()));
            // The time is not known: that is told with a digest.
            let early = Sent { time: 0, boots: 0, ..Sent::new("anna", 5, get(&[DESCR])) };
            let told = open(&agent.answer(&early.bytes(&user), 100, &values).expect("a report"), &user);
            assert_eq!((reported(&told), told.flags), (([USM_STATS, &[2, 0]].concat(), 1), 1));
            let flags = if privacy.is_some() { [5, 7] } else { [5, 5] };
            let mut salts = Vec::new();
            for flags in flags {
                let good = Sent::new("anna", flags, get(&[DESCR]));
                let got = open(&agent.answer(&good.bytes(&user), 100, &values).expect("an answer"), &user);
                assert_eq!(got.flags, flags & 3);
                let Pdus::Response(Response(Pdu { request_id: 0x1234, error_status: 0, variable_bindings, .. })) =
                    got.data
                else {
                    panic!("{got:?}")
                };
                assert!(matches!(variable_bindings[0].value, VarBindValue::Value(_)));
                salts.push(got.salt);
            }
            assert!(privacy.is_none() || salts[0] != salts[1], "a salt is used once");
        }
    }
}

#[test]
fn what_is_refused_is_told_as_usm_demands() {
    let accounts =
        [account("anna", Authentication::Sha256, Some(Privacy::Aes128)), account("bert", Authentication::Sha1, None)];
    let [anna, bert] = accounts.each_ref().map(|account| account.user(ENGINE).expect("a user"));
    let mut agent = agent(&[anna.clone(), bert.clone()]);
    let values = Fixed::new(1, 1);
    let good = Sent::new("anna", 7, get(&[DESCR]));
    let wrong = Account { password: "another password".into(), ..accounts[0].clone() }.user(ENGINE).expect("a user");
    let hidden = ("another password".into(), Privacy::Aes128);
    let wrong_privacy = Account { privacy: Some((hidden.1, hidden.0)), ..accounts[0].clone() };
    let wrong_privacy = wrong_privacy.user(ENGINE).expect("a user");
    let mut told = |sent: &Sent, by: &User| {
        let got = open(&agent.answer(&sent.bytes(by), 200, &values)?, &anna);
        let (name, count) = reported(&got);
        Some((name[name.len() - 2], got.flags, count))
    };
    // Its counter, the report's level, and how often that was counted.
    assert_eq!(told(&good, &wrong), Some((5, 0, 1)), "a wrong key");
    assert_eq!(told(&Sent { flags: 5, ..good.clone() }, &wrong), Some((5, 0, 2)), "a wrong key");
    assert_eq!(told(&Sent { user: b"eve".to_vec(), ..good.clone() }, &anna), Some((3, 0, 1)), "a wrong user");
    assert_eq!(told(&Sent { user: b"bert".to_vec(), ..good.clone() }, &bert), Some((1, 0, 1)), "no such level");
    assert_eq!(told(&Sent { user: b"bert".to_vec(), ..good.clone() }, &anna), Some((1, 0, 2)), "no such level");
    assert_eq!(told(&good, &wrong_privacy), Some((6, 0, 1)), "a wrong key for privacy");
    assert_eq!(
        told(&Sent { engine: b"other engine".to_vec(), ..good.clone() }, &anna),
        Some((4, 0, 1)),
        "another engine"
    );
    for (boots, time) in [(BOOTS - 1, 200), (BOOTS + 1, 200), (BOOTS, 351), (BOOTS, 49)] {
        assert!(matches!(told(&Sent { boots, time, ..good.clone() }, &anna), Some((2, 1, _))), "{boots} {time}");
    }
    let other = (b"other engine".to_vec(), Vec::new());
    assert_eq!(told(&Sent { context: other, ..good.clone() }, &anna), Some((3, 3, 1)), "another engine's objects");
    let other = (ENGINE.to_vec(), b"other".to_vec());
    assert_eq!(told(&Sent { context: other, ..good.clone() }, &anna), Some((5, 3, 1)), "another context");
    // Nobody is told: privacy without a digest, another security model, a message that wants no report.
    assert_eq!(told(&Sent { flags: 6, ..good.clone() }, &anna), None);
    assert_eq!(told(&Sent { model: 2, ..good.clone() }, &anna), None);
    assert_eq!(told(&Sent { flags: 3, ..good.clone() }, &wrong), None);
    assert_eq!(told(&Sent { max_size: 483, ..good.clone() }, &anna), None);
    // At the edges of the window.
    for time in [50, 350] {
        let got = agent.answer(&Sent { time, ..good.clone() }.bytes(&anna), 200, &values).expect("an answer");
        assert!(matches!(open(&got, &anna).data, Pdus::Response(_)));
    }
}

#[test]
fn who_proves_nothing_sees_nothing_and_nothing_can_be_set() {
    let accounts = [account("anna", Authentication::Sha512, Some(Privacy::Aes256))];
    let user = accounts[0].user(ENGINE).expect("a user");
    let mut agent = agent(std::slice::from_ref(&user));
    let mut status = |flags, data| {
        let got =
            agent.answer(&Sent::new("anna", flags, data).bytes(&user), 100, &Fixed::new(1, 1)).expect("an answer");
        let Pdus::Response(Response(pdu)) = open(&got, &user).data else { panic!("no response") };
        (pdu.error_status, pdu.error_index)
    };
    let set = || Pdus::SetRequest(SetRequest(pdu(&[DESCR])));
    assert_eq!(status(4, get(&[DESCR])), (Pdu::ERROR_STATUS_AUTHORIZATION_ERROR, 1));
    assert_eq!(status(4, set()), (Pdu::ERROR_STATUS_AUTHORIZATION_ERROR, 1));
    for flags in [5, 7] {
        assert_eq!(status(flags, set()), (Pdu::ERROR_STATUS_NOT_WRITABLE, 1));
    }
}

/// RFC 3412 6.3: no answer is longer than its sender can take.
#[test]
fn answers_are_as_long_as_the_sender_takes() {
    let accounts = [account("anna", Authentication::Sha512, Some(Privacy::Aes256))];
    let user = accounts[0].user(ENGINE).expect("a user");
    let mut agent = agent(std::slice::from_ref(&user));
    for max_size in [484, 600, 1000, 65_507] {
        let names = [DESCR; 5];
        let bulk = rasn_snmp::v2::BulkPdu {
            request_id: 1,
            non_repeaters: 0,
            max_repetitions: 100,
            variable_bindings: vec![asked(&[1, 3])],
        };
        for data in [get(&names), Pdus::GetBulkRequest(GetBulkRequest(bulk))] {
            let sent = Sent { max_size, ..Sent::new("anna", 7, data) };
            let bytes = agent.answer(&sent.bytes(&user), 100, &Fixed::new(9, 9)).expect("an answer");
            assert!(bytes.len() <= max_size as usize, "{} of {max_size}", bytes.len());
            let Pdus::Response(Response(pdu)) = open(&bytes, &user).data else { panic!("no response") };
            assert!(pdu.error_status == 0 || pdu.error_status == Pdu::ERROR_STATUS_TOO_BIG);
        }
    }
}

#[test]
fn an_engine_that_started_too_often_takes_nothing() {
    let account = account("anna", Authentication::Sha256, None);
    let user = account.user(ENGINE).expect("a user");
    let engine = Engine { id: ENGINE.to_vec(), boots: u32::MAX, salt: 0, users: vec![user.clone()] };
    let mut agent = Agent::new(Config { community: None, engine: Some(engine) });
    let sent = Sent { boots: i32::MAX as u32, ..Sent::new("anna", 5, get(&[DESCR])) };
    let got = open(&agent.answer(&sent.bytes(&user), 100, &Fixed::new(1, 1)).expect("a report"), &user);
    assert_eq!(reported(&got).0, [USM_STATS, &[2, 0]].concat());
}

#[test]
fn accounts_that_are_none() {
    let good = account("anna", Authentication::Sha1, Some(Privacy::Aes128));
    assert_eq!(good.check(), Ok(()));
    assert_eq!(Account { name: "".into(), ..good.clone() }.check(), Err(Unfit::Name));
    assert_eq!(Account { name: "n".repeat(33), ..good.clone() }.check(), Err(Unfit::Name));
    assert_eq!(Account { password: "1234567".into(), ..good.clone() }.check(), Err(Unfit::Password));
    let short = Some((Privacy::Aes128, "1234567".into()));
    assert_eq!(Account { privacy: short, ..good.clone() }.check(), Err(Unfit::Password));
    let shown = std::format!("{good:?} {:?}", good.user(ENGINE));
    assert!(!shown.contains("shown to none") && !shown.contains("hidden"), "{shown}");
}

/// 100,000 datagrams from a generator with a fixed seed: the same ones in each run.
#[test]
fn mutated_messages_do_no_harm() {
    let accounts = [account("anna", Authentication::Sha256, Some(Privacy::Aes128))];
    let user = accounts[0].user(ENGINE).expect("a user");
    let mut agent = agent(std::slice::from_ref(&user));
    let values = Fixed::new(1, 1);
    let corpus: Vec<_> = [4, 5, 7].iter().map(|flags| Sent::new("anna", *flags, get(&[DESCR])).bytes(&user)).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    };
    let (mut reports, mut answers) = (0, 0);
    for _ in 0..100_000 {
        let mut bytes = corpus[random() as usize % corpus.len()].clone();
        for _ in 0..=random() % 3 {
            change(&mut bytes, random() as u8, random() as usize, random() as u8);
        }
        let Some(answer) = agent.answer(&bytes, 100, &values) else { continue };
        let message: Message = rasn::ber::decode(&answer).expect("what is answered is a message");
        match message.scoped_data {
            ScopedPduData::CleartextPdu(ScopedPdu { data: Pdus::Report(_), .. }) => reports += 1,
            _ => answers += 1,
        }
    }
    // The changes reach all depths; only those that are as good as none get through a digest.
    assert!(reports > 10_000 && answers < 60_000, "{reports} reports, {answers} answers");
    let good = Sent::new("anna", 7, get(&[DESCR])).bytes(&user);
    assert!(agent.answer(&good, 100, &values).is_some());
}

proptest! {
    #[test]
    fn any_bytes_behind_a_true_front_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut message = vec![2, 1, 3];
        message.extend(&bytes);
        let mut datagram = vec![0x30, message.len() as u8];
        datagram.extend(message);
        let mut agent = agent(&[]);
        let _ = agent.answer(&datagram, 1, &Fixed::new(1, 1));
        let _ = agent.answer(&bytes, 1, &Fixed::new(1, 1));
    }
}
