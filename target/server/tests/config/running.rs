//! `iesp status` and `iesp sessions`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use crate::support::cdb;
use crate::support::initiator::INITIATOR;
use crate::support::process::{command, folder};
use crate::{LOG, PORTAL, Served, target};

fn ask(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut program = command(args);
    program.env("RUNTIME_DIRECTORY", folder).env("XDG_RUNTIME_DIR", folder);
    let Output { status, stdout, stderr } = program.output().expect("it runs");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn what_is_served_and_who_is_there() {
    let served = Served::by(&format!("{PORTAL}{LOG}{}{}", target("a", "1M 2M"), target("b", "1M")));
    let mut client = served.login("a", 1);
    client.put(&cdb::write(0, 8), &[1; 4096]).good();
    client.get(&cdb::read(0, 4), 2048).good();
    let (folder, pid) = (served.folder.path(), served.iesp.id());
    let socket = folder.join(format!("{pid}.sock"));
    assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let pid = pid.to_string();
    let (code, text, errors) = ask(folder, &["status", "--pid", &pid]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for part in [
        &*format!("process {pid}"),
        "target    a",
        "LUN 1   memory (2.0 MiB",
        "1 session\n",
        "4.0 KiB written",
        "iesp.toml",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (_, json, _) = ask(folder, &["status", "--json", "--pid", &pid]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON in one line");
    assert_eq!(json["targets"][0]["luns"][0]["written_bytes"], 4096);
    assert_eq!(json["targets"][0]["luns"][0]["read_bytes"], 2048);
    assert_eq!((&json["targets"][1]["sessions"], &json["connections"]), (&0.into(), &1.into()));
    let (code, text, _) = ask(folder, &["sessions", "--pid", &pid]);
    assert_eq!(code, Some(0));
    assert!(text.contains(INITIATOR) && text.contains("at a from 127.0.0.1:"), "{text}");
    let (_, json, _) = ask(folder, &["sessions", "--json", "--control", socket.to_str().expect("a plain path")]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON in one line");
    let session = &json["sessions"][0];
    assert_eq!((&session["initiator"], &session["target"]), (&INITIATOR.into(), &"a".into()));
    assert_eq!((&session["data_in"], &session["data_out"]), (&2048.into(), &4096.into()));
}

/// All are asked; each has its own line in JSON.
#[test]
fn several_at_once() {
    let folder = folder();
    let mut servers: Vec<_> = ["1M", "2M"]
        .iter()
        .map(|size| {
            let mut program = command(&["-b", "ram", "-d", size, "-i", "127.0.0.1", "-p", "0"]);
            program.env("RUNTIME_DIRECTORY", folder.path());
            crate::Iesp::spawn(program)
        })
        .collect();
    let (_, json, _) = ask(folder.path(), &["status", "--json"]);
    for server in &servers {
        assert!(json.lines().any(|line| line.contains(&format!("\"pid\":{}", server.id()))), "{json}");
    }
    // One that was killed leaves its socket behind, and is not there.
    servers[0].kill();
    let (code, json, _) = ask(folder.path(), &["sessions", "--json"]);
    assert_eq!(code, Some(0));
    assert!(!json.contains(&format!("\"pid\":{}", servers[0].id())), "{json}");
    servers[1].stop();
    assert!(!folder.path().join(format!("{}.sock", servers[1].id())).exists());
}

#[test]
fn where_none_runs() {
    let folder = folder();
    for args in [
        &["status", "--pid", "1"][..],
        &["sessions", "--json", "--pid", "1"],
        &["status", "--control", "/nowhere/x.sock"],
    ] {
        let (code, text, errors) = ask(folder.path(), args);
        assert_eq!((code, text.as_str(), errors.lines().count()), (Some(1), "", 1), "{errors}");
        assert!(errors.contains("no iesp"), "{errors}");
    }
}

/// Whoever talks nonsense, or nothing, keeps nobody from asking.
#[test]
fn a_socket_for_questions_only() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let served = Served::by(&format!("{PORTAL}{}", target("a", "1M")));
    let socket = served.folder.path().join(format!("{}.sock", served.iesp.id()));
    let silent: Vec<_> = (0..4).map(|_| UnixStream::connect(&socket).expect("it listens")).collect();
    let mut stream = UnixStream::connect(&socket).expect("it listens");
    stream.write_all(&[b'x'; 4096]).expect("taken");
    let mut answer = String::new();
    // It may be cut off before it has said all.
    let _ = stream.read_to_string(&mut answer);
    let (code, ..) = ask(served.folder.path(), &["status", "--pid", &served.iesp.id().to_string()]);
    assert_eq!(code, Some(0));
    drop(silent);
}
