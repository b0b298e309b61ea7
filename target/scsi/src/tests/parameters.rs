//! Parameter data, byte by byte.

use super::bench::*;
use crate::commands::TABLE;
use crate::*;
use std::vec;
use std::vec::Vec;

fn inquiry(disk: &mut Disk, page: Option<u8>) -> Vec<u8> {
    disk.run(&[0x12, page.is_some().into(), page.unwrap_or(0), 0, 255, 0], &[]).good()
}

#[test]
fn standard_inquiry_is_byte_exact() {
    let data = inquiry(&mut Disk::plain(), None);
    let mut expected = vec![0x00, 0x00, 0x06, 0x12, 91, 0x10, 0x00, 0x02];
    expected.extend_from_slice(b"iESP    iESP disk       0001");
    expected.extend_from_slice(&[0; 22]);
    expected.extend_from_slice(&[0x00, 0xa0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xc0]);
    expected.extend_from_slice(&[0; 30]);
    assert_eq!(data, expected);
}

#[test]
fn inquiry_cuts_at_the_allocation_length() {
    let mut disk = Disk::plain();
    let whole = inquiry(&mut disk, Some(0x83));
    for len in 0..=whole.len() as u8 {
        let data = disk.run(&[0x12, 1, 0x83, 0, len, 0], &[]).good();
        assert_eq!(data, whole[..len.into()]);
    }
    assert_eq!(disk.run(&[0x12, 0, 0x83, 0, 255, 0], &[]).code(), INVALID_FIELD);
    assert_eq!(disk.run(&[0x12, 1, 0x42, 0, 255, 0], &[]).code(), INVALID_FIELD);
    assert_eq!(disk.run(&[0x12, 2, 0x00, 0, 255, 0], &[]).code(), INVALID_FIELD);
}

#[test]
fn fault_23_page_00_lists_every_page_in_order() {
    assert_eq!(inquiry(&mut Disk::plain(), Some(0)), [0, 0, 0, 7, 0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2]);
    let mut thick = Disk::new(Capabilities { unmap: None, ..capabilities() });
    assert_eq!(inquiry(&mut thick, Some(0)), [0, 0, 0, 6, 0x00, 0x80, 0x83, 0x86, 0xb0, 0xb1]);
    assert_eq!(thick.run(&[0x12, 1, 0xb2, 0, 255, 0], &[]).code(), INVALID_FIELD);
    // What is listed is there, what is there is listed.
    let mut disk = Disk::plain();
    let list = inquiry(&mut disk, Some(0));
    for code in 0..=255 {
        let answer = disk.run(&[0x12, 1, code, 0, 255, 0], &[]);
        assert_eq!(answer.status == status::GOOD, list[4..].contains(&code));
        if answer.status == status::GOOD {
            assert_eq!(answer.data[..2], [0, code]);
            assert_eq!(usize::from(answer.data[3]), answer.data.len() - 4);
        }
    }
}

#[test]
fn device_identification_is_byte_exact() {
    let data = inquiry(&mut Disk::plain(), Some(0x83));
    let identity = identity();
    let mut expected = vec![0x00, 0x83, 0x00, 0x00];
    expected.extend_from_slice(&[0x01, 0x03, 0, 8]);
    expected.extend_from_slice(&identity.naa());
    expected.extend_from_slice(&[0x01, 0x02, 0, 8]);
    expected.extend_from_slice(&identity.eui64());
    expected.extend_from_slice(&[0x02, 0x01, 0, 40]);
    expected.extend_from_slice(b"iESP    30313233343536373839616263646566");
    expected.extend_from_slice(&[0x03, 0x08, 0, 24]);
    let naa: Vec<std::string::String> = identity.naa().iter().map(|b| std::format!("{b:02x}")).collect();
    expected.extend_from_slice(std::format!("naa.{}\0\0\0\0", naa.concat()).as_bytes());
    expected.extend_from_slice(&[0x53, 0x98, 0, 32]);
    expected.extend_from_slice(b"iqn.2026-01.test:disk,t,0x0001\0\0");
    expected.extend_from_slice(&[0x51, 0x94, 0, 4, 0, 0, 0, 1]);
    expected.extend_from_slice(&[0x51, 0x95, 0, 4, 0, 0, 0, 1]);
    expected.extend_from_slice(&[0x53, 0xa8, 0, 24]);
    expected.extend_from_slice(b"iqn.2026-01.test:disk\0\0\0");
    expected[3] = (expected.len() - 4) as u8;
    assert_eq!(data, expected);
}

#[test]
fn the_longest_name_fits() {
    let name = "iqn.2026-01.test:".chars().chain(std::iter::repeat('x')).take(NAME_MAX);
    let identity = Identity::new([7; 16], &name.collect::<std::string::String>(), 0xffff, 255).unwrap();
    let mut disk = Disk::plain();
    disk.unit = LogicalUnit::new(capabilities(), identity);
    let data = disk.run(&[0x12, 1, 0x83, 0xff, 0xff, 0], &[]).good();
    assert_eq!(usize::from(u16::from_be_bytes([data[2], data[3]])), data.len() - 4);
    let mut rest = &data[4..];
    while !rest.is_empty() {
        assert_eq!(rest[3] % 4, 0);
        rest = &rest[4 + usize::from(rest[3])..];
    }
}

#[test]
fn block_pages_tell_the_limits() {
    let mut disk = Disk::plain();
    let mut limits = vec![0x00, 0xb0, 0x00, 0x3c, 0x00, 255, 0, 8, 0, 0, 4, 0, 0, 0, 0, 128, 0, 0, 0, 0];
    limits.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 255, 0, 0, 0, 8, 0x80, 0, 0, 0]);
    limits.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0x80, 0]);
    limits.extend_from_slice(&[0; 20]);
    assert_eq!(inquiry(&mut disk, Some(0xb0)), limits);
    let mut characteristics = vec![0x00, 0xb1, 0x00, 0x3c, 0x00, 0x01];
    characteristics.extend_from_slice(&[0; 58]);
    assert_eq!(inquiry(&mut disk, Some(0xb1)), characteristics);
    assert_eq!(inquiry(&mut disk, Some(0xb2)), [0x00, 0xb2, 0x00, 0x04, 0, 0xe4, 2, 0]);
    let mut extended = vec![0x00, 0x86, 0x00, 0x3c, 0x00, 0x07, 0x01, 0x01];
    extended.extend_from_slice(&[0; 56]);
    assert_eq!(inquiry(&mut disk, Some(0x86)), extended);

    let thick = Capabilities { unmap: None, rotational: true, volatile_cache: false, ..capabilities() };
    let mut thick = Disk::new(Capabilities { max_transfer_blocks: 16, ..thick });
    let data = inquiry(&mut thick, Some(0xb0));
    assert_eq!((data[4], data[5], &data[8..16]), (0, 8, &[0, 0, 0, 16, 0, 0, 0, 0][..]));
    assert_eq!(data[20..36], [0; 16]);
    assert_eq!(inquiry(&mut thick, Some(0xb1))[4..6], [0, 0]);
    assert_eq!(inquiry(&mut thick, Some(0x86))[6], 0);
}

#[test]
fn read_capacity_is_byte_exact() {
    let mut disk = Disk::plain();
    assert_eq!(disk.run(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).good(), [0, 0, 0x27, 0x0f, 0, 0, 2, 0]);
    let mut expected = vec![0, 0, 0, 0, 0, 0, 0x27, 0x0f, 0, 0, 2, 0, 0, 3, 0xc0, 0];
    expected.extend_from_slice(&[0; 16]);
    let mut cdb = sixteen(0x9e, 0x10, 0, 255);
    assert_eq!(disk.run(&cdb, &[]).good(), expected);
    cdb[13] = 15;
    assert_eq!(disk.run(&cdb, &[]).good(), expected[..15]);
    let mut thick = Disk::new(Capabilities { unmap: None, physical_block_exponent: 0, ..capabilities() });
    assert_eq!(thick.run(&cdb, &[]).good()[12..], [0, 0, 0]);
}

fn mode_sense(disk: &mut Disk, page: u8, subpage: u8) -> Answer {
    disk.run(&[0x1a, 0x08, page, subpage, 255, 0], &[])
}

const RECOVERY: [u8; 12] = [0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CACHING: [u8; 20] = [0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CONTROL: [u8; 12] = [0x0a, 0x0a, 0x20, 0x10, 0, 0, 0, 0, 0, 0, 0, 0];
const EXCEPTIONS: [u8; 12] = [0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn mode_pages_are_byte_exact() {
    let mut disk = Disk::plain();
    let all = [&RECOVERY[..], &CACHING, &CONTROL, &EXCEPTIONS].concat();
    for subpage in [0, 0xff] {
        assert_eq!(mode_sense(&mut disk, 0x3f, subpage).good(), [&[59, 0, 0x10, 0][..], &all].concat());
        assert_eq!(mode_sense(&mut disk, 0x08, subpage).good(), [&[23, 0, 0x10, 0][..], &CACHING].concat());
    }
    // Short and long block descriptors.
    let short = [0, 0, 0x27, 0x10, 0, 0, 2, 0];
    assert_eq!(disk.run(&[0x1a, 0, 0x0a, 0, 255, 0], &[]).good(), [&[23, 0, 0x10, 8][..], &short, &CONTROL].concat());
    assert_eq!(
        disk.run(&[0x5a, 0, 0x0a, 0, 0, 0, 0, 0, 255, 0], &[]).good(),
        [&[0, 26, 0, 0x10, 0, 0, 0, 8][..], &short, &CONTROL].concat()
    );
    let long = [0, 0, 0, 0, 0, 0, 0x27, 0x10, 0, 0, 0, 0, 0, 0, 2, 0];
    assert_eq!(
        disk.run(&[0x5a, 0x10, 0x0a, 0, 0, 0, 0, 0, 255, 0], &[]).good(),
        [&[0, 34, 0, 0x10, 1, 0, 0, 16][..], &long, &CONTROL].concat()
    );
    assert_eq!(disk.run(&[0x1a, 8, 0x3f, 0, 4, 0], &[]).good(), [59, 0, 0x10, 0]);
    // Not there.
    assert_eq!(mode_sense(&mut disk, 0x02, 0).code(), INVALID_FIELD);
    assert_eq!(mode_sense(&mut disk, 0x0a, 1).code(), INVALID_FIELD);
    assert_eq!(mode_sense(&mut disk, 0x3f, 1).code(), INVALID_FIELD);
    // Changeable, default, saved.
    let mut changeable = [0u8; 56];
    for (at, byte) in [(0, 1), (1, 0x0a), (12, 8), (13, 0x12), (14, 4), (32, 0x0a), (33, 0x0a), (34, 4), (36, 8)] {
        changeable[at] = byte;
    }
    changeable[44..46].copy_from_slice(&[0x1c, 0x0a]);
    assert_eq!(mode_sense(&mut disk, 0x7f, 0).good()[4..], changeable);
    assert_eq!(mode_sense(&mut disk, 0xbf, 0).good()[4..], all);
    assert_eq!(mode_sense(&mut disk, 0xff, 0).code(), (5, 0x39, 0));
}

#[test]
fn fault_8_the_caching_page_says_that_there_is_a_cache() {
    let wce = |disk: &mut Disk, values: u8| mode_sense(disk, values | 0x08, 0).good()[6] & 0x04;
    let mut disk = Disk::plain();
    assert_eq!([wce(&mut disk, 0), wce(&mut disk, 0x40), wce(&mut disk, 0x80)], [4, 4, 4]);
    let mut direct = Disk::new(Capabilities { volatile_cache: false, ..capabilities() });
    assert_eq!([wce(&mut direct, 0), wce(&mut direct, 0x40), wce(&mut direct, 0x80)], [0, 0, 0]);
    let select = [&[0, 0, 0, 0][..], &CACHING].concat();
    assert_eq!(direct.run(&[0x15, 0x10, 0, 0, 24, 0], &select).code(), (5, 0x26, 0));
}

#[test]
fn mode_select_changes_what_is_changeable() {
    let mut disk = Disk::plain();
    let mut control = CONTROL;
    control[2] |= 0x04;
    let list = [&[0, 0, 0, 0][..], &control].concat();
    disk.run(&[0x15, 0x10, 0, 0, 16, 0], &list).good();
    assert_eq!(mode_sense(&mut disk, 0x0a, 0).good()[4..], control);
    assert_eq!(mode_sense(&mut disk, 0x8a, 0).good()[4..], CONTROL);
    // Now sense data have descriptors, everywhere but in REQUEST SENSE without DESC.
    assert_eq!(disk.run(&ten(0x28, 0, 10_000, 1), &[]).sense[0], 0x72);
    assert_eq!(disk.unit.transport_failure(TransportFailure::ProtocolServiceCrc).sense.as_slice()[0], 0x72);
    assert_eq!(disk.run(&[3, 0, 0, 0, 18, 0], &[]).good()[0], 0x70);
    assert_eq!(disk.run(&[3, 1, 0, 0, 18, 0], &[]).good(), [0x72, 0, 0, 0, 0, 0, 0, 0]);

    // Two pages, with a long block descriptor; 10 bytes.
    let long = [0, 0, 0, 0, 0, 0, 0x27, 0x10, 0, 0, 0, 0, 0, 0, 2, 0];
    let mut caching = CACHING;
    caching[2] = 0;
    let list = [&[0, 0, 0, 0, 1, 0, 0, 16][..], &long, &caching, &CONTROL].concat();
    disk.volatile = true;
    disk.run(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8, 0], &list).good();
    assert_eq!(disk.steps, [Step::Flush]);
    assert_eq!(mode_sense(&mut disk, 0x3f, 0).good()[16 + 2], 0);
}

#[test]
fn mode_select_takes_nothing_of_a_wrong_list() {
    let mut disk = Disk::plain();
    let mut control = CONTROL;
    control[2] |= 0x04;
    let mut qerr = CONTROL;
    qerr[3] |= 0x02;
    let mut one_task_set = CONTROL;
    one_task_set[2] = 0;
    let header = &[0u8, 0, 0, 0][..];
    let wrong_list: [(Vec<u8>, Code); 12] = [
        ([header, &one_task_set].concat(), (5, 0x26, 0)),
        ([header, &control, &qerr].concat(), (5, 0x26, 0)),
        ([header, &control, &[0x0b, 0x0a], &[0; 10]].concat(), (5, 0x26, 0)),
        ([header, &control, &[0x4a, 0x0a], &[0; 10]].concat(), (5, 0x26, 0)),
        ([header, &control, &[0x08, 0x11], &[0; 18]].concat(), (5, 0x26, 0)),
        ([header, &control, &[0x08]].concat(), LIST_LENGTH),
        ([header, &control, &CACHING[..19]].concat(), LIST_LENGTH),
        (vec![0, 0, 0], LIST_LENGTH),
        (vec![0, 0, 0, 8, 0, 0, 0], LIST_LENGTH),
        ([&[0, 0, 0, 7][..], &[0; 7], &control].concat(), (5, 0x26, 0)),
        ([&[0, 0, 0, 8][..], &[0, 0, 0x27, 0x10, 0, 0, 16, 0], &control].concat(), (5, 0x26, 0)),
        ([&[0, 0, 0, 8][..], &[0, 0, 0x27, 0x11, 0, 0, 2, 0], &control].concat(), (5, 0x26, 0)),
    ];
    for (list, code) in wrong_list {
        assert_eq!(disk.run(&[0x15, 0x10, 0, 0, list.len() as u8, 0], &list).code(), code, "{list:02x?}");
        assert_eq!(mode_sense(&mut disk, 0x0a, 0).good()[4..], CONTROL);
    }
    let list = [header, &control].concat();
    assert_eq!(disk.run(&[0x15, 0x11, 0, 0, 16, 0], &list).code(), INVALID_FIELD); // SP
    assert_eq!(disk.run(&[0x15, 0x00, 0, 0, 16, 0], &list).code(), INVALID_FIELD); // PF
    assert_eq!(disk.run(&[0x15, 0x10, 0, 0, 16, 0], &list[..12]).code(), LIST_LENGTH);
    disk.run(&[0x15, 0x10, 0, 0, 0, 0], &[]).good();
}

#[test]
fn swp_protects() {
    let mut disk = Disk::plain();
    let mut control = CONTROL;
    control[4] = 0x08;
    disk.run(&[0x15, 0x10, 0, 0, 16, 0], &[&[0, 0, 0, 0][..], &control].concat()).good();
    assert_eq!(disk.run(&ten(0x2a, 0, 0, 1), &[0; 512]).code(), WRITE_PROTECTED);
    assert_eq!(mode_sense(&mut disk, 0x0a, 0).good()[2], 0x90);
    disk.run(&ten(0x28, 0, 0, 1), &[]).good();
    disk.run(&[0x15, 0x10, 0, 0, 16, 0], &[&[0, 0, 0, 0][..], &CONTROL].concat()).good();
    disk.fill(0, 1, 1);
}

#[test]
fn a_read_only_disk_refuses_every_write() {
    let mut disk = Disk::new(Capabilities { read_only: true, ..capabilities() });
    assert_eq!(mode_sense(&mut disk, 0x3f, 0).good()[2], 0x90);
    for row in TABLE.iter().filter(|row| row.writes()) {
        let mut cdb = [0; 16];
        cdb[0] = row.opcode();
        cdb[match row.length {
            6 => 4,
            10 => 8,
            12 => 9,
            _ => 13,
        }] = 1;
        assert_eq!(disk.run(&cdb, &[0; 512]).code(), WRITE_PROTECTED, "{}", row.name);
        // Also where no data come.
        assert_eq!(disk.run(&cdb, &[]).code(), WRITE_PROTECTED, "{}", row.name);
        assert!(disk.steps.is_empty());
    }
    disk.run(&ten(0x35, 0, 0, 0), &[]).good();
    // Also where it asks for deallocation that isn't there.
    let mut thick = Disk::new(Capabilities { read_only: true, unmap: None, ..capabilities() });
    assert_eq!(thick.run(&ten(0x41, 8, 0, 1), &[0; 512]).code(), WRITE_PROTECTED);
}

#[test]
fn operation_codes_are_those_of_the_table() {
    let mut disk = Disk::plain();
    let rsoc = |options: u8, opcode: u8, sa: u16| {
        let [high, low] = sa.to_be_bytes();
        cdb(&[0xa3, 0x0c, options, opcode, high, low, 0, 0, 0xff, 0xff, 0, 0])
    };
    let all = disk.run(&rsoc(0, 0, 0), &[]).good();
    assert_eq!(all.len(), 4 + 8 * TABLE.len());
    assert_eq!(u32::from_be_bytes(all[..4].try_into().unwrap()) as usize, all.len() - 4);
    assert_eq!(all[4..20], [0, 0, 0, 0, 0, 0, 0, 6, 3, 0, 0, 0, 0, 0, 0, 6]);
    let timed = disk.run(&rsoc(0x80, 0, 0), &[]).good();
    assert_eq!(timed.len(), 4 + 20 * TABLE.len());
    assert_eq!(timed[4..24], [0, 0, 0, 0, 0, 2, 0, 6, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);

    for row in &TABLE {
        let sa = row.service_action.unwrap_or(0);
        let usage = row.usage(disk.unit.capabilities());
        let len = usize::from(row.length);
        let expected = [&[0, 3, 0, row.length][..], &usage[..len]].concat();
        let (right, wrong) = if row.service_action.is_some() { (2, 1) } else { (1, 2) };
        for options in [right, 3] {
            assert_eq!(disk.run(&rsoc(options, row.opcode(), sa), &[]).good(), expected, "{}", row.name);
            let timed = disk.run(&rsoc(options | 0x80, row.opcode(), sa), &[]).good();
            assert_eq!(timed[..4 + len], [&[0, 0x83, 0, row.length][..], &usage[..len]].concat());
            assert_eq!(timed.len(), 4 + len + 12);
        }
        let answer = disk.run(&rsoc(wrong, row.opcode(), sa), &[]);
        assert_eq!(answer.code(), INVALID_FIELD);
        // libiscsi takes a pointer to byte 1 for "no such service action".
        assert_eq!(answer.sense[16..18], [0, 2]);
    }
    for (options, opcode, sa) in [(1, 0x04, 0), (3, 0x04, 0), (2, 0x9e, 0x11), (3, 0x9e, 0x11), (3, 0x28, 1)] {
        assert_eq!(disk.run(&rsoc(options, opcode, sa), &[]).good(), [0, 1, 0, 0]);
    }
    assert_eq!(disk.run(&rsoc(4, 0, 0), &[]).code(), INVALID_FIELD);
}

#[test]
fn what_is_not_reported_is_not_there() {
    for capabilities in [capabilities(), Capabilities { unmap: None, max_transfer_blocks: 1, ..capabilities() }] {
        let mut disk = Disk::new(capabilities);
        for opcode in 0..=255u8 {
            let sas = if matches!(opcode, 0x9e | 0xa3) { 0..32u8 } else { 0..1 };
            for sa in sas {
                let report = disk.run(&[0xa3, 0x0c, 3, opcode, 0, sa, 0, 0, 0, 200, 0, 0], &[]).good();
                let reported = report[1] & 7 == 3;
                let answer = disk.run(&[opcode, sa], &[]);
                let absent = answer.status == status::CHECK_CONDITION
                    && (answer.code() == (5, 0x20, 0) || (answer.code() == INVALID_FIELD && answer.sense[17] == 1));
                assert_eq!(reported, !absent, "{opcode:02x}/{sa:02x}");
            }
        }
    }
}

#[test]
fn task_management_functions() {
    let mut disk = Disk::plain();
    assert_eq!(disk.run(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0], &[]).good(), [0xda, 0, 0, 0]);
    let extended = disk.run(&[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 255, 0, 0], &[]).good();
    assert_eq!(extended, [0xda, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn one_target_port_group_is_active() {
    let mut disk = Disk::plain();
    let mut cdb = [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0];
    let whole = [0, 0, 0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
    assert_eq!(disk.run(&cdb, &[]).good(), whole);
    for len in 0..16 {
        cdb[9] = len;
        assert_eq!(disk.run(&cdb, &[]).good(), whole[..len.into()]);
    }
    cdb[1] = 0x2a;
    cdb[9] = 255;
    assert_eq!(disk.run(&cdb, &[]).good(), [&[0, 0, 0, 16, 0x10, 0, 0, 0][..], &whole[4..]].concat());
    cdb[1] = 0x4a;
    assert_eq!(disk.run(&cdb, &[]).code(), INVALID_FIELD);
}

#[test]
fn a_lun_that_is_not_there() {
    let mut reply = [0xee; REPLY_MAX];
    let completion = absent_unit(&[0, 1], &cdb(&[0x12, 0, 0, 0, 36, 0]), &mut reply);
    assert_eq!((completion.status, completion.reply_len, reply[0]), (status::GOOD, 36, 0x7f));
    let completion = absent_unit(&[0, 1], &cdb(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0]), &mut reply);
    assert_eq!(completion.reply_len, 24);
    assert_eq!(reply[..24], [0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let completion = absent_unit(&[0, 1], &cdb(&[0x03, 0, 0, 0, 255, 0]), &mut reply);
    assert_eq!((completion.status, completion.reply_len), (status::GOOD, 18));
    assert_eq!((reply[2], reply[12], reply[13]), (5, 0x25, 0));
    for opcode in [0x00, 0x28, 0x2a, 0xff] {
        let completion = absent_unit(&[], &cdb(&[opcode]), &mut reply);
        assert_eq!(completion.status, status::CHECK_CONDITION);
        assert_eq!(completion.sense.as_slice()[12..14], [0x25, 0]);
    }
}
