//! Every way to a file gives the same answers.

use crate::place::{disk_folder, forget, full_image};
use crate::support::initiator::Answer;
use crate::support::{Client, Iesp, cdb};

/// Whether this kernel lets this process use io_uring.
fn has_ring() -> bool {
    let log = Iesp::start(&["-b", "ram", "-d", "1M", "-L", "info,info"]).errors();
    assert!(log.contains("files and devices: "), "{log}");
    log.contains("files and devices: io_uring")
}

fn ways() -> Vec<Vec<&'static str>> {
    let mut ways = vec![vec!["--io-engine", "threads"], vec!["--io-engine", "threads", "--direct"]];
    if has_ring() {
        ways.extend([vec!["--io-engine", "io-uring"], vec!["--io-engine", "io-uring", "--direct"]]);
    } else {
        eprintln!("skipped: this system has no io_uring");
    }
    ways
}

#[test]
fn many_reads_in_flight_come_from_the_right_places() {
    let folder = disk_folder();
    let (image, bytes) = full_image(folder.path(), 16 << 20);
    for way in ways() {
        let server = Iesp::start(&[&["-d", &image][..], &way].concat());
        let mut client = Client::login(server.address());
        forget(&image);
        let mut position = 1u64;
        for round in 0..8 {
            // By turns small ones and such that need several units each and do not fit the outgoing bytes together.
            let blocks = if round % 2 == 0 { 8 } else { 1024u32 };
            let mut expected = std::collections::HashMap::new();
            for _ in 0..64 {
                position = position * 48271 % 0x7fff_ffff;
                let lba = position % ((16 << 11) - u64::from(blocks));
                let command = client.initiator.read(&cdb::read(lba, blocks), blocks << 9);
                expected.insert(command.itt, (lba as usize * 512, blocks << 9));
                client.begin(&command);
            }
            while !expected.is_empty() {
                match client.answer() {
                    Answer::Data(unit, data) => {
                        let (start, len) = expected[&unit.itt];
                        let at = start + unit.offset as usize;
                        assert!(data == bytes[at..at + data.len()], "{way:?}: wrong data for {start}");
                        if unit.status == Some(0) {
                            assert_eq!(unit.offset + data.len() as u32, len);
                            expected.remove(&unit.itt);
                        }
                    }
                    other => panic!("{way:?}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn what_is_written_is_read_and_on_the_disk() {
    let folder = disk_folder();
    for (number, way) in ways().into_iter().enumerate() {
        let (image, mut bytes) = full_image(folder.path(), 4 << 20);
        let mut server = Iesp::start(&[&["-d", &image][..], &way].concat());
        let mut client = Client::login(server.address());
        let mut position = 7u64;
        for round in 0..60u8 {
            position = position * 48271 % 0x7fff_ffff;
            let blocks = [1u32, 8, 13, 256, 2048][usize::from(round) % 5];
            let lba = position % ((4 << 11) - u64::from(blocks));
            let data = vec![round ^ number as u8; (blocks as usize) << 9];
            if round % 3 == 0 && blocks <= 256 {
                client.put_immediate(&cdb::write(lba, blocks), &data).good();
            } else {
                client.put(&cdb::write(lba, blocks), &data).good();
            }
            bytes[lba as usize * 512..][..data.len()].copy_from_slice(&data);
            assert!(client.get(&cdb::read(lba, blocks), blocks << 9).good() == data, "{way:?}");
        }
        client.put(&cdb::write_fua(40, 8), &[0xfa; 4096]).good();
        bytes[40 * 512..48 * 512].fill(0xfa);
        client.run(&cdb::ten(0x35, 0, 0, 0)).good();
        assert_eq!(server.stop().0.code(), Some(0));
        assert!(std::fs::read(&image).expect("it is there") == bytes, "{way:?}");
    }
}

#[test]
fn an_engine_that_is_not_there_is_refused_in_words() {
    if has_ring() {
        return;
    }
    let output = crate::support::process::command(&["-b", "ram", "-d", "1M", "-p", "0", "--io-engine", "io-uring"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("--io-engine"), "{text}");
}
