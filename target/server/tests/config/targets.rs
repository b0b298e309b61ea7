//! Several targets, at portals of their own, each with those who may log in.

use std::net::SocketAddr;

use iesp_iscsi::pdu::LoginStatus;

use crate::support::client::KEYS;
use crate::support::initiator::{Answer, INITIATOR};
use crate::support::process::folder;
use crate::support::{Client, Iesp, cdb};
use crate::{LOG, PORTAL, Served, send_targets, target};

#[test]
fn each_has_its_own_disks() {
    let served = Served::by(&format!("{PORTAL}{}{}", target("a", "1M 1M"), target("b", "1M")));
    let (mut a, mut b) = (served.login("a", 1), served.login("b", 1));
    a.put(&cdb::write(0, 1), &[1; 512]).good();
    b.put(&cdb::write(0, 1), &[2; 512]).good();
    assert_eq!(a.get(&cdb::read(0, 1), 512).good(), [1; 512]);
    assert_eq!(b.get(&cdb::read(0, 1), 512).good(), [2; 512]);
    let report_luns = |client: &mut Client| client.get(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 256).good().len();
    assert_eq!([report_luns(&mut a), report_luns(&mut b)], [8 + 16, 8 + 8]);
    assert_eq!(served.connect("c", 1).err(), Some(LoginStatus::NotFound));
    // The same initiator and ISID are two sessions, as they are of two targets.
    a.run(&[0]).good();
    b.run(&[0]).good();
}

#[test]
fn luns_with_gaps() {
    let served = Served::by(&format!("{PORTAL}[[target]]\nname = \"a\"\n[[target.lun]]\nram = \"1M\"\nnumber = 7\n"));
    let mut client = served.connect("a", 1).expect("a session");
    let list = client.get(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 256).good();
    assert_eq!(list, [0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0]);
    assert_eq!(client.run(&[0]).code(), (5, 0x25, 0), "there is no LUN 0");
}

#[test]
fn each_at_its_portals() {
    let text = "[[portal]]\nname = \"one\"\nlisten = \"127.0.0.1\"\nport = 0\n[[portal]]\nname = \"two\"\nlisten = \"127.0.0.1\"\nport = 0\n\
        [[target]]\nname = \"both\"\n[[target.lun]]\nram = \"1M\"\n\
        [[target]]\nname = \"first\"\nportals = \"one\"\nalias = \"The first\"\n[[target.lun]]\nram = \"1M\"\n";
    let served = Served::by(text);
    let [one, two]: [SocketAddr; 2] = served.iesp.addresses.clone().try_into().expect("two addresses");
    assert_eq!(
        send_targets(one),
        format!("TargetName=both TargetAddress={one},1 TargetAddress={two},1 TargetName=first TargetAddress={one},1")
    );
    assert_eq!(send_targets(two), format!("TargetName=both TargetAddress={one},1 TargetAddress={two},1"));
    let mut client = Client::connect(two);
    assert_eq!(client.log_in("first", KEYS).status, LoginStatus::NotFound);
    let mut client = Client::connect(one);
    let pairs = format!("InitiatorName={INITIATOR} TargetName=first SessionType=Normal {KEYS}");
    let (response, answer) = client.log_in_with(&pairs);
    assert_eq!(response.status, LoginStatus::Success);
    assert!(answer.contains("TargetAlias=The first"), "{answer}");
}

/// By name, and told apart in discovery.
#[test]
fn only_for_some() {
    let other = target("others", "1M").replace("name =", "initiators = [\"iqn.2001-04.com.example:h*\"]\nname =");
    let own = target("none", "1M").replace("name =", "initiators = \"iqn.2001-04.com.example:other\"\nname =");
    let served = Served::by(&format!("{PORTAL}{LOG}{other}{own}"));
    served.login("others", 1);
    assert_eq!(served.connect("none", 1).err(), Some(LoginStatus::AuthorizationFailure));
    assert!(!send_targets(served.iesp.address()).contains("TargetName=none"));
    served.logs("login refused");
    let log = served.iesp.errors();
    let refusal = log.lines().find(|line| line.contains("login refused")).expect("a line");
    for part in ["WARN", "peer=127.0.0.1:", INITIATOR, "target=none", "not among those that may log in"] {
        assert!(refusal.contains(part), "{part} in {refusal}");
    }
}

#[test]
fn as_many_sessions_as_there_may_be() {
    let served = Served::by(&format!("{PORTAL}{LOG}{}[limits]\nsessions = 2\nwindow = 4\n", target("a", "1M")));
    let mut first = served.login("a", 1);
    let second = served.login("a", 2);
    assert_eq!(served.connect("a", 3).err(), Some(LoginStatus::OutOfResources));
    served.logs("2 sessions, which is the most");
    drop(second);
    // MaxCmdSN tells of the window.
    let ready = first.initiator.bare(&[0]);
    first.begin(&ready);
    let Answer::Status(status, _) = first.answer() else { panic!("no status") };
    let numbers = status.numbers;
    assert_eq!(numbers.max_cmd_sn.wrapping_sub(numbers.exp_cmd_sn).wrapping_add(1), 4);
}

#[test]
fn a_silent_initiator_is_asked() {
    let served = Served::by(&format!(
        "{PORTAL}{}[limits]\nkeepalive = 1\nkeepalive-answer = 1\nlogin-timeout = 1\n",
        target("a", "1M")
    ));
    let mut client = served.login("a", 1);
    let mut stranger = Client::connect(served.iesp.address());
    assert!(matches!(client.answer(), Answer::Nop(..)));
    assert_eq!(client.answer_or_end(), None);
    assert_eq!(stranger.answer_or_end(), None);
}

#[test]
fn no_digests_by_the_file() {
    let served = Served::by(&format!("{PORTAL}{}[limits]\ndigests = false\n", target("a", "1M")));
    let mut client = Client::connect(served.iesp.address());
    let pairs = format!("InitiatorName={INITIATOR} TargetName=a SessionType=Normal HeaderDigest=CRC32C,None");
    let (_, answer) = client.log_in_with(&pairs);
    assert!(answer.contains("HeaderDigest=None"), "{answer}");
}

/// The packaged example is served as it stands, but for what this machine may not have.
#[test]
fn the_example_is_served() {
    let folder = folder();
    std::fs::write(folder.path().join("anna.secret"), "the secret of anna").expect("written");
    let users = "watcher SHA-256 \"the password of the watcher\"\n";
    std::fs::write(folder.path().join("snmp.users"), users).expect("written");
    let example = include_str!("../../iesp.example.toml");
    let (before, from) = example.split_once("# A second target").expect("a second target");
    let (_, after) = from.split_once("# Who may ask").expect("discovery");
    // Free ports, no NBD server, no journal.
    let mut text = format!("{before}# Who may ask{after}");
    for (old, new) in [
        ("listen = [\"127.0.0.1:3260\", \"127.0.0.2\"]", "listen = [\"127.0.0.1:0\", \"127.0.0.2\"]"),
        ("port = 3261", "port = 0"),
        ("127.0.0.3:3262", "127.0.0.3:0"),
        ("127.0.0.1:1161", "127.0.0.1:0"),
        ("127.0.0.1:9260", "127.0.0.1:0"),
        ("read-only = true", "read-only = false"),
        ("[log.journald]\n", ""),
    ] {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    let file = crate::write(folder.path(), &text);
    let mut program = crate::support::process::command(&["--config", &file]);
    program.env("IESP_OFFICE_SECRET", "the secret of the office").env("RUNTIME_DIRECTORY", folder.path());
    let mut iesp = Iesp::spawn(program);
    assert!(
        iesp.screen.contains("iqn.2026-01.home.nas:disks")
            && iesp.screen.contains("SNMP    127.0.0.1:")
            && iesp.screen.contains("metrics http://"),
        "{}",
        iesp.screen
    );
    assert_eq!(iesp.addresses.len(), 3);
    assert!(folder.path().join("disk.img").exists() && folder.path().join("iesp.pid").exists());
    let mut client = Client::connect(iesp.address());
    let response = client.log_in("iqn.2026-01.home.nas:disks", KEYS);
    assert_eq!(response.status, LoginStatus::AuthorizationFailure);
    assert_eq!(iesp.stop().0.code(), Some(0));
    assert!(!folder.path().join("iesp.pid").exists() && !folder.path().join("iesp.sock").exists());
    let log = std::fs::read_to_string(folder.path().join("iesp.log")).expect("a log");
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
}

/// A connection for a session that there is is one too many; for one that there is not, it is told so (11.13.5).
#[test]
fn a_session_is_known_by_its_tsih() {
    use iesp_iscsi::pdu::Stage;
    let served = Served::by(&format!("{PORTAL}{}", target("a", "1M")));
    let mut client = Client::connect(served.iesp.address());
    client.initiator.isid = Client::isid(1);
    let tsih = client.log_in("a", KEYS).tsih;
    for (asked, status) in [(tsih, LoginStatus::TooManyConnections), (tsih + 1, LoginStatus::SessionDoesNotExist)] {
        let mut other = Client::connect(served.iesp.address());
        other.initiator.isid = Client::isid(1);
        let pairs = format!("InitiatorName={INITIATOR} TargetName=a SessionType=Normal");
        let mut request = other.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, &pairs);
        request[14..16].copy_from_slice(&asked.to_be_bytes());
        other.send(&request);
        let Answer::Login(response, _) = other.answer() else { panic!("no Login Response") };
        assert_eq!((response.status, response.isid), (status, Client::isid(1)));
    }
}
