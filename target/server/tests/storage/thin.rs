//! Space is given back where that is possible; elsewhere the disk is thick.

use crate::loops::{Loop, has_loops, serve};
use crate::place::{disk_folder, in_namespace, is_root};
use crate::support::process::image;
use crate::support::{Client, Iesp, cdb};

/// LBPME of READ CAPACITY (16), LBPU and LBPWS of the Logical Block Provisioning page.
fn is_thin(client: &mut Client) -> bool {
    let mut capacity = [0; 16];
    (capacity[0], capacity[1], capacity[13]) = (0x9e, 0x10, 32);
    let capacity = client.get(&capacity, 32).good();
    let thin = capacity[14] & 0x80 != 0;
    let pages = client.get(&cdb::inquiry(Some(0), 255), 255).good();
    assert_eq!(thin, pages[4..].contains(&0xb2), "{pages:02x?}");
    if thin {
        let page = client.get(&cdb::inquiry(Some(0xb2), 64), 64).good();
        assert_eq!(page[5] & 0xe0, 0xe0, "{page:02x?}");
    }
    thin
}

#[test]
fn a_file_with_holes_is_thin() {
    let folder = disk_folder();
    let disk = image(folder.path(), "disk", 4 << 20);
    let server = Iesp::start(&["-d", &disk]);
    assert!(is_thin(&mut Client::login(server.address())));
    assert_eq!(std::fs::metadata(&disk).expect("it is there").len(), 4 << 20, "the look changes nothing");
}

/// ramfs has no fallocate(2).
#[test]
fn a_file_system_without_holes_makes_a_thick_disk() {
    if !is_root() {
        return;
    }
    let folder = disk_folder();
    let place = folder.path().to_str().expect("a plain path");
    let prepare = "mount -t ramfs none \"$1\"\ntruncate -s 4M \"$1/disk\"";
    let disk = format!("{place}/disk");
    let server = in_namespace(prepare, place, &["-d", &disk]);
    let mut client = Client::login(server.address());
    assert!(!is_thin(&mut client));
    // What is not supported is refused.
    let (unmap, list) = cdb::unmap(0, 8);
    assert_eq!(client.put(&unmap, &list).code(), (5, 0x20, 0));
}

/// A loop device discards where the file below it may have holes.
#[test]
fn a_device_is_thin_where_it_discards() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    let thin = Loop::with_room_for(4 << 20, folder.path());
    let server = serve(&thin, &[]);
    assert!(is_thin(&mut Client::login(server.address())));
    drop(server);
    let thick = Loop::without_holes(folder.path());
    let server = serve(&thick, &[]);
    assert!(!is_thin(&mut Client::login(server.address())));
}
