//! The example, line by line; and files that are wrong.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Unreadable, parse, read};
use crate::config::Config;
use crate::config::document::Document;

thread_local! {
    /// Every key that was asked for, with its sections.
    pub static KNOWN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

const EXAMPLE: &str = include_str!("../../../iesp.example.toml");

/// A folder with what the example names; the variable that it names is not there.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("anna.secret"), "the secret of anna\nnot this\n").expect("written");
    let users = "bert SHA-256 \"the secret of bert\" AES-128 \"the other of bert\"\n";
    std::fs::write(folder.path().join("snmp.users"), users).expect("written");
    folder
}

/// The example, without the secret of the environment: tests share it, and must not change it.
fn example() -> String {
    let text = EXAMPLE.replace("secret-env = \"IESP_OFFICE_SECRET\"", "secret-env = \"PATH\"");
    assert_ne!(text, EXAMPLE);
    text
}

fn parsed(folder: &Path, text: &str) -> Option<Config> {
    let document = Document::new(&folder.join("iesp.toml"), text.to_owned());
    parse(&document).filter(|_| document.is_right())
}

#[test]
fn every_line_of_the_example_says_something() {
    let folder = folder();
    let text = example();
    let whole = parsed(folder.path(), &text).expect("the example is right");
    assert_eq!(whole.targets[0].access.users[0].credentials.secret, "the secret of anna");
    let lines: Vec<_> = text.lines().collect();
    let mut told = 0;
    for (index, line) in lines.iter().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let without: Vec<_> = lines.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, line)| *line).collect();
        // Without it the file is wrong, or asks for something else. A number that is the next one anyway is for people.
        let config = parsed(folder.path(), &without.join("\n"));
        let is_default = *line == "number = 0" || *line == format!("threads = {}", crate::config::flags::cores());
        assert!(config.as_ref() != Some(&whole) || is_default, "line {}: {line}", index + 1);
        told += 1;
    }
    assert!(told > 70, "{told} lines");
}

#[test]
fn every_key_is_in_the_example() {
    KNOWN.with_borrow_mut(BTreeSet::clear);
    let folder = folder();
    parsed(folder.path(), &example()).expect("the example is right");
    let mut there = BTreeSet::new();
    let mut section = String::new();
    for line in EXAMPLE.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            let name = line.trim_matches(['[', ']']);
            section = format!("{name}.");
            there.insert(name.to_owned());
        } else if let Some((key, _)) = line.split_once(" = ") {
            there.insert(format!("{section}{key}"));
        }
    }
    let known = KNOWN.with_borrow(BTreeSet::clone);
    let missing: Vec<_> = known.iter().filter(|key| !there.contains(*key) && !is_elsewhere(key, &there)).collect();
    assert!(missing.is_empty(), "the example has no {missing:?}");
}

/// Each of the ways to give a secret stands somewhere; `pdu` is what trace-pdu sets.
fn is_elsewhere(key: &str, there: &BTreeSet<String>) -> bool {
    let (_, last) = key.rsplit_once('.').unwrap_or_default();
    ["log.parts.pdu", "log.journald.level"].contains(&key)
        || last.starts_with("secret") && there.iter().any(|other| other.ends_with(last))
        || key == "discovery.chap.initiators"
}

#[test]
fn what_the_example_says() {
    let folder = folder();
    let config = parsed(folder.path(), &example()).expect("the example is right");
    let shown = format!("{config:#?}").replace(folder.path().to_str().expect("a plain path"), "FOLDER");
    for secret in ["the secret of", "secret of the nas", "the other of"] {
        assert!(!shown.contains(secret), "secrets are not shown: {shown}");
    }
    insta::assert_snapshot!("example", shown);
}

/// A target that is right, for files that are wrong elsewhere.
const TARGET: &str = "[[target]]\nname = \"disk\"\n[[target.lun]]\nram = \"1M\"\n";

/// What is wrong, in words, and the file.
fn faulty() -> Vec<(&'static str, String)> {
    let with = |more: &str| format!("{TARGET}{more}");
    vec![
        ("empty", String::new()),
        ("no quotes", "[[target]]\nname = disk\n".into()),
        ("no bracket", "[[target]\nname = \"disk\"\n".into()),
        ("twice the same key", with("create = 1\ncreate = 2\n")),
        (
            "several at once",
            "threads = 0\n[[target]]\nnam = \"disk\"\n[[target.lun]]\nfile = 7\nblock-size = 520\n".into(),
        ),
        ("unknown section", with("[limit]\nsessions = 1\n")),
        ("unknown key", with("[limits]\nsesions = 1\n")),
        ("unknown key with underscores", with("block_size = 512\n")),
        ("unknown key that is like none", with("colour = \"red\"\n")),
        ("no name", "[[target]]\n[[target.lun]]\nram = \"1M\"\n".into()),
        ("bad name", TARGET.replace("disk", "my disk")),
        ("long name", TARGET.replace("disk", &"x".repeat(224))),
        ("same name twice", format!("{TARGET}{TARGET}")),
        ("one bracket", TARGET.replace("[[target]]", "[target]")),
        ("target as text", "target = \"disk\"\n".into()),
        ("no lun", "[[target]]\nname = \"disk\"\n".into()),
        ("lun of nothing", "[[target]]\nname = \"disk\"\n[[target.lun]]\nread-only = true\n".into()),
        ("lun of two things", with("file = \"disk.img\"\n")),
        ("lun number too large", with("number = 255\n")),
        ("lun number twice", with("number = 3\n[[target.lun]]\nram = \"1M\"\nnumber = 3\n")),
        ("negative number", with("number = -1\n")),
        ("bad size", TARGET.replace("1M", "1.5M")),
        ("size of nothing", TARGET.replace("1M", "0")),
        ("ram that is no whole blocks", TARGET.replace("\"1M\"", "5000\nblock-size = 4096")),
        ("block size", with("block-size = 1024\n")),
        ("physical smaller than logical", with("block-size = 4096\nphysical-block-size = 512\n")),
        ("create without a file", with("create = \"1G\"\n")),
        ("create of part of a block", TARGET.replace("ram = \"1M\"", "file = \"a\"\ncreate = 1000")),
        ("trim level", with("trim-level = 3\n")),
        ("read-only as text", with("read-only = \"yes\"\n")),
        ("bad uuid", with("uuid = \"1234\"\n")),
        ("bad export", TARGET.replace("ram = \"1M\"", "nbd = \"nbd://\"")),
        ("reconnect without an export", with("nbd-reconnect = 5\n")),
        ("shared without an export", with("nbd-shared = true\n")),
        ("portal without an address", with("[[portal]]\nname = \"a\"\n")),
        ("bad address", with("[[portal]]\nlisten = \"300.1.1.1\"\n")),
        ("port too large", with("[[portal]]\nlisten = \"127.0.0.1\"\nport = 70000\n")),
        ("same address twice", with("[[portal]]\nlisten = [\"127.0.0.1:3260\", \"127.0.0.1\"]\n")),
        (
            "unknown portal",
            format!(
                "{}[[portal]]\nname = \"lan\"\nlisten = \"127.0.0.1\"\n",
                TARGET.replace("name = \"disk\"", "name = \"disk\"\nportals = \"wan\"")
            ),
        ),
        ("unnamed portals", TARGET.replace("name = \"disk\"", "name = \"disk\"\nportals = [\"wan\"]")),
        ("bad initiator", TARGET.replace("name = \"disk\"", "name = \"disk\"\ninitiators = [\"iqn.*.host\"]")),
        ("initiators of nobody", TARGET.replace("name = \"disk\"", "name = \"disk\"\ninitiators = []")),
        ("chap without a user", with("[[target.chap]]\nsecret = \"twelve bytes\"\n")),
        ("chap without a secret", with("[[target.chap]]\nuser = \"anna\"\n")),
        ("two secrets", with("[[target.chap]]\nuser = \"anna\"\nsecret = \"twelve bytes\"\nsecret-file = \"x\"\n")),
        ("secret file that is not there", with("[[target.chap]]\nuser = \"anna\"\nsecret-file = \"missing\"\n")),
        (
            "secret of a variable that is not there",
            with("[[target.chap]]\nuser = \"anna\"\nsecret-env = \"IESP_NO_SUCH\"\n"),
        ),
        ("secret as a number", with("[[target.chap]]\nuser = \"anna\"\nsecret = 123456789012\n")),
        ("empty secret", with("[[target.chap]]\nuser = \"anna\"\nsecret = \"\"\n")),
        (
            "user twice",
            with(
                "[[target.chap]]\nuser = \"a\"\nsecret = \"twelve bytes\"\n[[target.chap]]\nuser = \"a\"\nsecret = \"thirteen bytes\"\n",
            ),
        ),
        ("mutual alone", with("[target.mutual-chap]\nuser = \"nas\"\nsecret = \"twelve bytes\"\n")),
        (
            "same secret both ways",
            with(
                "[[target.chap]]\nuser = \"a\"\nsecret = \"twelve bytes\"\n[target.mutual-chap]\nuser = \"nas\"\nsecret = \"twelve bytes\"\n",
            ),
        ),
        ("too many sessions", with("[limits]\nsessions = 1025\n")),
        ("no memory", with("[limits]\nmemory = \"1M\"\n")),
        ("window of nothing", with("[limits]\nwindow = 0\n")),
        ("seconds with a fraction", with("[limits]\nkeepalive = 1.5\n")),
        ("snmp nowhere", with("[snmp]\nlisten = \"nowhere at all\"\n")),
        ("users file that is not there", with("[snmp]\nusers-file = \"missing\"\n")),
        ("metrics nowhere", with("[metrics]\nlisten = \"nowhere\"\n")),
        ("metrics without an address", with("[metrics]\n")),
        ("unknown level", with("[log]\nlevel = \"warn\"\n")),
        ("unknown format", with("[log.screen]\nformat = \"jsn\"\n")),
        ("log file without a path", with("[log.file]\nlevel = \"info\"\n")),
        ("bad syslog", with("[log.syslog]\naddress = \"10.0.0.1\"\n")),
        ("unknown part", with("[log.parts]\nnbdd = \"info\"\n")),
        ("trace of a number", with("[log]\ntrace-pdu = 1\n")),
    ]
}

/// Each message names the line and what to do. Read them when they change.
#[test]
fn faulty_files() {
    let folder = folder();
    for (what, text) in faulty() {
        let path = folder.path().join("iesp.toml");
        std::fs::write(&path, &text).expect("written");
        let Err(Unreadable::Wrong(document)) = read(&path) else { panic!("{what}: it is taken: {text}") };
        let prefix = format!("{}/", folder.path().display());
        let shown = document.render().replace(&prefix, "");
        for line in shown.lines().filter(|line| line.starts_with("iesp.toml")) {
            let numbers: Vec<_> = line.splitn(4, ':').collect();
            assert!(numbers[1].parse::<u32>().is_ok() && numbers[2].parse::<u32>().is_ok(), "{what}: {line}");
        }
        assert!(
            !shown.contains("twelve bytes") && !shown.contains("123456789012"),
            "{what}: a secret is shown: {shown}"
        );
        assert!(!document.summary().contains('\n'));
        insta::assert_snapshot!(format!("faulty {what}").replace(' ', "_"), shown);
    }
    assert!(faulty().len() >= 30);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = folder();
    let message = |path: &Path| match read(path) {
        Err(Unreadable::Io(message)) => message,
        _ => panic!("{} is read", path.display()),
    };
    assert!(message(&folder.path().join("missing.toml")).contains("missing.toml"));
    assert!(message(folder.path()).contains("cannot be read"));
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"# one\n\xff\xfe = 1\n").expect("written");
    assert!(message(&binary).contains("line 2"));
}

/// Relative names are relative to the file, wherever the program was started.
#[test]
fn names_of_files_are_relative_to_the_file() {
    let config = parsed(
        Path::new("/srv"),
        "[[target]]\nname = \"d\"\n[[target.lun]]\nfile = \"a.img\"\n[[target.lun]]\nfile = \"/b\"\n",
    );
    let config = config.expect("it is right");
    let paths: Vec<_> = config.disks().map(|disk| disk.source.to_string()).map(PathBuf::from).collect();
    assert_eq!(paths, [PathBuf::from("/srv/a.img"), PathBuf::from("/b")]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Pieces of the example in any order are read or refused, and nothing else.
    #[test]
    fn anything(seed in proptest::collection::vec((0..140_usize, 0..60_usize), 1..40)) {
        let text = example();
        let lines: Vec<_> = text.lines().collect();
        let mut mixed = String::new();
        for (line, cut) in seed {
            let line = lines[line % lines.len()];
            mixed.push_str(&line[..line.floor_char_boundary(line.len().saturating_sub(cut / 3))]);
            mixed.push('\n');
        }
        let document = Document::new(Path::new("iesp.toml"), mixed);
        if parse(&document).is_none() {
            assert!(!document.is_right());
        }
        document.render();
    }
}
