//! What each server is good for comes through.

use std::time::{Duration, Instant};

use crate::servers::{Server, pattern, session};
use crate::support::process::{folder, image};
use crate::support::{Client, cdb};

const LEN: u64 = 32 << 20;
const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// WRITE SAME(16) of zeros, with UNMAP or without.
fn write_same(client: &mut Client, lba: u64, blocks: u32, unmap: bool) {
    client.put(&cdb::sixteen(0x93, if unmap { 8 } else { 0 }, lba, blocks), &[0; 512]).good();
}

/// Whether the block is mapped, and for how many blocks that holds.
fn status(client: &mut Client, lba: u64) -> (bool, u32) {
    let answer = client.get(&cdb::lba_status(lba, 24), 24).good();
    (answer[20] & 0xf == 0, u32::from_be_bytes(answer[16..20].try_into().expect("four bytes")))
}

/// LBPME: space can be given back.
fn is_thin(client: &mut Client) -> bool {
    client.get(&cdb::sixteen(0x9e, 0x10, 0, 32), 32).good()[14] & 0x80 != 0
}

/// Blocks of all lengths, before and behind those of the server's, are written, read, zeroed and given back.
fn exercise(client: &mut Client) {
    for (seed, (lba, blocks)) in
        [(0, 1), (7, 2), (9, 15), (64, 64), (1000, 2048), (LEN / 512 - 1, 1)].into_iter().enumerate()
    {
        let data = pattern(seed as u64, blocks as usize * 512);
        client.put(&cdb::write(lba, blocks), &data).good();
        assert_eq!(client.get(&cdb::read(lba, blocks), blocks * 512).good(), data, "{lba}");
    }
    let data = pattern(99, 8 * 512);
    client.put(&cdb::write_fua(3, 8), &data).good();
    client.run(&FLUSH).good();
    let before = client.get(&cdb::read(64, 64), 64 * 512).good();
    write_same(client, 65, 40, false);
    let thin = is_thin(client);
    write_same(client, 107, 3, thin);
    let mut expected = before;
    expected[512..41 * 512].fill(0);
    expected[43 * 512..46 * 512].fill(0);
    assert_eq!(client.get(&cdb::read(64, 64), 64 * 512).good(), expected);
    assert_eq!(client.get(&cdb::read(3, 8), 8 * 512).good(), data);
    let prefetch = client.run(&cdb::sixteen(0x90, 2, 0, 64));
    assert!(prefetch.status == 0 || prefetch.status == 4, "{prefetch:?}");
}

/// UNMAP of 1 MiB that was written; then its status.
fn unmapped(client: &mut Client) -> (bool, u32) {
    let megabyte = pattern(5, 1 << 20);
    client.put(&cdb::write(8192, 2048), &megabyte).good();
    assert!(status(client, 8192).0, "what was written is mapped");
    let (unmap, list) = cdb::unmap(8192, 2048);
    client.put(&unmap, &list).good();
    assert_eq!(client.get(&cdb::read(8192, 2048), 1 << 20).good(), vec![0; 1 << 20]);
    status(client, 8192)
}

/// WCE of the caching mode page; DPOFUA of the header; write protection.
fn modes(client: &mut Client) -> (bool, bool, bool) {
    let page = client.get(&[0x1a, 8, 8, 0, 64, 0], 64).good();
    (page[6] & 4 != 0, page[2] & 0x10 != 0, page[2] & 0x80 != 0)
}

#[test]
fn nbdkit_memory() {
    let folder = folder();
    let Some(server) = Server::nbdkit(folder.path(), &["memory", &LEN.to_string()]) else { return };
    let iesp = server.iesp(&[]);
    assert!(iesp.screen.contains(&server.url) && iesp.screen.contains("32.0 MiB"), "{}", iesp.screen);
    let mut client = session(&iesp);
    exercise(&mut client);
    assert_eq!(modes(&mut client), (true, true, false));
    let (mapped, blocks) = unmapped(&mut client);
    assert!(!mapped && blocks >= 2048, "{blocks}");
}

#[test]
fn nbdkit_file_and_what_lies_in_it() {
    let folder = folder();
    let path = image(folder.path(), "disk", LEN);
    let Some(server) = Server::nbdkit(folder.path(), &["file", &path]) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    exercise(&mut client);
    unmapped(&mut client);
    let data = client.get(&cdb::read(0, 128), 128 * 512).good();
    assert_eq!(std::fs::read(&path).expect("the image")[..128 * 512], data);
}

#[test]
fn qemu_raw_and_qcow2() {
    for format in ["raw", "qcow2"] {
        let folder = folder();
        let Some(server) = Server::qemu(folder.path(), format, LEN) else { return };
        let iesp = server.iesp(&[]);
        let mut client = session(&iesp);
        exercise(&mut client);
        assert_eq!(modes(&mut client), (true, true, false));
        let (mapped, blocks) = unmapped(&mut client);
        assert!(!mapped && blocks >= 1920, "{format}: {blocks}");
    }
}

/// Simple replies; a flush where it has one, and no volatile cache where it has none.
#[test]
fn nbd_server_with_and_without_flush() {
    for (lines, flush) in [("flush = true\nfua = true\ntrim = true", true), ("flush = false\nfua = false", false)] {
        let folder = folder();
        let path = image(folder.path(), "disk", LEN);
        let Some(server) = Server::nbd_server(folder.path(), &path, lines) else { return };
        let iesp = server.iesp(&[]);
        let mut client = session(&iesp);
        exercise(&mut client);
        assert_eq!(modes(&mut client).0, flush);
        let data = client.get(&cdb::read(0, 128), 128 * 512).good();
        assert_eq!(std::fs::read(&path).expect("the image")[..128 * 512], data);
    }
}

/// A server that has nothing but reads and writes, in blocks of 4096 bytes and at most 64 KiB at a time.
#[test]
fn a_server_that_can_do_little() {
    let folder = folder();
    let filters = ["--filter=blocksize-policy", "--filter=nozero", "--filter=noextents", "--filter=fua"];
    let sizes = ["blocksize-minimum=4096", "blocksize-preferred=4096", "blocksize-maximum=65536"];
    let rest = ["blocksize-error-policy=error", "zeromode=none"];
    let size = LEN.to_string();
    let arguments = [&filters[..], &["memory", &size], &sizes, &rest].concat();
    let Some(server) = Server::nbdkit(folder.path(), &arguments) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    exercise(&mut client);
    assert_eq!((is_thin(&mut client), modes(&mut client).0), (false, true), "no UNMAP, but a flush");
}

/// Neighbours in one block of the server's are written at the same time, and each write is there.
#[test]
fn neighbours_in_a_block_of_the_server() {
    let folder = folder();
    let filters = ["--filter=blocksize-policy", "--filter=delay", "memory", "32M", "delay-read=3ms", "delay-write=3ms"];
    let sizes = [
        "blocksize-minimum=16384",
        "blocksize-preferred=16384",
        "blocksize-maximum=1M",
        "blocksize-error-policy=error",
    ];
    let Some(server) = Server::nbdkit(folder.path(), &[&filters[..], &sizes].concat()) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    for round in 0..3u64 {
        let blocks: Vec<_> = (0..64).map(|lba| pattern(round << 8 | lba, 512)).collect();
        let mut commands = Vec::new();
        for (lba, data) in (0..).zip(&blocks) {
            let command = client.initiator.write(&cdb::write(lba, 1), 512);
            let unit = client.initiator.unit(&command.emit(), data);
            client.send(&unit);
            commands.push(command.itt);
        }
        for (itt, data) in commands.into_iter().zip(&blocks) {
            client.finish(itt, data).good();
        }
        assert_eq!(client.get(&cdb::read(0, 64), 64 * 512).good(), blocks.concat(), "round {round}");
    }
}

/// Many requests are under way at once, over several connections, and no answer is taken for another.
#[test]
fn many_in_flight_and_out_of_order() {
    const COUNT: u64 = 48;
    let folder = folder();
    let arguments = ["--filter=delay", "memory", "32M", "delay-read=100ms"];
    let Some(server) = Server::nbdkit(folder.path(), &arguments) else { return };
    let iesp = server.iesp(&[]);
    let mut clients = [1, 2].map(|number| {
        let keys = crate::support::client::KEYS;
        Client::login_as(iesp.address(), Client::isid(number), keys)
    });
    for number in 0..2 * COUNT {
        clients[0].put(&cdb::write(number * 8, 8), &pattern(number, 4096)).good();
    }
    let start = Instant::now();
    let mut tags = Vec::new();
    for number in 0..2 * COUNT {
        let client = &mut clients[number as usize % 2];
        let command = client.initiator.read(&cdb::read(number * 8, 8), 4096);
        client.begin(&command);
        tags.push(command.itt);
    }
    for (number, itt) in (0u64..).zip(tags) {
        assert_eq!(clients[number as usize % 2].finish(itt, &[]).good(), pattern(number, 4096), "{number}");
    }
    let took = start.elapsed();
    assert!(took < Duration::from_millis(100) * COUNT as u32 / 4, "one at a time: {took:?}");
}

/// Each connection that there is has work, also where one request at a time comes; PRE-FETCH is CACHE.
#[test]
fn no_connection_is_idle_and_prefetch_is_cache() {
    let folder = folder();
    let log = folder.path().join("log");
    let file = format!("logfile={}", log.display());
    let Some(server) = Server::nbdkit(folder.path(), &["--filter=log", "memory", "32M", &file]) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    let connected = std::fs::read_to_string(&log).expect("a log").matches(" Connect ").count();
    assert!(connected > 1, "memory takes several connections: {connected}");
    for number in 0..connected as u64 {
        client.get(&cdb::read(number * 8, 8), 4096).good();
    }
    assert_eq!(client.run(&cdb::sixteen(0x90, 0, 4096, 64)).status, 4, "CONDITION MET");
    let deadline = Instant::now() + crate::support::process::PATIENCE;
    let text = loop {
        let text = std::fs::read_to_string(&log).expect("a log");
        if text.contains(" Cache ") {
            break text;
        }
        assert!(Instant::now() < deadline, "no CACHE: {text}");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(
        text.lines().any(|line| line.contains(" Cache ") && line.contains("offset=0x200000 count=0x8000")),
        "{text}"
    );
    for number in 1..=connected {
        let name = format!("connection={number} Read ");
        assert!(text.contains(&name), "connection {number} is idle: {text}");
    }
}

/// Trim level 2: written zeros give space back.
#[test]
fn zeros_that_are_written_give_space_back() {
    let folder = folder();
    let Some(server) = Server::nbdkit(folder.path(), &["memory", "32M"]) else { return };
    let iesp = server.iesp(&["-T", "2"]);
    let mut client = session(&iesp);
    client.put(&cdb::write(0, 2048), &pattern(1, 1 << 20)).good();
    assert!(status(&mut client, 0).0);
    client.put(&cdb::write(0, 2048), &vec![0; 1 << 20]).good();
    assert!(!status(&mut client, 0).0);
}

#[test]
fn a_read_only_export() {
    let folder = folder();
    let Some(server) = Server::nbdkit(folder.path(), &["-r", "memory", "32M"]) else { return };
    let iesp = server.iesp(&[]);
    assert!(iesp.screen.contains("read-only"), "{}", iesp.screen);
    let mut client = session(&iesp);
    assert!(modes(&mut client).2, "write protected");
    assert_eq!(client.put(&cdb::write(0, 1), &[1; 512]).code().0, 7, "DATA PROTECT");
    client.get(&cdb::read(0, 8), 4096).good();
}

/// A server with one client at a time, which nobody else reaches, as whoever asks for the size finds out: the disk goes on.
#[test]
fn a_server_that_takes_one_client() {
    let folder = folder();
    let arguments = ["--filter=noparallel", "memory", "32M", "serialize=connections"];
    let Some(server) = Server::nbdkit(folder.path(), &arguments) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    exercise(&mut client);
    // Longer than it takes until the size is asked for, and the asking given up.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
        assert!(asked.elapsed() < Duration::from_secs(1), "it waits for the size");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!iesp.errors().contains("lost"), "{}", iesp.errors());
}

/// A server that tries again by itself is waited for.
#[test]
fn a_server_that_tries_again() {
    let folder = folder();
    let trigger = folder.path().join("trigger");
    let file = format!("error-file={}", trigger.display());
    let filters =
        ["--filter=retry", "--filter=error", "memory", "32M", "retry-delay=1", "error-pwrite-rate=100%", &file];
    let Some(server) = Server::nbdkit(folder.path(), &filters) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    std::fs::write(&trigger, "").expect("a file");
    let (data, start) = (pattern(1, 4096), Instant::now());
    let command = client.initiator.write(&cdb::write(0, 8), 4096);
    let unit = client.initiator.unit(&command.emit(), &data);
    client.send(&unit);
    std::thread::sleep(Duration::from_millis(300));
    std::fs::remove_file(&trigger).expect("it is there");
    client.finish(command.itt, &data).good();
    assert!(start.elapsed() > Duration::from_millis(900), "it was not tried again");
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), data);
}

/// A server's errors become sense data of the right kind, and the disk goes on.
#[test]
fn errors_of_the_server() {
    let folder = folder();
    let trigger = folder.path().join("trigger");
    let file = format!("error-file={}", trigger.display());
    let filters = ["--filter=error", "memory", "32M", "error-rate=100%", &file];
    for (error, read, write) in [("EIO", 3, 3), ("ENOSPC", 7, 7), ("EPERM", 7, 7), ("ENOMEM", 4, 4)] {
        let argument = format!("error={error}");
        let Some(server) = Server::nbdkit(folder.path(), &[&filters[..], &[&argument]].concat()) else { return };
        let iesp = server.iesp(&[]);
        let mut client = session(&iesp);
        client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
        client.run(&FLUSH).good();
        std::fs::write(&trigger, "").expect("a file");
        assert_eq!(client.get(&cdb::read(0, 8), 4096).code().0, read, "{error}");
        assert_eq!(client.put(&cdb::write(0, 8), &pattern(2, 4096)).code().0, write, "{error}");
        std::fs::remove_file(&trigger).expect("it is there");
        assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), pattern(1, 4096));
    }
}
