//! What a peer costs before its login, and an idle session.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::support::client::KEYS;
use super::support::process::{command, folder};
use super::support::{Client, Iesp, cdb};

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

/// With `memory` for payloads, and this disk.
fn with_memory(folder: &tempfile::TempDir, memory: &str, disk: &str) -> Iesp {
    let file = folder.path().join("iesp.toml");
    let text = format!(
        "[[portal]]\nlisten = \"127.0.0.1\"\nport = 0\n[limits]\nmemory = \"{memory}\"\n\
         [[target]]\nname = \"test\"\n[[target.lun]]\n{disk}\n"
    );
    std::fs::write(&file, text).expect("a file");
    let mut program = command(&["--config", file.to_str().expect("a plain path")]);
    program.env("RUNTIME_DIRECTORY", folder.path()).env("STATE_DIRECTORY", folder.path());
    Iesp::spawn(program)
}

/// Writes of one session whose data do not come leave memory to the writes of another.
#[test]
fn announced_writes_leave_memory_to_others() {
    let folder = folder();
    let mut server = with_memory(&folder, "256M", "ram = \"64M\"");
    let mut greedy = Client::login_as(server.address(), isid(1), KEYS);
    for _ in 0..63 {
        let write = greedy.initiator.write(&cdb::write(0, 32768), 16 << 20);
        greedy.begin(&write);
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut other = Client::login_as(server.address(), isid(2), KEYS);
    for blocks in [8, 128, 2048, 32768] {
        let start = Instant::now();
        other.put(&cdb::write(0, blocks), &vec![5; (blocks as usize) << 9]).good();
        assert!(start.elapsed() < Duration::from_secs(4), "{blocks} blocks: {:?}", start.elapsed());
    }
    server.assert_well();
}

/// What sessions do not need any more is there for others: their caches are no reason to refuse anything.
#[test]
fn idle_sessions_give_memory_back() {
    let folder = folder();
    let mut server = with_memory(&folder, "32M", "ram = \"64M\"");
    let mut idle: Vec<_> = (1..=4)
        .map(|number| {
            let mut client = Client::login_as(server.address(), isid(number), KEYS);
            for blocks in [2048, 8192] {
                let write = client.initiator.write(&cdb::write(0, blocks), blocks << 9);
                client.begin(&write);
                client.finish(write.itt, &vec![6; (blocks as usize) << 9]);
            }
            client
        })
        .collect();
    let mut other = Client::login_as(server.address(), isid(9), KEYS);
    other.put(&cdb::write(0, 32768), &vec![7; 16 << 20]).good();
    idle[0].run(&[0]).good();
    server.assert_well();
}

/// Reads past the page cache that find no memory wait for it: nothing is wrong with the disk.
#[cfg(target_os = "linux")]
#[test]
fn reads_wait_for_memory() {
    // Where cargo builds there is a disk; `/tmp` may be memory.
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let image = folder.path().join("disk");
    std::fs::write(&image, vec![0x77; 16 << 20]).expect("room");
    let disk = format!("file = \"{}\"\ndirect = true", image.display());
    let mut server = with_memory(&folder, "16M", &disk);
    let address = server.address();
    std::thread::scope(|scope| {
        for number in 1..=8 {
            scope.spawn(move || {
                let mut client = Client::login_as(address, isid(number), KEYS);
                let reads: Vec<_> = (0..32)
                    .map(|at| {
                        let read = client.initiator.read(&cdb::read(at % 16 * 2048, 2048), 1 << 20);
                        client.begin(&read);
                        read.itt
                    })
                    .collect();
                for itt in reads {
                    assert!(client.finish(itt, &[]).good().iter().all(|byte| *byte == 0x77));
                }
            });
        }
    });
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
