//! What the device server says of itself.

use crate::support::{Client, Iesp, cdb};

/// 21: READ CAPACITY(10) of 2^32 blocks and more says: ask READ CAPACITY(16).
#[test]
fn fault_21_read_capacity_of_large_disks() {
    for (size, blocks) in [("2T", 1u64 << 32), ("3T", 3 << 31), ("1M", 2048)] {
        let server = Iesp::ram(size);
        let mut client = Client::login(server.address());
        let ten = client.get(&cdb::ten(0x25, 0, 0, 0), 8).good();
        let last = u32::try_from(blocks - 1).unwrap_or(u32::MAX);
        assert_eq!(ten, [last.to_be_bytes(), 512u32.to_be_bytes()].concat());
        let sixteen = client.get(&cdb::sixteen(0x9e, 0x10, 0, 32), 32).good();
        assert_eq!(sixteen[..8], (blocks - 1).to_be_bytes());
        client.put(&cdb::write(blocks - 1, 1), &[5; 512]).good();
        assert_eq!(client.get(&cdb::read(blocks - 1, 1), 512).good(), [5; 512]);
    }
}

/// 23: REQUEST SENSE has its own opcode, and every page that is listed is there.
#[test]
fn fault_23_what_is_listed_is_there() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let list = client.get(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0], 65535).good();
    let opcodes: Vec<u8> = list[4..].chunks(8).map(|descriptor| descriptor[0]).collect();
    assert!(opcodes.contains(&3) && !opcodes.contains(&2), "{opcodes:02x?}");
    client.get(&[3, 0, 0, 0, 252, 0], 252).good();
    assert_eq!(client.run(&[2]).code(), (5, 0x20, 0));
    let pages = client.get(&cdb::inquiry(Some(0), 255), 255).good();
    assert!(pages[4..].contains(&0xb2) && pages[4..].is_sorted());
    for page in &pages[4..] {
        let data = client.get(&cdb::inquiry(Some(*page), 1024), 1024).good();
        assert_eq!(data[1], *page);
    }
    for page in (0..=255).filter(|page| !pages[4..].contains(page)) {
        assert_eq!(client.get(&cdb::inquiry(Some(page), 1024), 1024).code(), (5, 0x24, 0), "{page:02x}");
    }
}

/// 23: GET LBA STATUS tells the truth.
#[test]
fn fault_23_get_lba_status() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    client.put(&cdb::write(64, 64), &[1; 64 * 512]).good();
    let (unmap, list) = cdb::unmap(80, 16);
    client.put(&unmap, &list).good();
    let status = client.get(&cdb::lba_status(0, 1024), 1024).good();
    let extents: Vec<_> = status[8..]
        .chunks(16)
        .map(|extent| (extent[7], u32::from_be_bytes(extent[8..12].try_into().expect("four bytes")), extent[12]))
        .collect();
    assert_eq!(extents, [(0, 64, 1), (64, 16, 0), (80, 16, 1), (96, 32, 0), (128, 1920, 1)]);
}
