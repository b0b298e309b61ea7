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

#[test]
fn report_luns_of_a_sibling_ends_the_news_here() {
    let mut disk = Disk::plain();
    disk.unit.inventory_changed(HOST);
    disk.unit.inventory_changed(OTHER);
    disk.unit.inventory_reported(HOST);
    disk.run(&TUR, &[]).good();
    assert_eq!(disk.run_by(OTHER, &TUR, &[]).code(), (6, 0x3f, 0x0e));
}

#[test]
fn another_unit_under_an_old_number_says_so_after_its_power_on() {
    let mut disk = Disk::plain();
    disk.unit.nexus_established(HOST);
    disk.unit.inquiry_changed(HOST);
    assert_eq!(disk.run(&TUR, &[]).code(), (6, 0x29, 0));
    assert_eq!(disk.run(&TUR, &[]).code(), (6, 0x3f, 3));
    disk.run(&TUR, &[]).good();
}

#[test]
fn a_unit_without_its_medium_is_known_and_not_ready() {
    let mut disk = Disk::plain();
    disk.unit = LogicalUnit::new(Capabilities { blocks: 0, ..capabilities() }, identity()).without_medium();
    let known = disk.run(&[0x12, 1, 0x80, 0, 255, 0], &[]).good();
    assert_eq!(known, Disk::plain().run(&[0x12, 1, 0x80, 0, 255, 0], &[]).good());
    for cdb in [&TUR[..], &READ, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(disk.run(cdb, &[]).code(), (2, 4, 0), "{cdb:02x?}");
    }
    let sense = disk.run(&[0x03, 0, 0, 0, 18, 0], &[]).good();
    assert_eq!((sense[2], sense[12], sense[13]), (2, 4, 0));
    assert_eq!(disk.run(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], &[]).good()[3], 24);
}

#[test]
fn a_unit_that_is_awaited_may_be_there_and_is_not() {
    let mut reply = [0xff; REPLY_MAX];
    let inquiry = |reply: &mut [u8], answer: fn(&[u16], &[u8; 16], &mut [u8]) -> Completion| {
        let mut cdb = [0; 16];
        (cdb[0], cdb[4]) = (0x12, 36);
        assert_eq!(answer(&[0], &cdb, reply).status, 0);
        reply[0]
    };
    assert_eq!(inquiry(&mut reply, awaited_unit), 0x20);
    assert_eq!(inquiry(&mut reply, absent_unit), 0x7f);
}

/// Two LUNs of one logical unit: its blocks and its identity are the same, its port and number are each LUN's own.
#[test]
fn paths_share_the_unit_and_have_their_own_names() {
    let unit = LogicalUnit::<4>::new(capabilities(), identity());
    let other = Identity::new(*identity().uuid(), "iqn.2026-01.test:other", 1, 7).unwrap();
    let page = |path: Path<'_, 4>| {
        let mut cdb = [0; 16];
        cdb[..5].copy_from_slice(&[0x12, 1, 0x83, 1, 0]);
        let transfer = Transfer { data_out: 0, data_in: 256 };
        let mut task = path.unit.begin(HOST, &[0], &cdb, transfer);
        let mut reply = [0; REPLY_MAX];
        let buffers = Buffers { data_out: &[], reply: &mut reply, scratch: &mut [] };
        let Step::Done(done) = task.step(path, Outcome::Start, buffers) else { panic!("no I/O") };
        reply[..done.reply_len as usize].to_vec()
    };
    let (one, two) = (page((&unit).into()), page(Path { unit: &unit, identity: &other }));
    let has = |page: &[u8], text: &str| page.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(&two, "iqn.2026-01.test:other") && !has(&one, "iqn.2026-01.test:other"));
    assert!(one.windows(8).any(|window| window == identity().naa()));
    assert!(two.windows(8).any(|window| window == identity().naa()));
}
