//! SCSI commands: what a logical unit is and does, its errors, reservations.

use super::{KEYS, Scene, get, pattern, put};
use crate::cdb;
use crate::client::{Client, Command, Error};

/// Runs commands that read at most this much.
async fn ask(client: &mut Client, cdbs: &[&[u8]], len: u32) -> Result<(), Error> {
    for cdb in cdbs {
        get(client, cdb, len).await?;
    }
    Ok(())
}

/// An allocation length at the place of 12-byte and 16-byte CDBs.
fn reporting(opcode: u8, action: u8, at: usize, len: u32, size: usize) -> Vec<u8> {
    let mut cdb = vec![0; size];
    (cdb[0], cdb[1]) = (opcode, action);
    cdb[at..at + 4].copy_from_slice(&len.to_be_bytes());
    cdb
}

pub(super) async fn identification(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    get(&mut client, &cdb::inquiry(None, 255), 255).await?;
    for page in 0..=0xff {
        get(&mut client, &cdb::inquiry(Some(page), 255), 255).await?;
    }
    ask(&mut client, &[&[0x12, 0, 0x83, 0, 96, 0], &[0x12, 2, 0, 0, 96, 0], &[0x12, 1, 0, 0, 4, 0]], 255).await?;
    // READ CAPACITY(10) and (16), REPORT LUNS, REPORT TARGET PORT GROUPS, supported codes and functions.
    ask(&mut client, &[&cdb::ten(0x25, 0, 0, 0), &cdb::sixteen(0x9e, 0x10, 0, 32)], 32).await?;
    for select in 0..4 {
        let mut luns = reporting(0xa0, 0, 6, 64, 12);
        luns[2] = select;
        get(&mut client, &luns, 64).await?;
    }
    get(&mut client, &reporting(0xa3, 0x0a, 6, 128, 12), 128).await?;
    get(&mut client, &reporting(0xa3, 0x2a, 6, 128, 12), 128).await?;
    for timeouts in [0, 0x80] {
        let mut codes = reporting(0xa3, 0x0c, 6, 4096, 12);
        codes[2] = timeouts;
        get(&mut client, &codes, 4096).await?;
    }
    for opcode in [0x00, 0x28, 0x88, 0x9e, 0xa3, 0x5e, 0x83, 0xff] {
        for option in 1..4 {
            let mut code = reporting(0xa3, 0x0c, 6, 64, 12);
            (code[2], code[3], code[5]) = (option, opcode, 0x10);
            get(&mut client, &code, 64).await?;
        }
    }
    get(&mut client, &reporting(0xa3, 0x0d, 6, 16, 12), 16).await?;
    get(&mut client, &reporting(0xa3, 0x0f, 6, 16, 12), 16).await?;
    ask(&mut client, &[&[0x03, 0, 0, 0, 252, 0], &[0x03, 1, 0, 0, 252, 0], &[0x03, 0, 0, 0, 4, 0]], 252).await
}

pub(super) async fn modes(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    for control in [0, 0x40, 0x80, 0xc0] {
        for page in [0x01, 0x02, 0x08, 0x0a, 0x1a, 0x1c, 0x3f, 0x05] {
            get(&mut client, &[0x1a, 0, control | page, 0, 255, 0], 255).await?;
        }
        get(&mut client, &[0x5a, 0x10, control | 0x3f, 0xff, 0, 0, 0, 1, 0, 0], 256).await?;
        get(&mut client, &[0x1a, 8, control | 0x0a, 1, 64, 0], 64).await?;
    }
    // MODE SELECT of what is, with a change of the caching page, with a length that is wrong.
    let page = get(&mut client, &[0x1a, 8, 0x08, 0, 255, 0], 255).await?.data;
    let parameters = |change: u8| {
        let mut list = page.clone();
        list[0] = 0;
        list[2] = 0;
        list[6] ^= change;
        list
    };
    for change in [0, 0x04, 0x04, 0x01, 0xff] {
        let list = parameters(change);
        put(&mut client, &[0x15, 0x10, 0, 0, list.len() as u8, 0], &list).await?;
        get(&mut client, &[0x1a, 8, 0x08, 0, 255, 0], 255).await?;
    }
    put(&mut client, &[0x15, 0x10, 0, 0, 6, 0], &parameters(0)[..6]).await?;
    client.run(&Command::new(&[0x15, 0x10, 0, 0, 0, 0])).await?;
    put(&mut client, &[0x15, 0x11, 0, 0, 4, 0], &[0; 4]).await?;
    Ok(())
}

pub(super) async fn block_commands(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    let data = pattern(2, 8);
    put(&mut client, &cdb::write(0, 8), &data).await?;
    // WRITE SAME: of a block, of zeros, with UNMAP, to the end of the disk.
    put(&mut client, &cdb::sixteen(0x93, 0, 8, 8), &data[..512]).await?;
    put(&mut client, &cdb::ten(0x41, 0, 16, 8), &[0; 512]).await?;
    put(&mut client, &cdb::sixteen(0x93, 8, 24, 8), &[0; 512]).await?;
    client.run(&Command::new(&cdb::sixteen(0x93, 9, 32, 8))).await?;
    put(&mut client, &cdb::sixteen(0x93, 0, (8 << 11) - 4, 0), &data[..512]).await?;
    get(&mut client, &cdb::read(0, 40), 40 * 512).await?;
    // UNMAP and what is left mapped.
    let (unmap, list) = cdb::unmap(2, 4);
    put(&mut client, &unmap, &list).await?;
    get(&mut client, &cdb::read(0, 8), 4096).await?;
    for lba in [0, 2, 100, 8 << 11] {
        get(&mut client, &cdb::lba_status(lba, 64), 64).await?;
    }
    put(&mut client, &[0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[0, 6, 0, 0, 0, 0, 0, 0]).await?;
    client.run(&Command::new(&[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0])).await?;
    let (unmap, list) = cdb::unmap(8 << 11, 1);
    put(&mut client, &unmap, &list).await?;
    put(&mut client, &unmap, &list[..20]).await?;
    // COMPARE AND WRITE: equal, then different.
    let both = [&[0; 512][..], &data[..512]].concat();
    put(&mut client, &cdb::compare_and_write(300, 1), &both).await?;
    put(&mut client, &cdb::compare_and_write(300, 1), &both).await?;
    put(&mut client, &cdb::compare_and_write(300, 0), &[]).await?;
    put(&mut client, &cdb::compare_and_write(300, 255), &both).await?;
    get(&mut client, &cdb::read(300, 1), 512).await?;
    // VERIFY without data, with the same and with other data; WRITE AND VERIFY.
    client.run(&Command::new(&cdb::ten(0x2f, 0, 0, 8))).await?;
    put(&mut client, &cdb::sixteen(0x8f, 2, 300, 1), &data[..512]).await?;
    put(&mut client, &cdb::sixteen(0x8f, 2, 301, 1), &data[..512]).await?;
    put(&mut client, &cdb::sixteen(0x8f, 6, 300, 8), &data[..512]).await?;
    put(&mut client, &cdb::sixteen(0x8e, 2, 310, 2), &data[..1024]).await?;
    // Without data: flushes, PRE-FETCH, START STOP UNIT, PREVENT ALLOW.
    let without: [&[u8]; 10] = [
        &cdb::ten(0x35, 2, 0, 8),
        &cdb::sixteen(0x91, 0, 8 << 11, 1),
        &cdb::ten(0x34, 0, 0, 8),
        &cdb::sixteen(0x90, 2, 0, 8),
        &[0x1b, 0, 0, 0, 1, 0],
        &[0x1b, 0, 0, 0, 0, 0],
        &[0],
        &[0x1b, 0, 0, 0, 1, 0],
        &[0x1e, 0, 0, 0, 1, 0],
        &[0x1e, 0, 0, 0, 0, 0],
    ];
    for cdb in without {
        client.run(&Command::new(cdb)).await?;
    }
    Ok(())
}

pub(super) async fn sense_of_errors(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    // Beyond the end, by each length of CDB.
    let end = 8 << 11;
    ask(&mut client, &[&cdb::read(end, 1), &cdb::read(end - 1, 2), &cdb::read(u64::MAX, 1)], 1024).await?;
    ask(&mut client, &[&cdb::ten(0x28, 0, u32::MAX, 1), &cdb::read(0, u32::MAX)], 512).await?;
    put(&mut client, &cdb::write(end, 1), &[1; 512]).await?;
    client.run(&Command::new(&cdb::write(end - 1, 2)).write(&[1; 1024]).immediate(1024)).await?;
    client.run(&Command::new(&cdb::write(end, 0))).await?;
    // Fields that are reserved, protection information, NACA.
    ask(&mut client, &[&cdb::ten(0x28, 0x20, 0, 1), &cdb::sixteen(0x88, 1, 0, 1)], 512).await?;
    let mut naca = cdb::read(0, 1);
    naca[15] = 4;
    ask(&mut client, &[&naca, &[0, 1, 0, 0, 0, 0], &[0x12, 0, 0, 0, 36, 0xc0]], 512).await?;
    // Operation codes: every one that has no data here is answered somehow.
    for opcode in 0..=0xff {
        let moves_data = [0x15, 0x41, 0x42, 0x55, 0x5f, 0x8a, 0x89, 0x93, 0x2a, 0x0a, 0x16, 0x56].contains(&opcode);
        if !moves_data {
            get(&mut client, &[opcode, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 64).await?;
        }
    }
    get(&mut client, &[0x03, 0, 0, 0, 18, 0], 18).await?;
    Ok(())
}

pub(super) async fn several_logical_units(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    for lun in [1, 2, 255] {
        for cdb in [&[0; 6][..], &[0; 6], &cdb::inquiry(None, 36), &cdb::ten(0x25, 0, 0, 0), &cdb::read(0, 1)] {
            client.run(&Command::new(cdb).lun(lun).read(512)).await?;
        }
        client.run(&Command::new(&[0x03, 0, 0, 0, 18, 0]).lun(lun).read(18)).await?;
        client.run(&Command::new(&cdb::write(0, 1)).lun(lun).write(&pattern(lun, 1))).await?;
        client.run(&Command::new(&reporting(0xa0, 0, 6, 64, 12)).lun(lun).read(64)).await?;
    }
    get(&mut client, &cdb::read(0, 1), 512).await?;
    client.run(&Command::new(&cdb::read(0, 1)).lun(1).read(512)).await?;
    Ok(())
}

pub(super) async fn write_protection(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    let (unmap, list) = cdb::unmap(0, 8);
    put(&mut client, &cdb::write(0, 1), &[1; 512]).await?;
    client.run(&Command::new(&cdb::write(0, 1)).write(&[1; 512]).immediate(512)).await?;
    put(&mut client, &unmap, &list).await?;
    put(&mut client, &cdb::sixteen(0x93, 0, 0, 8), &[1; 512]).await?;
    put(&mut client, &cdb::compare_and_write(0, 1), &[0; 1024]).await?;
    client.run(&Command::new(&cdb::sixteen(0x91, 0, 0, 0))).await?;
    get(&mut client, &[0x1a, 0, 0x3f, 0, 255, 0], 255).await?;
    get(&mut client, &cdb::read(0, 1), 512).await?;
    Ok(())
}

/// RESERVE and RELEASE between two sessions, and what persistent reservations are answered with.
pub(super) async fn reservations(scene: Scene) -> Result<(), Error> {
    let (mut one, mut two) = (scene.session(1, KEYS).await?, scene.session(2, KEYS).await?);
    for (reserve, release) in [(0x16, 0x17), (0x56, 0x57)] {
        let (reserve, release) = ([reserve, 0, 0, 0, 0, 0, 0, 0, 0, 0], [release, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        one.run(&Command::new(&reserve)).await?;
        one.run(&Command::new(&reserve)).await?;
        two.run(&Command::new(&reserve)).await?;
        two.run(&Command::new(&[0])).await?;
        get(&mut two, &cdb::inquiry(None, 36), 36).await?;
        get(&mut two, &cdb::read(0, 1), 512).await?;
        two.run(&Command::new(&cdb::write(0, 1)).write(&[1; 512]).immediate(512)).await?;
        two.run(&Command::new(&release)).await?;
        get(&mut two, &cdb::read(0, 1), 512).await?;
        put(&mut one, &cdb::write(0, 1), &[2; 512]).await?;
        one.run(&Command::new(&release)).await?;
        get(&mut two, &cdb::read(0, 1), 512).await?;
    }
    for action in 0..4 {
        get(&mut one, &[0x5e, action, 0, 0, 0, 0, 0, 1, 0, 0], 256).await?;
    }
    for action in [0, 1, 2, 3, 4, 6] {
        let parameters = [[0; 8], [0, 0, 0, 0, 0, 0, 0, 9], [0; 8]].concat();
        put(&mut one, &[0x5f, action, 5, 0, 0, 0, 0, 0, 24, 0], &parameters).await?;
        get(&mut two, &cdb::read(0, 1), 512).await?;
    }
    Ok(())
}
