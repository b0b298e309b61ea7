//! The session against the yardstick, and so the yardstick against libiscsi.

mod support;

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use iesp_testkit::iscsi::{
    Access, Cdb, Completion, Error, Failure, Options, Residual, SenseKey, Session, Transfer, Url,
};
use support::{INITIATOR, Server, TARGET, numbered_file};

const BLOCKS: u64 = 16384;

fn target() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    (Server::yardstick(&numbered_file(dir.path(), BLOCKS)), dir)
}

fn all(session: &mut Session) -> Vec<Completion<Vec<u8>>> {
    let mut completions = Vec::new();
    while session.in_flight() > 0 {
        session.poll(Duration::from_secs(5), &mut completions).expect("the session lives");
    }
    completions
}

#[test]
fn the_disk_describes_itself() {
    let (server, _dir) = target();
    let mut session: Session = Session::connect(&server.url(0), INITIATOR).expect("a session");
    let capacity = session.capacity().expect("a capacity");
    assert_eq!((capacity.blocks, capacity.block_size, capacity.lbpme), (BLOCKS, 512, false));
    let standard = session.inquiry(None).expect("standard data");
    assert_eq!((standard.len(), &standard[8..16]), (36, &b"iESP    "[..]));
    let capacity10 = Cdb::new(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]).expect("a CDB");
    let reply = session.execute(&capacity10, Transfer::In(vec![0; 8])).expect("an answer");
    assert_eq!((reply.data, reply.residual), (vec![0, 0, 0x3f, 0xff, 0, 0, 2, 0], Residual::None));
    let reply = session.execute(&Cdb::report_luns(256), Transfer::In(vec![0; 256])).expect("an answer");
    assert_eq!((reply.data.len(), reply.residual), (16, Residual::Underflow(240)));
    session.logout().expect("logged out");
}

#[test]
fn writes_and_reads_of_all_sizes() {
    let (server, _dir) = target();
    for options in [Options::default(), Options { immediate_data: false, ..Options::default() }] {
        let url = Url::parse(&server.url(0)).expect("valid");
        let mut session: Session = Session::open(&url, INITIATOR, &options).expect("a session");
        let content = |lba: u64, blocks: u32| {
            (0..blocks * 512).map(|i| (u64::from(i / 7) ^ lba.wrapping_mul(31)) as u8).collect::<Vec<_>>()
        };
        let pieces: Vec<(u64, u32)> = (0..96).map(|i| (i * 128, [1, 8, 64, 127][i as usize % 4])).collect();
        let largest = (96 * 128, 512);
        let pieces: Vec<(u64, u32)> = pieces.into_iter().chain([largest]).collect();
        for &(lba, blocks) in &pieces {
            let cdb = Cdb::write16(lba, blocks, Access::default());
            session.submit(&cdb, Transfer::Out(content(lba, blocks)), lba).expect("submitted");
        }
        assert!(all(&mut session).iter().all(|done| done.result.is_ok()));
        // Larger than a segment: several Data-In PDUs.
        let reply =
            session.execute(&Cdb::read16(0, 97 * 128, Access::default()), Transfer::In(vec![0; 97 * 128 * 512]));
        let whole = reply.expect("read").data;
        for &(lba, blocks) in &pieces[..96] {
            let at = lba as usize * 512;
            assert!(whole[at..at + blocks as usize * 512] == content(lba, blocks), "block {lba}");
        }
        let cdb = Cdb::read10(largest.0 as u32, 512, Access::default());
        let reply = session.execute(&cdb, Transfer::In(vec![0; 512 * 512])).expect("read");
        assert!(reply.data == content(largest.0, 512));
    }
}

#[test]
fn refusals_carry_sense_data() {
    let (server, _dir) = target();
    let mut session: Session = Session::connect(&server.url(0), INITIATOR).expect("a session");
    for (cdb, asc) in [
        (Cdb::read16(BLOCKS, 1, Access::default()), 0x21),
        (Cdb::read16(u64::MAX, 1, Access::default()), 0x21),
        (Cdb::inquiry(Some(0xb0), 512), 0x24),
        (Cdb::new(&[0xff; 6]).expect("a CDB"), 0x20),
    ] {
        let reply = session.execute(&cdb, Transfer::In(vec![0; 512])).expect("an answer");
        let failure = reply.result.expect_err("refused");
        assert!(failure.sense().is_some_and(|sense| sense.is(SenseKey::IllegalRequest, asc, 0)), "{cdb:?}: {failure}");
    }
    let no_unit = Session::<Vec<u8>>::connect(&server.url(5), INITIATOR).err().expect("no such unit");
    assert!(matches!(&no_unit, Error::Command { what: "TEST UNIT READY", failure: Failure::CheckCondition(_) }));
}

/// A target that dies completes everything that was in flight, and gives the buffers back.
#[test]
fn a_lost_connection_completes_everything() {
    let (server, _dir) = target();
    let mut session: Session = Session::connect(&server.url(0), INITIATOR).expect("a session");
    for cookie in 0..32 {
        let cdb = Cdb::write16(cookie, 8, Access::default());
        session.submit(&cdb, Transfer::Out(vec![1; 4096]), cookie).expect("submitted");
    }
    drop(server);
    let completions = all(&mut session);
    assert_eq!(completions.len(), 32);
    assert!(completions.iter().all(|done| done.buffer.as_ref().is_some_and(|buffer| buffer.len() == 4096)));
    assert!(completions.iter().all(|done| done.result == Err(Failure::Lost)), "{:?}", completions[0].result);
    let mut none = Vec::new();
    assert!(matches!(session.poll(Duration::ZERO, &mut none), Err(Error::Lost { .. })));
    let refused = session.submit(&Cdb::test_unit_ready(), Transfer::In(vec![7; 3]), 0).expect_err("it is over");
    assert!(matches!(refused.transfer, Transfer::In(buffer) if buffer == [7; 3]));
    assert!(session.capacity().is_err());
}

/// A target that logs in and then says nothing more: the wait ends, and the overdue command says so.
#[test]
fn a_silent_target_is_a_timeout() {
    let (server, _dir) = target();
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = proxy.local_addr().expect("bound");
    let upstream = server.port;
    // Passes on what comes until the first READ(16) is seen, and swallows everything from there on.
    std::thread::spawn(move || {
        let (mut client, _) = proxy.accept().expect("a client");
        let mut target = std::net::TcpStream::connect(("127.0.0.1", upstream)).expect("the target");
        let (mut back, mut from) = (client.try_clone().expect("clone"), target.try_clone().expect("clone"));
        std::thread::spawn(move || std::io::copy(&mut from, &mut back));
        let mut buffer = [0; 4096];
        let mut silent = false;
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            silent |= length >= 48 && buffer[0] & 0x3f == 1 && buffer[32] == 0x88;
            if !silent {
                std::io::Write::write_all(&mut target, &buffer[..length]).expect("passed on");
            }
        }
    });
    let url = Url::parse(&format!("iscsi://{address}/{TARGET}/0")).expect("valid");
    let options = Options { timeout: Duration::from_millis(300), ..Options::default() };
    let mut session: Session = Session::open(&url, INITIATOR, &options).expect("a session");
    let start = Instant::now();
    session.submit(&Cdb::read16(0, 1, Access::default()), Transfer::In(vec![0; 512]), 9).expect("submitted");
    let completions = all(&mut session);
    assert_eq!(completions[0].result, Err(Failure::TimedOut));
    assert!(completions[0].buffer.is_some() && completions[0].cookie == 9);
    assert!((300..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert!(matches!(session.capacity(), Err(Error::TimedOut { .. })));
}

#[test]
fn sessions_move_between_threads() {
    let (server, _dir) = target();
    let sessions: Vec<Session> =
        (0..4).map(|_| Session::connect(&server.url(0), INITIATOR).expect("a session")).collect();
    std::thread::scope(|scope| {
        for mut session in sessions {
            scope.spawn(move || {
                for cookie in 0..500 {
                    let cdb = Cdb::read16(cookie, 1, Access::default());
                    session.submit(&cdb, Transfer::In(vec![0; 512]), cookie).expect("submitted");
                }
                assert!(all(&mut session).iter().all(|done| {
                    done.buffer.as_ref().is_some_and(|buffer| buffer[..8] == done.cookie.to_le_bytes())
                }));
            });
        }
    });
}

#[test]
fn the_yardstick_refuses_what_is_not_loopback() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = numbered_file(dir.path(), 1);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_yardstick"));
    let output = command.arg("--file").arg(&file).args(["--listen", "0.0.0.0:0"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback"));
}
