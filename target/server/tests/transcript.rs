//! The program answers as it did: a transcript that was kept is replayed against it.
//!
//! What is meant to differ stands in `ci/transcripts/expected.toml`, with its reason. A new transcript is made by
//! `cargo xtask transcript record`.

mod support;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use iesp_initiator::proxy::{Proxy, Tamper};
use iesp_initiator::transcript::{Difference, Expected, Front, Program, Transcript};
use iesp_initiator::{Pdu, field};
use iesp_iscsi::pdu::Opcode;

fn kept(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../ci/transcripts").join(name)
}

fn program() -> Program {
    Program::new(support::process::program())
}

/// The scenarios whose names contain `filter`, replayed; what differs without being expected.
fn replay(program: &Program, filter: &str) -> Vec<Difference> {
    let mut transcript = Transcript::read(&kept("463b40c.gz")).expect("a transcript");
    transcript.recordings.retain(|recording| recording.name.contains(filter));
    assert!(!transcript.recordings.is_empty(), "no scenario is called {filter}");
    let text = std::fs::read_to_string(kept("expected.toml")).expect("expected differences");
    let expected = Expected::parse(&text).expect("expected differences");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let differences = runtime.block_on(transcript.replay(program)).expect("a replay");
    expected.apply(differences).0
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("{difference}\n")).collect()
}

#[test]
fn all_scenarios_are_answered_as_they_were() {
    let differences = replay(&program(), "");
    assert!(differences.is_empty(), "{}", lines(&differences));
}

/// Adds one to each residual count.
struct Residuals;

impl Tamper for Residuals {
    fn request(&mut self, _: &mut Pdu) -> bool {
        true
    }

    fn response(&mut self, pdu: &mut Pdu) -> bool {
        if pdu.is(Opcode::CommandResponse) && pdu.get(field::RESIDUAL_COUNT) > 0 {
            pdu.set(field::RESIDUAL_COUNT, pdu.get(field::RESIDUAL_COUNT) + 1);
        }
        true
    }
}

/// Makes each unit attention a GOOD.
struct NoAttention;

impl Tamper for NoAttention {
    fn request(&mut self, _: &mut Pdu) -> bool {
        true
    }

    fn response(&mut self, pdu: &mut Pdu) -> bool {
        // The sense key behind the length of the sense data (RFC 7143 11.4.7, SPC-4 4.5.3).
        if pdu.is(Opcode::CommandResponse) && pdu.data.get(4).is_some_and(|key| key & 0xf == 6) {
            pdu.set(field::STATUS, 0);
            pdu.data.clear();
        }
        true
    }
}

/// Answers pings under another tag: the answer that was recorded is missing.
struct NoPong;

impl Tamper for NoPong {
    fn request(&mut self, _: &mut Pdu) -> bool {
        true
    }

    fn response(&mut self, pdu: &mut Pdu) -> bool {
        !pdu.is(Opcode::NopIn)
    }
}

/// The program behind a proxy with a fault.
fn planted<T: Tamper + 'static>(tamper: fn() -> T) -> Program {
    let front: Front = Arc::new(move |target: SocketAddr| -> io::Result<_> {
        let proxy = Proxy::start(target, tamper)?;
        Ok((proxy.address(), Box::new(proxy)))
    });
    program().behind(front)
}

#[test]
fn a_changed_residual_is_told() {
    let mut differences = replay(&planted(|| Residuals), "residuals");
    // Where the recorded program had no residual, `expected.toml` has the count, which is not the planted one.
    differences.retain(|difference| difference.recorded != "0");
    let told = lines(&differences);
    assert!(differences.len() > 10, "{told}");
    for difference in &differences {
        assert_eq!((&*difference.pdu, &*difference.field), ("SCSI Response", "Residual Count"), "{told}");
        let [recorded, found] = [&difference.recorded, &difference.found].map(|text| text.parse::<u32>());
        assert_eq!(recorded.map(|count| count + 1), found, "{told}");
    }
}

#[test]
fn a_missing_unit_attention_is_told() {
    let told = lines(&replay(&planted(|| NoAttention), "logical_unit_reset"));
    assert!(told.contains("SCSI Response"), "{told}");
    assert!(told.contains("Status: 2 in the transcript, 0 here"), "{told}");
    assert!(told.contains("length of sense data: 20 bytes in the transcript, 0 bytes here"), "{told}");
}

#[test]
fn a_missing_answer_is_told_and_hangs_nothing() {
    let differences = replay(&planted(|| NoPong).patience(Duration::from_secs(1)), "pings");
    let [difference] = &differences[..] else { panic!("{}", lines(&differences)) };
    assert_eq!((&*difference.pdu, &*difference.field), ("NOP-In", "PDU"), "{difference}");
}
