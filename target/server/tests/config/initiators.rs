//! Initiators that say more than they have to, or less, and those that come and go: what they are told, and what the log says.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use iesp_iscsi::pdu::{LoginStatus, LogoutReason, TextRequest};
use socket2::SockRef;

use crate::support::client::KEYS;
use crate::support::initiator::{Answer, INITIATOR, text};
use crate::support::process::PATIENCE;
use crate::support::{Client, Iesp};
use crate::{LOG, PORTAL, Served, send_targets, target};

/// No authentication is offered where operational keys are, keys without effect have numbers, and a logout has no bit 7.
#[test]
fn a_login_and_a_logout_of_user_space_initiators() {
    let iesp = Iesp::ram("1M");
    for (kind, more) in
        [("SessionType=Normal TargetName=test", "TargetPortalGroupTag=1"), ("SessionType=Discovery", "")]
    {
        let mut client = Client::connect(iesp.address());
        let pairs = format!(
            "InitiatorName={INITIATOR} {kind} {more} AuthMethod=None HeaderDigest=None DataDigest=None MaxConnections=1 \
             InitialR2T=Yes ImmediateData=No MaxBurstLength=262144 FirstBurstLength=65536 MaxOutstandingR2T=1 \
             MaxRecvDataSegmentLength=16777215 DefaultTime2Wait=2 DefaultTime2Retain=0 ErrorRecoveryLevel=0"
        );
        let (response, answer) = client.log_in_with(&pairs);
        assert_eq!(response.status, LoginStatus::Success, "{kind}");
        for pair in ["AuthMethod=None", "InitialR2T=Yes", "ImmediateData=No"] {
            assert!(answer.split(' ').any(|other| other == pair), "{kind}: no {pair} in {answer}");
        }
        for key in ["MaxConnections", "MaxBurstLength", "FirstBurstLength", "MaxOutstandingR2T"] {
            let value = answer.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            assert!(value.is_some_and(|value| value.parse::<u32>().is_ok()), "{kind}: {key} in {answer}");
        }
        let mut bhs = client.initiator.logout(LogoutReason::CloseSession).emit();
        bhs.0[1] &= 0x7f;
        let unit = client.initiator.unit(&bhs, &[]);
        client.send(&unit);
        assert!(matches!(client.answer(), Answer::Logout(response) if response.response == 0), "{kind}");
        assert_eq!(client.answer_or_end(), None);
    }
}

/// RFC 3722 3: names are compared without regard to case, whoever writes them so.
#[test]
fn capitals_in_names() {
    let (name, initiators) = ("iqn.2001-04.com.example:Disk", "initiators = [\"IQN.2001-04.com.Example:H*\"]\nname =");
    let admitted = format!("{}{}", target(name, "1M"), target("plain", "1M")).replace("name =", initiators);
    let served = Served::by(&format!("{PORTAL}{admitted}"));
    served.login(&name.to_lowercase(), 1);
    served.login(&name.to_uppercase(), 2);
    // That is about iSCSI names.
    served.login("plain", 1);
    assert_eq!(served.connect("Plain", 1).err(), Some(LoginStatus::NotFound));
    let mut client = Client::connect(served.iesp.address());
    let pairs = format!("InitiatorName={} TargetName={name} SessionType=Normal {KEYS}", INITIATOR.to_uppercase());
    assert_eq!(client.log_in_with(&pairs).0.status, LoginStatus::Success);
}

/// The address that an initiator came to stands for all that are listened on; each is told once.
#[test]
fn portals_on_every_address_are_told_by_one_that_can_be_reached() {
    let iesp = Iesp::start(&["-b", "ram", "-d", "1M", "-i", "0.0.0.0:0", "-i", "0.0.0.0:0"]);
    let ports: Vec<_> = iesp.screen.lines().filter_map(|line| line.trim().strip_prefix("listens 0.0.0.0:")).collect();
    let [one, two] = ports[..] else { panic!("{}", iesp.screen) };
    let address: SocketAddr = format!("127.0.0.1:{one}").parse().expect("an address");
    let told = format!("TargetName=test TargetAddress=127.0.0.1:{one},1 TargetAddress=127.0.0.1:{two},1");
    assert_eq!(send_targets(address), told);

    let iesp = Iesp::start(&["-b", "ram", "-d", "1M", "-i", "127.0.0.1:0", "-i", "0.0.0.0:0"]);
    let one = iesp.address();
    let port = iesp.screen.lines().find_map(|line| line.trim().strip_prefix("listens 0.0.0.0:"));
    let told = format!("TargetName=test TargetAddress={one},1 TargetAddress=127.0.0.1:{},1", port.expect("a port"));
    assert_eq!(send_targets(one), told);

    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("skipped: this machine has no IPv6");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|own| own.local_addr()).expect("a port").port();
    let port = port.to_string();
    let iesp = Iesp::start(&["-b", "ram", "-d", "1M", "-i", "0.0.0.0", "-i", "[::]", "-p", &port]);
    for host in ["127.0.0.1", "[::1]"] {
        let own = format!("TargetAddress={host}:{port},1");
        let told = send_targets(format!("{host}:{port}").parse().expect("an address"));
        assert_eq!(told.matches(&own).count(), 1, "{told}");
        let mut all: Vec<_> = told.split(' ').collect();
        assert!(!told.contains("0.0.0.0") && !told.contains("[::]"), "{told}");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), told.split(' ').count(), "{told}");
    }
    drop(iesp);
}

/// A reload in the middle of an answer: each target that stays is told, and told once.
#[test]
fn the_targets_are_replaced_while_they_are_told() {
    let targets = |numbers: std::ops::Range<u32>| -> String {
        numbers.map(|number| target(&format!("iqn.2001-04.com.example:disk{number:02}"), "64K")).collect()
    };
    let served = Served::by(&format!("{PORTAL}{LOG}{}", targets(0..30)));
    let mut client = Client::connect(served.iesp.address());
    let pairs = format!("InitiatorName={INITIATOR} SessionType=Discovery MaxRecvDataSegmentLength=512");
    assert_eq!(client.log_in_with(&pairs).0.status, LoginStatus::Success);
    let mut request = client.initiator.text_request();
    let (mut data, mut told) = (text("SendTargets=All"), String::new());
    let mut units = 0;
    loop {
        let unit = client.initiator.unit(&request.emit(), &data);
        client.send(&unit);
        let Answer::Text(response, part) = client.answer() else { panic!("no answer") };
        told += &part;
        told.push(' ');
        units += 1;
        if response.is_final {
            break;
        }
        if units == 2 {
            served.reload(&format!("{PORTAL}{LOG}{}", targets(3..30)));
        }
        let next = client.initiator.text_request();
        request = TextRequest { itt: request.itt, ttt: response.ttt, ..next };
        data = Vec::new();
    }
    assert!(units > 3, "one unit held too much: {told}");
    for number in 3..30 {
        let name = format!("TargetName=iqn.2001-04.com.example:disk{number:02}");
        assert_eq!(told.matches(&name).count(), 1, "{name} in {told}");
    }
}

/// Somebody who looks whether the port is open, and ends that by a reset.
#[test]
fn a_port_check_is_no_refused_login() {
    let served = Served::by(&format!("{PORTAL}[log.screen]\nlevel = \"debug\"\n{}", target("a", "1M")));
    for _ in 0..3 {
        let stream = TcpStream::connect(served.iesp.address()).expect("it listens");
        // It is being read from when it ends.
        std::thread::sleep(Duration::from_millis(50));
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
    }
    let deadline = Instant::now() + PATIENCE;
    while served.iesp.errors().matches("connected, and said nothing").count() < 3 {
        assert!(Instant::now() < deadline, "{}", served.iesp.errors());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!served.iesp.errors().contains("WARN"), "{}", served.iesp.errors());
}

/// What the status does not say.
#[test]
fn a_refused_login_says_why_in_the_log() {
    let served = Served::by(&format!("{PORTAL}{LOG}{}", target("a", "1M")));
    for (pairs, why) in [
        ("TargetName=a SessionType=Normal MaxBurstLength=512 MaxBurstLength=512", "a key comes a second time"),
        ("TargetName=a SessionType=Normal CHAP_A=5", "a key of CHAP outside SecurityNegotiation"),
        ("TargetName=a SessionType=Normal MaxRecvDataSegmentLength=1", "MaxRecvDataSegmentLength is no length"),
        ("SessionType=Normal", "it has no TargetName"),
    ] {
        let mut client = Client::connect(served.iesp.address());
        let (response, _) = client.log_in_with(&format!("InitiatorName={INITIATOR} {pairs}"));
        assert_ne!(response.status, LoginStatus::Success, "{pairs}");
        served.logs(why);
    }
}

/// A line a while, with their count, however many are refused.
#[test]
fn too_many_connections_are_a_line_a_while() {
    let served = Served::by(&format!("{PORTAL}{LOG}{}[limits]\nconnections = 1\n", target("a", "1M")));
    let _own = served.login("a", 1);
    for _ in 0..30 {
        let mut other = Client::connect(served.iesp.address());
        assert_eq!(other.answer_or_end(), None);
    }
    served.logs("too many connections");
    let lines = served.iesp.errors().matches("too many connections").count();
    assert!(lines <= 3, "{lines} lines");
}
