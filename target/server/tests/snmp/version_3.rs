//! Version 3: every protocol, who gets what, and an engine that remembers how often it started.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use crate::support::{Iesp, process};
use crate::tools::{agent, parse, run};

const DESCRIPTION: &str = ".1.3.6.1.2.1.1.1.0";
const BOOTS: &str = ".1.3.6.1.6.3.10.2.1.2.0";
const ENGINE_ID: &str = ".1.3.6.1.6.3.10.2.1.1.0";
const WRONG_DIGESTS: &str = ".1.3.6.1.6.3.15.1.1.5.0";
const UNKNOWN_USERS: &str = ".1.3.6.1.6.3.15.1.1.3.0";

const HASHES: [&str; 5] = ["SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512"];
const CIPHERS: [&str; 3] = ["AES", "AES-192", "AES-256"];

/// The program with these users, who are kept in a folder with its engine.
fn start(folder: &Path, users: &str, more: &[&str]) -> Iesp {
    let (file, engine) = (folder.join("users"), folder.join("engine"));
    std::fs::write(&file, users).expect("written");
    let [file, engine] = [file, engine].map(|path| path.to_str().expect("a plain path").to_owned());
    let args = ["-b", "ram", "-d", "1M", "-S", "0", "--snmp-users", &file, "--snmp-engine-file", &engine];
    Iesp::start(&[&args, more].concat())
}

/// What is needed to ask as somebody, with these protocols: "" is none.
fn who(name: &str, hash: &str, cipher: &str) -> Vec<String> {
    let mut words = vec!["-v3".to_owned(), format!("-u{name}")];
    match (hash, cipher) {
        ("", _) => words.push("-lnoAuthNoPriv".to_owned()),
        (hash, "") => words.extend(["-lauthNoPriv".to_owned(), format!("-a{hash}"), "-Ashown to none".to_owned()]),
        (hash, cipher) => words.extend([
            "-lauthPriv".to_owned(),
            format!("-a{hash}"),
            "-Ashown to none".to_owned(),
            format!("-x{cipher}"),
            "-Xhidden from all".to_owned(),
        ]),
    }
    words
}

fn ask(tool: &str, agent: SocketAddr, who: &[String], rest: &[&str]) -> Output {
    let words: Vec<&str> = who.iter().map(String::as_str).chain(rest.iter().copied()).collect();
    run(tool, agent, &words)
}

#[track_caller]
fn value(agent: SocketAddr, who: &[String], name: &str) -> String {
    let output = ask("snmpget", agent, who, &[name]);
    assert!(output.status.success(), "{output:?}");
    parse(&output)[0].2.clone()
}

/// Every user of every protocol: name, hash, cipher.
fn everybody() -> Vec<(String, &'static str, &'static str)> {
    let pairs = HASHES.iter().flat_map(|hash| CIPHERS.iter().chain(&[""]).map(move |cipher| (*hash, *cipher)));
    pairs.map(|(hash, cipher)| (format!("{hash}.{cipher}"), hash, cipher)).collect()
}

#[test]
fn every_protocol() {
    let folder = process::folder();
    let mut users = String::new();
    for (name, hash, cipher) in everybody() {
        let privacy = if cipher.is_empty() { String::new() } else { format!(" {cipher} \"hidden from all\"") };
        users += &format!("{name} {hash} \"shown to none\"{privacy}\n");
    }
    let mut server = start(folder.path(), &users, &["--snmp-contact", "anna@example.com", "--snmp-location", "cellar"]);
    let agent = agent(&server);
    for (name, hash, cipher) in everybody() {
        let who = who(&name, hash, cipher);
        assert!(value(agent, &who, DESCRIPTION).starts_with("iesp "), "{name}");
    }
    let anna = who("SHA-256.AES", "SHA-256", "AES");
    assert_eq!(value(agent, &anna, ".1.3.6.1.2.1.1.4.0"), "anna@example.com");
    assert_eq!(value(agent, &anna, ".1.3.6.1.2.1.1.6.0"), "cellar");
    // The same walk by each tool; and with a level less, which is enough to ask.
    let walk = |tool: &str, who: &[String], rest: &[&str]| {
        let output = ask(tool, agent, who, &[rest, &[".1"]].concat());
        assert!(output.status.success(), "{output:?}");
        parse(&output).into_iter().map(|(name, kind, _)| (name, kind)).collect::<Vec<_>>()
    };
    let all = walk("snmpwalk", &anna, &[]);
    assert!(all.len() > 150, "{all:?}");
    assert_eq!(walk("snmpbulkwalk", &anna, &["-Cr50"]), all);
    assert_eq!(walk("snmpwalk", &who("SHA-256.AES", "SHA-256", ""), &[]), all);
    let next = ask("snmpgetnext", agent, &anna, &[DESCRIPTION]);
    assert_eq!(parse(&next)[0].0, ".1.3.6.1.2.1.1.2.0");
    // No community was named: the door beside it is shut.
    for version in ["-v1", "-v2c"] {
        let output = run("snmpget", agent, &[version, "-cpublic", "-r0", "-t1", DESCRIPTION]);
        assert!(String::from_utf8_lossy(&output.stderr).contains("No Response"), "{output:?}");
    }
    server.assert_well();
}

#[test]
fn who_gets_nothing() {
    let folder = process::folder();
    let users = "anna SHA-256 \"shown to none\" AES-128 \"hidden from all\"\nbert SHA-1 \"shown to none\"\n";
    let mut server = start(folder.path(), users, &["--snmp-community", "wonder"]);
    let agent = agent(&server);
    let anna = who("anna", "SHA-256", "AES");
    let wrong = |change: &dyn Fn(&mut Vec<String>)| {
        let mut words = anna.clone();
        change(&mut words);
        words
    };
    let refused = |who: &[String], why: &str| {
        let output = ask("snmpget", agent, who, &["-r0", "-t1", DESCRIPTION]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert!(said.contains(why), "{said}");
    };
    refused(&wrong(&|words| words[4] = "-Aanother password".into()), "Authentication failure");
    refused(&wrong(&|words| words[3] = "-aSHA-512".into()), "Authentication failure");
    refused(&wrong(&|words| words[6] = "-Xanother password".into()), "Decryption error");
    refused(&wrong(&|words| words[1] = "-ueve".into()), "Unknown user name");
    refused(&who("bert", "SHA", "AES"), "Unsupported security level");
    refused(&who("anna", "", ""), "authorizationError");
    refused(&who("eve", "", ""), "Unknown user name");
    refused(&wrong(&|words| words.push("-nother".into())), "");
    assert_eq!(value(agent, &anna, WRONG_DIGESTS), "2");
    assert_eq!(value(agent, &anna, UNKNOWN_USERS), "2");
    // Nothing can be set, by nobody.
    let output = ask("snmpset", agent, &anna, &[DESCRIPTION, "s", "mine"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("notWritable"), "{output:?}");
    // The community that was named is one.
    assert!(run("snmpget", agent, &["-v2c", "-cwonder", DESCRIPTION]).status.success());
    let log = server.errors();
    assert!(!log.contains("shown to none") && !log.contains("hidden"), "{log}");
    server.assert_well();
}

#[test]
fn an_engine_counts_its_starts() {
    let folder = process::folder();
    let anna = who("anna", "SHA-512", "AES-256");
    let users = "anna SHA-512 \"shown to none\" AES-256 \"hidden from all\"\n";
    let mut ids = Vec::new();
    for boots in 1..4 {
        let mut server = start(folder.path(), users, &[]);
        let agent = agent(&server);
        assert_eq!(value(agent, &anna, BOOTS), boots.to_string());
        ids.push(value(agent, &anna, ENGINE_ID));
        if boots == 1 {
            // Two with one identity would take each other's messages for their own.
            let args = ["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", "0", "-S", "0", "--snmp-users"];
            let [file, engine] = ["users", "engine"].map(|name| folder.path().join(name).display().to_string());
            let args = [&args[..], &[&file, "--snmp-engine-file", &engine]].concat();
            let second = process::command(&args).output().expect("it runs");
            let why = String::from_utf8_lossy(&second.stderr).into_owned();
            assert_eq!(second.status.code(), Some(1), "{why}");
            assert!(why.contains("--snmp-engine-file"), "{why}");
        }
        // However it ends, the next one starts with more.
        if boots == 2 {
            server.kill();
        } else {
            server.stop();
        }
    }
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
    // A message of an earlier run is not taken: what it was made for is told.
    let server = start(folder.path(), users, &[]);
    let old: Vec<String> = anna.iter().cloned().chain(["-Z3,1".to_owned()]).collect();
    let output = ask("snmpget", agent(&server), &old, &["-d", BOOTS]);
    assert_eq!(value(agent(&server), &anna, BOOTS), "4");
    let not_in_time = value(agent(&server), &anna, ".1.3.6.1.6.3.15.1.1.2.0");
    assert_ne!(not_in_time, "0", "{output:?}");
}

#[test]
fn faulty_files_are_told_and_nothing_starts() {
    let folder = process::folder();
    let users = folder.path().join("users");
    let engine = folder.path().join("engine");
    let begin = |text: &str| {
        std::fs::write(&users, text).expect("written");
        let [file, engine] = [&users, &engine].map(|path| path.display().to_string());
        let args = ["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", "0", "-S", "0", "--snmp-users", &file];
        let output =
            process::command(&[&args[..], &["--snmp-engine-file", &engine]].concat()).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (text, part) in [
        ("", "names no user"),
        ("# nobody\nanna SHA-256\n", "line 2"),
        ("anna MD5 longenough\n", "SHA-256"),
        ("anna SHA-256 longenough DES longenough\n", "AES-128"),
        ("anna SHA-256 short\n", "8 characters"),
    ] {
        let (code, why) = begin(text);
        assert_eq!(code, Some(2), "{why}");
        assert!(why.contains(part) && !why.contains("longenough"), "{why}");
        assert!(!engine.exists(), "nothing was started");
    }
    std::fs::write(&engine, "not mine").expect("written");
    let (code, why) = begin("anna SHA-256 longenough\n");
    assert_eq!((code, why.contains("remove the file")), (Some(1), true), "{why}");
    assert_eq!(std::fs::read_to_string(&engine).expect("it is there"), "not mine");
}

fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    [&[tag, content.len() as u8], &content[..]].concat()
}

/// What a manager sends first (RFC 3414 4): a request without variables, to an engine that it does not know.
fn discovery() -> Vec<u8> {
    let (nothing, zero) = (tlv(4, &[]), tlv(2, &[&[0]]));
    let pdu = tlv(0xa0, &[&tlv(2, &[&[9]]), &zero, &zero, &tlv(0x30, &[])]);
    let header = [tlv(2, &[&[0x12, 0x34]]), tlv(2, &[&[0, 0xff, 0xe3]]), tlv(4, &[&[4]]), tlv(2, &[&[3]])].concat();
    let security = tlv(0x30, &[&nothing, &zero, &zero, &nothing, &nothing, &nothing]);
    let scoped = tlv(0x30, &[&nothing, &nothing, &pdu]);
    tlv(0x30, &[&tlv(2, &[&[3]]), &tlv(0x30, &[&header]), &tlv(4, &[&security]), &scoped])
}

/// Changed messages by the thousand, over the socket: a good one is answered all the same, and memory stays as it is.
#[test]
fn malformed_datagrams_do_no_harm() {
    let folder = process::folder();
    let mut server = start(folder.path(), "anna SHA-256 \"shown to none\" AES-128 \"hidden from all\"\n", &[]);
    let agent = agent(&server);
    // It is answered by a report.
    let good = discovery();
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    let asker = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    asker.connect(agent).expect("an address");
    asker.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let mut answer = vec![0; 1 << 16];
    assert!(asker.send(&good).is_ok() && asker.recv(&mut answer).is_ok(), "the good one is good");
    let mut state = 0x2027_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let before = server.status_kb("VmRSS:");
    for round in 0..100_000 {
        // The agent keeps up: no more wait for it than its socket holds.
        if round % 64 == 0 {
            let asked = (0..5).any(|_| asker.send(&good).is_ok() && asker.recv(&mut answer).is_ok());
            assert!(asked, "no answer after {round} datagrams: {}", server.errors());
        }
        let mut bytes = good.clone();
        for _ in 0..=random() % 3 {
            bytes[random() % good.len()] = random() as u8;
        }
        let len = if random() % 4 == 0 { random() % (good.len() + 1) } else { good.len() };
        socket.send_to(&bytes[..len], agent).expect("sent");
    }
    assert!(value(agent, &who("anna", "SHA-256", "AES"), DESCRIPTION).starts_with("iesp "));
    let after = server.status_kb("VmRSS:");
    assert!(after < before + 8192, "{before} kB before, {after} kB after");
    server.assert_well();
}
