//! What nexuses have to do with each other: unit attentions and reservations.

use super::bench::*;
use crate::*;

const TUR: [u8; 6] = [0; 6];
const READ: [u8; 6] = [0x08, 0, 0, 0, 1, 0];

#[test]
fn a_new_nexus_is_told_once() {
    let mut disk = Disk::plain();
    disk.unit.nexus_established(HOST);
    disk.run(&[0x12, 0, 0, 0, 36, 0], &[]).good();
    disk.run(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], &[]).good();
    assert_eq!(disk.run(&TUR, &[]).code(), (6, 0x29, 0));
    disk.run(&TUR, &[]).good();
    // Before anything else is looked at.
    disk.unit.nexus_established(HOST);
    assert_eq!(disk.run(&[0xff], &[]).code(), (6, 0x29, 0));
    assert_eq!(disk.run(&[0xff], &[]).code(), (5, 0x20, 0));
    disk.unit.nexus_established(HOST);
    assert_eq!(disk.run(&ten(0x2a, 0, 1 << 30, 1), &[0; 512]).code(), (6, 0x29, 0));
    // The other one isn't concerned.
    disk.run_by(OTHER, &TUR, &[]).good();
}

#[test]
fn request_sense_takes_the_attention() {
    let mut disk = Disk::plain();
    disk.unit.nexus_established(HOST);
    let sense = disk.run(&[0x03, 0, 0, 0, 18, 0], &[]).good();
    assert_eq!((sense[0], sense[2], sense[12], sense[13]), (0x70, 6, 0x29, 0));
    let sense = disk.run(&[0x03, 0, 0, 0, 18, 0], &[]).good();
    assert_eq!((sense[0], sense[2], sense[12], sense[13]), (0x70, 0, 0, 0));
    disk.run(&TUR, &[]).good();
}

#[test]
fn the_most_important_attention_comes_first() {
    let mut disk = Disk::plain();
    disk.unit.tasks_cleared(OTHER, HOST);
    disk.unit.tasks_cleared(HOST, HOST);
    disk.run_by(OTHER, &[0x15, 0x10, 0, 0, 16, 0], &[0, 0, 0, 0, 0x0a, 0x0a, 0x24, 0x10, 0, 0, 0, 0, 0, 0, 0, 0])
        .good();
    assert_eq!(disk.run(&TUR, &[]).code(), (6, 0x2a, 1));
    assert_eq!(disk.run(&TUR, &[]).code(), (6, 0x2f, 0));
    disk.run(&TUR, &[]).good();
    disk.run_by(OTHER, &TUR, &[]).good();
}

#[test]
fn a_reset_puts_all_back_and_tells_all() {
    let mut disk = Disk::plain();
    disk.run(&[0x16, 0, 0, 0, 0, 0], &[]).good();
    disk.run(&[0x15, 0x10, 0, 0, 16, 0], &[0, 0, 0, 0, 0x0a, 0x0a, 0x24, 0x10, 8, 0, 0, 0, 0, 0, 0, 0]).good();
    disk.run(&[0x1b, 0, 0, 0, 0, 0], &[]).good();
    disk.unit.reset(Some(HOST));
    for nexus in [HOST, OTHER] {
        let answer = disk.run_by(nexus, &TUR, &[]);
        assert_eq!((answer.code(), answer.sense[0]), ((6, 0x29, 3), 0x70));
        disk.run_by(nexus, &READ, &[]).good();
    }
    disk.fill(0, 1, 1);
    disk.unit.reset(None);
    assert_eq!(disk.run(&TUR, &[]).code(), (6, 0x29, 0));
}

#[test]
fn a_reservation_keeps_others_out() {
    let mut disk = Disk::plain();
    for (reserve, release) in [([0x16u8, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0x17u8), ([0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0x57)]
    {
        let release = [release, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        disk.run(&reserve, &[]).good();
        disk.run(&reserve, &[]).good();
        let write = ten(0x2a, 0, 0, 1);
        for cdb in [&TUR[..], &READ, &write, &reserve, &[0x1a, 0, 0x3f, 0, 255, 0], &[0x1e, 0, 0, 0, 1, 0]] {
            assert_eq!(disk.run_by(OTHER, cdb, &[]).status, status::RESERVATION_CONFLICT, "{cdb:02x?}");
        }
        // SPC-2 table 9, SBC-3 table 13.
        for cdb in [
            &[0x12, 0, 0, 0, 36, 0][..],
            &[0x03, 0, 0, 0, 18, 0],
            &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
            &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x1e, 0, 0, 0, 0, 0],
            &release,
        ] {
            disk.run_by(OTHER, cdb, &[]).good();
        }
        assert_eq!(disk.run_by(OTHER, &TUR, &[]).status, status::RESERVATION_CONFLICT);
        disk.fill(0, 1, 1);
        disk.run(&release, &[]).good();
        disk.run_by(OTHER, &TUR, &[]).good();
    }
}

#[test]
fn a_lost_nexus_gives_its_reservation_back() {
    let mut disk = Disk::plain();
    disk.run(&[0x16, 0, 0, 0, 0, 0], &[]).good();
    disk.unit.nexus_lost(OTHER);
    assert_eq!(disk.run_by(OTHER, &TUR, &[]).status, status::RESERVATION_CONFLICT);
    disk.unit.nexus_lost(HOST);
    disk.run_by(OTHER, &TUR, &[]).good();
    // Also where the next session has the same number.
    disk.run(&[0x16, 0, 0, 0, 0, 0], &[]).good();
    disk.unit.nexus_established(HOST);
    disk.run_by(OTHER, &TUR, &[]).good();
}

#[test]
fn an_unknown_nexus_is_told_to_wait() {
    let mut disk = Disk::plain();
    assert_eq!(disk.run_by(NexusId(4), &READ, &[]).status, status::BUSY);
    disk.unit.nexus_established(NexusId(u16::MAX));
    disk.unit.nexus_lost(NexusId(u16::MAX));
    disk.unit.tasks_cleared(HOST, NexusId(u16::MAX));
}

#[test]
fn transport_failures_have_the_codes_of_rfc_7143() {
    let disk = Disk::plain();
    // RFC 7143 11.4.7.2.
    for (failure, code) in [
        (TransportFailure::UnexpectedUnsolicitedData, (0xb, 0x0c, 0x0c)),
        (TransportFailure::NotEnoughUnsolicitedData, (0xb, 0x0c, 0x0d)),
        (TransportFailure::ProtocolServiceCrc, (0xb, 0x47, 0x05)),
        (TransportFailure::SnackRejected, (0xb, 0x11, 0x13)),
        (TransportFailure::DataPhaseError, (0xb, 0x4b, 0x00)),
        (TransportFailure::InsufficientResources, (0xb, 0x55, 0x03)),
        (TransportFailure::InternalTargetFailure, (0x4, 0x44, 0x00)),
    ] {
        let completion = disk.unit.transport_failure(failure);
        let sense = completion.sense.as_slice();
        assert_eq!((completion.status, (sense[2], sense[12], sense[13])), (status::CHECK_CONDITION, code));
    }
}

/// SBC-3 4.5, SPC-4 5.14: what was told of the capacity is no longer true.
#[test]
fn another_size_is_told_and_holds_at_once() {
    let mut disk = Disk::plain();
    let blocks = disk.unit.blocks();
    disk.unit.resize(blocks);
    disk.run(&TUR, &[]).good();
    disk.unit.resize(16);
    for nexus in [HOST, OTHER] {
        assert_eq!(disk.run_by(nexus, &TUR, &[]).code(), (6, 0x2a, 9));
        disk.run_by(nexus, &ten(0x28, 0, 15, 1), &[]).good();
        assert_eq!(disk.run_by(nexus, &ten(0x28, 0, 16, 1), &[]).code(), (5, 0x21, 0));
        let capacity = disk.run_by(nexus, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).good();
        assert_eq!(capacity[..4], [0, 0, 0, 15]);
    }
}

/// SPC-4 6.33: REPORT LUNS is the news itself.
#[test]
fn another_inventory_is_told_unless_it_is_asked_for() {
    let mut disk = Disk::plain();
    disk.unit.inventory_changed(HOST);
    assert_eq!(disk.run(&TUR, &[]).code(), (6, 0x3f, 0x0e));
    disk.run(&TUR, &[]).good();
    disk.unit.inventory_changed(HOST);
    disk.run(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], &[]).good();
    disk.run(&TUR, &[]).good();
    disk.run_by(OTHER, &TUR, &[]).good();
}
