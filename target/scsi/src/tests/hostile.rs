//! Whatever a peer sends: no panic, no step beyond the medium or a buffer, an end, and status data that hold together.

use super::bench::*;
use crate::commands::TABLE;
use crate::*;
use proptest::prelude::*;
use std::vec::Vec;

/// CDBs that mostly are of commands that exist, with fields that mostly are near the limits.
fn any_cdb() -> impl Strategy<Value = [u8; 16]> {
    let known =
        (0..TABLE.len(), any::<[u8; 16]>(), any::<[u8; 16]>(), 0u8..4).prop_map(|(row, noise, rare, sparse)| {
            let row = &TABLE[row];
            let mut cdb = noise;
            for (i, byte) in cdb.iter_mut().enumerate().take(usize::from(row.length)) {
                // Reserved bits are rarely set; often the fields are small.
                *byte &= if rare[i] == 0 { 0xff } else { row.usage[i] };
                if sparse > 0 && (rare[i] & 0x0f) != 0 {
                    *byte &= if (2..row.length as usize - 3).contains(&i) { 0 } else { 0x3f };
                }
            }
            cdb[0] = row.opcode();
            if let Some(sa) = row.service_action {
                cdb[1] = cdb[1] & 0xe0 | sa as u8;
            }
            cdb
        });
    prop_oneof![8 => known, 1 => any::<[u8; 16]>()]
}

fn check(disk: &mut Disk, cdb: &[u8; 16], data: &[u8], transfer: Transfer) -> Result<(), TestCaseError> {
    let answer = disk.run_with(HOST, cdb, data, transfer);
    match answer.status {
        status::GOOD | status::CONDITION_MET => prop_assert!(answer.sense.is_empty()),
        status::CHECK_CONDITION => {
            prop_assert!(answer.sense.len() >= 8 && answer.sense.len() <= 32);
            prop_assert_eq!(usize::from(answer.sense[7]) + 8, answer.sense.len());
        }
        status => prop_assert!(false, "status {:02x}", status),
    }
    prop_assert!(answer.data.len() <= REPLY_MAX.max(answer.data_in_len as usize));
    prop_assert!(answer.data_out_len == 0 || answer.data_in_len == 0);
    // The range is free again: nothing is ever blocked here.
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_command_ends(
        commands in prop::collection::vec(
            (any_cdb(), prop::collection::vec(any::<u8>(), 0..2_100), any::<bool>(), 0u32..5_000), 1..6),
        thin in any::<bool>(), read_only in any::<bool>(), volatile_cache in any::<bool>(), large in any::<bool>(),
        scratch_blocks in 1usize..5, longest_extent in 1u64..300,
    ) {
        let mut capabilities = Capabilities { blocks: 700, read_only, volatile_cache, ..capabilities() };
        if large {
            capabilities.block_size = 4096;
        }
        if !thin {
            capabilities.unmap = None;
        }
        let mut disk = Disk::new(capabilities);
        disk.scratch_blocks = scratch_blocks;
        disk.longest_extent = longest_extent;
        for (cdb, data, truthful, claimed) in commands {
            let data_out = if truthful { data.len() as u32 } else { claimed };
            check(&mut disk, &cdb, &data, Transfer { data_out, data_in: claimed })?;
        }
    }

    #[test]
    fn any_parameter_list_ends(
        list in prop::collection::vec(prop_oneof![Just(0u8), Just(8), Just(0x0a), Just(0x12), any::<u8>()], 0..80),
        cdb in prop_oneof![Just([0x15u8, 0x10]), Just([0x55, 0x10]), Just([0x42, 0])],
    ) {
        let mut disk = Disk::new(Capabilities { blocks: 700, ..capabilities() });
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&cdb);
        bytes[if cdb[0] == 0x15 { 4 } else { 8 }] = list.len() as u8;
        check(&mut disk, &bytes, &list, Transfer { data_out: list.len() as u32, data_in: 0 })?;
    }

    #[test]
    fn any_write_reads_back(lba in 0u32..690, blocks in 1u16..10, seed in any::<u8>(), fua in any::<bool>()) {
        let mut disk = Disk::new(Capabilities { blocks: 700, ..capabilities() });
        let data: Vec<u8> = (0..usize::from(blocks) * 512).map(|i| (i as u8) ^ seed).collect();
        disk.run(&ten(0x2a, u8::from(fua) << 3, lba, blocks), &data).good();
        prop_assert_eq!(disk.run(&ten(0x28, 0, lba, blocks), &[]).good(), data);
    }
}

#[test]
fn an_absent_unit_answers_anything() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    runner
        .run(&any_cdb(), |cdb| {
            let mut reply = [0; REPLY_MAX];
            let completion = absent_unit(&[0, 1, 2, 700], &cdb, &mut reply);
            prop_assert!(completion.reply_len as usize <= REPLY_MAX);
            Ok(())
        })
        .unwrap();
}
