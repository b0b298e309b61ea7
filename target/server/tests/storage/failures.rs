//! Files that fail: each failure has its sense data, and nothing else comes of it.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::place::{disk_folder, forget, full_image, in_namespace, limited};
use crate::support::{Client, Iesp, cdb};

/// SPC-4: MEDIUM ERROR, UNRECOVERED READ ERROR.
const READ_ERROR: (u8, u8, u8) = (3, 0x11, 0);
/// MEDIUM ERROR, WRITE ERROR.
const WRITE_ERROR: (u8, u8, u8) = (3, 0x0c, 0);
/// DATA PROTECT, SPACE ALLOCATION FAILED WRITE PROTECT.
const NO_SPACE: (u8, u8, u8) = (7, 0x27, 7);

const SYNCHRONIZE_CACHE: &[u8] = &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Longer than the look at the length may be late.
const LATE: Duration = Duration::from_millis(50);

const WAYS: [&[&str]; 4] = [&["--io-engine", "threads"], &["--io-engine", "threads", "--direct"], &[], &["--direct"]];

#[test]
fn a_file_that_was_cut_is_not_made_long_again() {
    let folder = disk_folder();
    for way in WAYS {
        let (image, bytes) = full_image(folder.path(), 4 << 20);
        let mut server = Iesp::start(&[&["-d", &image][..], way].concat());
        let mut client = Client::login(server.address());
        client.put(&cdb::write(0, 8), &bytes[..4096]).good();
        // In the middle of a block of 4096 bytes, and of one of 512.
        let cut = (1 << 20) + 700;
        File::options().write(true).open(&image).and_then(|file| file.set_len(cut)).expect("cut");
        forget(&image);
        std::thread::sleep(LATE);
        assert!(client.get(&cdb::read(0, 8), 4096).good() == bytes[..4096], "{way:?}");
        for (lba, blocks) in [(2049, 1), (2048, 8), (2040, 16), (8184, 8), (1024, 2048)] {
            let code = client.get(&cdb::read(lba, blocks), blocks << 9).code();
            assert_eq!(code, READ_ERROR, "{way:?}: {lba}");
        }
        // Not behind the end, where it would grow, nor before it.
        for lba in [8184, 2044, 0] {
            assert_eq!(client.put(&cdb::write(lba, 8), &[1; 4096]).code(), WRITE_ERROR, "{way:?}: {lba}");
        }
        assert_eq!(client.run(SYNCHRONIZE_CACHE).code(), WRITE_ERROR, "{way:?}");
        assert_eq!(std::fs::metadata(&image).expect("it is there").len(), cut, "{way:?}");
        // What is missing does not come back by making it long again: it would be zeros.
        File::options().write(true).open(&image).and_then(|file| file.set_len(4 << 20)).expect("long");
        std::thread::sleep(LATE);
        assert_eq!(client.put(&cdb::write(0, 8), &[1; 4096]).code(), WRITE_ERROR, "{way:?}");
        assert!(server.errors().contains("shorter than it was"), "{}", server.errors());
        // Its last flush fails, and it says so.
        assert_ne!(server.stop().0.code(), Some(0));
    }
}

#[test]
fn a_file_that_may_not_grow_has_no_space() {
    let folder = disk_folder();
    for way in WAYS {
        let image = crate::support::process::image(folder.path(), "disk", 4 << 20);
        let mut server = limited(1 << 20, &[&["-d", &image][..], way].concat());
        let mut client = Client::login(server.address());
        client.put(&cdb::write(0, 8), &[5; 4096]).good();
        assert_eq!(client.put(&cdb::write(4096, 8), &[6; 4096]).code(), NO_SPACE, "{way:?}");
        assert_eq!(client.put(&cdb::write(2044, 8), &[6; 4096]).code(), NO_SPACE, "{way:?}");
        // The program lives, and the rest of the disk is there.
        assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [5; 4096]);
        client.run(SYNCHRONIZE_CACHE).good();
        // Which disk, and why.
        let errors = server.errors();
        let mut told = errors.lines().filter(|line| line.contains("a command failed")).peekable();
        assert!(told.peek().is_some(), "{way:?}: {errors}");
        assert!(told.all(|line| line.contains(&image) && line.contains("no space")), "{way:?}: {errors}");
        assert_eq!(server.stop().0.code(), Some(0));
    }
}

/// Nothing fails then, and all is lost at the end: that has to be told while something can be done.
#[test]
fn a_file_that_was_deleted_is_told_of() {
    let folder = disk_folder();
    let image = crate::support::process::image(folder.path(), "disk", 1 << 20);
    let server = Iesp::start(&["-d", &image]);
    let mut client = Client::login(server.address());
    std::fs::remove_file(&image).expect("it is there");
    client.put(&cdb::write(0, 8), &[5; 4096]).good();
    let end = Instant::now() + Duration::from_secs(30);
    while !server.errors().contains("was deleted") {
        assert!(Instant::now() < end, "{}", server.errors());
        std::thread::sleep(LATE);
    }
    assert!(server.errors().contains(&image), "{}", server.errors());
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [5; 4096]);
}

#[test]
fn a_full_file_system_takes_writes_again_when_there_is_room() {
    let folder = disk_folder();
    let place = folder.path().to_str().expect("a plain path");
    let disk = format!("{place}/disk");
    // A tmpfs of one MiB with an image of four.
    let prepare = "mount -t tmpfs -o size=1m none \"$1\"\ntruncate -s 4M \"$1/disk\"";
    let mut server = in_namespace(prepare, place, &["-d", &disk]);
    full(&mut server);
}

#[test]
fn a_full_disk_takes_writes_again_when_there_is_room() {
    if !crate::place::is_root() {
        return;
    }
    let folder = disk_folder();
    let place = folder.path().to_str().expect("a plain path");
    let disk = format!("{place}/mounted/disk");
    let prepare = "truncate -s 3M \"$1/fs\"\nmkfs.ext4 -q -O ^has_journal \"$1/fs\"\nmkdir \"$1/mounted\"\n\
                   mount -o loop \"$1/fs\" \"$1/mounted\"\ntruncate -s 4M \"$1/mounted/disk\"";
    for way in WAYS {
        let mut server = in_namespace(prepare, place, &[&["-d", &disk][..], way].concat());
        full(&mut server);
        drop(server);
        std::fs::remove_dir(format!("{place}/mounted")).expect("nothing is mounted any more");
    }
}

/// Writes until there is no space, gives some back, writes again.
fn full(server: &mut Iesp) {
    let mut client = Client::login(server.address());
    let mut written = 0u64;
    // FUA: a file system may take a write and find later that it has no room for it.
    let write = |lba| cdb::write_fua(lba, 128);
    let refused = loop {
        assert!(written < 64, "4 MiB do not fit");
        let done = client.put(&write(written * 128), &[written as u8 + 1; 65536]);
        if done.status != 0 {
            break done;
        }
        written += 1;
    };
    assert!(written > 4, "{written}");
    assert_eq!(refused.code(), NO_SPACE);
    for chunk in 0..written {
        assert_eq!(client.get(&cdb::read(chunk * 128, 128), 65536).good(), [chunk as u8 + 1; 65536]);
    }
    client.run(SYNCHRONIZE_CACHE).good();
    let (unmap, list) = cdb::unmap(128, 256);
    client.put(&unmap, &list).good();
    assert_eq!(client.get(&cdb::read(128, 128), 65536).good(), [0; 65536]);
    client.put(&write(written * 128), &[0xee; 65536]).good();
    assert_eq!(client.get(&cdb::read(written * 128, 128), 65536).good(), [0xee; 65536]);
    assert_eq!(server.stop().0.code(), Some(0));
}
