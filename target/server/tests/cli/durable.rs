//! What was written is there: after a stop, after a kill, for the next session and for the other ones.

use iesp_iscsi::pdu::LoginStatus;

use crate::support::client::KEYS;
use crate::support::initiator::Answer;
use crate::support::process::{folder, image};
use crate::support::{Client, Iesp, cdb};

#[test]
fn data_are_there_after_a_stop_and_after_a_kill() {
    let folder = folder();
    let image = image(folder.path(), "disk", 1 << 20);
    for round in 1..=4u8 {
        let mut server = Iesp::start(&["-d", &image]);
        let mut client = Client::login(server.address());
        if round > 1 {
            assert_eq!(client.get(&cdb::read(0, 64), 32768).good(), [round - 1; 32768]);
        }
        client.put(&cdb::write(0, 64), &[round; 32768]).good();
        if round % 2 == 0 {
            server.kill();
        } else {
            assert_eq!(server.stop().0.code(), Some(0));
        }
        assert_eq!(std::fs::read(&image).expect("it is there")[..32768], [round; 32768]);
    }
}

#[test]
fn two_sessions_see_what_the_other_one_wrote() {
    let server = Iesp::ram("1M");
    let [mut one, mut two] = [1, 2].map(|number| Client::login_as(server.address(), Client::isid(number), KEYS));
    for round in 1..=50u8 {
        one.put(&cdb::write(0, 8), &[round; 4096]).good();
        assert_eq!(two.get(&cdb::read(0, 8), 4096).good(), [round; 4096]);
        two.put_immediate(&cdb::write(8, 8), &[round; 4096]).good();
        assert_eq!(one.get(&cdb::read(8, 8), 4096).good(), [round; 4096]);
    }
}

/// 6.3.5: the same initiator and ISID: the old session ends, its task is not answered, the new one begins afresh.
#[test]
fn a_session_is_reinstated() {
    let server = Iesp::ram("1M");
    let mut old = Client::login(server.address());
    let write = old.initiator.write(&cdb::write(0, 8), 4096);
    old.begin(&write);
    assert!(matches!(old.answer(), Answer::R2t(_)));
    // Its unit attention is looked at.
    let mut new = Client::login(server.address());
    new.run(&[0]).good();
    assert_eq!(old.answer_or_end(), None);
    // Another ISID is another session.
    let mut other = Client::login_as(server.address(), Client::isid(1), KEYS);
    other.run(&[0]).good();
    new.run(&[0]).good();
}

/// A reservation goes with its session.
#[test]
fn a_reservation_ends_with_its_session() {
    let server = Iesp::ram("1M");
    let [mut one, mut two] = [1, 2].map(|number| Client::login_as(server.address(), Client::isid(number), KEYS));
    one.run(&[0x16]).good();
    assert_eq!(two.run(&[0]).status, 0x18, "RESERVATION CONFLICT");
    drop(one);
    let deadline = std::time::Instant::now() + crate::support::process::PATIENCE;
    while two.run(&[0]).status == 0x18 {
        assert!(std::time::Instant::now() < deadline, "it stays");
    }
}

#[test]
fn a_read_only_disk() {
    let folder = folder();
    let image = image(folder.path(), "disk", 1 << 20);
    let server = Iesp::start(&["-d", &image, "--read-only"]);
    let mut client = Client::login(server.address());
    for cdb in [cdb::write(0, 1), cdb::sixteen(0x93, 0, 0, 1)] {
        assert_eq!(client.put(&cdb, &[1; 512]).code(), (7, 0x27, 0));
        assert_eq!(client.put_immediate(&cdb, &[1; 512]).code(), (7, 0x27, 0));
    }
    assert_eq!(client.get(&cdb::read(0, 1), 512).good(), [0; 512]);
    assert_eq!(client.get(&[0x1a, 8, 0x3f, 0, 255, 0], 255).good()[2] & 0x80, 0x80, "WP");
    assert!(std::fs::read(&image).expect("it is there").iter().all(|byte| *byte == 0));
}

#[test]
fn blocks_of_4096_bytes() {
    let server = Iesp::start(&["-b", "ram", "-d", "1M", "--block-size", "4096"]);
    let mut client = Client::login(server.address());
    client.put(&cdb::write(255, 1), &[3; 4096]).good();
    assert_eq!(client.get(&cdb::read(255, 1), 4096).good(), [3; 4096]);
    assert_eq!(client.get(&cdb::read(256, 1), 4096).code(), (5, 0x21, 0));
}

/// `-D`: none is agreed to.
#[test]
fn no_digests() {
    let server = Iesp::start(&["-b", "ram", "-d", "1M", "-D"]);
    let keys = KEYS.replace("Digest=None", "Digest=CRC32C,None");
    let mut client = Client::connect(server.address());
    assert_eq!(client.log_in("test", &keys).status, LoginStatus::Success);
    assert_eq!(client.initiator.digests, iesp_iscsi::outbox::Digests::default());
    let server = Iesp::ram("1M");
    let mut client = Client::login_as(server.address(), Client::isid(1), &keys);
    assert!(client.initiator.digests.header && client.initiator.digests.data);
    client.put(&cdb::write(0, 8), &[3; 4096]).good();
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [3; 4096]);
}

/// `-T`: whether space is given back.
#[test]
fn trim_levels() {
    for (level, unmaps, zeros) in [("0", false, false), ("1", true, false), ("2", true, true)] {
        let server = Iesp::start(&["-b", "ram", "-d", "1M", "-T", level]);
        let mut client = Client::login(server.address());
        let pages = client.get(&cdb::inquiry(Some(0xb2), 255), 255);
        assert_eq!(pages.status == 0 && pages.good()[5] & 0x80 != 0, unmaps, "LBPU at level {level}");
        client.put(&cdb::write(0, 128), &[1; 65536]).good();
        let (unmap, list) = cdb::unmap(0, 128);
        let done = client.put(&unmap, &list);
        assert_eq!(done.status == 0, unmaps, "UNMAP at level {level}: {done:?}");
        client.put(&cdb::write(0, 128), &[1; 65536]).good();
        client.put(&cdb::write(0, 128), &[0; 65536]).good();
        assert_eq!(client.get(&cdb::read(0, 128), 65536).good(), [0; 65536]);
        if unmaps {
            let status = client.get(&cdb::lba_status(0, 24), 24).good();
            assert_eq!(status[20] & 0xf == 1, zeros, "level {level}");
        }
    }
}
