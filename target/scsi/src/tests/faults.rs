//! The faults of the C++ program that are this crate's to avoid. (8, 11 and parts of 23 are beside what they test.)

use super::bench::*;
use crate::*;
use std::vec;

#[test]
fn fault_5_compare_and_write_never_reads_past_its_data() {
    let mut disk = Disk::plain();
    for len in [0, 1, 511, 512, 1023, 1025, 1536, 2048] {
        let answer = disk.run(&caw(0, 1), &vec![0; len]);
        assert_eq!((answer.code(), answer.data_out_len), (INVALID_FIELD, 0));
        assert!(disk.steps.is_empty());
    }
    assert_eq!(disk.run(&caw(0, 0), &[0; 512]).code(), INVALID_FIELD);
    // A driver that promised the data and has less.
    let mut task = disk.unit.begin(HOST, &[], &caw(0, 1), Transfer { data_out: 1024, data_in: 0 });
    let buffers = Buffers { data_out: &[0; 700], reply: &mut [0; REPLY_MAX], scratch: &mut [0; 512] };
    let step = task.step(&disk.unit, Outcome::Start, buffers);
    assert!(matches!(step, Step::Done(Completion { status: status::CHECK_CONDITION, .. })));
}

#[test]
fn fault_5_unmap_never_reads_past_its_list() {
    let mut disk = Disk::plain();
    let list = unmap_list(&[(0, 1), (8, 1)]);
    for len in 0..list.len() {
        // The CDB tells the truth about a list that was cut, or more than came.
        let answer = disk.run(&unmap_cdb(len), &list[..len]);
        assert_eq!(answer.status == status::GOOD, len == 0, "{len}");
        assert_eq!(disk.run(&unmap_cdb(list.len()), &list[..len]).code(), LIST_LENGTH);
        assert!(disk.steps.is_empty());
    }
    let mut cut = list.clone();
    cut[3] = 31; // the second descriptor isn't whole
    disk.run(&unmap_cdb(cut.len()), &cut).good();
    assert_eq!(disk.steps, [Step::Unmap { lba: 0, blocks: 1 }]);
    cut[2] = 0xff; // more than there is
    assert_eq!(disk.run(&unmap_cdb(cut.len()), &cut).code(), LIST_LENGTH);
}

#[test]
fn fault_9_unmap_and_write_same_act() {
    let mut disk = Disk::plain();
    for (cdb, data) in [
        (cdb(&unmap_cdb(24)), unmap_list(&[(5, 3)])),
        (cdb(&ten(0x41, 8, 5, 3)), vec![0; 512]),
        (sixteen(0x93, 8, 5, 3), vec![0; 512]),
        (sixteen(0x93, 9, 5, 3), vec![]),
        (sixteen(0x93, 1, 5, 3), vec![]),
    ] {
        disk.fill(0, 16, 0xff);
        let answer = disk.run(&cdb, &data);
        // The whole Data-Out is asked for, immediate or not.
        assert_eq!(answer.data_out_len as usize, data.len());
        answer.good();
        assert_eq!(disk.blocks(5, 3), [0; 1536], "{:02x}", cdb[0]);
        assert_eq!(disk.blocks(4, 1), [0xff; 512]);
        assert_eq!(disk.blocks(8, 1), [0xff; 512]);
    }
}

#[test]
fn fault_13_a_failed_flush_is_never_good() {
    let mut disk = Disk::plain();
    let select = [0, 0, 0, 0, 8, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (cdb, data) in [
        (cdb(&ten(0x35, 0, 0, 0)), &[][..]),
        (cdb(&ten(0x35, 2, 0, 1)), &[]), // IMMED
        (sixteen(0x91, 0, 0, 0), &[]),
        (sixteen(0x91, 2, 5, 1), &[]),
        (cdb(&[0x1b, 0, 0, 0, 0, 0]), &[]),
        (cdb(&[0x15, 0x10, 0, 0, 24, 0]), &select),
    ] {
        disk.failing = Some((0, IoError::Medium));
        assert_eq!(disk.run(&cdb, data).code(), (3, 0x0c, 0), "{:02x}", cdb[0]);
        assert_eq!(disk.steps, [Step::Flush]);
        disk.failing = None;
        disk.unit.reset(None);
        let _ = disk.run(&[0; 6], &[]);
        disk.run(&cdb, data).good();
        disk.unit.reset(None);
        let _ = disk.run(&[0; 6], &[]);
    }
    assert_eq!(disk.run(&ten(0x35, 0, 9_999, 2), &[]).code(), OUT_OF_RANGE);
}

#[test]
fn fault_20_range_check_does_not_underflow() {
    let mut disk = Disk::plain();
    let ends = [
        (0u64, 10_001u32),
        (9_999, 2),
        (10_000, 1),
        (10_001, 0),
        (u64::from(u32::MAX), 1),
        (5, u32::MAX),
        (u64::MAX, 1),
        (u64::MAX, u32::MAX),
        (u64::MAX - 1, 2),
        (1 << 63, 1 << 31),
    ];
    for (lba, blocks) in ends {
        for opcode in [0x88, 0x8a, 0x8e, 0x8f, 0x90, 0x91, 0x93] {
            let answer = disk.run(&sixteen(opcode, 0, lba, blocks), &[0; 512]);
            assert_eq!(answer.code(), OUT_OF_RANGE, "{opcode:02x} {lba} {blocks}");
            assert_eq!((answer.data_in_len, answer.data_out_len), (0, 0));
        }
        if let Ok(lba) = u32::try_from(lba) {
            for opcode in [0xa8, 0xaa, 0xae, 0xaf] {
                assert_eq!(disk.run(&twelve(opcode, 0, lba, blocks), &[0; 512]).code(), OUT_OF_RANGE);
            }
        }
        if let Ok(blocks) = u8::try_from(blocks) {
            assert_eq!(disk.run(&caw(lba, blocks), &[0; 1024]).code(), OUT_OF_RANGE);
        }
        let list = unmap_list(&[(lba, blocks)]);
        assert_eq!(disk.run(&unmap_cdb(24), &list).code(), OUT_OF_RANGE);
    }
    disk.run(&sixteen(0x88, 0, 9_999, 1), &[]).good();
    assert_eq!(disk.run(&sixteen(0x88, 0, 9_999, 2), &[]).information(), 10_000);
}

#[test]
fn fault_21_read_capacity_10_says_ask_16() {
    for (blocks, last) in [
        (1u64 << 32, [0xff; 4]),
        ((1 << 32) - 1, [0xff, 0xff, 0xff, 0xfe]),
        ((1 << 32) + 1, [0xff; 4]),
        (1 << 50, [0xff; 4]),
    ] {
        let unit = LogicalUnit::<1>::new(Capabilities { blocks, ..capabilities() }, identity());
        let mut reply = [0; REPLY_MAX];
        let mut task = unit.begin(HOST, &[], &cdb(&[0x25]), Transfer { data_out: 0, data_in: 8 });
        let buffers = Buffers { data_out: &[], reply: &mut reply, scratch: &mut [0; 512] };
        assert!(matches!(task.step(&unit, Outcome::Start, buffers), Step::Done(_)));
        assert_eq!(reply[..4], last, "{blocks}");
        let mut task = unit.begin(HOST, &[], &sixteen(0x9e, 0x10, 0, 32), Transfer { data_out: 0, data_in: 32 });
        let buffers = Buffers { data_out: &[], reply: &mut reply, scratch: &mut [0; 512] };
        assert!(matches!(task.step(&unit, Outcome::Start, buffers), Step::Done(_)));
        assert_eq!(reply[..8], (blocks - 1).to_be_bytes());
    }
}

#[test]
fn fault_22_report_luns_lists_the_inventory_and_heeds_the_length() {
    let mut disk = Disk::plain();
    let luns = |select: u8, len: u8| cdb(&[0xa0, 0, select, 0, 0, 0, 0, 0, 0, len, 0, 0]);
    let whole = [
        0, 0, 0, 24, 0, 0, 0, 0, // header
        0, 0, 0, 0, 0, 0, 0, 0, // LUN 0
        0, 3, 0, 0, 0, 0, 0, 0, // LUN 3
        0, 200, 0, 0, 0, 0, 0, 0, // LUN 200
    ];
    for select in [0, 2] {
        for len in 0..=40 {
            let data = disk.run(&luns(select, len), &[]).good();
            assert_eq!(data, whole[..usize::from(len).min(32)]);
        }
    }
    assert_eq!(disk.run(&luns(1, 255), &[]).good(), [0; 8]);
    for select in 3..=255 {
        assert_eq!(disk.run(&luns(select, 255), &[]).code(), INVALID_FIELD);
    }
    // LUN 0 is a disk.
    assert_eq!(disk.run(&[0x12, 0, 0, 0, 36, 0], &[]).good()[0], 0);
}

#[test]
fn fault_23_get_lba_status_tells_of_holes() {
    let mut disk = Disk::plain();
    disk.fill(100, 50, 1);
    disk.fill(200, 10, 1);
    let status = |disk: &mut Disk, lba: u64, len: u32| {
        let data = disk.run(&sixteen(0x9e, 0x12, lba, len), &[]).good();
        assert_eq!(u32::from_be_bytes(data[..4].try_into().unwrap()) as usize, data.len() - 4);
        data[8..]
            .chunks(16)
            .map(|d| {
                let lba = u64::from_be_bytes(d[..8].try_into().unwrap());
                (lba, u32::from_be_bytes(d[8..12].try_into().unwrap()), d[12])
            })
            .collect::<vec::Vec<_>>()
    };
    let all = [(0, 100, 1), (100, 50, 0), (150, 50, 1), (200, 10, 0), (210, 9_790, 1)];
    assert_eq!(status(&mut disk, 0, 4096), all);
    assert_eq!(status(&mut disk, 0, 24), all[..1]);
    assert_eq!(status(&mut disk, 0, 40), all[..2]);
    assert_eq!(status(&mut disk, 120, 40), [(120, 30, 0), (150, 50, 1)]);
    assert_eq!(status(&mut disk, 9_999, 40), [(9_999, 1, 1)]);
    // A backend that tells it in pieces.
    disk.longest_extent = 7;
    assert_eq!(status(&mut disk, 90, 40), [(90, 10, 1), (100, 50, 0)]);
    disk.run(&unmap_cdb(24), &unmap_list(&[(100, 50)])).good();
    disk.longest_extent = u64::MAX;
    assert_eq!(status(&mut disk, 0, 24), [(0, 200, 1)]);
    assert_eq!(disk.run(&sixteen(0x9e, 0x12, 10_000, 24), &[]).code(), OUT_OF_RANGE);
    assert_eq!(disk.run(&sixteen(0x9e, 0x12, 0, 20), &[]).good().len(), 20);
}

#[test]
fn fault_23_a_thousand_extents_end_the_answer_not_the_program() {
    let mut disk = Disk::plain();
    for lba in (0..10_000).step_by(2) {
        disk.mapped[lba] = true;
    }
    disk.scratch_blocks = 64;
    let data = disk.run(&sixteen(0x9e, 0x12, 0, u32::MAX), &[]).good();
    assert_eq!(data.len(), 8 + 255 * 16);
    assert!(data.len() <= REPLY_MAX);
    disk.mapped.fill(true);
    disk.longest_extent = 1;
    let data = disk.run(&sixteen(0x9e, 0x12, 0, 24), &[]).good();
    assert_eq!(data[16..20], 256u32.to_be_bytes());
}
