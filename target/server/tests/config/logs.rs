//! Where the log goes, and what it says.

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Duration;

use iesp_iscsi::pdu::{LoginStatus, LogoutReason};

use crate::support::Client;
use crate::support::initiator::{Answer, INITIATOR};
use crate::support::process::{PATIENCE, folder};
use crate::{PORTAL, Served, target};

/// One session from its login to its logout, one that is cut, and a refusal.
fn some_sessions(served: &Served) {
    let mut client = served.login("a", 1);
    let logout = client.initiator.logout(LogoutReason::CloseSession);
    let unit = client.initiator.unit(&logout.emit(), &[]);
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Logout(_)));
    assert_eq!(client.answer_or_end(), None);
    drop(served.login("a", 1));
    assert_eq!(served.connect("b", 1).err(), Some(LoginStatus::NotFound));
    // Somebody who looks whether the port is open is no line.
    drop(Client::connect(served.iesp.address()));
}

fn served(log: &str) -> Served {
    Served::by(&format!("{PORTAL}{}[log]\nlevel = \"info\"\n{log}", target("a", "1M")))
}

/// One line for each login, logout, end and refusal: when, how bad, what part, what, who.
#[test]
fn a_line_for_each() {
    let mut served = served("");
    some_sessions(&served);
    served.iesp.stop();
    let log = served.iesp.errors();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(" session ")).collect();
    let expected = [
        ("INFO ", "logged in", "target=a"),
        ("INFO ", "logged out", "target=a"),
        ("INFO ", "logged in", "target=a"),
        ("INFO ", "session ended", "closed by the initiator"),
        ("WARN ", "login refused", "target not found: there is no target of this name"),
    ];
    assert_eq!(lines.len(), expected.len(), "{log}");
    for (level, what, more) in expected {
        // Sessions are on several threads: their lines may come in another order.
        let of_it = |line: &&&str| line.contains(what) && line.contains(more);
        let line = lines.iter().find(of_it).unwrap_or_else(|| panic!("{what}: {log}"));
        // 2026-01-01T00:00:00.000Z LEVEL part    message
        assert_eq!((&line[24..25], &line[25..30], &line[31..39]), (" ", level, "session "), "{line}");
        assert!(line.contains(INITIATOR) && line.contains("peer=127.0.0.1:"), "{line}");
    }
}

#[test]
fn json() {
    let mut served = served("[log.screen]\nformat = \"json\"\n");
    some_sessions(&served);
    served.iesp.stop();
    let lines: Vec<serde_json::Value> =
        served.iesp.errors().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let refusal = lines.iter().find(|line| line["message"] == "login refused").expect("a refusal");
    assert_eq!(
        (&refusal["level"], &refusal["part"], &refusal["initiator"]),
        (&"warning".into(), &"session".into(), &INITIATOR.into())
    );
}

#[test]
fn parts_have_their_levels() {
    let mut served = served("[log.parts]\nsession = \"warning\"\n");
    some_sessions(&served);
    served.iesp.stop();
    let log = served.iesp.errors();
    assert!(log.contains("login refused") && !log.contains("logged in") && log.contains("stopping"), "{log}");
}

/// Levels change by SIGHUP, for sessions that are there, too.
#[test]
fn levels_that_change() {
    let text = |level: &str| {
        format!("{PORTAL}{}[log]\nlevel = \"info\"\n[log.parts]\nsession = \"{level}\"\n", target("a", "1M"))
    };
    let served = Served::by(&text("error"));
    some_sessions(&served);
    assert!(!served.iesp.errors().contains("logged in"));
    served.reload(&text("info"));
    some_sessions(&served);
    served.logs("logged in");
}

/// `<PRI>1 TIME HOST iesp PID PART - MESSAGE` (RFC 5424 6).
fn assert_is_syslog(message: &str, id: u32) {
    let mut fields = message.splitn(8, ' ');
    let mut next = || fields.next().expect("a field");
    assert!(["<30>1", "<28>1"].contains(&next()), "{message}");
    assert_eq!(next().len(), "2026-01-01T00:00:00.000Z".len(), "{message}");
    assert!(!next().is_empty());
    assert_eq!([next(), next()], ["iesp", &id.to_string()], "{message}");
    assert!(["session", "server"].contains(&next()), "{message}");
    assert_eq!(next(), "-", "{message}");
}

#[test]
fn syslog_by_datagrams() {
    let folder = folder();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let path = folder.path().join("log");
    let unix = UnixDatagram::bind(&path).expect("a socket");
    unix.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let udp = format!("udp://{}", socket.local_addr().expect("an address"));
    for address in [udp, format!("unix://{}", path.display())] {
        let is_udp = address.starts_with("udp");
        let served = served(&format!("[log.syslog]\naddress = \"{address}\"\n"));
        some_sessions(&served);
        let mut refused = false;
        while !refused {
            let mut bytes = [0; 4096];
            let len = if is_udp { socket.recv(&mut bytes) } else { unix.recv(&mut bytes) }.expect("a message");
            let message = String::from_utf8_lossy(&bytes[..len]).into_owned();
            assert_is_syslog(&message, served.iesp.id());
            refused = message.contains("login refused");
        }
    }
}

/// Octet counting (RFC 6587 3.4.1); a server that comes later gets all that has waited.
#[test]
fn syslog_by_streams() {
    fn read(mut stream: impl Read, id: u32) {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((len, rest)) = text.split_once(' ')
                && let Ok(len) = len.parse::<usize>()
                && rest.len() >= len
            {
                assert_is_syslog(&rest[..len], id);
                assert!(!rest[..len].contains("lost="), "{text}");
                if rest[..len].contains("login refused") {
                    return;
                }
                bytes.drain(..bytes.len() - rest.len() + len);
                continue;
            }
            let mut more = [0; 4096];
            let count = stream.read(&mut more).expect("more");
            assert!(count > 0, "the end: {text}");
            bytes.extend(&more[..count]);
        }
    }
    let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let tcp = served(&format!("[log.syslog]\naddress = \"tcp://{address}\"\n"));
    some_sessions(&tcp);
    // It has seen that nobody is there, and what came since then has waited.
    tcp.logs("cannot be reached");
    some_sessions(&tcp);
    std::thread::sleep(Duration::from_millis(1500));
    let listener = TcpListener::bind(address).expect("the port again");
    let (stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    read(stream, tcp.iesp.id());

    let folder = folder();
    let path = folder.path().join("log");
    let listener = UnixListener::bind(&path).expect("a socket");
    let unix = served(&format!("[log.syslog]\naddress = \"unix://{}\"\n", path.display()));
    some_sessions(&unix);
    let (stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    read(stream, unix.iesp.id());
}

/// A log that nobody takes keeps nobody waiting.
#[test]
fn a_syslog_server_that_is_away() {
    let mut served = served("[log.syslog]\naddress = \"tcp://127.0.0.1:1\"\n");
    some_sessions(&served);
    let (status, took) = served.iesp.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(served.iesp.errors().contains("syslog (tcp://127.0.0.1:1) cannot be reached"), "{}", served.iesp.errors());
}

/// Neither by the log nor by what is shown of units.
#[test]
fn secrets_stay_secret() {
    let chap = "[[target.chap]]\nuser = \"anna\"\nsecret = \"the secret of anna\"\n[log]\nlevel = \"debug\"\ntrace-pdu = true\n";
    let mut served = Served::by(&format!("{PORTAL}{}{chap}", target("a", "1M")));
    let mut client = Client::connect(served.iesp.address());
    for pairs in [
        format!("InitiatorName={INITIATOR} TargetName=a SessionType=Normal AuthMethod=CHAP"),
        "CHAP_A=5".to_owned(),
        "CHAP_N=anna CHAP_R=0x123456".to_owned(),
    ] {
        let unit = client.initiator.login(
            iesp_iscsi::pdu::Stage::SecurityNegotiation,
            iesp_iscsi::pdu::Stage::FullFeaturePhase,
            &pairs,
        );
        client.send(&unit);
        assert!(matches!(client.answer(), Answer::Login(..)));
    }
    served.iesp.stop();
    let log = served.iesp.errors();
    assert!(log.contains("the response of CHAP user \\\"anna\\\" is wrong"), "{log}");
    assert!(log.contains("CHAP_R=...") && log.contains("CHAP_C=...") && log.contains("CHAP_N=anna"), "{log}");
    assert!(!log.contains("0x123456") && !log.contains("the secret"), "{log}");
}

#[test]
fn a_summary_while_there_is_something_to_tell() {
    let mut served = served("");
    let mut client = served.login("a", 1);
    let start = std::time::Instant::now();
    while !served.iesp.errors().contains("IOPS") {
        assert!(start.elapsed() < PATIENCE);
        client.get(&crate::support::cdb::read(0, 8), 4096).good();
        std::thread::sleep(Duration::from_millis(5));
    }
    served.iesp.stop();
    let log = served.iesp.errors();
    let line = log.lines().find(|line| line.contains("IOPS")).expect("a line");
    for part in ["INFO  summary", "MiB/s, written 0.0 MiB/s", "I/O wait", "load", "1 session"] {
        assert!(line.contains(part), "{part} in {line}");
    }
}
