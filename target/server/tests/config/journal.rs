//! The journal of systemd. Its socket has one place alone, so the program gets a /run of its own, in which the test plays it.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use iesp_iscsi::pdu::LoginStatus;

use crate::support::Iesp;
use crate::support::initiator::INITIATOR;
use crate::support::process::{PATIENCE, folder};
use crate::{PORTAL, Served, target, write};

/// What begins a program with a file system of its own.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--"]).stdin(Stdio::null());
    command
}

/// Whether this user may begin one: not everywhere may others than root.
fn may_unshare() -> bool {
    let may = unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !may {
        println!("left out: this user gets no file system of its own (unshare --user --mount)");
    }
    may
}

/// The program by this file, with `run` as its /run.
fn command(run: &Path, file: &str) -> Command {
    let mut command = unshare();
    command.args(["sh", "-c", "mount --bind \"$0\" /run && exec \"$@\""]).arg(run);
    command.arg(crate::support::process::program()).args(["--config", file]);
    command.env_remove("RUST_LOG").env("RUNTIME_DIRECTORY", run);
    command
}

fn config(journald: &str) -> String {
    format!("{PORTAL}{}[log]\nlevel = \"info\"\n[log.journald]\n{journald}", target("a", "1M"))
}

/// The fields of a datagram: `NAME=VALUE`, or `NAME`, the length and the value (systemd's native journal protocol).
fn fields(mut datagram: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&datagram[..end], &datagram[end + 1..]);
        let (name, value, rest) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => (&line[..at], &line[at + 1..], rest),
            None => {
                let (len, rest) = rest.split_first_chunk().expect("a length");
                let (value, rest) = rest.split_at(u64::from_le_bytes(*len) as usize);
                (line, value, rest.strip_prefix(b"\n").expect("an end"))
            }
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        fields.insert(text(name), text(value));
        datagram = rest;
    }
    assert!(datagram.is_empty(), "{datagram:?}");
    fields
}

/// The next entry with this message.
fn entry(journal: &UnixDatagram, message: &str) -> BTreeMap<String, String> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = journal.recv(&mut buffer).unwrap_or_else(|error| panic!("no entry {message}: {error}"));
        let fields = fields(&buffer[..len]);
        if fields.get("MESSAGE").is_some_and(|text| text == message) {
            return fields;
        }
    }
}

#[test]
fn an_entry_for_each() {
    if !may_unshare() {
        return;
    }
    let (run, folder) = (folder(), folder());
    let place = run.path().join("systemd/journal");
    std::fs::create_dir_all(&place).expect("made");
    let journal = UnixDatagram::bind(place.join("socket")).expect("a socket");
    journal.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let file = write(folder.path(), &config(""));
    let mut served = Served { iesp: Iesp::spawn(command(run.path(), &file)), folder };

    let client = served.login("a", 1);
    let login = entry(&journal, "logged in");
    let peer = client.stream.local_addr().expect("an address").to_string();
    let expected = [
        ("PRIORITY", "5"),
        ("SYSLOG_IDENTIFIER", "iesp"),
        ("IESP_INITIATOR", INITIATOR),
        ("IESP_TARGET", "a"),
        ("IESP_PEER", &peer),
    ];
    for (name, value) in expected {
        assert_eq!(login.get(name).map(String::as_str), Some(value), "{name} in {login:?}");
    }
    assert_eq!(served.connect("b", 2).err(), Some(LoginStatus::NotFound));
    let refusal = entry(&journal, "login refused");
    assert_eq!(refusal.get("PRIORITY").map(String::as_str), Some("4"), "{refusal:?}");
    assert!(refusal.values().any(|value| value.contains("there is no target of this name")), "{refusal:?}");

    // Its level is one of its own, also by SIGHUP.
    served.reload(&config("level = \"warning\"\n"));
    drop(served.login("a", 3));
    assert_eq!(served.connect("b", 4).err(), Some(LoginStatus::NotFound));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = journal.recv(&mut buffer).expect("an entry");
        let fields = fields(&buffer[..len]);
        let message = fields.get("MESSAGE").map(String::as_str);
        assert!(![Some("logged in"), Some("session ended")].contains(&message) || is_of(&fields, &peer), "{fields:?}");
        if message == Some("login refused") {
            break;
        }
    }
    drop(client);
    served.iesp.stop();
}

fn is_of(fields: &BTreeMap<String, String>, peer: &str) -> bool {
    fields.get("IESP_PEER").is_some_and(|other| other == peer)
}

#[test]
fn where_there_is_no_journal() {
    if !may_unshare() {
        return;
    }
    let (run, folder) = (folder(), folder());
    let file = write(folder.path(), &config(""));
    let output = command(run.path(), &file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("/run/systemd/journal/socket") && said.contains("leave [log.journald] out"), "{said}");
}
