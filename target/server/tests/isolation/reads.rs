//! Peers that ask for much and take little of it.

use std::time::{Duration, Instant};

use iesp_iscsi::pdu::TaskFunction;

use super::support::client::KEYS;
use super::support::initiator::Answer;
use super::support::{Client, Iesp, cdb};

fn client(server: &Iesp, number: u8) -> Client {
    Client::login_as(server.address(), Client::isid(number), KEYS)
}

/// Asks for `count` MiB and takes nothing.
fn ask_for(client: &mut Client, count: usize) {
    for _ in 0..count {
        let read = client.initiator.read(&cdb::read(0, 2048), 1 << 20);
        client.begin(&read);
    }
}

/// Its blocks are free while its data wait for it: for COMPARE AND WRITE, and for what comes behind that.
#[test]
fn a_peer_that_takes_nothing_holds_no_blocks() {
    let server = Iesp::ram("64M");
    let [mut deaf, mut exclusive, mut plain] = [1, 2, 3].map(|number| client(&server, number));
    ask_for(&mut deaf, 64);
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let compare = exclusive.initiator.write(&cdb::compare_and_write(0, 1), 1024);
    exclusive.begin(&compare);
    std::thread::sleep(Duration::from_millis(50));
    plain.put(&cdb::write(0, 8), &[5; 4096]).good();
    exclusive.finish(compare.itt, &[0; 1024]);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// An ABORT TASK SET does not stand behind all the reads that it is to end.
#[test]
fn an_abort_does_not_wait_for_the_reads_before_it() {
    let server = Iesp::ram("64M");
    let mut client = client(&server, 1);
    ask_for(&mut client, 100);
    std::thread::sleep(Duration::from_millis(300));
    let request = client.initiator.manage(TaskFunction::AbortTaskSet, u32::MAX, 0);
    let unit = client.initiator.unit(&request.emit(), &[]);
    client.send(&unit);
    // A peer that takes 4 MB a second, a round of which is a sixteenth.
    let mut came = 0;
    let mut round = Instant::now();
    loop {
        match client.answer() {
            Answer::Data(_, data) => came += data.len(),
            Answer::Task(response) if response.itt == request.itt => break,
            other => panic!("{other:?}"),
        }
        if came % (1 << 18) == 0 {
            std::thread::sleep(Duration::from_micros(62_500).saturating_sub(round.elapsed()));
            round = Instant::now();
        }
    }
    assert!(came < 32 << 20, "{came} bytes of 100 MiB came before the answer");
    client.run(&[0]).good();
}

/// A small read does not wait for the large ones of its session to be over.
#[test]
fn reads_of_a_session_have_their_pieces_in_turn() {
    let server = Iesp::ram("64M");
    let mut client = client(&server, 1);
    for _ in 0..4 {
        let read = client.initiator.read(&cdb::read(0, 32768), 16 << 20);
        client.begin(&read);
    }
    let small = client.initiator.read(&cdb::read(0, 8), 4096);
    client.begin(&small);
    let mut came = 0;
    loop {
        match client.answer() {
            Answer::Data(unit, _) if unit.itt == small.itt => break,
            Answer::Data(_, data) => came += data.len(),
            other => panic!("{other:?}"),
        }
    }
    assert!(came < 16 << 20, "{came} bytes of 64 MiB came before it");
}
