//! The server goes away: what was acknowledged is not lost, what was not is done again, and nobody waits for ever.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::servers::{Server, pattern, session};
use crate::support::process::{folder, image};
use crate::support::{Client, cdb};

const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A server that forgets everything when it is killed: what was written since the last flush is written again.
#[test]
fn writes_since_the_last_flush_are_written_again() {
    let folder = folder();
    let Some(mut server) = Server::nbdkit(folder.path(), &["memory", "32M"]) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    client.run(&FLUSH).good();
    client.put(&cdb::write_fua(200, 8), &pattern(4, 4096)).good();
    // Over each other, with zeros among them.
    client.put(&cdb::write(100, 64), &pattern(2, 64 * 512)).good();
    client.put(&cdb::write(110, 8), &pattern(3, 4096)).good();
    client.put(&cdb::sixteen(0x93, 8, 130, 8), &[0; 512]).good();
    client.put(&cdb::write_fua(140, 8), &pattern(5, 4096)).good();
    server.kill();
    server.start_again();
    let mut expected = pattern(2, 64 * 512);
    expected[10 * 512..18 * 512].copy_from_slice(&pattern(3, 4096));
    expected[30 * 512..38 * 512].fill(0);
    // Durable as it is: what lay under it must not come back.
    expected[40 * 512..48 * 512].copy_from_slice(&pattern(5, 4096));
    assert_eq!(client.get(&cdb::read(100, 64), 64 * 512).good(), expected);
    // Memory is gone: what this server called durable was not, so that it shows what was sent again and what was not.
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [0; 4096]);
    assert_eq!(client.get(&cdb::read(200, 8), 4096).good(), [0; 4096]);
    client.run(&FLUSH).good();
    server.kill();
    server.start_again();
    assert_eq!(client.get(&cdb::read(100, 64), 64 * 512).good(), vec![0; 64 * 512], "a flush ends it");
}

/// Killed and started again, again and again, with commands under way: each is answered, and nothing is lost.
#[test]
fn killed_under_load() {
    const ROUNDS: u64 = 50;
    const WRITES: u64 = 24;
    let folder = folder();
    let path = image(folder.path(), "disk", 32 << 20);
    let arguments = ["--filter=delay", "file", &path, "delay-write=1ms"];
    let Some(mut server) = Server::nbdkit(folder.path(), &arguments) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    let place = |number: u64| number * 7 % 64 * 16;
    let mut expected = vec![[0; 4096]; 64];
    for round in 0..ROUNDS {
        let mut commands = Vec::new();
        for number in 0..WRITES {
            let seed = round * WRITES + number;
            let data = pattern(seed, 4096);
            let bytes = if number % 5 == 0 { cdb::write_fua(place(seed), 8) } else { cdb::write(place(seed), 8) };
            expected[(place(seed) / 16) as usize].copy_from_slice(&data);
            let command = client.initiator.write(&bytes, 4096);
            let unit = client.initiator.unit(&command.emit(), &data);
            client.send(&unit);
            commands.push((command.itt, data));
        }
        std::thread::sleep(Duration::from_micros(round * 97 % 3000));
        server.kill();
        server.start_again();
        for (itt, data) in commands {
            client.finish(itt, &data).good();
        }
        if round % 3 == 0 {
            client.run(&FLUSH).good();
        }
    }
    for (number, data) in expected.iter().enumerate() {
        assert_eq!(client.get(&cdb::read(number as u64 * 16, 8), 4096).good(), data, "place {number}");
    }
    client.run(&FLUSH).good();
    let file = std::fs::read(&path).expect("the image");
    for (number, data) in expected.iter().enumerate() {
        assert_eq!(&file[number * 8192..][..4096], data, "place {number}");
    }
}

/// Past the limit commands fail in a way that sends initiators to another path; a flush that covers what may be lost fails,
/// also when the server is back.
#[test]
fn a_server_that_stays_away() {
    let folder = folder();
    let Some(mut server) = Server::nbdkit(folder.path(), &["memory", "32M"]) else { return };
    let mut iesp = server.iesp(&["--nbd-reconnect", "1"]);
    let mut client = session(&iesp);
    client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    server.kill();
    let start = Instant::now();
    assert_eq!(client.get(&cdb::read(0, 8), 4096).code().0, 2, "NOT READY");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(900) && waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(client.run(&FLUSH).code().0, 2, "at once from now on");
    server.start_again();
    until_ready(&mut client);
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), [0; 4096], "others may have written there meanwhile");
    client.put(&cdb::write(0, 8), &pattern(2, 4096)).good();
    for _ in 0..2 {
        assert_eq!(client.run(&FLUSH).code().0, 3, "what was acknowledged is lost, whoever asks");
    }
    let (status, took) = iesp.stop();
    assert!(status.code() == Some(1) && took < Duration::from_secs(8), "{status:?} {took:?}");
    assert!(iesp.errors().contains("flush"), "{}", iesp.errors());
}

/// Nothing was waiting for a flush: then a long absence costs nothing.
#[test]
fn an_absence_with_nothing_to_lose() {
    let folder = folder();
    let path = image(folder.path(), "disk", 32 << 20);
    let Some(mut server) = Server::nbdkit(folder.path(), &["file", &path]) else { return };
    let mut iesp = server.iesp(&["--nbd-reconnect", "1"]);
    let mut client = session(&iesp);
    client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    client.run(&FLUSH).good();
    server.kill();
    assert_eq!(client.get(&cdb::read(0, 8), 4096).code().0, 2, "NOT READY");
    server.start_again();
    until_ready(&mut client);
    let (gone, back) = (iesp.errors().find("stays away"), iesp.errors().find("is back"));
    assert!(gone.is_some() && gone < back, "its return is told where its going was: {}", iesp.errors());
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), pattern(1, 4096));
    client.run(&FLUSH).good();
    let (status, _) = iesp.stop();
    assert!(status.success(), "{status:?}: {}", iesp.errors());
}

/// The export grows and shrinks, while it is connected and while the server is away: initiators are told (2Ah/09h), and see it.
#[test]
fn another_size() {
    let folder = folder();
    let path = image(folder.path(), "disk", 32 << 20);
    let Some(mut server) = Server::nbdkit(folder.path(), &["file", &path]) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
    let blocks = |client: &mut Client| {
        let answer = client.get(&cdb::sixteen(0x9e, 0x10, 0, 32), 32).good();
        u64::from_be_bytes(answer[..8].try_into().expect("eight bytes")) + 1
    };
    let told = |client: &mut Client| {
        let deadline = Instant::now() + crate::support::process::PATIENCE;
        loop {
            let answer = client.run(&[0; 6]);
            if answer.status != 0 {
                return assert_eq!(answer.code(), (6, 0x2a, 9), "CAPACITY DATA HAS CHANGED");
            }
            assert!(Instant::now() < deadline, "nobody is told");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let resize = |len: u64| File::options().write(true).open(&path).and_then(|file| file.set_len(len)).expect("a size");
    assert_eq!(blocks(&mut client), 65536);
    resize((48 << 20) + 512);
    told(&mut client);
    assert_eq!(blocks(&mut client), 98305);
    client.put(&cdb::write(98297, 8), &pattern(2, 4096)).good();
    assert_eq!(client.get(&cdb::read(98297, 8), 4096).good(), pattern(2, 4096));
    server.kill();
    resize(16 << 20);
    server.start_again();
    told(&mut client);
    assert_eq!(blocks(&mut client), 32768);
    assert_eq!(client.get(&cdb::read(98297, 8), 4096).code(), (5, 0x21, 0), "beyond the end");
    assert_eq!(client.get(&cdb::read(0, 8), 4096).good(), pattern(1, 4096));
    client.put(&cdb::write(32760, 8), &pattern(3, 4096)).good();
    client.run(&FLUSH).good();
}

/// Another export under the same name is not served as if it were the one that was there.
#[test]
fn another_export_in_its_place() {
    let folder = folder();
    let Some(server) = Server::nbdkit(folder.path(), &["memory", "32M"]) else { return };
    let iesp = server.iesp(&["--nbd-reconnect", "1"]);
    let mut client = session(&iesp);
    drop(server);
    let _other = Server::nbdkit(folder.path(), &["-r", "memory", "32M"]);
    assert_eq!(client.get(&cdb::read(0, 8), 4096).code().0, 2, "NOT READY");
    assert!(iesp.errors().contains("changed"), "{}", iesp.errors());
}

/// A flush that fails is an error; what it was to cover is written again before the next one.
#[test]
fn a_flush_that_fails() {
    let folder = folder();
    let trigger = folder.path().join("trigger");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in get_size) echo 32M;; can_write|can_flush) exit 0;; can_fua) echo none;; \
         pread) dd if={0}/data bs=1 skip=$4 count=$3 2>/dev/null;; \
         pwrite) echo $4 >> {0}/writes; dd of={0}/data bs=1 seek=$4 conv=notrunc 2>/dev/null;; \
         flush) if [ -e {1} ]; then echo 'EIO no luck' >&2; exit 1; fi;; *) exit 2;; esac",
        folder.path().display(),
        trigger.display()
    );
    image(folder.path(), "data", 32 << 20);
    let file = folder.path().join("server.sh");
    std::fs::write(&file, script).expect("a script");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its own");
    let script = file.display().to_string();
    let Some(server) = Server::nbdkit(folder.path(), &["sh", &script]) else { return };
    let iesp = server.iesp(&[]);
    let mut client = session(&iesp);
    let writes = || std::fs::read_to_string(folder.path().join("writes")).unwrap_or_default().lines().count();
    client.put(&cdb::write(8, 1), &pattern(1, 512)).good();
    assert_eq!(writes(), 1);
    std::fs::write(&trigger, "").expect("a file");
    assert_eq!(client.run(&FLUSH).code().0, 3, "MEDIUM ERROR");
    std::fs::remove_file(&trigger).expect("it is there");
    client.run(&FLUSH).good();
    assert_eq!(writes(), 2, "written again");
    client.run(&FLUSH).good();
    assert_eq!(client.get(&cdb::read(8, 1), 512).good(), pattern(1, 512));
    assert_eq!(writes(), 2);
}

/// More than the journal keeps: it is flushed meanwhile, and nothing waits for ever.
#[test]
fn more_writes_than_the_journal_keeps() {
    let folder = folder();
    let Some(server) = Server::nbdkit(folder.path(), &["memory", "256M"]) else { return };
    let iesp = server.iesp(&[]);
    let before = iesp.status_kb("VmRSS");
    let mut client = session(&iesp);
    let data = pattern(1, 1 << 20);
    for megabyte in 0..200 {
        client.put(&cdb::write(megabyte * 2048, 2048), &data).good();
    }
    let grown = iesp.status_kb("VmRSS") - before;
    assert!(grown < 120 << 10, "{grown} kB more");
    client.run(&FLUSH).good();
}

pub fn until_ready(client: &mut Client) {
    let deadline = Instant::now() + crate::support::process::PATIENCE;
    while client.get(&cdb::read(0, 8), 4096).status != 0 {
        assert!(Instant::now() < deadline, "it does not come back");
        std::thread::sleep(Duration::from_millis(20));
    }
}
