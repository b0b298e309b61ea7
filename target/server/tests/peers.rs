//! Peers that break rules, go away, or come in numbers: the target serves the others, and gives back what it held.

mod support;

use std::time::{Duration, Instant};

use iesp_iscsi::pdu::{LoginStatus, LogoutReason, TaskAttribute};
use support::initiator::Answer;
use support::{Client, Iesp, cdb};

/// 4.2.2.1: commands are delivered in the order of CmdSN, however they came.
#[test]
fn commands_that_come_in_reverse_are_all_answered() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let commands: Vec<_> = (0..6).map(|_| client.initiator.bare(&[0])).collect();
    for command in commands.iter().rev() {
        client.begin(command);
    }
    let tags = commands.iter().map(|_| match client.answer() {
        Answer::Status(status, _) => status.itt,
        other => panic!("{other:?}"),
    });
    assert_eq!(tags.collect::<Vec<_>>(), commands.iter().map(|command| command.itt).collect::<Vec<_>>());
}

/// 11.14: "the target MUST terminate all pending commands".
#[test]
fn a_logout_does_not_wait_for_data_that_nobody_sends() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let write = client.initiator.write(&cdb::write(0, 8), 4096);
    client.begin(&write);
    assert!(matches!(client.answer(), Answer::R2t(_)));
    let logout = client.initiator.logout(LogoutReason::CloseSession);
    let unit = client.initiator.unit(&logout.emit(), &[]);
    client.send(&unit);
    let start = Instant::now();
    let Answer::Logout(response) = client.answer() else { panic!("no Logout Response") };
    assert_eq!((response.response, response.itt), (0, logout.itt));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(client.answer_or_end(), None);
}

/// SAM-5 8.9: an ordered task waits for the older ones, the younger ones for it; and none of them for ever.
#[test]
fn an_ordered_task_behind_one_that_waits_for_its_data() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let write = client.initiator.write(&cdb::write(0, 8), 4096);
    client.begin(&write);
    let mut ordered = client.initiator.read(&cdb::read(0, 8), 4096);
    ordered.attribute = TaskAttribute::Ordered;
    client.begin(&ordered);
    client.finish(write.itt, &[7; 4096]).good();
    assert_eq!(client.finish(ordered.itt, &[]).good(), [7; 4096]);
}

/// What a connection held is given back when it is cut in the middle of a unit.
#[test]
fn connections_that_are_cut_in_the_middle_of_a_write_leave_nothing_behind() {
    let server = Iesp::ram("64M");
    for _ in 0..80 {
        let mut client = Client::login(server.address());
        let write = client.initiator.write(&cdb::write(0, 32768), 16 << 20);
        client.begin(&write);
        let Answer::R2t(r2t) = client.answer() else { panic!("no R2T") };
        let units = client.initiator.answer_r2t(&r2t, &vec![1; 1 << 20], 1 << 18);
        client.send(&units[..100_000]);
    }
    let mut client = Client::login(server.address());
    client.put(&cdb::write(0, 32768), &vec![2; 16 << 20]).good();
}

/// 6.3.5: the session that is reinstated makes its own room.
#[test]
fn a_full_target_takes_back_an_initiator_that_it_knows() {
    let server = Iesp::ram("1M");
    let clients: Vec<_> =
        (0..64).map(|number| Client::login_as(server.address(), Client::isid(number), support::client::KEYS)).collect();
    let mut late = Client::connect(server.address());
    late.initiator.isid = Client::isid(64);
    assert_eq!(late.log_in("test", "").status, LoginStatus::OutOfResources);
    let mut again = Client::login_as(server.address(), Client::isid(5), support::client::KEYS);
    again.run(&[0]).good();
    drop(clients);
}

/// A host that lost its power amid a read comes back and finds its disk.
#[test]
fn a_session_whose_peer_reads_nothing_is_reinstated_at_once() {
    let server = Iesp::ram("64M");
    let mut stuck = Client::login(server.address());
    for _ in 0..64 {
        let read = stuck.initiator.read(&cdb::read(0, 2048), 1 << 20);
        stuck.begin(&read);
    }
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let mut again = Client::login(server.address());
    again.run(&[0]).good();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn sigterm_with_a_session_asks_it_to_log_out() {
    let mut server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    server.signal(rustix::process::Signal::TERM);
    let answer = client.answer_or_end();
    assert!(matches!(answer, Some(Answer::Async(_))), "{answer:?}");
    assert_eq!(server.wait().code(), Some(0));
}
