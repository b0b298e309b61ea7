//! Who a disk is.

use crate::support::process::{folder, image};
use crate::support::{Client, Iesp, cdb};

fn on_lun(client: &mut Client, lun: u64, cdb: &[u8], len: u32) -> Vec<u8> {
    let mut command = client.initiator.read(cdb, len);
    command.lun = lun << 48;
    let mut done = client.command(command, &[]);
    if done.status == 2 && done.code().0 == 6 {
        command = client.initiator.read(cdb, len);
        command.lun = lun << 48;
        done = client.command(command, &[]);
    }
    done.good()
}

/// Serial number and designators of a logical unit.
fn identity(client: &mut Client, lun: u64) -> (Vec<u8>, Vec<u8>) {
    let serial = on_lun(client, lun, &cdb::inquiry(Some(0x80), 255), 255);
    let designators = on_lun(client, lun, &cdb::inquiry(Some(0x83), 1024), 1024);
    (serial, designators)
}

/// 11: each disk has a serial number of its own, and keeps it over a restart; two programs differ.
#[test]
fn fault_11_serial_numbers() {
    let folder = folder();
    let [one, two, three] = ["one", "two", "three"].map(|name| image(folder.path(), name, 1 << 20));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let first = Iesp::start(&["-d", &one, "-d", &two]);
        let second = Iesp::start(&["-d", &three]);
        let mut client = Client::login(first.address());
        let mut other = Client::login(second.address());
        seen.push([identity(&mut client, 0), identity(&mut client, 1), identity(&mut other, 0)]);
    }
    assert_eq!(seen[0], seen[1]);
    let [first, second, third] = &seen[0];
    assert!(first.0 != second.0 && first.0 != third.0 && second.0 != third.0);
    assert!(first.1 != second.1 && first.1 != third.1 && second.1 != third.1);
}

/// 11: the identity goes where the disk goes, not with its place in the command line.
#[test]
fn fault_11_the_identity_belongs_to_the_disk() {
    let folder = folder();
    let [one, two] = ["one", "two"].map(|name| image(folder.path(), name, 1 << 20));
    let serials = |devices: [&String; 2]| {
        let server = Iesp::start(&["-d", devices[0], "-d", devices[1]]);
        let mut client = Client::login(server.address());
        [identity(&mut client, 0).0, identity(&mut client, 1).0]
    };
    let straight = serials([&one, &two]);
    let crossed = serials([&two, &one]);
    assert_eq!((&straight[0], &straight[1]), (&crossed[1], &crossed[0]));
}

/// 22: three disks are three disks: their contents and their sizes differ, and what is not there is told so.
#[test]
fn fault_22_each_lun_is_another_disk() {
    let folder = folder();
    let images: Vec<_> = (1..4u64).map(|size| image(folder.path(), &size.to_string(), size << 20)).collect();
    let server = Iesp::start(&["-d", &images[0], "-d", &images[1], "-d", &images[2]]);
    let mut client = Client::login(server.address());
    for lun in 0..3 {
        let capacity = on_lun(&mut client, lun, &cdb::sixteen(0x9e, 0x10, 0, 32), 32);
        assert_eq!(capacity[..8], ((lun + 1) * 2048 - 1).to_be_bytes());
        assert_eq!(on_lun(&mut client, lun, &cdb::inquiry(None, 36), 36)[0], 0, "a disk");
        let mut write = client.initiator.write(&cdb::write(0, 1), 512);
        write.lun = lun << 48;
        client.command(write, &[lun as u8 + 1; 512]).good();
    }
    for lun in 0..3 {
        assert_eq!(on_lun(&mut client, lun, &cdb::read(0, 1), 512), [lun as u8 + 1; 512]);
    }
    for lun in [3, 255] {
        let mut command = client.initiator.bare(&[0]);
        command.lun = lun << 48;
        assert_eq!(client.command(command, &[]).code(), (5, 0x25, 0), "LOGICAL UNIT NOT SUPPORTED");
        assert_eq!(on_lun(&mut client, lun, &cdb::inquiry(None, 36), 36)[0], 0x7f);
    }
    for lun in 0..3 {
        for len in [0u32, 4, 7, 8, 16, 31, 32, 255] {
            let mut cdb = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            cdb[6..10].copy_from_slice(&len.to_be_bytes());
            let luns = on_lun(&mut client, lun, &cdb, 255);
            let whole =
                [[0, 0, 0, 24, 0, 0, 0, 0], [0; 8], [0, 1, 0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0, 0, 0]].concat();
            assert_eq!(luns, whole[..(len as usize).min(32)]);
        }
    }
}
