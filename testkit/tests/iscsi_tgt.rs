//! The session against Debian's tgt: a target that is not ours.

mod support;

use std::time::Duration;

use iesp_testkit::iscsi::{Access, Cdb, Error, Options, SenseKey, Session, Transfer, Url};
use support::{INITIATOR, Server, TARGET, numbered_file};

const BLOCKS: u64 = 8192;

/// A target and the folder of its file; `None`, with a line that says so, where tgt is not installed.
fn target() -> Option<(Server, tempfile::TempDir)> {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::tgt(&numbered_file(dir.path(), BLOCKS));
    if server.is_none() {
        eprintln!("not run: tgtd is not installed (Debian: tgt)");
    }
    server.map(|server| (server, dir))
}

#[test]
fn many_reads_in_flight_come_back_with_the_right_data() {
    let Some((server, _dir)) = target() else { return };
    let mut session: Session = Session::connect(&server.url(1), INITIATOR).expect("a session");
    let capacity = session.capacity().expect("a capacity");
    assert_eq!((capacity.blocks, capacity.block_size), (BLOCKS, 512));
    for cookie in 0..200 {
        let cdb = Cdb::read16(cookie * 7, 3, Access::default());
        session.submit(&cdb, Transfer::In(vec![0; 3 * 512]), cookie).expect("submitted");
    }
    assert_eq!(session.in_flight(), 200);
    let mut completions = Vec::new();
    while session.in_flight() > 0 {
        session.poll(Duration::from_secs(5), &mut completions).expect("the session lives");
    }
    let mut cookies: Vec<u64> = completions.iter().map(|done| done.cookie).collect();
    cookies.sort_unstable();
    assert_eq!(cookies, (0..200).collect::<Vec<_>>());
    for done in &completions {
        assert_eq!(done.result, Ok(()));
        let buffer = done.buffer.as_ref().expect("a read has a buffer");
        for (block, expected) in buffer.chunks(512).zip(done.cookie * 7..) {
            assert_eq!(block[..8], expected.to_le_bytes());
            assert_eq!(block[8..], [0xa5; 504]);
        }
    }
    session.logout().expect("logged out");
}

/// tgt as it comes takes 8 KiB segments: a large write is sent as many Data-Out PDUs, solicited ones among them.
#[test]
fn large_writes_arrive_whole() {
    let Some((server, _dir)) = target() else { return };
    let mut session: Session = Session::connect(&server.url(1), INITIATOR).expect("a session");
    let pattern = |cookie: u64| (0..1024 * 512).map(|i| ((i / 512) as u64 + cookie * 31) as u8).collect::<Vec<u8>>();
    for cookie in 0..4 {
        let cdb = Cdb::write10(cookie as u32 * 1024, 1024, Access { fua: cookie == 3, dpo: false });
        session.submit(&cdb, Transfer::Out(pattern(cookie)), cookie).expect("submitted");
    }
    let mut completions = Vec::new();
    while session.in_flight() > 0 {
        session.poll(Duration::from_secs(5), &mut completions).expect("the session lives");
    }
    for done in &completions {
        assert_eq!(done.result, Ok(()));
        assert_eq!(done.buffer.as_ref(), Some(&pattern(done.cookie)), "a write's buffer comes back as it was");
    }
    for cookie in 0..4 {
        let cdb = Cdb::read16(cookie * 1024, 1024, Access::default());
        let reply = session.execute(&cdb, Transfer::In(vec![0; 1024 * 512])).expect("read");
        assert!(reply.result.is_ok() && reply.data == pattern(cookie), "block {}", cookie * 1024);
    }
}

#[test]
fn sense_data_is_readable() {
    let Some((server, _dir)) = target() else { return };
    let mut session: Session = Session::connect(&server.url(1), INITIATOR).expect("a session");
    let beyond = Cdb::read16(BLOCKS, 1, Access::default());
    let failure = session.execute(&beyond, Transfer::In(vec![0; 512])).expect("an answer").result.expect_err("beyond");
    let sense = failure.sense().expect("sense data");
    assert!(sense.is(SenseKey::IllegalRequest, 0x21, 0), "{failure}");
    assert!(failure.to_string().contains("IllegalRequest, 21h/00h"), "{failure}");
    assert!(session.inquiry(None).expect("standard data").len() >= 36);
    assert!(matches!(session.inquiry(Some(0xee)), Err(Error::Command { what: "INQUIRY", .. })));
    assert!(session.capacity().is_ok(), "the session goes on");
}

#[test]
fn dropped_with_commands_in_flight() {
    let Some((server, _dir)) = target() else { return };
    for turns in 0..3 {
        let mut session: Session = Session::connect(&server.url(1), INITIATOR).expect("a session");
        for cookie in 0..64 {
            let (read, write) = (vec![0; 65536], vec![1; 65536]);
            session.submit(&Cdb::read16(cookie, 128, Access::default()), Transfer::In(read), cookie).expect("read");
            session.submit(&Cdb::write16(cookie, 128, Access::default()), Transfer::Out(write), cookie).expect("write");
        }
        let mut completions = Vec::new();
        for _ in 0..turns {
            session.poll(Duration::from_secs(5), &mut completions).expect("the session lives");
        }
        drop(session);
    }
}

#[test]
fn a_wrong_name_is_refused_with_the_reason() {
    let Some((server, _dir)) = target() else { return };
    let url = server.url(1).replace(TARGET, "iqn.2024-01.org.example:nobody");
    let error = Session::<Vec<u8>>::connect(&url, INITIATOR).err().expect("refused");
    assert!(matches!(&error, Error::Login { reason, .. } if reason.contains("not found")), "{error}");
}

/// A target that stops answering ends the wait and every command; the buffers come back.
#[test]
fn silence_is_a_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("iscsi://{}/{TARGET}/0", silent.local_addr().expect("bound"));
    let options = Options { connect_timeout: Duration::from_millis(200), ..Options::default() };
    let url = Url::parse(&url).expect("valid");
    let error = Session::<Vec<u8>>::open(&url, INITIATOR, &options).err().expect("nobody answers");
    assert!(matches!(error, Error::TimedOut { what: "login", .. }), "{error}");
}

#[test]
fn nobody_listens() {
    let port = support::free_port();
    let error = Session::<Vec<u8>>::connect(&format!("iscsi://127.0.0.1:{port}/{TARGET}/0"), INITIATOR);
    let error = error.err().expect("nobody listens");
    assert!(matches!(&error, Error::Connect { reason, .. } if reason.contains("refused")), "{error}");
}
