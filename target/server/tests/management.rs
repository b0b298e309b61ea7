//! Task management functions and what the sessions see of them (RFC 7143 11.5, 11.6; SAM-5 7).

mod support;

use iesp_iscsi::pdu::{ReadyToTransfer, TaskFunction, TaskResult};
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
    asked(client, lba).itt
}

/// The R2T of a write that waits for its data.
#[track_caller]
fn asked(client: &mut Client, lba: u64) -> ReadyToTransfer {
    let write = client.initiator.write(&cdb::write(lba, 8), 4096);
    client.begin(&write);
    match client.answer() {
        Answer::R2t(r2t) if r2t.itt == write.itt => r2t,
        other => panic!("{other:?}"),
    }
}

/// Sends a function without waiting for its response; its tag.
fn begin(client: &mut Client, function: TaskFunction, lun: u64) -> u32 {
    let mut request = client.initiator.manage(function, u32::MAX, 0);
    request.lun = lun;
    let unit = client.initiator.unit(&request.emit(), &[]);
    client.send(&unit);
    request.itt
}

/// Nothing comes for a while: a ping that is not answered before the function would tell.
#[track_caller]
fn assert_no_answer(client: &mut Client) {
    let ping = client.initiator.ping(true);
    let unit = client.initiator.unit(&ping.emit(), b"ping");
    client.send(&unit);
    match client.answer() {
        Answer::Nop(..) => {}
        other => panic!("answered before its time: {other:?}"),
    }
}

#[track_caller]
fn assert_complete(client: &mut Client, itt: u32) {
    match client.answer() {
        Answer::Task(response) if response.itt == itt => assert_eq!(response.result, TaskResult::Complete),
        other => panic!("{other:?}"),
    }
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

/// ABORT TASK SET and, as each nexus has its own task set (TST 1), CLEAR TASK SET: this session's tasks, and no other's. They
/// wait for the data that was asked for (RFC 7143 4.2.3.3 a), which goes nowhere.
#[test]
fn sets_of_tasks() {
    for function in [TaskFunction::AbortTaskSet, TaskFunction::ClearTaskSet] {
        let server = Iesp::ram("1M");
        let [mut one, mut two] = two(&server);
        let asked = [0, 8, 16].map(|lba| asked(&mut one, lba));
        let write = two.initiator.write(&cdb::write(24, 8), 4096);
        two.begin(&write);
        let itt = begin(&mut one, function, 0);
        for r2t in &asked {
            assert_no_answer(&mut one);
            one.answer_r2t(r2t, &[7; 4096]);
        }
        assert_complete(&mut one, itt);
        two.finish(write.itt, &[3; 4096]).good();
        assert_eq!(one.get(&cdb::read(0, 32), 16384).good(), [&[0; 12288][..], &[3; 4096]].concat(), "{function:?}");
        two.run(&[0]).good();
    }
}

/// An initiator that has stopped sending data (Linux: FastAbort) is answered all the same, a little later.
#[test]
fn data_that_do_not_come_are_not_waited_for_for_ever() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let r2t = asked(&mut client, 0);
    assert_eq!(manage(&mut client, TaskFunction::LogicalUnitReset, u32::MAX), TaskResult::Complete);
    client.answer_r2t(&r2t, &[7; 4096]);
    assert_eq!(client.run(&[0]).code(), (6, 0x29, 3));
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [0; 4096]);
}

/// RFC 7143 4.2.3.3 b: a set has all commands before the function's CmdSN, though some come after it.
#[test]
fn a_set_has_the_commands_that_come_later_than_the_function() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let ping = client.initiator.ping(false);
    let late = client.initiator.write(&cdb::write(0, 8), 4096);
    let early = client.initiator.write(&cdb::write(8, 8), 4096);
    let unit = client.initiator.unit(&early.emit(), &[1; 4096]);
    client.send(&unit);
    let itt = begin(&mut client, TaskFunction::AbortTaskSet, 0);
    assert_no_answer(&mut client);
    let unit = client.initiator.unit(&late.emit(), &[2; 4096]);
    client.send(&unit);
    assert_no_answer(&mut client);
    let unit = client.initiator.unit(&ping.emit(), b"ping");
    client.send(&unit);
    let answers = [client.answer(), client.answer()];
    let is_answered = |answer: &Answer| matches!(answer, Answer::Task(response) if response.itt == itt);
    assert!(answers.iter().any(is_answered), "{answers:?}");
    assert_eq!(client.get(&cdb::read(0, 16), 8192).good(), [0; 8192]);
}

/// 11.6.1 b: every command of the window may be aborted before it comes.
#[test]
fn many_commands_are_aborted_before_they_come() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let ping = client.initiator.ping(false);
    let writes: Vec<_> = (0..20).map(|lba| client.initiator.write(&cdb::write(lba, 1), 512)).collect();
    for write in &writes {
        let mut request = client.initiator.manage(TaskFunction::AbortTask, write.itt, 0);
        request.ref_cmd_sn = write.cmd_sn;
        let unit = client.initiator.unit(&request.emit(), &[]);
        client.send(&unit);
        assert_complete(&mut client, request.itt);
    }
    for write in &writes {
        let unit = client.initiator.unit(&write.emit(), &[5; 512]);
        client.send(&unit);
    }
    let unit = client.initiator.unit(&ping.emit(), b"ping");
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Nop(..)));
    assert_eq!(client.get(&cdb::read(0, 20), 20 << 9).good(), [0; 20 << 9]);
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

/// Nor for one whose Data-Out PDU has come by half, whose session goes on.
#[test]
fn a_reset_beside_a_peer_that_stops_amid_its_data() {
    let server = Iesp::ram("1M");
    let [mut one, mut slow] = two(&server);
    let write = slow.initiator.write(&cdb::write(0, 256), 128 << 10);
    slow.begin(&write);
    let Answer::R2t(r2t) = slow.answer() else { panic!("no R2T") };
    let units = slow.initiator.answer_r2t(&r2t, &[9; 128 << 10], 128 << 10);
    let (half, rest) = units.split_at(units.len() / 2);
    slow.send(half);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let start = std::time::Instant::now();
    assert_eq!(manage(&mut one, TaskFunction::LogicalUnitReset, u32::MAX), TaskResult::Complete);
    assert!(start.elapsed().as_secs() < 1, "{:?}", start.elapsed());
    slow.send(rest);
    assert_eq!(slow.run(&[0]).code(), (6, 0x29, 3));
    assert_eq!(slow.get(&cdb::read(0, 256), 128 << 10).good(), [0; 128 << 10]);
}
