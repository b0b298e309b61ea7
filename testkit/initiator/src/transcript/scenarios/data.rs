//! Reads and writes by all ways that data takes.

use super::{KEYS, Scene, get, pattern, put};
use crate::cdb;
use crate::client::{Command, Error};

pub(super) async fn reads(scene: Scene) -> Result<(), Error> {
    let data = pattern(1, 512);
    let mut client = scene.session(1, KEYS).await?;
    for (at, piece) in (0..).zip(data.chunks(32 << 10)) {
        put(&mut client, &cdb::write(64 * at, 64), piece).await?;
    }
    let segments = ["", "MaxRecvDataSegmentLength=512", "MaxRecvDataSegmentLength=65536 MaxBurstLength=16384"];
    for (number, keys) in (2..).zip(segments) {
        let mut client = scene.session(number, keys).await?;
        for (lba, blocks) in [(0, 1), (7, 16), (100, 17), (33, 130), (0, 0)] {
            let read = get(&mut client, &cdb::read(lba, blocks), blocks * 512).await?;
            let start = lba as usize * 512;
            assert_eq!(read.data, data[start..start + blocks as usize * 512]);
        }
        // The other READs, and the end of the disk.
        get(&mut client, &[0x08, 0, 0, 4, 2, 0], 1024).await?;
        get(&mut client, &cdb::ten(0x28, 0, 5, 3), 1536).await?;
        get(&mut client, &cdb::ten(0x28, 0x18, 5, 1), 512).await?;
        get(&mut client, &[0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0], 1024).await?;
        get(&mut client, &cdb::read((8 << 11) - 1, 1), 512).await?;
    }
    Ok(())
}

pub(super) async fn writes_in_all_ways(scene: Scene) -> Result<(), Error> {
    let mut number = 0;
    for initial_r2t in ["Yes", "No"] {
        for immediate_data in ["Yes", "No"] {
            number += 1;
            let keys = format!(
                "InitialR2T={initial_r2t} ImmediateData={immediate_data} MaxBurstLength=16384 FirstBurstLength=8192 \
                 MaxOutstandingR2T=1"
            );
            let mut client = scene.session(number, &keys).await?;
            client.segment = 2048;
            let immediate = if immediate_data == "Yes" { &[0, 512, 2048][..] } else { &[0] };
            for &immediate in immediate {
                let unsolicited = if initial_r2t == "No" { 8192 - immediate } else { 0 };
                for blocks in [1, 4, 16, 33, 80] {
                    let data = pattern(number, blocks);
                    let cdb = cdb::write(16, blocks as u32);
                    let write = Command::new(&cdb).write(&data).immediate(immediate).unsolicited(unsolicited);
                    client.run(&write).await?;
                    let read = get(&mut client, &cdb::read(16, blocks as u32), blocks as u32 * 512).await?;
                    assert_eq!(read.data, data);
                }
            }
        }
    }
    Ok(())
}

pub(super) async fn writes_with_many_r2ts(scene: Scene) -> Result<(), Error> {
    for (number, outstanding) in (1..).zip([1, 4]) {
        let keys = format!("MaxOutstandingR2T={outstanding} MaxBurstLength=4096 FirstBurstLength=4096 InitialR2T=Yes");
        let mut client = scene.session(number, &keys).await?;
        client.segment = 1024;
        let data = pattern(9, 64);
        put(&mut client, &cdb::write(0, 64), &data).await?;
        put(&mut client, &cdb::write_fua(64, 64), &data).await?;
        put(&mut client, &cdb::ten(0x2a, 0, 128, 64), &data).await?;
        put(&mut client, &[0x0a, 0, 0, 192, 64, 0], &data).await?;
        put(&mut client, &[0xaa, 0, 0, 0, 1, 0, 0, 0, 0, 64, 0, 0], &data).await?;
        let read = get(&mut client, &cdb::read(64, 64), 64 * 512).await?;
        assert_eq!(read.data, data);
        // SYNCHRONIZE CACHE(10) and (16).
        client.run(&Command::new(&cdb::ten(0x35, 0, 0, 0))).await?;
        client.run(&Command::new(&cdb::sixteen(0x91, 0, 0, 0))).await?;
    }
    Ok(())
}

/// Expected Data Transfer Length above and below what the command moves.
pub(super) async fn residuals(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    let data = pattern(5, 16);
    for expected in [0, 1, 511, 512, 513, 4095, 4096, 4097, 8192] {
        get(&mut client, &cdb::read(0, 8), expected).await?;
        if expected > 0 {
            let piece = &data[..expected as usize];
            put(&mut client, &cdb::write(0, 8), piece).await?;
            client.run(&Command::new(&cdb::write(32, 8)).write(piece).immediate(piece.len())).await?;
        }
    }
    for len in [0, 5, 36, 255] {
        get(&mut client, &cdb::inquiry(None, len), 64).await?;
        get(&mut client, &cdb::inquiry(None, 255), u32::from(len)).await?;
    }
    // Data for a command that takes none, and the other way.
    get(&mut client, &[0], 512).await?;
    put(&mut client, &[0], &data[..512]).await?;
    put(&mut client, &cdb::read(0, 1), &data[..512]).await?;
    get(&mut client, &cdb::write(0, 1), 512).await?;
    client.run(&Command::new(&cdb::write(0, 1))).await?;
    client.run(&Command::new(&cdb::read(0, 1))).await?;
    get(&mut client, &cdb::read(0, 64), 64 * 512).await?;
    Ok(())
}
