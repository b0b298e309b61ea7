//! What is durable before its status, and what INFORMATION says of a medium that fails.

use super::bench::*;
use crate::*;
use std::vec;

/// MODE SELECT(6) that clears WCE.
const WCE_OFF: ([u8; 6], [u8; 24]) =
    ([0x15, 0x10, 0, 0, 24, 0], [0, 0, 0, 0, 8, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/// Begins a command with 1024 bytes of Data-Out, and answers its steps with [`Outcome::Done`] until one leaves something in the
/// cache; `meanwhile` comes then. The steps after that, and the status.
fn while_under_way(cdb: &[u8; 16], data: &[u8], meanwhile: impl FnOnce(&mut Disk)) -> (vec::Vec<Step>, u8) {
    let mut disk = Disk::plain();
    let transfer = Transfer { data_out: data.len() as u32, data_in: 0 };
    let mut task = disk.unit.begin(HOST, &[], cdb, transfer);
    let mut scratch = [0; 512];
    let mut next = |unit: &LogicalUnit<_>, outcome| {
        let buffers = Buffers { data_out: data, reply: &mut [0; REPLY_MAX], scratch: &mut scratch };
        task.step(unit, outcome, buffers)
    };
    let mut step = next(&disk.unit, Outcome::Start);
    while matches!(step, Step::ReadScratch { .. }) {
        step = next(&disk.unit, Outcome::Done);
    }
    assert!(!matches!(step, Step::Done(_)), "{step:?}");
    meanwhile(&mut disk);
    let mut steps = vec::Vec::new();
    loop {
        match next(&disk.unit, Outcome::Done) {
            Step::Done(completion) => return (steps, completion.status),
            step => steps.push(step),
        }
    }
}

fn wce_off(disk: &mut Disk) {
    disk.run_by(OTHER, &WCE_OFF.0, &WCE_OFF.1).good();
    assert_eq!(disk.steps, [Step::Flush]);
}

fn stop(disk: &mut Disk) {
    disk.run_by(OTHER, &[0x1b, 0, 0, 0, 0, 0], &[]).good();
    assert_eq!(disk.steps, [Step::Flush]);
}

#[test]
fn a_write_under_way_is_durable_before_its_status_once_wce_is_cleared_or_the_unit_stopped() {
    let commands = [
        (sixteen(0x8a, 0, 0, 2), vec![1; 1024]),
        (sixteen(0x93, 0, 0, 1), vec![1; 512]),
        (sixteen(0x93, 8, 0, 8), vec![0; 512]),
        (cdb(&unmap_cdb(24)), unmap_list(&[(0, 8)])),
        (cdb(&caw(0, 1)), vec![0; 1024]),
    ];
    for (cdb, data) in &commands {
        for meanwhile in [wce_off, stop] {
            let (steps, status) = while_under_way(cdb, data, meanwhile);
            assert_eq!((&steps[..], status), (&[Step::Flush][..], status::GOOD), "{:02x}", cdb[0]);
        }
        let (steps, status) = while_under_way(cdb, data, |_| {});
        assert_eq!((&steps[..], status), (&[][..], status::GOOD), "{:02x}", cdb[0]);
    }
    // With FUA it is durable already.
    let (steps, _) = while_under_way(&sixteen(0x8a, 8, 0, 2), &[1; 1024], wce_off);
    assert_eq!(steps, []);
}

#[test]
fn a_medium_error_tells_the_first_bad_block_where_it_is_known() {
    let mut disk = Disk::plain();
    for (cdb, data, code) in
        [(sixteen(0x88, 0, 16, 8), &[][..], (3, 0x11, 0)), (sixteen(0x8a, 0, 16, 8), &[0; 4096], (3, 0x0c, 0))]
    {
        disk.failing = Some((0, IoError::MediumAt(19 * 512)));
        let answer = disk.run(&cdb, data);
        assert_eq!(answer.code(), code);
        assert_eq!(answer.sense[0], 0xf0, "VALID");
        assert_eq!(answer.sense[3..7], [0, 0, 0, 19]);
        disk.failing = Some((0, IoError::Medium));
        let answer = disk.run(&cdb, data);
        assert_eq!((answer.code(), answer.sense[0]), (code, 0x70));
    }
    // D_SENSE: SPC-4 4.5.2.2, the information descriptor.
    disk.run(&[0x15, 0x10, 0, 0, 16, 0], &[0, 0, 0, 0, 0x0a, 0x0a, 0x24, 0x10, 0, 0, 0, 0, 0, 0, 0, 0]).good();
    disk.failing = Some((0, IoError::MediumAt(19 * 512)));
    let answer = disk.run(&sixteen(0x88, 0, 16, 8), &[]);
    assert_eq!(answer.sense[..4], [0x72, 3, 0x11, 0]);
    assert_eq!(answer.sense[8..20], [0, 0x0a, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 19]);
}
