//! Data-In (4.2.5.1, 11.7), residuals (11.4.5), status (11.4).

use iesp_iscsi::pdu::Residual;

use crate::initiator::Answer;
use crate::pair::{KEYS, Pair, limits};

/// Length, F, status, residual of each Data-In unit; DataSN and BufferOffset are looked at here.
fn units(pair: &mut Pair, expected: &[u8]) -> Vec<(usize, bool, Option<u8>, Residual)> {
    let mut data = Vec::new();
    let mut seen = Vec::new();
    for (number, answer) in pair.answers().into_iter().enumerate() {
        let Answer::Data(unit, bytes) = answer else { panic!("{answer:?}") };
        assert_eq!((unit.data_sn, unit.offset as usize), (number as u32, data.len()));
        seen.push((bytes.len(), unit.is_final, unit.status, unit.residual));
        data.extend(bytes);
    }
    assert_eq!(data, expected);
    seen
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31) >> 3) as u8).collect()
}

/// 13.12: a unit carries at most MaxRecvDataSegmentLength; 13.13: F ends a sequence of at most MaxBurstLength; 11.7.3: the
/// status travels with the last unit where it is GOOD.
#[test]
fn segments_and_bursts() {
    let mut pair = Pair::full();
    let data = bytes(40_000);
    let read = pair.initiator.read(&[8], 40_000);
    let task = pair.command(&read, &[]);
    pair.read(task, &data, 40_000);
    let open = (4096, false, None, Residual::None);
    let burst = (4096, true, None, Residual::None);
    let last = (40_000 - 9 * 4096, true, Some(0), Residual::None);
    let all = [open, open, open, burst, open, open, open, burst, open, last];
    assert_eq!(units(&mut pair, &data), all);
}

/// A burst that is no multiple of the segment is cut where it ends.
#[test]
fn a_burst_that_is_no_multiple_of_the_segment() {
    let keys = KEYS.replace("MaxBurstLength=16384", "MaxBurstLength=10000").replace("Length=4096", "Length=4000");
    let keys = keys.replace("FirstBurstLength=8192", "FirstBurstLength=10000");
    let mut pair = Pair::with(limits(), &keys);
    let data = bytes(12_345);
    let read = pair.initiator.read(&[8], 12_345);
    let task = pair.command(&read, &[]);
    pair.read(task, &data, 12_345);
    let open = |len| (len, false, None, Residual::None);
    let all = [open(4000), open(4000), (2000, true, None, Residual::None), (2345, true, Some(0), Residual::None)];
    assert_eq!(units(&mut pair, &data), all);
}

/// Fault 15: the residual of data that travel with their status.
#[test]
fn fault_15_residuals_with_data() {
    for (expected, sent, wanted, residual) in [
        (1024, 1024, 1024, Residual::None),
        (1024, 512, 512, Residual::Underflow(512)),
        (1024, 36, 36, Residual::Underflow(988)),
        (512, 512, 1024, Residual::Overflow(512)),
        (5, 5, 36, Residual::Overflow(31)),
    ] {
        let mut pair = Pair::full();
        let read = pair.initiator.read(&[8], expected);
        let task = pair.command(&read, &[]);
        pair.read(task, &bytes(sent), wanted);
        assert_eq!(units(&mut pair, &bytes(sent)), [(sent, true, Some(0), residual)]);
    }
}

/// Fault 14: whatever a device server says was "completed at target" (11.4.3). Residuals in a SCSI Response.
#[test]
fn fault_14_status_and_residuals_in_a_response() {
    for (write, expected, wanted, status, residual) in [
        (false, 512, 0, 2, Residual::Underflow(512)),
        (false, 512, 512, 0, Residual::None),
        (false, 512, 4096, 2, Residual::Overflow(3584)),
        (true, 8192, 512, 0, Residual::Underflow(7680)),
        (true, 512, 1024, 0, Residual::Overflow(512)),
        (true, 0, 512, 2, Residual::Overflow(512)),
        (true, 512, 0, 0x08, Residual::Underflow(512)),
        (true, 512, 0, 0x18, Residual::Underflow(512)),
        (true, 512, 0, 0x28, Residual::Underflow(512)),
    ] {
        let mut pair = Pair::full();
        let command = if write { pair.initiator.write(&[1], expected) } else { pair.initiator.read(&[1], expected) };
        let task = pair.command(&command, &[]);
        let sense: &[u8] =
            if status == 2 { &[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0] } else { &[] };
        pair.respond(task, status, sense, wanted);
        let Answer::Status(response, got) = pair.answer() else { panic!("no SCSI Response") };
        assert_eq!((response.response, response.status, response.itt), (0, status, command.itt));
        assert_eq!((response.residual, &got[..], response.exp_data_sn), (residual, sense, 0));
    }
}

/// 11.4.1: without R or W nothing was expected: Expected Data Transfer Length means nothing.
#[test]
fn a_command_without_data_has_no_residual() {
    let mut pair = Pair::full();
    let mut command = pair.initiator.bare(&[0]);
    command.expected_len = 4096;
    let task = pair.command(&command, &[]);
    pair.respond(task, 0, &[], 0);
    let Answer::Status(response, _) = pair.answer() else { panic!("no SCSI Response") };
    assert_eq!(response.residual, Residual::None);
}

/// 11.7.3: a status other than GOOD does not travel with data; 11.4.8: the response says how many units there were.
#[test]
fn a_read_that_fails_after_its_first_data() {
    let mut pair = Pair::full();
    let read = pair.initiator.read(&[8], 12_288);
    let task = pair.command(&read, &[]);
    for _ in 0..2 {
        pair.with_outbox(|target, out| {
            out.data_room(target.digests(), 4096).expect("room").fill(1);
            target.data_in(task, out, 4096, None);
        });
    }
    pair.respond(task, 2, &[0x70; 18], 8192);
    let answers = pair.answers();
    let [Answer::Data(first, _), Answer::Data(second, _), Answer::Status(status, _)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((first.status, second.status), (None, None));
    assert_eq!((status.exp_data_sn, status.residual), (2, Residual::Underflow(4096)));
}
