//! Immediate and unsolicited data: InitialR2T, ImmediateData, FirstBurstLength (13.10, 13.11, 13.14, 4.2.5.2).

use iesp_iscsi::pdu::ScsiCommand;
use iesp_iscsi::{Collect, CommandFault, Limits};

use crate::data_out::{bytes, gather, r2ts};
use crate::pair::{Pair, Seen, limits};

const BOTH: [bool; 2] = [false, true];

fn pair(initial_r2t: bool, immediate_data: bool) -> Pair {
    let word = |value| if value { "Yes" } else { "No" };
    let keys = format!(
        "InitialR2T={} ImmediateData={} FirstBurstLength=8192 MaxBurstLength=16384",
        word(initial_r2t),
        word(immediate_data)
    );
    let pair = Pair::with(Limits { initial_r2t: false, ..limits() }, &keys);
    assert_eq!(pair.target.parameters().initial_r2t, initial_r2t);
    assert_eq!(pair.target.parameters().immediate_data, immediate_data);
    pair
}

/// What each of the four combinations allows arrives; what it does not allow fails the command.
#[test]
fn all_four_combinations() {
    let data = bytes(20_000);
    for initial_r2t in BOTH {
        for immediate_data in BOTH {
            for immediate in [0, 1000, 4096] {
                for unsolicited in [0, 4000] {
                    let what =
                        format!("InitialR2T {initial_r2t}, ImmediateData {immediate_data}, {immediate}, {unsolicited}");
                    let mut pair = pair(initial_r2t, immediate_data);
                    let mut command = pair.initiator.write(&[0x2a], 20_000);
                    command.is_final = unsolicited == 0;
                    let seen = pair.unit(&command.emit(), &data[..immediate]);
                    let [Seen::Command { task, fault, immediate: got, .. }] = &seen[..] else {
                        panic!("{what}: {seen:?}")
                    };
                    let allowed = (immediate == 0 || immediate_data) && (unsolicited == 0 || !initial_r2t);
                    assert_eq!(*fault, (!allowed).then_some(CommandFault::Unexpected), "{what}");
                    if !allowed {
                        continue;
                    }
                    let mut buffer = vec![0; 20_000];
                    buffer[..immediate].copy_from_slice(got);
                    assert_eq!(pair.collect(*task, 20_000), Collect::Pending);
                    let mut complete = false;
                    if unsolicited > 0 {
                        // 4.2.5.2: no R2T before the unsolicited data have come.
                        assert_eq!(r2ts(&mut pair), []);
                        let more = &data[immediate..immediate + unsolicited];
                        let units = pair.initiator.unsolicited(command.itt, immediate as u32, more, 3000);
                        complete = gather(&pair.send(&units), &mut buffer);
                    }
                    let mut asked = r2ts(&mut pair);
                    assert_eq!(asked[0].offset as usize, immediate + unsolicited, "{what}");
                    while let Some(r2t) = (!asked.is_empty()).then(|| asked.remove(0)) {
                        let units = pair.initiator.answer_r2t(&r2t, &data, 8192);
                        complete = gather(&pair.send(&units), &mut buffer);
                        asked.extend(r2ts(&mut pair));
                    }
                    assert!(complete && buffer == data, "{what}");
                }
            }
        }
    }
}

/// 13.14: immediate and unsolicited data together are at most FirstBurstLength, and never more than the command has.
#[test]
fn no_more_than_the_first_burst() {
    for (immediate, units, fault) in [(4096, 4096, false), (4096, 4097, true), (0, 8192, false), (1, 8192, true)] {
        let mut pair = pair(false, true);
        let mut command = pair.initiator.write(&[0x2a], 20_000);
        command.is_final = false;
        let task = pair.command(&command, &bytes(immediate));
        assert_eq!(pair.collect(task, 20_000), Collect::Pending);
        let units = pair.initiator.unsolicited(command.itt, immediate as u32, &bytes(units), 8192);
        let seen = pair.send(&units);
        let failed = seen.contains(&Seen::Fault(task, CommandFault::IncorrectAmount));
        assert_eq!(failed, fault, "{immediate} {seen:?}");
    }
}

#[test]
fn immediate_data_that_are_too_long() {
    let keys = "FirstBurstLength=1024 InitialR2T=No";
    for (expected, len, fault) in [
        (4096, 1024, None),
        (4096, 1025, Some(CommandFault::IncorrectAmount)),
        (512, 512, None),
        (512, 513, Some(CommandFault::IncorrectAmount)),
        (0, 1, Some(CommandFault::IncorrectAmount)),
    ] {
        let mut pair = Pair::with(limits(), keys);
        let command = pair.initiator.write(&[0x2a], expected);
        let seen = pair.unit(&command.emit(), &bytes(len));
        assert!(matches!(&seen[..], [Seen::Command { fault: got, .. }] if *got == fault), "{expected} {len}: {seen:?}");
    }
}

/// 11.3: data without the W bit.
#[test]
fn immediate_data_of_a_read() {
    let mut pair = pair(false, true);
    let command = pair.initiator.read(&[0x28], 512);
    let seen = pair.unit(&command.emit(), &bytes(512));
    assert!(matches!(seen[..], [Seen::Command { fault: Some(CommandFault::Unexpected), .. }]), "{seen:?}");
}

/// All data came with the command: nothing to collect; the target knows without being told.
#[test]
fn everything_is_immediate() {
    let mut pair = pair(true, true);
    let command = pair.initiator.write(&[0x2a], 4096);
    let task = pair.command(&command, &bytes(4096));
    assert!(pair.target.is_collected(task, 4096));
    assert_eq!(pair.collect(task, 4096), Collect::Complete);
    assert_eq!(pair.answers(), []);
}

/// The device server wants nothing, but unsolicited data follow: they are received before the task may end (11.4.2: "the
/// target MUST wait until it receives a data PDU with the F bit set in the last expected sequence").
#[test]
fn unsolicited_data_that_nobody_wants() {
    let mut pair = pair(false, true);
    let mut command = pair.initiator.write(&[0x2a], 8192);
    command.is_final = false;
    let task = pair.command(&command, &[]);
    assert!(!pair.target.is_collected(task, 0));
    assert_eq!(pair.collect(task, 0), Collect::Pending);
    let units = pair.initiator.unsolicited(command.itt, 0, &bytes(8192), 4096);
    let half = units.len() / 2;
    assert!(!gather(&pair.send(&units[..half]), &mut []));
    assert!(gather(&pair.send(&units[half..]), &mut []));
}

/// An initiator that says that more follows, and sends an empty end.
#[test]
fn an_unsolicited_sequence_without_data() {
    let mut pair = pair(false, true);
    let command = ScsiCommand { is_final: false, ..pair.initiator.write(&[0x2a], 512) };
    let task = pair.command(&command, &bytes(512));
    assert_eq!(pair.collect(task, 512), Collect::Pending);
    let mut end = iesp_iscsi::pdu::DataOut::parse(&command.emit());
    (end.is_final, end.ttt, end.data_sn, end.offset) = (true, u32::MAX, 0, 512);
    let seen = pair.unit(&end.emit(), &[]);
    assert!(matches!(seen[..], [Seen::Data { complete: true, .. }]), "{seen:?}");
}
