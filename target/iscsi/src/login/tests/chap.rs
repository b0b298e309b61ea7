//! CHAP inside a login (RFC 7143 12.1.3).

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::chap::{Algorithm, RESPONSE_MAX};
use crate::login::fixture::*;
use crate::login::{Admission, LoginStatus, Progress};
use crate::params::Limits;
use crate::pdu::LoginRequest;
use crate::text::{Hex, Pairs, binary};

const NAME: &str = "host";
const SECRET: &[u8] = b"secret of the initiator";
const OWN_NAME: &str = "disk";
const OWN_SECRET: &[u8] = b"secret of the target";
const FAILURE: LoginStatus = LoginStatus::AuthenticationFailure;

fn site() -> Site {
    Site {
        admission: Admission::Authenticated,
        discovery: Admission::Authenticated,
        initiator: Some((NAME, SECRET)),
        ..Site::default()
    }
}

fn mutual() -> Site {
    Site { target: Some((OWN_NAME, OWN_SECRET)), ..site() }
}

/// What the target asks.
struct Asked {
    algorithm: Algorithm,
    identifier: u8,
    challenge: Vec<u8>,
}

impl Asked {
    fn parse(answer: &str) -> Self {
        let text = text(answer);
        let keys = Pairs::new(&text);
        let number = |key| keys.find(key).unwrap().parse::<u8>().unwrap();
        let mut room = [0; 1024];
        Self {
            algorithm: Algorithm::from_number(number("CHAP_A").into()).unwrap(),
            identifier: number("CHAP_I"),
            challenge: binary(keys.find("CHAP_C").unwrap(), &mut room).unwrap().into(),
        }
    }

    fn response(&self, secret: &[u8]) -> Vec<u8> {
        self.algorithm.response(self.identifier, secret, &self.challenge).bytes().into()
    }

    /// CHAP_N and CHAP_R, in hex.
    fn right(&self) -> String {
        format!("CHAP_N={NAME} CHAP_R={}", Hex(&self.response(SECRET)))
    }
}

/// A login up to the challenge.
fn challenged(site: Site, algorithms: &str) -> (Talk, Asked) {
    let mut talk = Talk::new(site);
    let (response, answer) = talk.on(go(SECURITY, OPERATIONAL), &normal("AuthMethod=CHAP,None"));
    assert!(!response.transit);
    assert_eq!(answer, "AuthMethod=CHAP TargetPortalGroupTag=1");
    let (response, answer) = talk.on(go(SECURITY, OPERATIONAL), &format!("CHAP_A={algorithms}"));
    assert!(!response.transit);
    (talk, Asked::parse(&answer))
}

fn base64(bytes: &[u8]) -> String {
    format!("0b{}", <base64ct::Base64 as base64ct::Encoding>::encode(bytes, &mut [0; 128]).unwrap())
}

#[test]
fn one_way_with_every_algorithm_and_encoding() {
    for algorithm in Algorithm::ALL {
        for encode in [|bytes: &[u8]| format!("{}", Hex(bytes)), base64] {
            let (mut talk, asked) = challenged(site(), &format!("{}", algorithm as u8));
            assert_eq!((asked.algorithm, asked.challenge.len()), (algorithm, 32));
            let proof = format!("CHAP_N={NAME} CHAP_R={}", encode(&asked.response(SECRET)));
            let (response, answer) = talk.on(go(SECURITY, OPERATIONAL), &proof);
            assert!(response.transit);
            assert_eq!(answer, "");
            talk.complete(go(OPERATIONAL, FULL), "");
        }
    }
}

#[test]
fn discovery_and_the_way_straight_to_full_feature_phase() {
    let mut talk = Talk::new(site());
    talk.on(go(SECURITY, FULL), &discovery("AuthMethod=CHAP"));
    let asked = Asked::parse(&talk.on(go(SECURITY, FULL), "CHAP_A=7,5").1);
    assert_eq!(asked.algorithm, Algorithm::Sha256);
    talk.complete(go(SECURITY, FULL), &asked.right());
    assert_eq!(talk.login.established().unwrap().target, None);
}

#[test]
fn method_and_algorithm_in_one_text() {
    let mut talk = Talk::new(site());
    let (response, answer) = talk.on(stay(SECURITY), &normal("CHAP_A=5 AuthMethod=CHAP"));
    assert!(!response.transit);
    assert!(answer.starts_with("AuthMethod=CHAP CHAP_A=5 CHAP_I="), "{answer}");
}

#[test]
fn the_first_algorithm_that_is_allowed_is_chosen() {
    for (offered, chosen) in [("5,6,7,8", 5), ("8,7,6,5", 8), ("9,6", 6), ("x,0x7", 7), ("256,7", 7)] {
        assert_eq!(challenged(site(), offered).1.algorithm as u8, chosen, "{offered}");
    }
    let limits = Limits { algorithms: &[Algorithm::Sha256, Algorithm::Sha3_256], ..Limits::default() };
    let mut talk = Talk::with(site(), limits);
    talk.on(stay(SECURITY), &normal("AuthMethod=CHAP"));
    assert!(talk.on(stay(SECURITY), "CHAP_A=5,6,7").1.starts_with("CHAP_A=7 "));
}

#[test]
fn algorithms_that_there_are_not() {
    for offered in ["", "56", "4", "5x", "0", ",5", "5,,6", "+5", "05"] {
        let mut talk = Talk::new(site());
        talk.on(stay(SECURITY), &normal("AuthMethod=CHAP"));
        assert_eq!(talk.fail(stay(SECURITY), &format!("CHAP_A={offered}")), FAILURE, "{offered}");
    }
}

#[test]
fn what_is_not_the_right_response() {
    let (_, asked) = challenged(site(), "5");
    let right = Hex(&asked.response(SECRET)).to_string();
    let cases = [
        String::new(),
        format!("CHAP_N={NAME}"),
        format!("CHAP_R={right}"),
        format!("CHAP_N={NAME} CHAP_R="),
        format!("CHAP_N={NAME} CHAP_R=0x"),
        format!("CHAP_N={NAME} CHAP_R={}", right.trim_start_matches("0x")),
        format!("CHAP_N={NAME} CHAP_R={}", &right[..right.len() - 1]),
        format!("CHAP_N={NAME} CHAP_R={}", &right[..right.len() - 2]),
        format!("CHAP_N={NAME} CHAP_R={right}00"),
        format!("CHAP_N={NAME} CHAP_R=0x{}", "0".repeat(4000)),
        format!("CHAP_N={NAME} CHAP_R={}", Hex(&asked.response(OWN_SECRET))),
        format!("CHAP_N={NAME}x CHAP_R={right}"),
        format!("CHAP_N={} CHAP_R={right}", "n".repeat(256)),
        format!("CHAP_N= CHAP_R={right}"),
    ];
    for case in cases {
        let (mut talk, _) = challenged(site(), "5");
        assert_eq!(talk.fail(go(SECURITY, OPERATIONAL), &case), FAILURE, "{case}");
    }
    // The same text with nothing changed is right.
    let (mut talk, _) = challenged(site(), "5");
    assert!(talk.on(go(SECURITY, OPERATIONAL), &asked.right()).0.transit);
}

#[test]
fn an_unknown_name_and_a_wrong_secret_look_the_same() {
    let refusal = |pairs: &str, site: Site| {
        let (mut talk, _) = challenged(site, "5");
        talk.raw(go(SECURITY, OPERATIONAL), &text(pairs))
    };
    let wrong = format!("CHAP_N={NAME} CHAP_R=0x{}", "0".repeat(32));
    let (with, without) = (refusal(&wrong, site()), refusal(&wrong, Site { initiator: None, ..site() }));
    assert_eq!(with, without);
}

#[test]
fn the_secret_of_nobody_is_no_secret() {
    let (mut talk, asked) = challenged(Site { initiator: None, ..site() }, "5");
    // The next bytes of this test's random source: what stands in for a secret that there is not.
    let next: Vec<u8> = (1..=32).map(|n| talk.site.random + n).collect();
    let proof = format!("CHAP_N={NAME} CHAP_R={}", Hex(&asked.response(&next)));
    assert_eq!(talk.fail(go(SECURITY, OPERATIONAL), &proof), FAILURE);
}

#[test]
fn a_name_has_at_most_255_bytes() {
    for (len, transit) in [(255, true), (256, false)] {
        let name: &'static str = "n".repeat(len).leak();
        let (mut talk, asked) = challenged(Site { initiator: Some((name, SECRET)), ..site() }, "5");
        let proof = format!("CHAP_N={name} CHAP_R={}", Hex(&asked.response(SECRET)));
        let (progress, _) = talk.raw(go(SECURITY, OPERATIONAL), &text(&proof));
        assert_eq!(matches!(progress, Progress::Continue(..)), transit);
    }
}

#[test]
fn every_challenge_is_another() {
    let (mut talk, first) = challenged(site(), "5");
    // A response that was overheard is none to the next challenge.
    talk = Talk::new(talk.site);
    talk.on(stay(SECURITY), &normal("AuthMethod=CHAP"));
    let second = Asked::parse(&talk.on(stay(SECURITY), "CHAP_A=5").1);
    assert!(first.identifier != second.identifier && first.challenge != second.challenge);
    assert_eq!(talk.fail(stay(SECURITY), &first.right()), FAILURE);
}

#[test]
fn authentication_that_is_left_out() {
    assert_eq!(Talk::new(site()).fail(stay(OPERATIONAL), &normal("")), FAILURE);
    assert_eq!(Talk::new(site()).fail(go(OPERATIONAL, FULL), &discovery("")), FAILURE);
    for method in ["", "AuthMethod=None", "AuthMethod=KRB5", "AuthMethod=KRB5,None", "AuthMethod=chap"] {
        assert_eq!(Talk::new(site()).fail(go(SECURITY, OPERATIONAL), &normal(method)), FAILURE, "{method}");
    }
    assert_eq!(Talk::new(site()).fail(stay(SECURITY), &normal("AuthMethod=")), LoginStatus::InitiatorError);
    // T without CHAP being through leads nowhere.
    let (mut talk, _) = challenged(site(), "5");
    assert_eq!(talk.fail(go(SECURITY, FULL), ""), FAILURE);
    // Keys of CHAP before CHAP was chosen.
    let status = Talk::new(site()).fail(stay(SECURITY), &normal("CHAP_A=5"));
    assert_eq!(status, LoginStatus::InitiatorError);
}

#[test]
fn an_initiator_that_wants_authentication_where_there_is_none() {
    assert_eq!(Talk::new(Site::default()).fail(stay(SECURITY), &normal("AuthMethod=CHAP")), FAILURE);
}

#[test]
fn a_key_of_chap_that_comes_twice() {
    let (mut talk, asked) = challenged(site(), "5");
    assert_eq!(talk.fail(stay(SECURITY), &format!("{} CHAP_A=5", asked.right())), LoginStatus::InitiatorError);
}

#[test]
fn both_ways_with_every_algorithm() {
    for algorithm in Algorithm::ALL {
        for theirs in [Hex(&[1; 16]).to_string(), base64(&[1; 16]), Hex(&[1; 1024]).to_string()] {
            let (mut talk, asked) = challenged(mutual(), &format!("{}", algorithm as u8));
            let proof = format!("{} CHAP_I=200 CHAP_C={theirs}", asked.right());
            let (response, answer) = talk.on(go(SECURITY, OPERATIONAL), &proof);
            assert!(response.transit);
            let mut room = [0; 1024];
            let challenge = binary(&theirs, &mut room).unwrap();
            let expected = algorithm.response(200, OWN_SECRET, challenge);
            assert_eq!(answer, format!("CHAP_N={OWN_NAME} CHAP_R={}", Hex(expected.bytes())));
            let text = text(&answer);
            let mut room = [0; RESPONSE_MAX];
            assert!(expected.matches(binary(Pairs::new(&text).find("CHAP_R").unwrap(), &mut room).unwrap()));
            talk.complete(go(OPERATIONAL, FULL), "");
        }
    }
}

#[test]
fn a_challenge_that_comes_back_is_refused() {
    let (mut talk, asked) = challenged(mutual(), "5");
    let reflected = format!("{} CHAP_I=1 CHAP_C={}", asked.right(), Hex(&asked.challenge));
    assert_eq!(talk.fail(stay(SECURITY), &reflected), FAILURE);
    let (mut talk, asked) = challenged(mutual(), "5");
    let reflected = format!("{} CHAP_I=1 CHAP_C={}", asked.right(), base64(&asked.challenge));
    assert_eq!(talk.fail(stay(SECURITY), &reflected), FAILURE);
}

#[test]
fn one_secret_for_both_ways_is_refused() {
    let (mut talk, asked) = challenged(Site { target: Some((OWN_NAME, SECRET)), ..site() }, "7");
    assert_eq!(talk.fail(stay(SECURITY), &format!("{} CHAP_I=1 CHAP_C=0x00", asked.right())), FAILURE);
}

#[test]
fn mutual_authentication_that_is_not_whole() {
    let long = format!("CHAP_I=1 CHAP_C=0x{}", "0".repeat(2050));
    for theirs in [
        "CHAP_I=1",
        "CHAP_C=0x00",
        "CHAP_I=256 CHAP_C=0x00",
        "CHAP_I=x CHAP_C=0x00",
        "CHAP_I=1 CHAP_C=",
        "CHAP_I=1 CHAP_C=0x",
        "CHAP_I=1 CHAP_C=0x0",
        "CHAP_I=1 CHAP_C=zz",
        &long,
    ] {
        let (mut talk, asked) = challenged(mutual(), "5");
        assert_eq!(talk.fail(stay(SECURITY), &format!("{} {theirs}", asked.right())), FAILURE, "{theirs}");
    }
    // A target without a secret cannot prove itself.
    let (mut talk, asked) = challenged(site(), "5");
    assert_eq!(talk.fail(stay(SECURITY), &format!("{} CHAP_I=1 CHAP_C=0x00", asked.right())), FAILURE);
    // It proves nothing to one who does not prove itself first.
    let (mut talk, _) = challenged(mutual(), "5");
    assert_eq!(talk.fail(stay(SECURITY), &format!("CHAP_N={NAME} CHAP_R=0x00 CHAP_I=1 CHAP_C=0x00")), FAILURE);
}

#[test]
fn whether_there_is_a_session_is_told_after_authentication() {
    for (tsih, status) in [(TSIH, LoginStatus::TooManyConnections), (TSIH + 1, LoginStatus::SessionDoesNotExist)] {
        let mut talk = Talk::new(site());
        let request = LoginRequest { tsih, ..go(SECURITY, OPERATIONAL) };
        talk.on(request, &normal("AuthMethod=CHAP"));
        let asked = Asked::parse(&talk.on(request, "CHAP_A=5").1);
        assert_eq!(talk.fail(request, &asked.right()), status);
    }
}

#[test]
fn secrets_are_in_no_debug_output() {
    let (mut talk, asked) = challenged(site(), "5");
    talk.on(stay(SECURITY), &asked.right());
    let shown = format!("{:?}", talk.login);
    assert!(shown.contains(INITIATOR));
    for hidden in ["secret", "CHAP", "challenge"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
