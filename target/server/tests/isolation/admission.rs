//! How many may come in, and who: exactly, whatever comes at once.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use iesp_iscsi::pdu::{LoginStatus, Stage};
use rustix::process::Signal;

use super::support::client::KEYS;
use super::support::initiator::{Answer, INITIATOR};
use super::support::process::{command, folder};
use super::support::{Client, Iesp};

/// A target "test" of a small disk, with these lines more; its file.
fn served(folder: &tempfile::TempDir, more: &str) -> (Iesp, std::path::PathBuf) {
    let file = folder.path().join("iesp.toml");
    write(&file, more);
    let mut program = command(&["--config", file.to_str().expect("a plain path")]);
    program.env("RUNTIME_DIRECTORY", folder.path()).env("STATE_DIRECTORY", folder.path());
    (Iesp::spawn(program), file)
}

fn write(file: &std::path::Path, more: &str) {
    let portal = "[[portal]]\nlisten = \"127.0.0.1\"\nport = 0\n";
    let target = "[[target]]\nname = \"test\"\n";
    let lun = "[[target.lun]]\nram = \"1M\"\n";
    let (of_target, of_node) = more.split_once("---").unwrap_or(("", more));
    let text = format!("{portal}{of_node}\n{target}{of_target}\n{lun}");
    std::fs::write(file, text).expect("a file");
}

/// Is the connection still there?
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let is_open = matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).expect("a socket");
    is_open
}

#[test]
fn a_burst_of_connections_gets_no_more_places_than_there_are() {
    let folder = folder();
    let (server, _) = served(&folder, "[limits]\nconnections = 20\n");
    let burst: Vec<_> = (0..200).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect();
    let start = Instant::now();
    let mut open = burst.len();
    while open > 20 && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
        open = burst.iter().filter(|stream| is_open(stream)).count();
    }
    assert_eq!(open, 20);
}

/// Nor do those that have a session without a target.
#[test]
fn silent_connections_shut_no_login_out() {
    let folder = folder();
    let (server, _) = served(&folder, "[limits]\nconnections = 20\n");
    let _silent: Vec<_> = (0..30).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut clients = Vec::new();
    for number in 0..20 {
        let start = Instant::now();
        clients.push(Client::login_as(server.address(), Client::isid(number), KEYS));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    // All places have sessions, which nobody takes from them.
    let mut late = Client::connect(server.address());
    assert_eq!(late.answer_or_end(), None);
    for client in &mut clients {
        client.run(&[0]).good();
    }
}

/// Logins that were begun before the last place was taken.
#[test]
fn overlapping_logins_get_no_more_sessions_than_there_are() {
    let folder = folder();
    let (mut server, _) = served(&folder, "[limits]\nsessions = 1\n");
    let mut clients: Vec<_> = (1..=3)
        .map(|number| {
            let mut client = Client::connect(server.address());
            client.initiator.isid = Client::isid(number);
            begin_login(&mut client);
            client
        })
        .collect();
    let statuses: Vec<_> = clients.iter_mut().map(end_login).collect();
    let refused = LoginStatus::OutOfResources;
    assert_eq!(statuses, [LoginStatus::Success, refused, refused]);
    assert_eq!(clients[1].answer_or_end(), None);
    clients[0].run(&[0]);
    clients[0].run(&[0]).good();
    server.assert_well();
}

/// The first request of a login in two steps.
fn begin_login(client: &mut Client) {
    let pairs = format!("InitiatorName={INITIATOR} TargetName=test SessionType=Normal AuthMethod=None");
    let request = client.initiator.login(Stage::SecurityNegotiation, Stage::OperationalNegotiation, &pairs);
    client.send(&request);
    let Answer::Login(response, text) = client.answer() else { panic!("no Login Response") };
    assert_eq!(response.status, LoginStatus::Success, "{text}");
}

fn end_login(client: &mut Client) -> LoginStatus {
    let request = client.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, KEYS);
    client.send(&request);
    let Answer::Login(response, _) = client.answer() else { panic!("no Login Response") };
    response.status
}

/// Who may come in is asked again when the login is complete.
#[test]
fn a_login_begun_before_the_rules_changed_follows_the_new_ones() {
    let chap = "[[target.chap]]\nuser = \"anna\"\nsecret = \"twelve bytes\"\n---";
    for (rules, status) in [
        (chap, LoginStatus::AuthenticationFailure),
        ("initiators = [\"iqn.2000-01.other\"]\n---", LoginStatus::AuthorizationFailure),
    ] {
        let folder = folder();
        let (server, file) = served(&folder, "[log]\nlevel = \"info\"\n");
        let mut client = Client::connect(server.address());
        begin_login(&mut client);
        write(&file, &format!("{rules}[log]\nlevel = \"info\"\n"));
        server.signal(Signal::HUP);
        // The new rules hold for one that comes now.
        let start = Instant::now();
        loop {
            let mut other = Client::connect(server.address());
            other.initiator.isid = Client::isid(9);
            if other.log_in("test", KEYS).status != LoginStatus::Success {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{}", server.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(end_login(&mut client), status);
        assert_eq!(client.answer_or_end(), None);
    }
}
