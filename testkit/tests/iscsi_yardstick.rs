//! The session against the yardstick, and so the yardstick against libiscsi.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
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
        let mut target = TcpStream::connect(("127.0.0.1", upstream)).expect("the target");
        let (mut back, mut from) = (client.try_clone().expect("clone"), target.try_clone().expect("clone"));
        std::thread::spawn(move || std::io::copy(&mut from, &mut back));
        let mut buffer = [0; 4096];
        let mut silent = false;
        while let Ok(length @ 1..) = client.read(&mut buffer) {
            silent |= length >= 48 && buffer[0] & 0x3f == 1 && buffer[32] == 0x88;
            if !silent {
                target.write_all(&buffer[..length]).expect("passed on");
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

/// Bytes that are no iSCSI end their connection, and nothing else: no panic, and the next session is served.
#[test]
fn garbage_ends_its_connection_alone() {
    let (server, _dir) = target();
    let login = {
        let mut pdu = [0; 48];
        (pdu[0], pdu[1]) = (0x43, 0x87);
        pdu
    };
    let text = |text: &[u8]| {
        let mut pdu = login.to_vec();
        pdu[4..8].copy_from_slice(&(text.len() as u32).to_be_bytes());
        pdu.extend_from_slice(text);
        pdu.resize(pdu.len().next_multiple_of(4), 0);
        pdu
    };
    let logged_in = text(format!("TargetName={TARGET}\0").as_bytes());
    let command = |opcode: u8, length: u32, cdb: &[u8]| {
        let mut pdu = vec![0; 48];
        (pdu[0], pdu[1]) = (opcode, 0x80);
        pdu[4..8].copy_from_slice(&length.to_be_bytes());
        pdu[20..24].copy_from_slice(&0xffff_ffff_u32.to_be_bytes());
        pdu[32..32 + cdb.len()].copy_from_slice(cdb);
        [&logged_in[..], &pdu, &[0; 64]].concat()
    };
    let write = [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut attempts = vec![
        vec![0xff; 48],
        vec![0; 48],
        text(&b"a=\0".repeat(80_000)),
        text(&[0xff; 300]),
        text(b"TargetName=nobody"),
        text(b"no equals sign\0"),
        command(0x01, 0x00ff_ffff, &write),
        command(0x01, 0x0100_0000, &write),
        command(0x01, 1024, &write),
        command(0x05, 512, &[]),
        command(0x01, 0, &[0x28, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        command(0x01, 0, &[0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        command(0x12, 0, &[]),
    ];
    let mut state = 1_u64;
    for _ in 0..200 {
        let mut noise = logged_in.clone();
        for _ in 0..300 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push((state >> 56) as u8 & if state & 0x700 == 0 { 0xff } else { 0x8f });
        }
        attempts.push(noise);
    }
    for attempt in attempts {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        // It may close while this is still being sent.
        let _ = stream.write_all(&attempt);
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "the connection hangs after {attempt:02x?}");
        }
    }
    let mut session: Session = Session::connect(&server.url(0), INITIATOR).expect("the next session");
    assert!(session.capacity().is_ok());
    assert!(!server.complaints().contains("panicked"), "{}", server.complaints());
}
