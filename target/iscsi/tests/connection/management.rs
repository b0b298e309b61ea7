//! Task management requests as the connection sees them (11.5, 11.6).

use iesp_iscsi::pdu::{TaskFunction, TaskResult};

use crate::initiator::Answer;
use crate::pair::{Pair, Seen};

/// A task that is there is named to the driver, which ends it and answers.
#[test]
fn abort_task_names_the_task() {
    let mut pair = Pair::full();
    let command = pair.initiator.bare(&[0]);
    let task = pair.command(&command, &[]);
    let abort = pair.initiator.manage(TaskFunction::AbortTask, command.itt, command.cmd_sn);
    assert_eq!(pair.unit(&abort.emit(), &[]), [Seen::Task(abort, Some(task))]);
    pair.with_outbox(|target, out| {
        target.forget(task);
        target.task_response(&abort, TaskResult::Complete, out);
    });
    let Answer::Task(response) = pair.answer() else { panic!("no Task Management Function Response") };
    assert_eq!((response.itt, response.result), (abort.itt, TaskResult::Complete));
    assert_eq!(pair.target.tasks().count(), 0);
}

/// 11.6.1 b: a command that has not come, but is in the window and before the request: it counts as received.
#[test]
fn abort_task_of_a_command_that_has_not_come() {
    let mut pair = Pair::full();
    let lost = pair.initiator.bare(&[1]);
    let next = pair.initiator.bare(&[2]);
    assert_eq!(pair.unit(&next.emit(), &[]), [Seen::Early(2)]);
    let abort = pair.initiator.manage(TaskFunction::AbortTask, lost.itt, lost.cmd_sn);
    // The hole is filled: what waited behind it comes.
    let seen = pair.unit(&abort.emit(), &[]);
    assert!(matches!(seen[..], [Seen::Command { cdb: [2, ..], .. }]), "{seen:?}");
    let Answer::Task(response) = pair.answer() else { panic!("no Task Management Function Response") };
    assert_eq!((response.itt, response.result), (abort.itt, TaskResult::Complete));
    // And when the command comes after all, it is ignored.
    assert_eq!(pair.unit(&lost.emit(), &[]), []);
    assert_eq!(pair.answers(), []);
    assert_eq!(pair.target.expected_cmd_sn(), 3);
}

/// The same for one of several that are missing, not the first.
#[test]
fn abort_task_of_a_later_command_that_has_not_come() {
    let mut pair = Pair::full();
    let commands: Vec<_> = (0..4).map(|number| pair.initiator.bare(&[number])).collect();
    let abort = pair.initiator.manage(TaskFunction::AbortTask, commands[2].itt, commands[2].cmd_sn);
    assert_eq!(pair.unit(&abort.emit(), &[]), []);
    assert!(matches!(pair.answer(), Answer::Task(response) if response.result == TaskResult::Complete));
    let mut order = Vec::new();
    for command in &commands {
        for seen in pair.unit(&command.emit(), &[]) {
            let Seen::Command { cdb, .. } = seen else { panic!("{seen:?}") };
            order.push(cdb[0]);
        }
    }
    assert_eq!(order, [0, 1, 3]);
    assert_eq!(pair.target.expected_cmd_sn(), 5);
}

/// 11.6.1 b: an early command that waits is one that has not been taken: it is gone.
#[test]
fn abort_task_of_a_command_that_waits_for_its_turn() {
    let mut pair = Pair::full();
    let first = pair.initiator.bare(&[1]);
    let second = pair.initiator.bare(&[2]);
    assert_eq!(pair.unit(&second.emit(), &[]), [Seen::Early(2)]);
    let abort = pair.initiator.manage(TaskFunction::AbortTask, second.itt, second.cmd_sn);
    assert_eq!(pair.unit(&abort.emit(), &[]), []);
    assert!(matches!(pair.answer(), Answer::Task(response) if response.result == TaskResult::Complete));
    let seen = pair.unit(&first.emit(), &[]);
    assert!(matches!(seen[..], [Seen::Command { cdb: [1, ..], .. }]), "{seen:?}");
    assert_eq!(pair.target.expected_cmd_sn(), 3);
}

/// 11.6.1 a and c: a task that has ended, and numbers outside the window, are the driver's to answer: there is no task.
#[test]
fn abort_task_of_what_is_not_there() {
    let mut pair = Pair::full();
    let command = pair.initiator.bare(&[0]);
    let task = pair.command(&command, &[]);
    pair.respond(task, 0, &[], 0);
    pair.answers();
    for ref_cmd_sn in [1, 0, 2, 3, 100, u32::MAX] {
        let abort = pair.initiator.manage(TaskFunction::AbortTask, command.itt, ref_cmd_sn);
        assert_eq!(pair.unit(&abort.emit(), &[]), [Seen::Task(abort, None)], "{ref_cmd_sn}");
    }
    assert_eq!(pair.target.expected_cmd_sn(), 2);
}

/// Every function reaches the driver, those that are unknown too.
#[test]
fn all_functions() {
    let mut pair = Pair::full();
    for function in [
        TaskFunction::AbortTaskSet,
        TaskFunction::ClearAca,
        TaskFunction::ClearTaskSet,
        TaskFunction::LogicalUnitReset,
        TaskFunction::TargetWarmReset,
        TaskFunction::TargetColdReset,
        TaskFunction::TaskReassign,
        TaskFunction::Unknown(0),
        TaskFunction::Unknown(9),
        TaskFunction::Unknown(0x7f),
    ] {
        let request = pair.initiator.manage(function, u32::MAX, 0);
        assert_eq!(pair.unit(&request.emit(), &[]), [Seen::Task(request, None)]);
    }
}

/// An ordered request has its place among the commands.
#[test]
fn a_request_in_the_order_of_commands() {
    let mut pair = Pair::full();
    let command = pair.initiator.bare(&[0]);
    let mut request = pair.initiator.manage(TaskFunction::LogicalUnitReset, u32::MAX, 0);
    request.immediate = false;
    assert_eq!(pair.unit(&request.emit(), &[]), [Seen::Early(2)]);
    let seen = pair.unit(&command.emit(), &[]);
    assert!(matches!(seen[..], [Seen::Command { .. }, Seen::Task(..)]), "{seen:?}");
    assert_eq!(pair.target.expected_cmd_sn(), 3);
}
