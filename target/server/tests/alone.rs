//! A thread that serves one connection waits for its next request in the receive call itself, while these come quickly. Nobody else has
//! to wait for that: not a second connection on the thread, nor whoever sends the first one a message.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use iesp_iscsi::pdu::LoginStatus;
use support::client::KEYS;
use support::{Client, Iesp, cdb};

/// Far more requests in a row than begin it.
const MANY: usize = 300;

/// How long a connection beside a quick one may take for a login and a read: two waits, and a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn quick(client: &mut Client) {
    for _ in 0..MANY {
        client.get(&cdb::read(0, 8), 4096).good();
    }
}

fn one_thread() -> Iesp {
    Iesp::start(&["-b", "ram", "-d", "4M", "--threads", "1"])
}

#[test]
fn a_second_connection_is_served_while_the_first_goes_on() {
    let server = one_thread();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut first = Client::login(server.address());
        quick(&mut first);
        let reads = scope.spawn(|| {
            let mut first = first;
            while !over.load(Ordering::Relaxed) {
                first.get(&cdb::read(0, 8), 4096).good();
            }
        });
        let start = Instant::now();
        let mut second = Client::login_as(server.address(), Client::isid(2), KEYS);
        quick(&mut second);
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        reads.join().expect("the first connection is served");
        assert!(took < SOON, "{took:?}");
    });
}

/// Between two requests, and in the middle of one.
#[test]
fn a_pause_is_no_end() {
    let server = one_thread();
    let mut client = Client::login(server.address());
    for _ in 0..3 {
        quick(&mut client);
        thread::sleep(Duration::from_millis(30));
        let command = client.initiator.read(&cdb::read(8, 8), 4096);
        let unit = client.initiator.unit(&command.emit(), &[]);
        client.send(&unit[..20]);
        thread::sleep(Duration::from_millis(30));
        client.send(&unit[20..]);
        client.finish(command.itt, &[]).good();
    }
}

/// 6.3.5: the old session hears of its reinstatement from another connection, here on the same thread.
#[test]
fn a_quick_session_is_reinstated() {
    let server = one_thread();
    let mut first = Client::login(server.address());
    quick(&mut first);
    let start = Instant::now();
    let mut second = Client::connect(server.address());
    assert_eq!(second.log_in("test", KEYS).status, LoginStatus::Success);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(first.answer_or_end(), None);
}

/// More is answered than the socket takes: the rest waits for the peer, and others do not wait for that.
#[test]
fn a_quick_peer_that_stops_reading_holds_nobody_up() {
    let server = one_thread();
    let mut first = Client::login(server.address());
    quick(&mut first);
    let reads: Vec<_> = (0..64).map(|_| first.initiator.read(&cdb::read(0, 2048), 1 << 20)).collect();
    for read in &reads {
        first.begin(read);
    }
    let start = Instant::now();
    let mut second = Client::login_as(server.address(), Client::isid(2), KEYS);
    second.get(&cdb::read(0, 8), 4096).good();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    for read in &reads {
        assert_eq!(first.finish(read.itt, &[]).good().len(), 1 << 20);
    }
}

/// The end that the protocol demands comes to a quick session too, and to what it has under way.
#[test]
fn a_quick_session_that_breaks_the_protocol_ends() {
    let server = one_thread();
    let mut first = Client::login(server.address());
    quick(&mut first);
    let write = first.initiator.write(&cdb::write(0, 8), 4096);
    first.begin(&write);
    // A SCSI Command whose data segment is longer than any that this target takes.
    let mut unit = [0; 48];
    unit[0] = 0x01;
    unit[5..8].fill(0xff);
    first.send(&unit);
    let start = Instant::now();
    while first.answer_or_end().is_some() {}
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let mut second = Client::login(server.address());
    second.put(&cdb::write(0, 8), &[7; 4096]).good();
    assert_eq!(second.get(&cdb::read(0, 8), 4096).good(), [7; 4096]);
}

/// At a stop the initiator is told, and the program ends in order.
#[test]
fn a_quick_session_does_not_delay_a_stop() {
    let mut server = one_thread();
    let mut client = Client::login(server.address());
    quick(&mut client);
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}
