//! Task management functions and what the sessions see of them (RFC 7143 11.5, 11.6; SAM-5 7).

mod support;

use iesp_iscsi::pdu::{TaskFunction, TaskResult};
use support::client::KEYS;
use support::initiator::Answer;
use support::{Client, Iesp, cdb};

const LUN_5: u64 = 5 << 48;

fn two(server: &Iesp) -> [Client; 2] {
    [1, 2].map(|number| Client::login_as(server.address(), Client::isid(number), KEYS))
}

/// A write that waits for its data.
#[track_caller]
fn hanging(client: &mut Client, lba: u64) -> u32 {
    let write = client.initiator.write(&cdb::write(lba, 8), 4096);
    client.begin(&write);
    assert!(matches!(client.answer(), Answer::R2t(_)));
    write.itt
}

#[track_caller]
fn manage_lun(client: &mut Client, function: TaskFunction, referenced_tag: u32, lun: u64) -> TaskResult {
    let mut request = client.initiator.manage(function, referenced_tag, 0);
    request.lun = lun;
    let unit = client.initiator.unit(&request.emit(), &[]);
    client.send(&unit);
    match client.answer() {
        Answer::Task(response) if response.itt == request.itt => response.result,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn manage(client: &mut Client, function: TaskFunction, referenced_tag: u32) -> TaskResult {
    manage_lun(client, function, referenced_tag, 0)
}

/// The task ends without a word, another one of the session goes on, the data of the first harm nobody.
#[test]
fn abort_task() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let aborted = client.initiator.write(&cdb::write(0, 8), 4096);
    client.begin(&aborted);
    let Answer::R2t(r2t) = client.answer() else { panic!("no R2T") };
    let other = client.initiator.write(&cdb::write(8, 8), 4096);
    client.begin(&other);
    let Answer::R2t(others) = client.answer() else { panic!("no R2T") };
    assert_eq!(manage(&mut client, TaskFunction::AbortTask, aborted.itt), TaskResult::Complete);
    assert_eq!(manage(&mut client, TaskFunction::AbortTask, aborted.itt), TaskResult::TaskDoesNotExist);
    client.answer_r2t(&r2t, &[1; 4096]);
    client.answer_r2t(&others, &[2; 4096]);
    client.finish(other.itt, &[]).good();
    assert_eq!(client.get(&cdb::read(0, 16), 8192).good(), [[0; 4096], [2; 4096]].concat());
    // A task of this tag, but not of that logical unit.
    let itt = hanging(&mut client, 0);
    assert_eq!(manage_lun(&mut client, TaskFunction::AbortTask, itt, LUN_5), TaskResult::TaskDoesNotExist);
    assert_eq!(manage(&mut client, TaskFunction::AbortTask, itt), TaskResult::Complete);
}

/// 4.2.2.1: a task that was aborted gives its place in the window back.
#[test]
fn aborted_tasks_give_their_places_back() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    for _ in 0..500 {
        let itt = hanging(&mut client, 0);
        assert_eq!(manage(&mut client, TaskFunction::AbortTask, itt), TaskResult::Complete);
    }
    client.run(&[0]).good();
}

/// ABORT TASK SET: this session's tasks, and no other's.
#[test]
fn abort_task_set() {
    let server = Iesp::ram("1M");
    let [mut one, mut two] = two(&server);
    for lba in [0, 8, 16] {
        hanging(&mut one, lba);
    }
    let write = two.initiator.write(&cdb::write(24, 8), 4096);
    two.begin(&write);
    assert_eq!(manage(&mut one, TaskFunction::AbortTaskSet, u32::MAX), TaskResult::Complete);
    two.finish(write.itt, &[3; 4096]).good();
    one.run(&[0]).good();
    two.run(&[0]).good();
}

/// CLEAR TASK SET: everybody's; the others are told (2Fh/00h), if they had any.
#[test]
fn clear_task_set() {
    let server = Iesp::ram("1M");
    let [mut one, mut two] = two(&server);
    let mut idle = Client::login_as(server.address(), Client::isid(3), KEYS);
    hanging(&mut one, 0);
    let gone = hanging(&mut two, 8);
    assert_eq!(manage(&mut one, TaskFunction::ClearTaskSet, u32::MAX), TaskResult::Complete);
    assert_eq!(two.run(&[0]).code(), (6, 0x2f, 0));
    assert_eq!(manage(&mut two, TaskFunction::AbortTask, gone), TaskResult::TaskDoesNotExist);
    for client in [&mut one, &mut two, &mut idle] {
        client.run(&[0]).good();
    }
}

/// Resets: all tasks end, reservations are gone, all are told (29h).
#[test]
fn resets() {
    for (function, ascq) in [(TaskFunction::LogicalUnitReset, 3), (TaskFunction::TargetWarmReset, 0)] {
        let server = Iesp::ram("1M");
        let [mut one, mut two] = two(&server);
        two.run(&[0x16]).good();
        hanging(&mut two, 8);
        assert_eq!(one.run(&[0]).status, 0x18, "RESERVATION CONFLICT");
        assert_eq!(manage(&mut one, function, u32::MAX), TaskResult::Complete);
        for client in [&mut one, &mut two] {
            assert_eq!(client.run(&[0]).code(), (6, 0x29, ascq), "{function:?}");
            client.run(&[0]).good();
        }
    }
}

/// 11.5.1: TARGET COLD RESET ends all sessions, behind its response.
#[test]
fn target_cold_reset() {
    let mut server = Iesp::ram("1M");
    let [mut one, mut two] = two(&server);
    hanging(&mut two, 8);
    assert_eq!(manage(&mut one, TaskFunction::TargetColdReset, u32::MAX), TaskResult::Complete);
    assert_eq!(one.answer_or_end(), None);
    assert_eq!(two.answer_or_end(), None);
    Client::login(server.address()).run(&[0]).good();
    server.assert_well();
}

/// What there is not.
#[test]
fn functions_that_are_refused() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    assert_eq!(manage(&mut client, TaskFunction::AbortTask, 12345), TaskResult::TaskDoesNotExist);
    assert_eq!(manage(&mut client, TaskFunction::TaskReassign, 1), TaskResult::ReassignmentNotSupported);
    for function in [TaskFunction::ClearAca, TaskFunction::Unknown(0), TaskFunction::Unknown(0x7f)] {
        assert_eq!(manage(&mut client, function, u32::MAX), TaskResult::NotSupported);
    }
    for function in [TaskFunction::AbortTaskSet, TaskFunction::ClearTaskSet, TaskFunction::LogicalUnitReset] {
        assert_eq!(manage_lun(&mut client, function, u32::MAX, LUN_5), TaskResult::LunDoesNotExist);
    }
    client.run(&[0]).good();
}

/// A reset of another session's does not wait for one that reads nothing.
#[test]
fn a_reset_beside_a_peer_that_reads_nothing() {
    let server = Iesp::ram("64M");
    let [mut one, mut deaf] = two(&server);
    for _ in 0..64 {
        let read = deaf.initiator.read(&cdb::read(0, 2048), 1 << 20);
        deaf.begin(&read);
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    let start = std::time::Instant::now();
    assert_eq!(manage(&mut one, TaskFunction::LogicalUnitReset, u32::MAX), TaskResult::Complete);
    assert!(start.elapsed().as_secs() < 5);
}
