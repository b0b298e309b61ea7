//! Any peer could stop it; what it said wrongly.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{LoginStatus, NopOut, RESERVED_TAG, RejectReason, Residual, ScsiCommand, Stage};

use crate::support::client::KEYS;
use crate::support::initiator::{Answer, INITIATOR, frame, text};
use crate::support::{Client, Iesp, cdb};

/// The program serves, a new session and an old one.
#[track_caller]
fn serves(server: &mut Iesp) {
    let mut client = Client::login_as(server.address(), Client::isid(99), KEYS);
    client.run(&[0]).good();
    server.assert_well();
}

/// 1: an additional header segment of length 0, before and after the login; and of the other kinds.
#[test]
fn fault_01_additional_headers() {
    let mut server = Iesp::ram("1M");
    let mut stranger = Client::connect(server.address());
    let login = stranger.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, "");
    let mut unit = login[..48].to_vec();
    (unit[4], unit[7]) = (255, 0);
    unit.extend([0; 1020]);
    stranger.send(&unit);
    assert!(matches!(stranger.answer(), Answer::Login(response, _) if response.status != LoginStatus::Success));
    assert_eq!(stranger.answer_or_end(), None);

    let mut client = Client::login(server.address());
    for ahs in [&[0; 4][..], &[0; 1020], &[0xff; 1020], &[0, 1, 200, 0]] {
        let command = ScsiCommand { cmd_sn: client.initiator.cmd_sn, ..client.initiator.bare(&[0]) };
        client.initiator.cmd_sn = command.cmd_sn;
        client.send(&frame(Digests::default(), &command.emit(), ahs, &[]));
        assert!(matches!(client.answer(), Answer::Reject(reject, _) if reject.reason == RejectReason::InvalidPduField));
    }
    // A CDB of 32 bytes, a bidirectional command: refused by the device server, not run as something else.
    let long = [&[0, 17, 1, 0][..], &[0; 16]].concat();
    for ahs in [&long[..], &[0, 5, 2, 0, 0, 0, 2, 0]] {
        let command = client.initiator.bare(&cdb::write(0, 1));
        client.send(&frame(Digests::default(), &command.emit(), ahs, &[]));
        assert_eq!(client.finish(command.itt, &[]).code().0, 5);
    }
    client.run(&[0]).good();
    serves(&mut server);
}

/// 2: a data segment that is longer than what was declared: the connection ends at once, nothing is awaited or drained.
#[test]
fn fault_02_an_over_long_data_segment() {
    let mut server = Iesp::ram("1M");
    for logged_in in [false, true] {
        let mut client = if logged_in { Client::login(server.address()) } else { Client::connect(server.address()) };
        let mut bhs = if logged_in {
            client.initiator.ping(false).emit()
        } else {
            let login = client.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, "");
            iesp_iscsi::pdu::Bhs(login[..48].try_into().expect("a header"))
        };
        bhs.set_data_len(0xff_ffff);
        let start = Instant::now();
        client.send(&bhs.0);
        assert!(matches!(client.answer(), Answer::Login(..) | Answer::Reject(..)));
        assert_eq!(client.answer_or_end(), None);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    serves(&mut server);
}

/// 3: a wrong data digest is rejected with the header that had it; the session and the program go on.
#[test]
fn fault_03_a_wrong_digest() {
    let mut server = Iesp::ram("1M");
    let keys = format!("{KEYS} ").replace("DataDigest=None", "DataDigest=CRC32C");
    let mut client = Client::login_as(server.address(), Client::isid(1), &keys);
    let ping = client.initiator.ping(true);
    let mut unit = client.initiator.unit(&ping.emit(), b"data");
    unit[50] ^= 1;
    client.send(&unit);
    let Answer::Reject(reject, header) = client.answer() else { panic!("no Reject") };
    assert_eq!((reject.reason, header.itt()), (RejectReason::DataDigestError, ping.itt));
    // Of Data-Out: its command fails, nothing is written.
    let write = client.initiator.write(&cdb::write(0, 8), 4096);
    client.begin(&write);
    let Answer::R2t(r2t) = client.answer() else { panic!("no R2T") };
    let mut unit = client.initiator.answer_r2t(&r2t, &[7; 4096], 4096);
    unit[1000] ^= 1;
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Reject(..)));
    assert_eq!(client.finish(write.itt, &[]).code(), (0xb, 0x47, 0x05), "protocol service CRC error");
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [0; 4096]);
    serves(&mut server);
}

/// 4: a value that is no number is answered `Reject`, and the login goes on.
#[test]
fn fault_04_a_number_that_is_none() {
    let mut server = Iesp::ram("1M");
    let mut client = Client::connect(server.address());
    let pairs = format!(
        "InitiatorName={INITIATOR} TargetName=test SessionType=Normal MaxBurstLength=x FirstBurstLength=-1 \
         MaxOutstandingR2T= DefaultTime2Wait=99999999999999999999"
    );
    let (response, text) = client.log_in_with(&pairs);
    assert_eq!(response.status, LoginStatus::Success);
    for key in ["MaxBurstLength", "FirstBurstLength", "MaxOutstandingR2T", "DefaultTime2Wait"] {
        assert!(text.contains(&format!("{key}=Reject")), "{text}");
    }
    serves(&mut server);
}

/// 16: no length above 2^24-1 is declared or agreed to.
#[test]
fn fault_16_lengths_have_24_bits() {
    let server = Iesp::ram("1M");
    let mut client = Client::connect(server.address());
    let names = format!("InitiatorName={INITIATOR} TargetName=test SessionType=Normal");
    let (response, text) = client.log_in_with(&format!("{names} MaxBurstLength=16777215 FirstBurstLength=16777215"));
    assert_eq!(response.status, LoginStatus::Success);
    let lengths = text.split(' ').filter_map(|pair| pair.split_once("Length="));
    let lengths: Vec<u32> = lengths.map(|(_, value)| value.parse().expect("a number")).collect();
    assert_eq!(lengths.len(), 3, "{text}");
    assert!(lengths.iter().all(|length| (512..1 << 24).contains(length)), "{text}");
    // Of an initiator that declares more: refused, not used.
    let mut client = Client::connect(server.address());
    let (response, _) = client.log_in_with(&format!("{names} MaxRecvDataSegmentLength=16777216"));
    assert_ne!(response.status, LoginStatus::Success);
}

/// 17: a NOP-Out with the reserved task tag is not answered.
#[test]
fn fault_17_a_nop_that_wants_no_answer() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let silent = NopOut { itt: RESERVED_TAG, ..client.initiator.ping(true) };
    let ping = client.initiator.ping(true);
    let units = [client.initiator.unit(&silent.emit(), &[]), client.initiator.unit(&ping.emit(), b"ping")].concat();
    client.send(&units);
    let Answer::Nop(answer, data) = client.answer() else { panic!("no NOP-In") };
    assert_eq!((answer.itt, &data[..]), (ping.itt, &b"ping"[..]));
}

/// 18: Reject has the reserved task tag (its parser makes sure) and carries the header.
#[test]
fn fault_18_reject() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let mut bhs = client.initiator.ping(true).emit();
    bhs.0[0] = 0x1d;
    let unit = client.initiator.unit(&bhs, &[]);
    client.send(&unit);
    let Answer::Reject(reject, header) = client.answer() else { panic!("no Reject") };
    assert_eq!((reject.reason, header), (RejectReason::CommandNotSupported, bhs));
    client.run(&[0]).good();
}

/// 19: immediate commands do not count; StatSN is the target's own (the initiator looks at each one); commands are taken in
/// order: a read behind a write that comes after it sees what was written.
#[test]
fn fault_19_the_order_of_commands() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let immediate = ScsiCommand { immediate: true, exp_stat_sn: 77, ..client.initiator.bare(&[0]) };
    client.initiator.cmd_sn = immediate.cmd_sn;
    client.command(immediate, &[]).good();
    for round in 1..20 {
        let write = client.initiator.write(&cdb::write(0, 1), 512);
        let read = client.initiator.read(&cdb::read(0, 1), 512);
        client.begin(&read);
        let unit = client.initiator.unit(&write.emit(), &[round; 512]);
        client.send(&unit);
        client.finish(write.itt, &[]).good();
        assert_eq!(client.finish(read.itt, &[]).good(), [round; 512]);
    }
}

/// 14, 15: CHECK CONDITION is "completed at target" (`code` looks at it); the residual of data that are shorter than
/// expected.
#[test]
fn fault_14_and_15_status_and_residual() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let refused = client.get(&[0xff], 512);
    assert_eq!((refused.response, refused.code()), (0, (5, 0x20, 0)));
    assert_eq!(refused.residual, Residual::Underflow(512));
    let inquiry = client.get(&cdb::inquiry(None, 255), 255);
    assert_eq!(inquiry.residual, Residual::Underflow(255 - inquiry.data.len() as u32));
    let read = client.get(&cdb::read(0, 2), 512);
    assert_eq!((read.data.len(), read.residual), (512, Residual::Overflow(512)));
    let read = client.get(&cdb::read(0, 1), 4096);
    assert_eq!((read.data.len(), read.residual), (512, Residual::Underflow(3584)));
}

fn send_targets(address: SocketAddr, value: &str) -> String {
    let mut client = Client::connect(address);
    let (response, _) = client.log_in_with(&format!("InitiatorName={INITIATOR} SessionType=Discovery"));
    assert_eq!(response.status, LoginStatus::Success);
    let request = client.initiator.text_request();
    let unit = client.initiator.unit(&request.emit(), &text(&format!("SendTargets={value}")));
    client.send(&unit);
    match client.answer() {
        Answer::Text(_, text) => text,
        other => panic!("{other:?}"),
    }
}

/// 24: addresses as 13.8 writes them, IPv6 among them, each portal.
#[test]
fn fault_24_send_targets_names_each_portal() {
    let server = Iesp::start(&["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-i", "::1"]);
    let [v4, v6] = server.addresses[..] else { panic!("{:?}", server.addresses) };
    assert!(v4.is_ipv4() && v6.is_ipv6());
    for address in [v4, v6] {
        let expected =
            format!("TargetName=test TargetAddress=127.0.0.1:{},1 TargetAddress=[::1]:{},1", v4.port(), v6.port());
        assert_eq!(send_targets(address, "All"), expected);
        assert_eq!(send_targets(address, "test"), expected);
        assert_eq!(send_targets(address, "iqn.2001-04.com.example:other"), "");
        let mut client = Client::login(address);
        client.run(&[0]).good();
    }
}

/// 24: where it listens on every address, the one that the initiator came to is told.
#[test]
fn fault_24_send_targets_of_a_target_that_listens_everywhere() {
    let server = Iesp::start(&["-b", "ram", "-d", "1M", "-i", "0.0.0.0"]);
    let address = SocketAddr::from(([127, 0, 0, 1], server.address().port()));
    assert_eq!(send_targets(address, "All"), format!("TargetName=test TargetAddress={address},1"));
}

/// 24: other target names, and stages that there are not, are refused.
#[test]
fn fault_24_logins_that_are_refused() {
    let mut server = Iesp::ram("1M");
    for name in ["", "Test", "test2", "iqn.2001-04.com.example:other"] {
        let mut client = Client::connect(server.address());
        let status = client.log_in(name, KEYS).status;
        assert!(
            matches!(status, LoginStatus::NotFound | LoginStatus::MissingParameter | LoginStatus::InitiatorError),
            "{status:?}"
        );
        assert_eq!(client.answer_or_end(), None);
    }
    for stages in 0..16 {
        let mut client = Client::connect(server.address());
        let pairs = format!("InitiatorName={INITIATOR} TargetName=test SessionType=Normal");
        let mut unit = client.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, &pairs);
        unit[1] = 0x80 | stages;
        client.send(&unit);
        let Answer::Login(response, _) = client.answer() else { panic!("no Login Response") };
        let allowed = matches!((stages >> 2, stages & 3), (0, 1) | (0, 3) | (1, 3));
        assert_eq!(response.status == LoginStatus::Success, allowed, "{stages:04b}: {response:?}");
    }
    serves(&mut server);
}
