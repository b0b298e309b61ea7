//! Peers that keep the target busy, on the thread that serves another one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use super::small_reads;
use super::support::client::KEYS;
use super::support::{Client, Iesp, cdb};

/// How long the other one's small reads may take in the middle, on a machine that has other work.
const USUAL: Duration = Duration::from_millis(30);

fn server(size: &str) -> Iesp {
    Iesp::start(&["-b", "ram", "-d", size, "--threads", "1"])
}

fn other(server: &Iesp) -> Client {
    Client::login_as(server.address(), Client::isid(99), KEYS)
}

/// Peers that send many PDUs at once, as often as is asked for, and take all answers.
struct Flood {
    streams: Vec<TcpStream>,
    takers: Vec<thread::JoinHandle<usize>>,
}

impl Flood {
    fn of(streams: Vec<TcpStream>) -> Self {
        let takers = streams.iter().map(|stream| {
            let mut stream = stream.try_clone().expect("a second handle");
            thread::spawn(move || {
                let (mut room, mut taken) = (vec![0; 1 << 16], 0);
                while let Ok(count @ 1..) = stream.read(&mut room) {
                    taken += count;
                }
                taken
            })
        });
        let takers = takers.collect();
        Self { streams, takers }
    }

    /// So many PDUs of each peer.
    fn burst(&mut self, pdus: &[u8]) {
        for stream in &mut self.streams {
            stream.write_all(pdus).expect("the target takes it");
        }
    }

    /// Bytes of answers.
    fn end(self) -> usize {
        for stream in &self.streams {
            stream.shutdown(Shutdown::Write).expect("it is open");
        }
        self.takers.into_iter().map(|taker| taker.join().expect("it takes")).sum()
    }
}

/// How long small reads of the other one take in the middle, each just behind a burst of 30,000 PDUs of each peer.
fn beside(mut flood: Flood, pdu: &[u8], server: &mut Iesp) -> Duration {
    const BURST: usize = 30_000;
    let mut other = Client::login_as(server.address(), Client::isid(99), KEYS);
    let burst = pdu.repeat(BURST);
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            flood.burst(&burst);
            let (took, _) = small_reads(&mut other, 1);
            // All of it was taken before the next.
            thread::sleep(Duration::from_millis(500));
            took
        })
        .collect();
    times.sort_unstable();
    println!("{times:?}");
    let peers = flood.streams.len();
    assert!(flood.end() >= 5 * BURST * peers * 48, "the flood was not answered");
    server.assert_well();
    times[2]
}

/// A Login Request without text, which says that more of it comes (C bit): the login never ends.
fn empty_login() -> [u8; 48] {
    let mut bytes = [0; 48];
    // I bit and opcode; C bit and CSG 1; an ISID.
    bytes[..2].copy_from_slice(&[0x43, 0x44]);
    bytes[8..14].copy_from_slice(&Client::isid(7));
    bytes
}

#[test]
fn a_flood_of_login_requests() {
    let mut server = server("1M");
    let streams = (0..2).map(|_| TcpStream::connect(server.address()).expect("it listens"));
    let flood = Flood::of(streams.collect());
    let middle = beside(flood, &empty_login(), &mut server);
    assert!(middle < USUAL, "{middle:?}");
}

#[test]
fn a_flood_of_immediate_pings() {
    let mut server = server("1M");
    let mut clients: Vec<_> =
        (0..16).map(|number| Client::login_as(server.address(), Client::isid(number), KEYS)).collect();
    let ping = clients[0].initiator.ping(true);
    let pdu = clients[0].initiator.unit(&ping.emit(), &[]);
    let streams = clients.iter().map(|client| client.stream.try_clone().expect("a second handle"));
    let flood = Flood::of(streams.collect());
    let middle = beside(flood, &pdu, &mut server);
    assert!(middle < USUAL, "{middle:?}");
}

/// One command over all of a large disk, of which there is little but holes.
#[test]
fn a_command_over_a_whole_disk() {
    let mut server = server("1T");
    let mut other = other(&server);
    let mut client = Client::login_as(server.address(), Client::isid(1), KEYS);
    let verify = client.initiator.bare(&cdb::sixteen(0x8f, 0, 0, 1 << 31));
    client.begin(&verify);
    thread::sleep(Duration::from_millis(100));
    let (middle, longest) = small_reads(&mut other, 100);
    assert!(middle < USUAL, "{middle:?}, at most {longest:?}");
    // Its own pings are answered, too.
    let ping = client.initiator.ping(true);
    let unit = client.initiator.unit(&ping.emit(), &[]);
    client.send(&unit);
    client.answer();
    drop(client);
    other.get(&cdb::read(0, 8), 4096).good();
    server.assert_well();
}
