//! A target that answers a write before it has its data: the buffer must not come back while it is still being sent.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use iesp_testkit::iscsi::{Access, Cdb, Options, Session, Transfer, Url};
use support::{INITIATOR, Server, TARGET, numbered_file};

const WRITES: u64 = 128;
const LENGTH: usize = 256 * 1024;

#[test]
fn a_buffer_that_is_being_sent_stays_with_the_session() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::yardstick(&numbered_file(dir.path(), 1024));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("iscsi://{}/{TARGET}/0", listener.local_addr().expect("bound"));
    let (answered, wait_for_answer) = mpsc::channel();
    let (go_on, wait_to_go_on) = mpsc::channel::<()>();
    let target = std::thread::spawn(move || hasty_target(&listener, server.port, &answered, &wait_to_go_on));

    let options = Options { immediate_data: false, ..Options::default() };
    let mut session: Session =
        Session::open(&Url::parse(&url).expect("valid"), INITIATOR, &options).expect("a session");
    // More than the sockets of both sides take.
    for cookie in 0..WRITES {
        let cdb = Cdb::write16(0, 512, Access::default());
        session.submit(&cdb, Transfer::Out(vec![cookie as u8; LENGTH]), cookie).expect("submitted");
    }
    let mut completions = Vec::new();
    session.poll(Duration::ZERO, &mut completions).expect("sent what fits");
    wait_for_answer.recv().expect("the target has answered the first write");
    for _ in 0..3 {
        session.poll(Duration::from_millis(100), &mut completions).expect("the session lives");
        assert!(completions.is_empty(), "a buffer came back while PDUs wait to be sent");
    }
    go_on.send(()).expect("the target waits");
    while completions.is_empty() {
        session.poll(Duration::from_secs(5), &mut completions).expect("the session lives");
    }
    let first = &completions[0];
    assert_eq!((first.cookie, &first.result), (0, &Ok(())));
    assert!(first.buffer.as_ref().is_some_and(|buffer| buffer.len() == LENGTH && buffer.iter().all(|byte| *byte == 0)));
    drop(session);
    target.join().expect("no panic");
}

/// Passes everything to the yardstick until the first WRITE(16); answers that by its header alone and reads nothing
/// more until it is told to.
fn hasty_target(listener: &TcpListener, port: u16, answered: &mpsc::Sender<()>, go_on: &mpsc::Receiver<()>) {
    let (mut client, _) = listener.accept().expect("a client");
    let mut upstream = TcpStream::connect(("127.0.0.1", port)).expect("the yardstick");
    let (mut back, mut from) = (client.try_clone().expect("clone"), upstream.try_clone().expect("clone"));
    std::thread::spawn(move || std::io::copy(&mut from, &mut back));
    let mut header = [0; 48];
    loop {
        client.read_exact(&mut header).expect("a header");
        if header[0] & 0x3f == 0x01 && header[32] == 0x8a {
            break;
        }
        let length = usize::from(header[6]) << 8 | usize::from(header[7]);
        let mut data = vec![0; length.next_multiple_of(4)];
        client.read_exact(&mut data).expect("its data");
        upstream.write_all(&[&header[..], &data].concat()).expect("passed on");
    }
    let cmd_sn = u32::from_be_bytes(header[24..28].try_into().expect("four bytes"));
    let exp_stat_sn: [u8; 4] = header[28..32].try_into().expect("four bytes");
    let mut response = [0; 48];
    response[..2].copy_from_slice(&[0x21, 0x80]);
    response[16..20].copy_from_slice(&header[16..20]);
    response[24..28].copy_from_slice(&exp_stat_sn);
    response[28..32].copy_from_slice(&(cmd_sn + 1).to_be_bytes());
    response[32..36].copy_from_slice(&(cmd_sn + 1000).to_be_bytes());
    client.write_all(&response).expect("answered");
    answered.send(()).expect("the test waits");
    go_on.recv().expect("the test goes on");
    let _ = std::io::copy(&mut client, &mut std::io::sink());
}
