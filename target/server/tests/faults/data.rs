//! Wrong or lost data.

use std::process::Command;
use std::sync::Barrier;

use iesp_iscsi::pdu::{Residual, ScsiCommand};

use crate::support::client::KEYS;
use crate::support::process::{folder, image};
use crate::support::{Client, Iesp, cdb};

/// 5: COMPARE AND WRITE with no, half or too few data; UNMAP with a list that is cut.
#[test]
fn fault_05_commands_with_too_few_data() {
    let mut server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    client.put(&cdb::write(0, 2), &[1; 1024]).good();
    for len in [0, 1, 511, 512, 1023] {
        let done = client.put(&cdb::compare_and_write(0, 1), &[1; 1024][..len]);
        assert_eq!(done.status, 2, "{len} bytes: {done:?}");
        let done = client.put_immediate(&cdb::compare_and_write(0, 1), &[1; 1024][..len]);
        assert_eq!(done.status, 2, "{len} bytes: {done:?}");
    }
    // The W bit is not set at all.
    assert_eq!(client.run(&cdb::compare_and_write(0, 1)).status, 2);
    let (unmap, list) = cdb::unmap(0, 2);
    for len in 0..24 {
        let mut cdb = unmap;
        let done = client.put(&cdb, &list[..len]);
        assert_eq!(client.get(&cdb::read(0, 2), 1024).good(), [1; 1024], "{len} bytes, {done:?}");
        cdb[8] = len as u8;
        client.put(&cdb, &list[..len]);
        assert_eq!(client.get(&cdb::read(0, 2), 1024).good(), [1; 1024], "{len} bytes");
    }
    // Lengths inside the list that reach behind it.
    for at in 0..4 {
        let mut wrong = list.clone();
        wrong[at] = 0xff;
        client.put(&unmap, &wrong);
    }
    client.put(&unmap, &list).good();
    server.assert_well();
}

/// 7: a write with FUA, its data immediate or by Data-Out.
#[test]
fn fault_07_writes_with_fua() {
    let folder = folder();
    let image = image(folder.path(), "disk", 1 << 20);
    let server = Iesp::start(&["-d", &image]);
    let mut client = Client::login(server.address());
    client.put(&cdb::write_fua(0, 8), &[7; 4096]).good();
    client.put_immediate(&cdb::write_fua(8, 8), &[8; 4096]).good();
    assert_eq!(std::fs::read(&image).expect("it is there")[..8192], [[7; 4096], [8; 4096]].concat());
}

/// 7, 13: what cannot be written is an error, with and without FUA; and so it is afterwards.
#[test]
fn fault_07_a_write_that_fails_is_an_error() {
    let folder = folder();
    let image = image(folder.path(), "disk", 1 << 20);
    // Files may grow to 512 KiB. The system sends a signal, too, which must be ignored from the start.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" -i 127.0.0.1 -p 0 -d \"$1\""]);
    shell.arg(crate::support::process::program()).arg(&image);
    let server = Iesp::spawn(shell);
    let mut client = Client::login(server.address());
    for _ in 0..2 {
        for lba in [1024, 2040] {
            for cdb in [cdb::write(lba, 8), cdb::write_fua(lba, 8)] {
                let done = client.put(&cdb, &[7; 4096]);
                assert_eq!((done.response, done.status), (0, 2), "{done:?}");
                assert_eq!(client.put_immediate(&cdb, &[7; 4096]).status, 2);
            }
        }
    }
    client.put(&cdb::write_fua(1016, 8), &[7; 4096]).good();
    assert_eq!(client.get(&cdb::read(1024, 8), 4096).good(), [0; 4096]);
}

/// 9: UNMAP and WRITE SAME whose data come by Data-Out; WRITE SAME with NDOB.
#[test]
fn fault_09_unmap_and_write_same_do_something() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let ones = [1; 32 * 512];
    let (unmap, list) = cdb::unmap(8, 16);
    client.put(&cdb::write(0, 32), &ones).good();
    client.put(&unmap, &list).good();
    let mut expected = ones;
    expected[8 * 512..24 * 512].fill(0);
    assert_eq!(client.get(&cdb::read(0, 32), 32 * 512).good(), expected);
    for immediate in [false, true] {
        for (flags, byte) in [(0, 9), (8, 0)] {
            client.put(&cdb::write(0, 32), &ones).good();
            let cdb = cdb::sixteen(0x93, flags, 8, 16);
            let block = [byte; 512];
            if immediate { client.put_immediate(&cdb, &block) } else { client.put(&cdb, &block) }.good();
            expected[8 * 512..24 * 512].fill(byte);
            assert_eq!(client.get(&cdb::read(0, 32), 32 * 512).good(), expected, "{flags} {immediate}");
        }
    }
    for flags in [0x01, 0x09] {
        client.put(&cdb::write(0, 32), &ones).good();
        client.run(&cdb::sixteen(0x93, flags, 8, 16)).good();
        expected[8 * 512..24 * 512].fill(0);
        assert_eq!(client.get(&cdb::read(0, 32), 32 * 512).good(), expected, "NDOB, {flags}");
    }
}

/// 10: a write of many blocks while COMPARE AND WRITE compares and writes the same ones. Whoever comes first: the write is
/// what is there in the end, for after it the comparison fails, and before it the other's blocks are overwritten.
#[test]
fn fault_10_compare_and_write_against_writes_of_several_blocks() {
    const BLOCKS: u8 = 128;
    const LEN: usize = BLOCKS as usize * 512;
    let folder = folder();
    let image = image(folder.path(), "disk", 1 << 20);
    let server = Iesp::start(&["-d", &image, "--threads", "4"]);
    let [mut writer, mut comparer, mut reader] =
        [1, 2, 3].map(|number| Client::login_as(server.address(), Client::isid(number), KEYS));
    let barrier = Barrier::new(2);
    let mut before = 0;
    let mut both = [0, 0];
    for round in 1..=150u8 {
        let status = std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                writer.put_immediate(&cdb::write(4, BLOCKS.into()), &[round; LEN]).good();
            });
            let data = [[before; LEN], [0xee; LEN]].concat();
            barrier.wait();
            comparer.put_immediate(&cdb::compare_and_write(4, BLOCKS), &data).status
        });
        both[usize::from(status == 0)] += 1;
        let found = reader.get(&cdb::read(4, BLOCKS.into()), LEN as u32).good();
        assert_eq!(found, [round; LEN], "round {round}, COMPARE AND WRITE ended with {status}");
        before = round;
    }
    // Not an assertion: which of them comes first is the scheduler's affair.
    println!("came too late: {}, in time: {}", both[0], both[1]);
}

/// 10: counters that sessions raise by COMPARE AND WRITE lose nothing.
#[test]
fn fault_10_counters_raised_by_several_sessions() {
    const EACH: u64 = 60;
    let server = Iesp::ram("1M");
    let address = server.address();
    let raise = |number: u8| {
        let mut client = Client::login_as(address, Client::isid(number), KEYS);
        let mut raised = 0;
        while raised < EACH {
            let old = client.get(&cdb::read(5, 2), 1024).good();
            let count = u64::from_le_bytes(old[..8].try_into().expect("eight bytes"));
            let new = [&(count + 1).to_le_bytes()[..], &[number; 1016]].concat();
            let done = client.put(&cdb::compare_and_write(5, 2), &[old, new].concat());
            match done.status {
                0 => raised += 1,
                _ => assert_eq!(done.code(), (0xe, 0x1d, 0), "MISCOMPARE"),
            }
        }
    };
    std::thread::scope(|scope| (1..=4).for_each(|number| drop(scope.spawn(move || raise(number)))));
    let mut client = Client::login(address);
    let found = client.get(&cdb::read(5, 1), 512).good();
    assert_eq!(found[..8], (4 * EACH).to_le_bytes());
}

/// 8, 13: there is a caching mode page, it says that writes are cached, and a flush is done.
#[test]
fn fault_08_initiators_are_told_of_the_cache() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let page = client.get(&[0x1a, 8, 8, 0, 255, 0], 255).good();
    assert_eq!((page[4] & 0x3f, page[6] & 4), (8, 4), "WCE");
    assert_eq!(page[2] & 0x10, 0x10, "DPOFUA");
    client.run(&cdb::ten(0x35, 0, 0, 0)).good();
    client.run(&cdb::sixteen(0x91, 0, 0, 0)).good();
}

/// 20: the end of the disk, in each length; numbers that go round.
#[test]
fn fault_20_the_end_of_the_disk() {
    let mut server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    for (lba, blocks) in
        [(2048, 1), (2047, 2), (0, 2049), (0, u32::MAX), (u64::MAX, 1), (u64::MAX, u32::MAX), (1 << 63, 8)]
    {
        assert_eq!(client.get(&cdb::read(lba, blocks), 4096).code(), (5, 0x21, 0), "{lba} {blocks}");
        let done = client.put(&cdb::write(lba, blocks), &[1; 4096]);
        assert_eq!(done.code(), (5, 0x21, 0), "{lba} {blocks}");
        let (unmap, list) = cdb::unmap(lba, blocks);
        assert_eq!(client.put(&unmap, &list).code(), (5, 0x21, 0), "{lba} {blocks}");
    }
    let whole = client.get(&cdb::read(0, 2048), 1 << 20).good();
    assert!(whole.iter().all(|byte| *byte == 0));
    server.assert_well();
}

/// A write whose initiator has fewer bytes than the CDB says: no byte of another command's gets in.
#[test]
fn a_write_with_fewer_data_than_its_length_says() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    client.put(&cdb::write(0, 16), &[0x55; 8192]).good();
    let write = ScsiCommand { expected_len: 512, ..client.initiator.write(&cdb::write(0, 16), 0) };
    client.command(write, &[0x66; 512]);
    let found = client.get(&cdb::read(0, 16), 8192).good();
    assert!(found[..512].iter().all(|byte| *byte == found[0]), "{:?}", &found[..512]);
    assert!(found[512..].iter().all(|byte| *byte == 0x55));
}

/// A write whose initiator has a part of a block: it is told that nothing was written, and how much was missing.
#[test]
fn a_write_that_ends_within_a_block() {
    let mut server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    client.put(&cdb::write(0, 16), &[0x55; 8192]).good();
    for len in [200, 712] {
        let write = ScsiCommand { expected_len: len as u32, ..client.initiator.write(&cdb::write(0, 16), 0) };
        let refused = client.command(write, &vec![0x66; len]);
        assert_eq!((refused.code(), refused.residual), ((5, 0x0e, 3), Residual::Overflow(8192 - len as u32)));
        assert_eq!(client.get(&cdb::read(0, 16), 8192).good(), [0x55; 8192]);
    }
    server.assert_well();
}

/// A command that returns data, sent as one that brings some: none are moved, and all that was expected is the residual.
#[test]
fn commands_that_return_data_and_are_sent_as_writes() {
    let server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    client.put(&cdb::write(0, 8), &[1; 4096]).good();
    for (cdb, len) in [(&cdb::read(0, 8)[..], 4096), (&cdb::read(0, 8)[..], 512), (&cdb::inquiry(None, 255)[..], 255)] {
        let command = client.initiator.write(cdb, len);
        let done = client.command(command, &vec![0; len as usize]);
        assert_eq!((done.status, &done.data[..], done.residual), (0, &[][..], Residual::Underflow(len)), "{cdb:02x?}");
    }
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [1; 4096]);
}
