//! An export that two of these programs serve: newer data of the other one is never overwritten by what a lost server may have
//! forgotten.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::away::until_ready;
use crate::servers::{Server, pattern, session, uuid};
use crate::support::client::KEYS;
use crate::support::process::{command, folder, image};
use crate::support::{Client, Iesp, cdb};

const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// As two machines serve it: the same UUID is given.
fn iesp(server: &Server) -> Iesp {
    Iesp::start(&["-d", &server.url, "--uuid", &uuid(), "-L", "error,info"])
}

/// A session beside the first one.
fn another(iesp: &Iesp) -> Client {
    Client::login_as(iesp.address(), Client::isid(2), KEYS)
}

/// A writes; B writes over it and flushes; the server is killed and started: everybody reads what B wrote.
fn newer_data_stays(mut server: Server) {
    let (one, other) = (iesp(&server), iesp(&server));
    let (mut a, mut b) = (session(&one), session(&other));
    a.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    b.put(&cdb::write(0, 8), &pattern(2, 4096)).good();
    b.run(&FLUSH).good();
    server.kill();
    server.start_again();
    for client in [&mut a, &mut b, &mut another(&one), &mut another(&other)] {
        assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), pattern(2, 4096), "it was written later, and flushed");
    }
    for _ in 0..3 {
        assert_eq!(a.run(&FLUSH).code().0, 3, "what A wrote may be lost, whoever asks and how often");
    }
    assert_eq!(a.put(&cdb::write_fua(8, 8), &pattern(3, 4096)).code().0, 3, "nothing is durable after it");
    b.run(&FLUSH).good();
    assert_eq!(b.get(&cdb::read(0, 8), 4096).good(), pattern(2, 4096));
    assert!(one.errors().contains("may be lost") && !other.errors().contains("may be lost"), "{}", other.errors());
}

#[test]
fn newer_data_of_another_client_stays_on_nbdkit() {
    let folder = folder();
    let path = image(folder.path(), "disk", 32 << 20);
    let Some(server) = Server::nbdkit(folder.path(), &["file", &path]) else { return };
    newer_data_stays(server);
}

#[test]
fn newer_data_of_another_client_stays_on_qemu_nbd() {
    let folder = folder();
    let Some(server) = Server::qemu(folder.path(), "raw", 32 << 20) else { return };
    newer_data_stays(server);
}

/// A server that forgets everything when it is killed: what no flush had covered is not written again, and flushes say so.
/// What waited for no flush costs nothing.
#[test]
fn writes_that_no_flush_covered_fail_flushes() {
    let folder = folder();
    let Some(mut server) = Server::nbdkit(folder.path(), &["memory", "32M"]) else { return };
    let control = folder.path().join("control").display().to_string();
    let iesp = Iesp::start(&["-d", &server.url, "--uuid", &uuid(), "-L", "error,info", "--control", &control]);
    let mut client = session(&iesp);
    let url = server.url.clone();
    let restore = || {
        let output = command(&["restore", &url, "--control", &control]).output().expect("it runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), text)
    };
    let mut lose = |client: &mut Client| {
        server.kill();
        server.start_again();
        until_ready(client);
    };
    client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    client.run(&FLUSH).good();
    client.put(&cdb::write_fua(16, 8), &pattern(2, 4096)).good();
    lose(&mut client);
    client.run(&FLUSH).good();
    client.put(&cdb::write(0, 8), &pattern(3, 4096)).good();
    lose(&mut client);
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [0; 4096], "another client may have written there since");
    client.put(&cdb::write(0, 8), &pattern(4, 4096)).good();
    for client in [&mut client, &mut another(&iesp)] {
        assert_eq!(client.run(&FLUSH).code().0, 3, "MEDIUM ERROR");
    }
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), pattern(4, 4096), "reads and writes go on");
    // Until somebody has looked into it.
    let (done, text) = restore();
    assert!(done && text.contains("given back"), "{text}");
    client.run(&FLUSH).good();
    client.put(&cdb::write_fua(0, 8), &pattern(5, 4096)).good();
    let (done, text) = restore();
    assert!(done && text.contains("no flush of it has failed"), "{text}");
}

/// A connection that is left because the export has another size: nothing is lost with it.
#[test]
fn another_size_of_a_shared_export() {
    let folder = folder();
    let path = image(folder.path(), "disk", 32 << 20);
    let Some(server) = Server::nbdkit(folder.path(), &["file", &path]) else { return };
    let iesp = iesp(&server);
    let mut client = session(&iesp);
    client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    File::options().write(true).open(&path).and_then(|file| file.set_len(64 << 20)).expect("it grows");
    let deadline = Instant::now() + crate::support::process::PATIENCE;
    while client.run(&[0; 6]).status == 0 {
        assert!(Instant::now() < deadline, "initiators are not told");
        std::thread::sleep(Duration::from_millis(50));
    }
    client.put(&cdb::write(98304, 8), &pattern(2, 4096)).good();
    client.run(&FLUSH).good();
    assert!(!iesp.errors().contains("may be lost"), "{}", iesp.errors());
}

/// What is served how: by the identity that is given, or as a flag says; the log and the screen say which.
#[test]
fn what_counts_as_shared() {
    let folder = folder();
    let Some(server) = Server::nbdkit(folder.path(), &["memory", "1M"]) else { return };
    let uuid = uuid();
    for (more, shared) in [
        (&[][..], false),
        (&["--uuid", &uuid][..], true),
        (&["--nbd-shared"], true),
        (&["--nbd-shared=false", "--uuid", &uuid], false),
    ] {
        let mut command = command(&["-d", &server.url, "-i", "127.0.0.1", "-p", "0", "-L", "error,info"]);
        command.args(more).env("STATE_DIRECTORY", folder.path());
        let iesp = Iesp::spawn(command);
        let (log, screen) = (iesp.errors(), &iesp.screen);
        assert_eq!(screen.contains(", shared"), shared, "{more:?}: {screen}");
        assert_eq!((log.contains("shared: "), log.contains("exclusive: ")), (shared, !shared), "{more:?}: {log}");
    }
}
