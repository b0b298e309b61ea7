//! A server that answers with anything: the program stays well and every command is answered.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::servers::uuid;
use crate::support::process::{PATIENCE, command, folder};
use crate::support::{Client, Iesp, cdb};

const FLAGS: u16 = 0x65 | 1 << 8;

fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let head = [option, kind, data.len() as u32].map(u32::to_be_bytes).concat();
    [&0x3e889045565a9u64.to_be_bytes()[..], &head, data].concat()
}

/// The handshake, as it should be, with extended headers or without; `None` where the client goes.
fn shake(stream: &mut UnixStream, extended: bool) -> Option<()> {
    shake_with(stream, extended, FLAGS)
}

/// The same with these transmission flags.
pub fn shake_with(stream: &mut UnixStream, extended: bool, flags: u16) -> Option<()> {
    stream.write_all(&[b"NBDMAGICIHAVEOPT", &3u16.to_be_bytes()[..]].concat()).ok()?;
    stream.read_exact(&mut [0; 4]).ok()?;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head).ok()?;
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (option, len) = (number(8), number(12));
        stream.read_exact(&mut vec![0; len as usize]).ok()?;
        if option == 7 {
            let info = [&[0, 0][..], &(32u64 << 20).to_be_bytes(), &flags.to_be_bytes()].concat();
            stream.write_all(&[option_reply(7, 3, &info), option_reply(7, 1, &[])].concat()).ok()?;
            return Some(());
        }
        let kind = if option == 11 && !extended { 1 << 31 | 1 } else { 1 };
        stream.write_all(&option_reply(option, kind, &[])).ok()?;
    }
}

/// Serves each connection by `answer`, which gets the next request's header (without payload) and says what to send;
/// `None` ends the connection.
fn serve(path: &Path, answer: impl Fn(&[u8; 28]) -> Option<Vec<u8>> + Send + Sync + 'static) {
    let listener = UnixListener::bind(path).expect("a socket");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut head = [0; 28];
                let Some(()) = shake(&mut stream, false) else { return };
                while stream.read_exact(&mut head).is_ok() {
                    let Some(reply) = answer(&head) else { return };
                    if stream.write_all(&reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

pub fn simple(error: u32, cookie: &[u8]) -> Vec<u8> {
    [&0x6744_6698u32.to_be_bytes()[..], &error.to_be_bytes(), cookie].concat()
}

fn chunk(kind: u16, cookie: &[u8], len: u32, body: &[u8]) -> Vec<u8> {
    [&0x668e_33efu32.to_be_bytes()[..], &[0, 1], &kind.to_be_bytes(), cookie, &len.to_be_bytes(), body].concat()
}

/// A server with extended headers, which those that Debian has are not: requests and replies are as NBD says.
#[test]
fn extended_headers() {
    let folder = folder();
    let socket = folder.path().join("extended");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let disk = Arc::new(Mutex::new(vec![0; 32 << 20]));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let disk = Arc::clone(&disk);
            thread::spawn(move || serve_extended(&mut stream, &disk));
        }
    });
    let url = format!("nbd+unix:///?socket={}", socket.display());
    let mut iesp = Iesp::start(&["-d", &url, "--uuid", &uuid()]);
    let mut client = Client::login(iesp.address());
    let data = crate::servers::pattern(7, 1 << 20);
    client.put(&cdb::write(64, 2048), &data).good();
    assert_eq!(client.get(&cdb::read(64, 2048), 1 << 20).good(), data);
    client.put(&cdb::write_fua(8, 8), &data[..4096]).good();
    assert_eq!(client.get(&cdb::read(8, 8), 4096).good(), data[..4096]);
    client.run(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]).good();
    assert!(iesp.stop().0.success());
}

/// Until the client goes, or does what it must not.
fn serve_extended(stream: &mut UnixStream, disk: &Mutex<Vec<u8>>) -> Option<()> {
    shake(stream, true)?;
    loop {
        let mut head = [0; 32];
        stream.read_exact(&mut head).ok()?;
        let number = |from: usize, to: usize| head[from..to].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (magic, flags, kind) = (number(0, 4), number(4, 6), number(6, 8));
        let (offset, len) = (number(16, 24) as usize, number(24, 32) as usize);
        let is_right = magic == 0x21e4_1c71 && (flags & 0x20 != 0) == (kind == 1);
        if !is_right || kind == 2 {
            return None;
        }
        let mut body = Vec::new();
        if kind == 1 {
            let mut data = vec![0; len];
            stream.read_exact(&mut data).ok()?;
            disk.lock().ok()?[offset..offset + len].copy_from_slice(&data);
        } else if kind == 0 {
            body = [&head[16..24], &disk.lock().ok()?[offset..offset + len]].concat();
        }
        let numbers = (body.len() as u64).to_be_bytes();
        let start =
            [&0x6e8a_278cu32.to_be_bytes()[..], &[0, 1, 0, u8::from(kind == 0)], &head[8..24], &numbers].concat();
        stream.write_all(&[start, body].concat()).ok()?;
    }
}

#[test]
fn every_command_is_answered() {
    type Answer = fn(&[u8; 28]) -> Option<Vec<u8>>;
    let cases: [(&str, Answer); 9] = [
        ("hangs up", |_| None),
        ("noise", |_| Some(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec())),
        ("another cookie", |head| Some(simple(0, &[head[8], head[9], head[10], head[11], 0xff, 0xff, 0xff, 0xff]))),
        ("too long", |head| Some(chunk(1, &head[8..16], u32::MAX, &[head[16], 0, 0, 0, 0, 0, 0, 0]))),
        ("not all", |head| Some(chunk(0, &head[8..16], 0, &[]))),
        ("elsewhere", |head| Some(chunk(1, &head[8..16], 8 + 512, &[0xff; 520]))),
        ("a large hole", |head| Some(chunk(2, &head[8..16], 12, &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]))),
        ("a long error", |head| Some(chunk(0x8001, &head[8..16], 6 + 9, &[0, 0, 0, 5, 0xff, 0xff]))),
        ("shutting down for ever", |head| Some(simple(108, &head[8..16]))),
    ];
    let folder = folder();
    // Each waits for its limit: at the same time.
    thread::scope(|scope| {
        for (number, (name, answer)) in cases.into_iter().enumerate() {
            let socket = folder.path().join(format!("{number}.sock"));
            scope.spawn(move || {
                serve(&socket, answer);
                meet(name, &format!("nbd+unix:///?socket={}", socket.display()));
            });
        }
    });
}

/// A read fails as it should, in time, and the program ends in time.
fn meet(name: &str, url: &str) {
    let mut iesp = Iesp::start(&["-d", url, "--uuid", &uuid(), "--nbd-reconnect", "1"]);
    let mut client = Client::login(iesp.address());
    let start = Instant::now();
    let (key, ..) = client.get(&cdb::read(0, 8), 4096).code();
    assert!(key == 2 && start.elapsed() < Duration::from_secs(10), "{name}: {key} after {:?}", start.elapsed());
    iesp.assert_well();
    let (_, took) = iesp.stop();
    assert!(took < Duration::from_secs(10), "{name}: {took:?}");
}

/// A peer that is no NBD server, or says nothing: one clear line, and the end.
#[test]
fn handshakes_that_fail() {
    let folder = folder();
    let cases: [(&str, &'static [u8], &str); 4] = [
        ("http", b"HTTP/1.1 400 Bad Request\r\n\r\n", "NBD"),
        ("oldstyle", b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\x00\x00\x00\x00\x00\x00\x00\x00", "old style"),
        ("short", b"NBDMAG", "cannot be used"),
        ("silent", b"", "does not answer"),
    ];
    for (name, bytes, word) in cases {
        let socket = folder.path().join(name);
        let listener = UnixListener::bind(&socket).expect("a socket");
        thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(bytes);
                if bytes.is_empty() {
                    held.push(stream);
                }
            }
        });
        let url = format!("nbd+unix:///?socket={}", socket.display());
        let start = Instant::now();
        let output = command(&["-b", "nbd", "-d", &url, "--uuid", &uuid(), "-i", "127.0.0.1", "-p", "0"]).output();
        let output = output.expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(start.elapsed() < PATIENCE, "{name}");
        assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{name}: {errors}");
        assert!(errors.contains(&url) && errors.contains(word), "{name}: {errors}");
    }
}
