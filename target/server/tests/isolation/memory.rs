//! What a peer costs before its login, and an idle session.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::client::KEYS;
use super::support::{Client, Iesp};

/// Waits until the program has no more than `most` MiB.
#[track_caller]
fn assert_given_back(server: &Iesp, most: u64) {
    let start = Instant::now();
    loop {
        let rss = server.status_kb("VmRSS:") >> 10;
        if rss <= most {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{rss} MiB are still there");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn connect(server: &Iesp, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect()
}

fn isid(number: usize) -> [u8; 6] {
    [0x80, 0, 0, 0, (number >> 8) as u8, number as u8]
}

#[test]
fn idle_sessions_are_cheap() {
    let mut server = Iesp::ram("1M");
    let before = server.status_kb("VmRSS:") >> 10;
    let mut sessions: Vec<_> = (0..1000).map(|number| Client::login_as(server.address(), isid(number), KEYS)).collect();
    let rss = server.status_kb("VmRSS:") >> 10;
    println!("{rss} MiB for 1,000 sessions, {before} MiB without");
    assert!(rss <= 100, "{rss} MiB");
    sessions[999].run(&[0]).good();
    drop(sessions);
    assert_given_back(&server, before + 8);
    server.assert_well();
}

#[test]
fn silent_connections_are_cheap() {
    let mut server = Iesp::ram("1M");
    let before = server.status_kb("VmRSS:") >> 10;
    for _ in 0..2 {
        let silent = connect(&server, 2000);
        Client::login(server.address()).run(&[0]).good();
        let rss = server.status_kb("VmRSS:") >> 10;
        println!("{rss} MiB for 2,000 connections, {before} MiB without");
        assert!(rss <= 64, "{rss} MiB");
        drop(silent);
        assert_given_back(&server, before + 8);
    }
    server.assert_well();
}

/// Requests of a login that never ends, and nobody takes the answers.
#[test]
fn peers_that_flood_and_take_nothing_are_cheap() {
    let mut server = Iesp::ram("1M");
    let before = server.status_kb("VmRSS:") >> 10;
    let mut request = [0; 48];
    request[..2].copy_from_slice(&[0x43, 0x44]);
    request[8..14].copy_from_slice(&isid(7));
    let burst = request.repeat(10_000);
    let mut peers = connect(&server, 200);
    for peer in &mut peers {
        peer.set_nonblocking(true).expect("a socket");
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        for peer in &mut peers {
            // As much as there is room for.
            let _ = peer.write(&burst);
        }
    }
    let rss = server.status_kb("VmRSS:") >> 10;
    println!("{rss} MiB for 200 peers, {before} MiB without");
    assert!(rss <= before + 64, "{rss} MiB");
    drop(peers);
    assert_given_back(&server, before + 8);
    server.assert_well();
}

/// Where the system has no memory, a connection is refused; the program goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_connection_without_memory_is_refused() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let mut server = Iesp::ram("1M");
    let mut own = Client::login(server.address());
    let limit = Rlimit { current: Some((server.status_kb("VmSize:") + (16 << 10)) << 10), maximum: None };
    let id = Pid::from_raw(server.id() as i32).expect("a process id");
    prlimit(Some(id), Resource::As, limit).expect("a limit");
    let mut clients = Vec::new();
    for number in 0..100 {
        let mut client = Client::connect(server.address());
        client.initiator.isid = isid(number);
        let request = client.initiator.login(
            iesp_iscsi::pdu::Stage::OperationalNegotiation,
            iesp_iscsi::pdu::Stage::FullFeaturePhase,
            &format!("InitiatorName=iqn.2000-01.x TargetName=test SessionType=Normal {KEYS}"),
        );
        client.send(&request);
        let _ = client.answer_or_end();
        clients.push(client);
    }
    server.assert_well();
    own.run(&[0]).good();
}
