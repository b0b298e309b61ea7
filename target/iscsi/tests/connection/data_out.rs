//! R2T and solicited Data-Out (4.2.5.2, 11.7, 11.8), and data that are received in place.

use iesp_iscsi::pdu::{DataOut, ReadyToTransfer, Residual};
use iesp_iscsi::{Collect, CommandFault, TaskId};

use crate::initiator::Answer;
use crate::pair::{KEYS, Pair, Seen, limits};

pub fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 37) >> 4) as u8).collect()
}

pub fn r2ts(pair: &mut Pair) -> Vec<ReadyToTransfer> {
    let r2t = |answer| match answer {
        Answer::R2t(r2t) => r2t,
        other => panic!("{other:?}"),
    };
    pair.answers().into_iter().map(r2t).collect()
}

/// Puts the data of a task together; whether everything has come.
pub fn gather(seen: &[Seen], buffer: &mut [u8]) -> bool {
    let mut all = false;
    for seen in seen {
        match seen {
            Seen::Data { offset, data, complete, .. } => {
                assert!(!all, "data behind the last");
                if !data.is_empty() {
                    buffer[*offset as usize..][..data.len()].copy_from_slice(data);
                }
                all = *complete;
            }
            Seen::Place { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    all
}

fn write(pair: &mut Pair, len: u32) -> (u32, TaskId) {
    let command = pair.initiator.write(&[0x2a], len);
    let task = pair.command(&command, &[]);
    assert_eq!(pair.collect(task, len), Collect::Pending);
    (command.itt, task)
}

/// 13.17: at most MaxOutstandingR2T; 13.13: each for at most MaxBurstLength; 11.8.2: R2TSN from 0; in order of their offset.
#[test]
fn r2ts_are_bounded_in_number_and_length() {
    let mut pair = Pair::full();
    let data = bytes(70_000);
    let (itt, task) = write(&mut pair, 70_000);
    let mut buffer = vec![0; 70_000];
    let mut outstanding = r2ts(&mut pair);
    assert_eq!(outstanding.len(), 2);
    let mut seen = Vec::new();
    let mut complete = false;
    while !outstanding.is_empty() {
        assert!(outstanding.len() <= 2 && !complete);
        let r2t = outstanding.remove(0);
        seen.push((r2t.r2t_sn, r2t.offset, r2t.len));
        assert_eq!(r2t.itt, itt);
        assert!(outstanding.iter().all(|other| other.ttt != r2t.ttt));
        let units = pair.initiator.answer_r2t(&r2t, &data, 8192);
        complete = gather(&pair.send(&units), &mut buffer);
        outstanding.extend(r2ts(&mut pair));
    }
    assert!(complete && buffer == data);
    assert_eq!(seen, [(0, 0, 16384), (1, 16384, 16384), (2, 32768, 16384), (3, 49152, 16384), (4, 65536, 4464)]);
    pair.respond(task, 0, &[], 70_000);
    let Answer::Status(status, _) = pair.answer() else { panic!("no SCSI Response") };
    assert_eq!((status.exp_data_sn, status.residual), (5, Residual::None));
}

#[test]
fn one_r2t_at_a_time_where_that_was_negotiated() {
    let mut pair = Pair::with(limits(), &KEYS.replace("MaxOutstandingR2T=2", "MaxOutstandingR2T=1"));
    write(&mut pair, 70_000);
    assert_eq!(r2ts(&mut pair).len(), 1);
}

/// Only what the device server takes is asked for; 11.4.5.1: the rest is the residual.
#[test]
fn what_the_device_server_does_not_take_is_not_asked_for() {
    let mut pair = Pair::full();
    let command = pair.initiator.write(&[0x2a], 8192);
    let task = pair.command(&command, &[]);
    assert_eq!(pair.collect(task, 512), Collect::Pending);
    let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    assert_eq!((r2t.offset, r2t.len), (0, 512));
    let command = pair.initiator.write(&[0x2a], 8192);
    let task = pair.command(&command, &[]);
    assert_eq!(pair.collect(task, 0), Collect::Complete);
    assert_eq!(r2ts(&mut pair), []);
}

/// More is wanted than the initiator has: all that it has.
#[test]
fn what_the_initiator_does_not_have_is_not_asked_for() {
    let mut pair = Pair::full();
    let command = pair.initiator.write(&[0x2a], 512);
    let task = pair.command(&command, &[]);
    assert_eq!(pair.collect(task, 4096), Collect::Pending);
    let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    assert_eq!((r2t.offset, r2t.len), (0, 512));
    let units = pair.initiator.answer_r2t(&r2t, &[1; 512], 512);
    assert!(gather(&pair.send(&units), &mut [0; 512]));
}

fn unit(r2t: &ReadyToTransfer) -> DataOut {
    let (itt, ttt, offset) = (r2t.itt, r2t.ttt, r2t.offset);
    DataOut { is_final: true, lun: 0, itt, ttt, exp_stat_sn: 0, data_sn: 0, offset }
}

/// 11.7: each rule of a sequence that is broken fails its task, and no other.
#[test]
fn a_sequence_that_breaks_the_rules_fails_its_task() {
    /// Changes a right unit of 1024 bytes; how many bytes it carries then.
    type Change = fn(&mut DataOut) -> usize;
    let cases: [(&str, Change, CommandFault); 6] = [
        (
            "DataSN that does not begin with 0",
            |unit| {
                unit.data_sn = 1;
                1024
            },
            CommandFault::Digest,
        ),
        (
            "an offset behind what is expected",
            |unit| {
                unit.offset += 512;
                512
            },
            CommandFault::Digest,
        ),
        ("more than was asked for", |_| 2048, CommandFault::IncorrectAmount),
        ("F before the end", |_| 512, CommandFault::IncorrectAmount),
        (
            "no F at the end",
            |unit| {
                unit.is_final = false;
                1024
            },
            CommandFault::IncorrectAmount,
        ),
        (
            "unsolicited",
            |unit| {
                unit.ttt = u32::MAX;
                1024
            },
            CommandFault::Unexpected,
        ),
    ];
    for (what, change, fault) in cases {
        let mut pair = Pair::full();
        let (_, task) = write(&mut pair, 1024);
        let (_, other) = write(&mut pair, 1024);
        let asked = r2ts(&mut pair);
        let mut wrong = unit(&asked[0]);
        let len = change(&mut wrong);
        assert_eq!(pair.unit(&wrong.emit(), &vec![0; len]), [Seen::Fault(task, fault)], "{what}");
        pair.respond(task, 2, &[], 0);
        let seen = pair.unit(&unit(&asked[1]).emit(), &[3; 1024]);
        assert!(matches!(seen[..], [Seen::Data { task, complete: true, .. }] if task == other), "{what}: {seen:?}");
    }
}

/// 11.17: a task whose data broke the rules is answered when the last unit that was expected has come, not before.
#[test]
fn a_broken_sequence_is_answered_at_its_end() {
    let mut pair = Pair::full();
    let (_, task) = write(&mut pair, 2048);
    let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    let part = |data_sn, at: u32, is_final| DataOut { data_sn, offset: at, is_final, ..unit(&r2t) };
    // Unit 0 never comes.
    assert_eq!(pair.unit(&part(1, 512, false).emit(), &[0; 512]), []);
    assert_eq!(pair.unit(&part(2, 1024, false).emit(), &[0; 512]), []);
    assert_eq!(pair.unit(&part(3, 1536, true).emit(), &[0; 512]), [Seen::Fault(task, CommandFault::Digest)]);
}

/// 11.7.5: an offset that does not fit in 32 bits.
#[test]
fn an_offset_at_the_end_of_the_numbers() {
    let mut pair = Pair::full();
    let (_, task) = write(&mut pair, 1024);
    let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    let wrong = DataOut { offset: u32::MAX - 10, ..unit(&r2t) };
    assert!(matches!(pair.unit(&wrong.emit(), &[0; 1024])[..], [Seen::Fault(at, _)] if at == task));
}

/// 4.2.3.3: data for a task that has ended may still come: they harm nobody, also where the tag was given out anew.
#[test]
fn late_data_of_a_task_that_has_ended() {
    let mut pair = Pair::full();
    let (_, task) = write(&mut pair, 1024);
    let [old] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    pair.with_outbox(|target, _| target.forget(task));
    assert_eq!(pair.unit(&unit(&old).emit(), &[9; 1024]), []);
    let (_, again) = write(&mut pair, 1024);
    assert_eq!(task, again, "the place is used again");
    let [new] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    assert_ne!(old.ttt, new.ttt);
    assert_eq!(pair.unit(&unit(&old).emit(), &[9; 1024]), []);
    // The right tag of the transfer with the wrong tag of the task.
    let mixed = DataOut { itt: old.itt, ..unit(&new) };
    assert_eq!(pair.unit(&mixed.emit(), &[9; 1024]), []);
    let seen = pair.unit(&unit(&new).emit(), &[1; 1024]);
    assert!(matches!(&seen[..], [Seen::Data { data, complete: true, .. }] if data == &[1; 1024]), "{seen:?}");
    assert_eq!(pair.answers(), []);
}

/// The same where the initiator, too, gave its tag out anew.
#[test]
fn late_data_of_a_task_whose_tags_are_both_used_again() {
    let mut pair = Pair::full();
    let (itt, task) = write(&mut pair, 1024);
    let [old] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    pair.with_outbox(|target, _| target.forget(task));
    let mut command = pair.initiator.write(&[0x2a], 1024);
    command.itt = itt;
    let again = pair.command(&command, &[]);
    assert_eq!((task, pair.collect(again, 1024)), (again, Collect::Pending));
    let [new] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    assert_eq!(pair.unit(&unit(&old).emit(), &[9; 1024]), []);
    let seen = pair.unit(&unit(&new).emit(), &[1; 1024]);
    assert!(matches!(&seen[..], [Seen::Data { data, complete: true, .. }] if data == &[1; 1024]), "{seen:?}");
}

/// A unit that has not come whole is received in place, at any cut, with and without digests: the same data.
#[test]
fn data_in_place_with_and_without_digests() {
    for digests in ["HeaderDigest=None DataDigest=None", "HeaderDigest=CRC32C DataDigest=CRC32C", "DataDigest=CRC32C"] {
        for len in [2048, 4093, 8192] {
            for cut in [0, 1, 47, 48, 52, 53, 1000, 2095, 2100] {
                let mut pair = Pair::with(limits(), &format!("{KEYS} {digests}"));
                let data = bytes(len);
                let (_, task) = write(&mut pair, len as u32);
                let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
                let units = pair.initiator.answer_r2t(&r2t, &data, len);
                let cut = cut.min(units.len());
                let mut seen = pair.send(&units[..cut]);
                seen.extend(pair.send(&units[cut..]));
                let header = pair.initiator.digests.header_len();
                let placed = (header..units.len()).contains(&cut);
                assert_eq!(seen.contains(&Seen::Place { task, offset: 0, len: len as u32 }), placed, "{digests} {cut}");
                let mut buffer = vec![0; len];
                assert!(gather(&seen, &mut buffer));
                assert_eq!(buffer, data);
            }
        }
    }
}

/// What the device server does not take has no place, and is not handed on.
#[test]
fn data_without_a_place_are_dropped() {
    let keys = "InitialR2T=No ImmediateData=No FirstBurstLength=8192";
    let mut pair = Pair::with(limits(), keys);
    let mut command = pair.initiator.write(&[0x2a], 8192);
    command.is_final = false;
    let task = pair.command(&command, &[]);
    assert_eq!(pair.collect(task, 512), Collect::Pending);
    let units = pair.initiator.unsolicited(command.itt, 0, &bytes(8192), 8192);
    assert_eq!(pair.send(&units[..4000]), []);
    let seen = pair.send(&units[4000..]);
    let [Seen::Data { data, complete: true, placed: false, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(data, &bytes(8192)[..512]);
}

/// The task ends while its data are on the way into its buffer: they are received, and go nowhere.
#[test]
fn a_task_that_ends_while_data_are_placed() {
    let mut pair = Pair::full();
    let (_, task) = write(&mut pair, 8192);
    let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    let units = pair.initiator.answer_r2t(&r2t, &bytes(8192), 8192);
    pair.send(&units[..1000]);
    pair.with_outbox(|target, _| target.forget(task));
    let seen = pair.send(&units[1000..]);
    assert!(matches!(seen[..], [Seen::Data { complete: false, .. }]), "{seen:?}");
    let (_, next) = write(&mut pair, 512);
    let [r2t] = r2ts(&mut pair)[..] else { panic!("not one R2T") };
    let units = pair.initiator.answer_r2t(&r2t, &[5; 512], 512);
    assert!(matches!(pair.send(&units)[..], [Seen::Data { task, complete: true, .. }] if task == next));
}
