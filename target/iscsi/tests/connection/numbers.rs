//! CmdSN, ExpCmdSN, MaxCmdSN, StatSN (4.2.2). That StatSN goes up by one with each status, and that ExpCmdSN and MaxCmdSN
//! never go back, the initiator checks in every test.

use iesp_iscsi::pdu::{Opcode, RejectReason, ScsiCommand, TaskFunction};

use crate::initiator::Answer;
use crate::pair::{Pair, Seen, WINDOW};

fn task_of(seen: &[Seen]) -> iesp_iscsi::TaskId {
    match seen {
        [Seen::Command { task, .. }] => *task,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_window_opens_with_the_login() {
    let pair = Pair::full();
    assert_eq!((pair.initiator.exp_cmd_sn, pair.initiator.max_cmd_sn), (1, WINDOW));
}

/// 4.2.2.1: "the target MUST deliver the commands in the order of CmdSN".
#[test]
fn an_early_command_waits_for_its_turn() {
    let mut pair = Pair::full();
    let before = *pair.target.statistics();
    let commands: Vec<ScsiCommand> = (0..4).map(|number| pair.initiator.bare(&[number])).collect();
    for early in [&commands[3], &commands[1], &commands[2]] {
        assert_eq!(pair.unit(&early.emit(), &[]), [Seen::Early(early.cmd_sn)]);
    }
    let seen = pair.unit(&commands[0].emit(), &[]);
    let order = seen.iter().map(|seen| match seen {
        Seen::Command { cdb, .. } => cdb[0],
        other => panic!("{other:?}"),
    });
    assert_eq!(order.collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(pair.target.expected_cmd_sn(), 5);
    // Each was received once, whatever its turn.
    let counted = pair.target.statistics();
    assert_eq!((counted.units - before.units, counted.commands - before.commands), (4, 4));
}

/// Data-Out units of an early command wait with it.
#[test]
fn data_of_an_early_command_wait_with_it() {
    let mut pair = Pair::with(crate::pair::limits(), "InitialR2T=No");
    pair.eager = true;
    let first = pair.initiator.bare(&[0]);
    let write = ScsiCommand { is_final: false, ..pair.initiator.write(&[1], 512) };
    let data = pair.initiator.unsolicited(write.itt, 0, &[7; 512], 512);
    assert_eq!(pair.unit(&write.emit(), &[]), [Seen::Early(2)]);
    assert_eq!(pair.send(&data), [Seen::Early(2)]);
    let seen = pair.unit(&first.emit(), &[]);
    let [Seen::Command { .. }, Seen::Command { task, .. }, Seen::Data { task: of, data, complete: true, .. }] =
        &seen[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!((task, &data[..]), (of, &[7; 512][..]));
}

/// 4.2.2.1: "The target MUST silently ignore any non-immediate command outside of this range or non-immediate
/// duplicates within the range."
#[test]
fn duplicates_and_commands_outside_the_window_are_ignored() {
    let mut pair = Pair::full();
    let command = pair.initiator.bare(&[0]);
    let task = pair.command(&command, &[]);
    for cmd_sn in [1, 0, u32::MAX, WINDOW + 1, WINDOW + 2, 0x8000_0002] {
        let again = ScsiCommand { itt: 99, cmd_sn, ..command };
        assert_eq!(pair.unit(&again.emit(), &[]), [], "{cmd_sn}");
    }
    assert_eq!(pair.answers(), []);
    // The last one inside the window waits for its turn.
    let last = ScsiCommand { itt: 99, cmd_sn: WINDOW, ..command };
    assert_eq!(pair.unit(&last.emit(), &[]), [Seen::Early(WINDOW)]);
    pair.respond(task, 0, &[], 0);
    assert_eq!(pair.answers().len(), 1);
}

#[test]
fn the_window_closes_with_tasks_and_opens_with_their_end() {
    let mut pair = Pair::full();
    let tasks: Vec<_> = (0..WINDOW)
        .map(|_| {
            let command = pair.initiator.bare(&[0]);
            pair.command(&command, &[])
        })
        .collect();
    // Full: also for what makes no task (a ping), unless it is immediate.
    let ping = pair.initiator.ping(false);
    assert_eq!(pair.unit(&ping.emit(), &[]), []);
    assert_eq!(pair.answers(), []);
    let ping = pair.initiator.ping(true);
    assert_eq!(pair.unit(&ping.emit(), &[]), []);
    let Answer::Nop(answer, _) = pair.answer() else { panic!("no NOP-In") };
    assert_eq!((answer.numbers.exp_cmd_sn, answer.numbers.max_cmd_sn), (WINDOW + 1, WINDOW));
    for (ended, task) in (1..).zip(tasks) {
        pair.respond(task, 0, &[], 0);
        let Answer::Status(status, _) = pair.answer() else { panic!("no SCSI Response") };
        assert_eq!(status.numbers.max_cmd_sn, WINDOW + ended);
    }
}

/// Fault 19. 4.2.2.1: "Immediate commands … do not advance CmdSN", for each unit that can be immediate.
#[test]
fn fault_19_immediate_commands_do_not_count() {
    let mut pair = Pair::full();
    let first = pair.initiator.bare(&[0]);
    let immediate = ScsiCommand { immediate: true, ..first };
    let task = task_of(&pair.unit(&immediate.emit(), &[]));
    pair.respond(task, 0, &[], 0);
    let ping = pair.initiator.ping(true).emit();
    pair.unit(&ping, &[]);
    let manage = pair.initiator.manage(TaskFunction::AbortTask, 77, 0).emit();
    let seen = pair.unit(&manage, &[]);
    let [Seen::Task(request, None)] = seen[..] else { panic!("{seen:?}") };
    pair.with_outbox(|target, out| {
        target.task_response(&request, iesp_iscsi::pdu::TaskResult::TaskDoesNotExist, out);
    });
    for answer in pair.answers() {
        assert_eq!(answer.numbers().0.exp_cmd_sn, 1, "{answer:?}");
    }
    let next = ScsiCommand { itt: 55, ..first };
    task_of(&pair.unit(&next.emit(), &[]));
    assert_eq!(pair.target.expected_cmd_sn(), 2);
}

/// Fault 19: what an initiator says that it expects does not become what the target says.
#[test]
fn fault_19_stat_sn_is_the_targets_own() {
    let mut pair = Pair::full();
    for exp_stat_sn in [0, 1000, u32::MAX] {
        let command = ScsiCommand { exp_stat_sn, ..pair.initiator.bare(&[0]) };
        let task = pair.command(&command, &[]);
        pair.respond(task, 0, &[], 0);
        assert!(matches!(pair.answer(), Answer::Status(..)));
    }
}

/// 4.2.2.2: ExpStatSN acknowledges all responses before it; what is not acknowledged tells how many commands are kept in flight.
#[test]
fn what_is_in_flight_is_known_from_what_is_acknowledged() {
    let mut pair = Pair::full();
    let acknowledged = pair.target.next_stat_sn();
    for answered in 1..=4 {
        let command = ScsiCommand { exp_stat_sn: acknowledged, ..pair.initiator.bare(&[0]) };
        let task = pair.command(&command, &[]);
        pair.respond(task, 0, &[], 0);
        assert_eq!(pair.target.unacknowledged(), answered);
    }
    let command = ScsiCommand { exp_stat_sn: acknowledged.wrapping_add(4), ..pair.initiator.bare(&[0]) };
    let task = pair.command(&command, &[]);
    assert_eq!(pair.target.unacknowledged(), 0);
    pair.respond(task, 0, &[], 0);
    assert_eq!(pair.target.unacknowledged(), 1, "one at a time");
}

/// 3.2.2.1 of RFC 1982: numbers go round.
#[test]
fn numbers_wrap_around() {
    let mut pair = Pair::new(crate::pair::limits());
    pair.initiator.cmd_sn = u32::MAX - 1;
    pair.initiator.exp_cmd_sn = u32::MAX - 1;
    pair.initiator.exp_stat_sn = u32::MAX - 1;
    pair.log_in(&format!("InitiatorName={} TargetName=test SessionType=Normal", crate::initiator::INITIATOR));
    for _ in 0..20 {
        let command = pair.initiator.bare(&[0]);
        let task = pair.command(&command, &[]);
        pair.respond(task, 0, &[], 0);
        assert!(matches!(pair.answer(), Answer::Status(..)));
    }
    assert_eq!(pair.target.expected_cmd_sn(), 18);
    assert_eq!(pair.initiator.exp_stat_sn, 19);
}

/// 4.2.2.1: more immediate commands than it has places for may be rejected; the others go on.
#[test]
fn too_many_immediate_commands_are_rejected() {
    let mut pair = Pair::full();
    let command = pair.initiator.bare(&[0]);
    for itt in 100..102 {
        let immediate = ScsiCommand { immediate: true, itt, ..command };
        task_of(&pair.unit(&immediate.emit(), &[]));
    }
    let third = ScsiCommand { immediate: true, itt: 102, ..command };
    assert_eq!(pair.unit(&third.emit(), &[]), []);
    assert_eq!(pair.rejected(&third.emit(), 0), RejectReason::TooManyImmediateCommands);
    task_of(&pair.unit(&command.emit(), &[]));
}

/// A peer that never sends what is missing cannot make the target keep everything.
#[test]
fn what_waits_for_its_turn_is_bounded() {
    let limits = crate::pair::limits();
    let mut target = <iesp_iscsi::Connection<64>>::new(limits, iesp_iscsi::Timeouts::default(), 1, 0);
    let mut initiator = crate::initiator::Initiator::default();
    let pairs = format!("InitiatorName={} TargetName=test SessionType=Normal", crate::initiator::INITIATOR);
    let stage = iesp_iscsi::pdu::Stage::OperationalNegotiation;
    let login = initiator.login(stage, iesp_iscsi::pdu::Stage::FullFeaturePhase, &pairs);
    let mut next = |bytes: &[u8]| {
        let mut buffer = [0; iesp_iscsi::connection::OUTBOX_MIN];
        let mut out = iesp_iscsi::Outbox::new(&mut buffer, 0);
        target.next(0, bytes, &mut out, &mut crate::pair::Site).map(|_| ())
    };
    assert_eq!(next(&login), Ok(()));
    initiator.cmd_sn += 1;
    let commands: Vec<_> = (0..32).map(|_| initiator.bare(&[0]).emit()).collect();
    assert!(commands.iter().any(|bhs| next(&initiator.unit(bhs, &[])).is_err()));
}

/// A number of CmdSN that a rejected command had is still expected: its place in the order is not taken (11.17).
#[test]
fn a_rejected_command_does_not_count() {
    let mut pair = Pair::full();
    let command = pair.initiator.bare(&[0]);
    let mut malformed = command.emit();
    malformed.0[1] &= 0x7f; // F=0 without W
    assert_eq!(malformed.opcode(), Some(Opcode::ScsiCommand));
    assert_eq!(pair.unit(&malformed, &[]), []);
    assert_eq!(pair.rejected(&malformed, 0), RejectReason::InvalidPduField);
    task_of(&pair.unit(&command.emit(), &[]));
}
