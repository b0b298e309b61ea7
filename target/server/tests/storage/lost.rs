//! What was lost is told, block by block where that is known, and never made up; somebody who has looked gives the disk back.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use crate::loops::{Loop, WAYS, has_loops, serve};
use crate::place::{disk_folder, forget, full_image};
use crate::support::process::program;
use crate::support::{Client, Iesp, cdb};

const READ_ERROR: (u8, u8, u8) = (3, 0x11, 0);
const WRITE_ERROR: (u8, u8, u8) = (3, 0x0c, 0);
const SYNCHRONIZE_CACHE: &[u8] = &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn cut(image: &str, len: u64) {
    File::options().write(true).open(image).and_then(|file| file.set_len(len)).expect("cut");
}

/// The write to the last block would make the file as long as it was, before the next look at its length.
#[test]
fn a_file_that_was_cut_is_noticed_at_a_write_to_its_last_block() {
    let folder = disk_folder();
    for way in WAYS {
        for _ in 0..8 {
            let (image, bytes) = full_image(folder.path(), 4 << 20);
            let mut server = Iesp::start(&[&["-d", &image][..], way].concat());
            let mut client = Client::login(server.address());
            client.put(&cdb::write(0, 8), &bytes[..4096]).good();
            cut(&image, 1 << 20);
            assert_eq!(client.put(&cdb::write(8184, 8), &[1; 4096]).code(), WRITE_ERROR, "{way:?}");
            assert_eq!(std::fs::metadata(&image).expect("it is there").len(), 1 << 20, "{way:?}");
            assert_eq!(client.get(&cdb::read(4096, 8), 4096).code(), READ_ERROR, "{way:?}");
            assert_eq!(client.run(SYNCHRONIZE_CACHE).code(), WRITE_ERROR, "{way:?}");
            assert_ne!(server.stop().0.code(), Some(0));
        }
    }
}

#[test]
fn what_was_cut_off_a_file_is_not_read_as_zeros_when_it_is_long_again() {
    let folder = disk_folder();
    for way in WAYS {
        let (image, bytes) = full_image(folder.path(), 4 << 20);
        let server = Iesp::start(&[&["-d", &image][..], way].concat());
        let mut client = Client::login(server.address());
        cut(&image, (1 << 20) + 700);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(client.get(&cdb::read(4096, 8), 4096).code(), READ_ERROR, "{way:?}");
        cut(&image, 4 << 20);
        forget(&image);
        std::thread::sleep(Duration::from_millis(50));
        for (lba, blocks) in [(4096, 8), (2049, 1), (2040, 16), (8184, 8)] {
            let done = client.get(&cdb::read(lba, blocks), blocks << 9);
            assert_eq!(done.code(), READ_ERROR, "{way:?}: {lba}");
            // INFORMATION: the first block of which something is missing.
            let first = u32::try_from(lba).expect("small").max(2049).to_be_bytes();
            assert_eq!((done.sense[0], &done.sense[3..7]), (0xf0, &first[..]), "{way:?}: {lba}");
        }
        assert!(client.get(&cdb::read(0, 2049), 2049 << 9).good() == bytes[..2049 << 9], "{way:?}");
    }
}

/// Cut while it is written to: what a write behind the cut leaves out is lost, and is not made up.
#[test]
fn a_write_behind_the_cut_makes_up_nothing_of_what_was_lost() {
    let folder = disk_folder();
    for way in WAYS {
        for round in 0..12 {
            let (image, bytes) = full_image(folder.path(), 4 << 20);
            let server = Iesp::start(&[&["-d", &image][..], way].concat());
            let mut client = Client::login(server.address());
            client.put(&cdb::write(0, 8), &bytes[..4096]).good();
            cut(&image, 1 << 20);
            // Noticed, or not within the clock's tick.
            let _ = client.put(&cdb::write(6000, 8), &[1; 4096]);
            std::thread::sleep(Duration::from_millis(20));
            for lba in [2048, 4096, 5992] {
                assert_eq!(client.get(&cdb::read(lba, 8), 4096).code(), READ_ERROR, "{way:?} {round}: {lba}");
            }
            assert!(client.get(&cdb::read(0, 2048), 1 << 20).good() == bytes[..1 << 20], "{way:?} {round}");
            assert_eq!(client.run(SYNCHRONIZE_CACHE).code(), WRITE_ERROR, "{way:?} {round}");
        }
    }
}

/// SBC-3 4.18.1: INFORMATION is the first logical block in error.
#[test]
fn a_medium_error_of_a_device_names_its_first_bad_block() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    for way in WAYS {
        let (image, _) = full_image(folder.path(), 4 << 20);
        let device = Loop::on(&image);
        let server = serve(&device, way);
        let mut client = Client::login(server.address());
        cut(&image, 1 << 20);
        for (lba, blocks) in [(2040u32, 16), (0, 4096), (2047, 2), (4000, 8)] {
            let done = client.get(&cdb::read(lba.into(), blocks), blocks << 9);
            assert_eq!(done.code(), READ_ERROR, "{way:?}");
            let first = lba.max(2048).to_be_bytes();
            assert_eq!((done.sense[0], &done.sense[3..7]), (0xf0, &first[..]), "{way:?}: {lba}");
        }
    }
}

/// Past the page cache, too, an initiator may want less than whole blocks.
#[test]
fn a_read_of_less_than_whole_blocks_is_served() {
    let folder = disk_folder();
    let (image, bytes) = full_image(folder.path(), 4 << 20);
    for way in WAYS {
        let server = Iesp::start(&[&["-d", &image][..], way].concat());
        let mut client = Client::login(server.address());
        for (lba, blocks, wanted) in [(0, 1, 1), (3, 2, 700), (8190, 2, 1023), (100, 2048, (1 << 20) - 3)] {
            forget(&image);
            let data = client.get(&cdb::read(lba, blocks), wanted).good();
            assert!(data == bytes[lba as usize * 512..][..wanted as usize], "{way:?}: {lba}");
        }
        assert!(!server.errors().contains("failed"), "{}", server.errors());
    }
}

/// A flush failed: the disk alone is given back, once there is room for what it could not write, and the program goes on.
#[test]
fn a_disk_whose_flush_failed_is_given_back_by_a_command() {
    if !has_loops() {
        return;
    }
    let folder = disk_folder();
    let device = Loop::with_room_for(2 << 20, folder.path());
    let socket = folder.path().join("control");
    let socket = socket.to_str().expect("a plain path");
    let mut server = serve(&device, &["--control", socket, "-L", "info,info"]);
    let restore = |disk: &str| {
        let output = Command::new(program()).args(["restore", disk, "--control", socket]).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (done, text) = restore(&device.0);
    assert!(done && text.contains("no flush of it has failed"), "{text}");
    let mut client = Client::login(server.address());
    for chunk in 0..64 {
        client.put(&cdb::write(chunk * 128, 128), &[5; 65536]).good();
    }
    for _ in 0..2 {
        assert_eq!(client.run(SYNCHRONIZE_CACHE).status, 2);
        assert_eq!(client.put(&cdb::write_fua(0, 128), &[6; 65536]).status, 2);
    }
    let (done, text) = restore("/no/such/disk");
    assert!(!done && text.contains("no such disk"), "{text}");
    // What could not be written is gone; what is written from now on has room, as the first blocks have theirs.
    let (done, text) = restore(&device.0);
    assert!(done && text.contains("given back"), "{text}");
    client.put(&cdb::write_fua(0, 128), &[7; 65536]).good();
    client.run(SYNCHRONIZE_CACHE).good();
    assert!(server.errors().contains("the disk was given back"), "{}", server.errors());
    assert_eq!(server.stop().0.code(), Some(0));
}
