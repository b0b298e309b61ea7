//! Commands that move or compare data.

use super::bench::*;
use crate::*;
use std::vec;
use std::vec::Vec;

fn pattern(blocks: usize, seed: u8) -> Vec<u8> {
    (0..blocks * 512).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 9) as u8).wrapping_add(seed)).collect()
}

#[test]
fn every_read_reads_what_every_write_wrote() {
    let mut disk = Disk::plain();
    let writes: [(&[u8], usize, u64); 4] = [
        (&[0x0a, 0, 0, 10, 2, 0], 2, 10),
        (&ten(0x2a, 0, 20, 3), 3, 20),
        (&twelve(0xaa, 0, 30, 4), 4, 30),
        (&sixteen(0x8a, 0, 40, 5), 5, 40),
    ];
    for (cdb, blocks, lba) in writes {
        let data = pattern(blocks, lba as u8);
        let answer = disk.run(cdb, &data);
        assert_eq!(answer.data_out_len as usize, data.len());
        answer.good();
        let reads: [Vec<u8>; 4] = [
            vec![0x08, 0, 0, lba as u8, blocks as u8, 0],
            ten(0x28, 0, lba as u32, blocks as u16).to_vec(),
            twelve(0xa8, 0, lba as u32, blocks as u32).to_vec(),
            sixteen(0x88, 0, lba, blocks as u32).to_vec(),
        ];
        for read in reads {
            let answer = disk.run(&read, &[]);
            assert_eq!(answer.data_in_len as usize, data.len());
            assert_eq!(answer.good(), data);
        }
    }
}

#[test]
fn six_bytes_say_zero_and_mean_256() {
    let mut disk = Disk::plain();
    disk.run(&[0x0a, 0, 0, 0, 0, 0], &pattern(256, 1)).good();
    let answer = disk.run(&[0x08, 0, 0, 0, 0, 0], &[]);
    assert_eq!(answer.data_in_len, 256 * 512);
    assert_eq!(answer.good(), pattern(256, 1));
}

#[test]
fn zero_blocks_are_no_error_and_no_io() {
    let mut disk = Disk::plain();
    for cdb in [
        ten(0x28, 0, 5, 0).to_vec(),
        ten(0x2a, 0, 5, 0).to_vec(),
        ten(0x2e, 2, 5, 0).to_vec(),
        ten(0x2f, 2, 5, 0).to_vec(),
        sixteen(0x88, 0, 10_000, 0).to_vec(),
        caw(5, 0).to_vec(),
    ] {
        disk.run(&cdb, &[]).good();
        assert!(disk.steps.is_empty(), "{cdb:02x?}");
    }
    assert_eq!(disk.run(&ten(0x28, 0, 10_001, 0), &[]).code(), OUT_OF_RANGE);
}

#[test]
fn protection_information_is_refused() {
    let mut disk = Disk::plain();
    for opcode in [0x28u8, 0x2a, 0x2e, 0x2f, 0x41] {
        for protect in 1..8 {
            let answer = disk.run(&ten(opcode, protect << 5, 0, 1), &[0; 512]);
            assert_eq!(answer.code(), INVALID_FIELD);
            // SKSV, C/D, BPV: byte 1.
            assert_eq!(answer.sense[15] & 0xc8, 0xc8);
            assert_eq!(answer.sense[17], 1);
        }
    }
    for opcode in [0x88u8, 0x89, 0x8a, 0x8e, 0x8f, 0x93] {
        assert_eq!(disk.run(&sixteen(opcode, 0x20, 0, 1), &[0; 512]).code(), INVALID_FIELD);
    }
}

#[test]
fn a_transfer_above_the_maximum_is_refused() {
    let mut disk = Disk::plain();
    assert_eq!(disk.run(&ten(0x28, 0, 0, 1024), &[]).good().len(), 1024 * 512);
    let answer = disk.run(&ten(0x28, 0, 0, 1025), &[]);
    assert_eq!(answer.code(), INVALID_FIELD);
    assert_eq!(answer.sense[15..18], [0xcf, 0, 7]);
    assert_eq!(disk.run(&ten(0x2a, 0, 0, 1025), &[0; 512]).code(), INVALID_FIELD);
    assert_eq!(answer.data_in_len, 0);
}

#[test]
fn short_data_out_writes_the_blocks_that_come() {
    let mut disk = Disk::plain();
    for cdb in [ten(0x2a, 0, 0, 4), ten(0x2e, 2, 0, 4)] {
        disk.bytes.fill(0);
        let answer = disk.run(&cdb, &[0x77; 1024]);
        assert_eq!(answer.data_out_len, 2048);
        answer.good();
        assert_eq!(disk.blocks(0, 2), [0x77; 1024]);
        assert_eq!(disk.blocks(2, 2), [0; 1024]);
        disk.run_with(HOST, &self::cdb(&cdb), &[], Transfer::default()).good();
    }
}

/// GOOD for a part of a block would be a lie, or a torn block: nothing is written, and the residual is told all the same.
#[test]
fn data_out_that_ends_within_a_block_is_refused() {
    let mut disk = Disk::plain();
    for cdb in [ten(0x2a, 0, 0, 4), ten(0x2e, 2, 0, 4)] {
        for len in [1, 200, 513, 1000, 2047] {
            let answer = disk.run(&cdb, &[0x77; 2048][..len]);
            assert_eq!((answer.code(), answer.data_out_len), ((5, 0x0e, 3), 2048), "{len}");
            assert!(disk.steps.is_empty(), "{len}");
        }
        // More than the CDB asks for is no part of it.
        disk.run(&cdb, &[0x77; 2050]).good();
    }
}

/// An initiator that waits for data where the CDB takes some: GOOD would tell of a write that never was.
#[test]
fn a_write_that_is_to_send_data_is_refused() {
    let mut disk = Disk::plain();
    for bytes in [&ten(0x2a, 0, 0, 1)[..], &ten(0x2e, 2, 0, 1), &sixteen(0x8a, 0, 0, 1)] {
        let answer = disk.run_with(HOST, &cdb(bytes), &[], Transfer { data_out: 0, data_in: 512 });
        assert_eq!(answer.code(), (5, 0x0e, 3), "{:#x}", bytes[0]);
        assert!(disk.steps.is_empty());
    }
}

#[test]
fn short_data_in_reads_no_more_than_it_shows() {
    let mut disk = Disk::plain();
    disk.fill(0, 4, 0x55);
    let run = |disk: &mut Disk, room| {
        disk.run_with(HOST, &cdb(&ten(0x28, 0, 0, 4)), &[], Transfer { data_out: 0, data_in: room })
    };
    let answer = run(&mut disk, 700);
    assert_eq!(answer.data_in_len, 2048);
    assert_eq!(answer.good(), [0x55; 700]);
    assert_eq!(disk.steps, [Step::Read { lba: 0, blocks: 2 }]);
    // None, or the other direction.
    let answer = run(&mut disk, 0);
    assert_eq!(answer.data_in_len, 2048);
    assert!(answer.good().is_empty());
    assert!(disk.steps.is_empty());
}

#[test]
fn fua_and_wce_decide_what_is_durable() {
    let mut disk = Disk::plain();
    let fua = |step: &Step| matches!(step, Step::Write { fua: true, .. });
    disk.run(&ten(0x2a, 0, 0, 1), &[1; 512]).good();
    assert!(!fua(&disk.steps[0]));
    for flag in [0x08, 0x02, 0x0a] {
        disk.run(&ten(0x2a, flag, 0, 1), &[1; 512]).good();
        assert!(fua(&disk.steps[0]));
    }
    // A read with FUA comes from the medium.
    disk.run(&ten(0x28, 0x08, 0, 1), &[]).good();
    assert_eq!(disk.steps, [Step::Flush, Step::Read { lba: 0, blocks: 1 }]);

    disk.run(&[0x15, 0x10, 0, 0, 24, 0], &[&[0, 0, 0, 0, 8, 0x12][..], &[0; 18]].concat()).good();
    disk.run(&ten(0x2a, 0, 0, 1), &[1; 512]).good();
    assert!(fua(&disk.steps[0]));
    disk.volatile = false;
    for (cdb, data) in [
        (sixteen(0x93, 0, 0, 9), vec![1; 512]),
        (sixteen(0x93, 8, 0, 9), vec![0; 512]),
        (cdb(&unmap_cdb(24)), unmap_list(&[(0, 1)])),
        (caw(0, 1), vec![0; 1024]),
        (cdb(&ten(0x2e, 0, 0, 1)), vec![1; 512]),
    ] {
        disk.run(&cdb, &data).good();
        assert!(!disk.volatile, "{:02x}: {:?}", cdb[0], disk.steps);
    }
}

#[test]
fn a_backend_without_cache_is_asked_for_no_flush() {
    let mut disk = Disk::new(Capabilities { volatile_cache: false, ..capabilities() });
    disk.run(&ten(0x28, 0x08, 0, 1), &[]).good();
    assert_eq!(disk.steps, [Step::Read { lba: 0, blocks: 1 }]);
    disk.run(&ten(0x35, 0, 0, 0), &[]).good();
    assert!(disk.steps.is_empty());
    disk.run(&ten(0x2a, 0x08, 0, 1), &[1; 512]).good();
    assert_eq!(disk.steps, [Step::Write { lba: 0, blocks: 1, offset: 0, fua: false }]);
}

#[test]
fn verify_reads_and_compares() {
    let mut disk = Disk::plain();
    let data = pattern(11, 3);
    disk.run(&ten(0x2a, 0, 0, 11), &data).good();
    let mut wrong = data.clone();
    wrong[5 * 512 + 17] ^= 1;
    let cdbs = |flags, blocks| {
        [
            cdb(&ten(0x2f, flags, 0, blocks as u16)),
            cdb(&twelve(0xaf, flags, 0, blocks)),
            sixteen(0x8f, flags, 0, blocks),
        ]
    };
    for cdb in cdbs(0x02, 11) {
        disk.run(&cdb, &data).good();
        let answer = disk.run(&cdb, &wrong);
        assert_eq!(answer.code(), MISCOMPARE);
        assert_eq!(answer.information(), 5 * 512 + 17);
    }
    // BYTCHK 0: no data, but the medium is read.
    for cdb in cdbs(0x00, 11) {
        let answer = disk.run(&cdb, &[]);
        assert_eq!(answer.data_out_len, 0);
        answer.good();
        assert_eq!(disk.steps.len(), 3);
        disk.failing = Some((1, IoError::Medium));
        assert_eq!(disk.run(&cdb, &[]).code(), (3, 0x11, 0));
        disk.failing = None;
    }
    // BYTCHK 3: one block for all.
    disk.fill(0, 11, 0x5a);
    for cdb in cdbs(0x06, 11) {
        let answer = disk.run(&cdb, &[0x5a; 512]);
        assert_eq!(answer.data_out_len, 512);
        answer.good();
        let answer = disk.run(&cdb, &[&[0x5a; 511][..], &[0]].concat());
        assert_eq!((answer.code(), answer.information()), (MISCOMPARE, 511));
    }
    for cdb in cdbs(0x04, 11) {
        assert_eq!(disk.run(&cdb, &data).code(), INVALID_FIELD);
    }
}

#[test]
fn write_and_verify_writes_to_the_medium_and_reads_back() {
    let mut disk = Disk::plain();
    let data = pattern(5, 9);
    for cdb in [cdb(&ten(0x2e, 2, 8, 5)), cdb(&twelve(0xae, 2, 8, 5)), sixteen(0x8e, 2, 8, 5)] {
        disk.bytes.fill(0);
        disk.run(&cdb, &data).good();
        assert_eq!(disk.blocks(8, 5), data);
        assert_eq!(disk.steps[0], Step::Write { lba: 8, blocks: 5, offset: 0, fua: true });
        assert_eq!(
            disk.steps[1..],
            [Step::ReadScratch { lba: 8, blocks: 4 }, Step::ReadScratch { lba: 12, blocks: 1 }]
        );
    }
    for bytchk in [0x04, 0x06] {
        assert_eq!(disk.run(&ten(0x2e, bytchk, 8, 5), &data).code(), INVALID_FIELD);
    }
}

#[test]
fn compare_and_write_is_all_or_nothing() {
    let mut disk = Disk::plain();
    let (old, new) = (pattern(9, 1), pattern(9, 2));
    disk.run(&ten(0x2a, 0, 100, 9), &old).good();
    let answer = disk.run(&caw(100, 9), &[&old[..], &new[..]].concat());
    assert_eq!(answer.data_out_len, 2 * 9 * 512);
    answer.good();
    assert_eq!(disk.blocks(100, 9), new);
    // The first byte that differs, in the last block.
    let mut almost = new.clone();
    almost[8 * 512 + 300] ^= 0x80;
    let answer = disk.run(&caw(100, 9), &[&almost[..], &old[..]].concat());
    assert_eq!((answer.code(), answer.information()), (MISCOMPARE, 8 * 512 + 300));
    assert_eq!(disk.blocks(100, 9), new);
    assert_eq!(disk.run(&caw(9_999, 2), &[0; 2048]).code(), OUT_OF_RANGE);
}

#[test]
fn write_same_repeats_a_block() {
    let mut disk = Disk::plain();
    let block = pattern(1, 7);
    disk.fill(0, 40, 0xff);
    for cdb in [cdb(&ten(0x41, 0, 3, 10)), sixteen(0x93, 0, 3, 10), sixteen(0x93, 8, 3, 10)] {
        disk.bytes[3 * 512..13 * 512].fill(0xff);
        disk.run(&cdb, &block).good();
        assert_eq!(disk.steps.len(), 3);
        assert_eq!(disk.blocks(2, 1), [0xff; 512]);
        assert!(disk.blocks(3, 10).chunks(512).all(|b| b == block));
        assert_eq!(disk.blocks(13, 1), [0xff; 512]);
    }
}

#[test]
fn write_same_of_zeros_zeroes() {
    let mut disk = Disk::plain();
    for (cdb, data, unmap) in [
        (cdb(&ten(0x41, 0, 3, 10)), &[0u8; 512][..], false),
        (cdb(&ten(0x41, 8, 3, 10)), &[0; 512], true),
        (sixteen(0x93, 0, 3, 10), &[0; 512], false),
        (sixteen(0x93, 8, 3, 10), &[0; 512], true),
        (sixteen(0x93, 1, 3, 10), &[], false),
        (sixteen(0x93, 9, 3, 10), &[], true),
    ] {
        disk.fill(0, 40, 0xff);
        let answer = disk.run(&cdb, data);
        assert_eq!(answer.data_out_len as usize, data.len());
        answer.good();
        assert_eq!(disk.steps, [Step::Zero { lba: 3, blocks: 10, unmap }]);
        assert_eq!(disk.blocks(3, 10), [0; 5120]);
    }
    // NDOB isn't there in 10 bytes, ANCHOR nowhere.
    assert_eq!(disk.run(&ten(0x41, 1, 3, 10), &[0; 512]).code(), INVALID_FIELD);
    assert_eq!(disk.run(&ten(0x41, 0x10, 3, 10), &[0; 512]).code(), INVALID_FIELD);
    assert_eq!(disk.run(&sixteen(0x93, 0x18, 3, 10), &[0; 512]).code(), INVALID_FIELD);
}

#[test]
fn write_same_of_no_blocks_reaches_to_the_end() {
    let mut thin = Disk::plain();
    thin.run(&ten(0x41, 8, 9_000, 0), &[0xff; 512]).good();
    assert_eq!(thin.steps, [Step::Zero { lba: 9_000, blocks: 1_000, unmap: true }]);
    thin.run(&ten(0x41, 8, 9_999, 1), &[0xff; 512]).good();
    assert_eq!(thin.steps.last(), Some(&Step::WriteScratch { lba: 9_999, blocks: 1, fua: false }));

    let mut thick = Disk::new(Capabilities { unmap: None, ..capabilities() });
    thick.run(&sixteen(0x93, 0, 9_000, 0), &[0; 512]).good();
    assert_eq!(thick.steps, [Step::Zero { lba: 9_000, blocks: 1_000, unmap: false }]);
    assert_eq!(thick.run(&sixteen(0x93, 0, 10_000, 0), &[0; 512]).code(), OUT_OF_RANGE);
    assert_eq!(thick.run(&sixteen(0x93, 8, 0, 1), &[0; 512]).code(), INVALID_FIELD);

    let unit = LogicalUnit::<1>::new(Capabilities { unmap: None, blocks: 1 << 40, ..capabilities() }, identity());
    let out = Transfer { data_out: 512, data_in: 0 };
    let end = |task: &Task| task.data_out_len();
    assert_eq!(end(&unit.begin(HOST, &[], &sixteen(0x93, 0, 0, 0), out)), 0);
    assert_eq!(end(&unit.begin(HOST, &[], &sixteen(0x93, 0, 0, (1 << 15) + 1), out)), 0);
    assert_eq!(end(&unit.begin(HOST, &[], &sixteen(0x93, 0, 0, 1 << 15), out)), 512);
}

#[test]
fn write_same_wants_exactly_one_block() {
    let mut disk = Disk::plain();
    for len in [0, 256, 511, 513, 1024] {
        assert_eq!(disk.run(&ten(0x41, 0, 0, 1), &vec![1; len]).code(), INVALID_FIELD);
        assert_eq!(disk.run(&sixteen(0x93, 8, 0, 1), &vec![0; len]).code(), INVALID_FIELD);
    }
}

#[test]
fn unmap_deallocates_each_range() {
    let mut disk = Disk::plain();
    disk.fill(0, 100, 0xff);
    let list = unmap_list(&[(1, 2), (50, 0), (90, 8)]);
    let answer = disk.run(&unmap_cdb(list.len()), &list);
    assert_eq!(answer.data_out_len as usize, list.len());
    answer.good();
    assert_eq!(disk.steps, [Step::Unmap { lba: 1, blocks: 2 }, Step::Unmap { lba: 90, blocks: 8 }]);
    // Neighbours are one range, and so are those that overlap.
    let list = unmap_list(&[(1, 2), (3, 1), (7, 0), (4, 4), (2, 1), (20, 1)]);
    disk.run(&unmap_cdb(list.len()), &list).good();
    let ranges = [(1, 7), (20, 1)].map(|(lba, blocks)| Step::Unmap { lba, blocks });
    assert_eq!(disk.steps, ranges);
    // Nothing is done where one of them is wrong.
    let list = unmap_list(&[(1, 2), (9_999, 2)]);
    assert_eq!(disk.run(&unmap_cdb(list.len()), &list).code(), OUT_OF_RANGE);
    assert!(disk.steps.is_empty());
    // An empty list, and one of the greatest length.
    disk.run(&unmap_cdb(0), &[]).good();
    disk.run(&unmap_cdb(8), &unmap_list(&[])).good();
    let apart: Vec<(u64, u32)> = (0..255).map(|n| (2 * n, 1)).collect();
    let list = unmap_list(&apart);
    disk.run(&unmap_cdb(list.len()), &list).good();
    assert_eq!(disk.steps.len(), 255);
    let list = unmap_list(&[(0, 1); 256]);
    assert_eq!(disk.run(&unmap_cdb(list.len()), &list).code(), (5, 0x26, 0));
    // ANCHOR.
    assert_eq!(disk.run(&[0x42, 1, 0, 0, 0, 0, 0, 0, 8, 0], &unmap_list(&[])).code(), INVALID_FIELD);
}

#[test]
fn unmap_joins_ranges_that_touch() {
    let runs = |ranges: &[(u64, u32)]| {
        let mut disk = Disk::plain();
        disk.fill(0, 1000, 0xff);
        let list = unmap_list(ranges);
        disk.run(&unmap_cdb(list.len()), &list).good();
        let runs: Vec<(u64, u64)> = (disk.steps.iter())
            .map(|step| match step {
                Step::Unmap { lba, blocks } => (*lba, *blocks),
                other => panic!("{other:?}"),
            })
            .collect();
        // Whatever was joined: these blocks are deallocated, and no others.
        for lba in 0..1000 {
            let wanted = ranges.iter().any(|(first, blocks)| (*first..first + u64::from(*blocks)).contains(&lba));
            let is = runs.iter().any(|(first, blocks)| (*first..first + blocks).contains(&lba));
            assert_eq!(is, wanted, "block {lba} of {ranges:?}");
        }
        runs
    };
    let upwards: Vec<(u64, u32)> = (0..255).map(|lba| (lba, 1)).collect();
    let downwards: Vec<(u64, u32)> = upwards.iter().rev().copied().collect();
    assert_eq!(runs(&upwards), [(0, 255)]);
    assert_eq!(runs(&downwards), [(0, 255)]);
    assert_eq!(runs(&[(7, 1); 255]), [(7, 1)]);
    // Overlapping, within each other, around each other; none at all between neighbours.
    assert_eq!(runs(&[(10, 10), (15, 10), (12, 2), (5, 30)]), [(5, 30)]);
    assert_eq!(runs(&[(10, 10), (900, 0), (20, 5)]), [(10, 15)]);
    // Neighbours, but for one block.
    assert_eq!(runs(&[(10, 10), (21, 1), (22, 1), (20, 1)]), [(10, 10), (20, 3)]);
    assert_eq!(runs(&[(0, 0), (999, 1), (0, 0)]), [(999, 1)]);
    assert_eq!(runs(&[(0, 0)]), []);
}

#[test]
fn prefetch_is_condition_met() {
    let mut disk = Disk::plain();
    for (cdb, blocks) in [
        (cdb(&ten(0x34, 0, 10, 20)), 20),
        (cdb(&ten(0x34, 2, 10, 0)), 9_990),
        (sixteen(0x90, 0, 10, 20), 20),
        (sixteen(0x90, 2, 10, 0), 9_990),
    ] {
        assert_eq!(disk.run(&cdb, &[]).status, status::CONDITION_MET);
        assert!(disk.steps.len() <= 5);
        let mut next = 10;
        for step in &disk.steps {
            let Step::Prefetch { lba, blocks } = *step else { panic!("{step:?}") };
            assert_eq!(lba, next);
            next += blocks;
        }
        assert_eq!(next, 10 + blocks);
    }
    for group in 0..32 {
        let mut cdb = ten(0x34, 0, 0, 1);
        cdb[6] = group;
        assert_eq!(disk.run(&cdb, &[]).status, status::CONDITION_MET);
    }
    assert_eq!(disk.run(&ten(0x34, 0, 10_000, 0), &[]).code(), OUT_OF_RANGE);
}

#[test]
fn a_stopped_unit_is_not_ready_until_it_is_started() {
    let mut disk = Disk::plain();
    let not_ready = (2, 4, 2);
    disk.fill(0, 1, 1);
    disk.run(&[0x1b, 0, 0, 0, 0, 0], &[]).good();
    assert_eq!(disk.steps, [Step::Flush]);
    for cdb in [&[0u8, 0, 0, 0, 0, 0][..], &ten(0x28, 0, 0, 1), &ten(0x35, 0, 0, 0), &caw(0, 1)] {
        assert_eq!(disk.run(cdb, &[]).code(), not_ready);
    }
    assert_eq!(disk.run(&[0x03, 0, 0, 0, 18, 0], &[]).good()[2], 2);
    disk.run(&[0x12, 0, 0, 0, 36, 0], &[]).good();
    disk.run(&[0x1b, 0, 0, 0, 1, 0], &[]).good();
    disk.run(&[0; 6], &[]).good();
    // No power conditions, nothing to eject.
    for byte in [0x10, 0x20, 0x30, 0xb1, 0x02, 0x03] {
        assert_eq!(disk.run(&[0x1b, 0, 0, 0, byte, 0], &[]).code(), INVALID_FIELD);
    }
}

#[test]
fn backend_failures_become_sense() {
    let mut disk = Disk::plain();
    for (error, reading, writing) in [
        (IoError::Medium, (3, 0x11, 0), (3, 0x0c, 0)),
        (IoError::NoSpace, (7, 0x27, 7), (7, 0x27, 7)),
        (IoError::ReadOnly, WRITE_PROTECTED, WRITE_PROTECTED),
        (IoError::NotReady, (2, 4, 0), (2, 4, 0)),
        (IoError::Other, (4, 0x44, 0), (4, 0x44, 0)),
    ] {
        disk.failing = Some((0, error));
        assert_eq!(disk.run(&ten(0x28, 0, 0, 1), &[]).code(), reading);
        assert_eq!(disk.run(&ten(0x2a, 0, 0, 1), &[0; 512]).code(), writing);
        assert_eq!(disk.run(&caw(0, 1), &[0; 1024]).code(), reading);
        disk.failing = Some((1, error));
        assert_eq!(disk.run(&caw(0, 1), &[0; 1024]).code(), writing);
    }
}
