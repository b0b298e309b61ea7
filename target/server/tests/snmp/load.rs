//! iESP's objects in versions 1 and 2c, under a load whose size is known; who may ask; what is no request.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use iesp_iscsi::pdu::{LogoutReason, Stage};

use crate::support::client::KEYS;
use crate::support::initiator::Answer;
use crate::support::{Client, Iesp, cdb, process};
use crate::tools::{agent, expect, get, key, number, numbers, parse, run};

const UNITS: &str = ".1.3.6.1.2.1.142.1.10.2.1.1";
const DATA_IN: &str = ".1.3.6.1.2.1.142.1.10.2.1.3";
const DATA_OUT: &str = ".1.3.6.1.2.1.142.1.10.2.1.4";
const FAILURES: &str = ".1.3.6.1.2.1.142.1.1.1.1.10";
const DIGEST_ERRORS: &str = ".1.3.6.1.2.1.142.1.1.2.1.1";
const FORMAT_ERRORS: &str = ".1.3.6.1.2.1.142.1.1.2.1.3";
const LOGINS: &str = ".1.3.6.1.2.1.142.1.6.2.1.1";
const LOGOUTS: &str = ".1.3.6.1.2.1.142.1.6.3.1.1";
const IO_WAIT: &str = ".1.3.6.1.4.1.2021.11.54";
const DISK: &str = ".1.3.6.1.4.1.2021.13.15.1.1";
const DISK_FREE: &str = ".1.3.6.1.4.1.2021.9.1.9.1";

/// statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// iESP's objects, with the type that snmpget prints.
const IESP: &[(&str, &str)] = &[
    (".1.3.6.1.2.1.1.1.0", "STRING"),
    (".1.3.6.1.2.1.1.3.0", "Timeticks"),
    (".1.3.6.1.2.1.1.4.0", "STRING"),
    (".1.3.6.1.2.1.1.5.0", "STRING"),
    (".1.3.6.1.2.1.1.6.0", "STRING"),
    (".1.3.6.1.2.1.1.7.0", "INTEGER"),
    (".1.3.6.1.2.1.1.8.0", "Timeticks"),
    (UNITS, "Counter32"),
    (DATA_IN, "Counter64"),
    (DATA_OUT, "Counter64"),
    (FAILURES, "Counter32"),
    (DIGEST_ERRORS, "Counter32"),
    (FORMAT_ERRORS, "Counter32"),
    (LOGINS, "Counter32"),
    (LOGOUTS, "Counter32"),
    (".1.3.6.1.4.1.2021.100.1", "INTEGER"),
    (".1.3.6.1.4.1.2021.100.2", "STRING"),
    (".1.3.6.1.4.1.2021.100.3", "STRING"),
    (IO_WAIT, "Counter32"),
    (".1.3.6.1.4.1.2021.11.9.0", "INTEGER"),
    (".1.3.6.1.4.1.2021.13.15.1.1.2", "STRING"),
    (".1.3.6.1.4.1.2021.13.15.1.1.3", "Counter64"),
    (".1.3.6.1.4.1.2021.13.15.1.1.4", "Counter64"),
    (".1.3.6.1.4.1.2021.13.15.1.1.5", "Counter64"),
    (".1.3.6.1.4.1.2021.13.15.1.1.6", "Counter64"),
    (".1.3.6.1.4.1.2021.4.11.0", "INTEGER"),
    (DISK_FREE, "INTEGER"),
];

fn log_out(mut client: Client) {
    let request = client.initiator.logout(LogoutReason::CloseSession);
    let unit = client.initiator.unit(&request.emit(), &[]);
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Logout(_)));
}

#[test]
fn every_object_of_iesps_in_both_versions() {
    let folder = process::folder();
    let image = process::image(folder.path(), "disk.img", 1 << 20);
    let mut server = Iesp::start(&["-d", &image, "-S", "0"]);
    let agent = agent(&server);
    assert!(agent.ip().is_loopback());
    let names: Vec<&str> = IESP.iter().map(|(name, _)| *name).collect();
    for version in ["-v1", "-v2c"] {
        let values = get(agent, version, &names);
        for ((name, expected), (kind, value)) in IESP.iter().zip(&values) {
            assert_eq!(kind, expected, "{name} = {value}");
        }
        let value = |name: &str| &values[names.iter().position(|other| *other == name).expect("it is there")].1;
        assert!(value(".1.3.6.1.2.1.1.1.0").starts_with("iesp "));
        assert!(value(".1.3.6.1.4.1.2021.100.3").starts_with("20"));
        assert_eq!(value(&format!("{DISK}.2")), &image);
        let free: i64 = value(".1.3.6.1.4.1.2021.4.11.0").parse().expect("a number");
        assert!(free > 0, "free RAM: {free}");
        let cpu: u32 = value(".1.3.6.1.4.1.2021.11.9.0").parse().expect("a number");
        assert!(cpu <= 100);
        assert_eq!(value(DISK_FREE), "100");
    }
    server.assert_well();
}

#[test]
fn walks_in_order() {
    let server = Iesp::start(&["-b", "ram", "-d", "1M", "-d", "2M", "-S", "0"]);
    let agent = agent(&server);
    let walk = |tool: &str, options: &[&str]| {
        // snmpwalk checks by itself that names grow (no -Cc).
        let output = run(tool, agent, &[options, &["-cpublic"], &[".1"]].concat());
        assert!(output.status.success(), "{output:?}");
        let found: Vec<_> = parse(&output).into_iter().map(|(name, kind, _)| (key(&name), kind)).collect();
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{found:?}");
        found
    };
    let all = walk("snmpwalk", &["-v2c"]);
    for (name, kind) in IESP {
        assert!(all.iter().any(|(other, type_)| *other == key(name) && type_ == kind), "{name} is not in the walk");
    }
    for row in [1, 2] {
        assert!(all.iter().any(|(name, _)| *name == key(&format!("{DISK}.2.{row}"))), "a row for each disk");
    }
    assert_eq!(walk("snmpbulkwalk", &["-v2c"]), all);
    assert_eq!(walk("snmpbulkwalk", &["-v2c", "-Cr1"]), all);
    assert_eq!(walk("snmpbulkwalk", &["-v2c", "-Cr1000"]), all);
    let known: Vec<_> = all.into_iter().filter(|(_, kind)| kind != "Counter64").collect();
    assert_eq!(walk("snmpwalk", &["-v1"]), known);
}

#[test]
fn a_known_load_is_counted_byte_for_byte() {
    let server = Iesp::start(&["-b", "ram", "-d", "8M", "-d", "1M", "-S", "0"]);
    let agent = agent(&server);
    let column = |number: u32, row: &str| format!("{DISK}.{number}{row}");
    let disk = |row: &str| {
        let names = [3, 4, 5, 6].map(|number| column(number, row));
        numbers(agent, "-v2c", &names.each_ref().map(String::as_str))
    };
    let mut client = Client::login(server.address());
    let [units, data_in, data_out] = [UNITS, DATA_IN, DATA_OUT].map(|name| number(agent, name));
    assert_eq!((units, data_in, data_out), (2, 0, 0), "a login and a TEST UNIT READY");
    for lba in 0..10 {
        client.put_immediate(&cdb::write(lba * 8, 8), &[1; 4096]).good();
    }
    // 100 KiB by Data-Out: one R2T, one unit.
    client.put(&cdb::write(1000, 200), &[2; 102_400]).good();
    for lba in 0..7 {
        client.get(&cdb::read(lba * 8, 8), 4096).good();
    }
    assert_eq!(client.get(&cdb::inquiry(None, 36), 36).good().len(), 36);
    // A logical unit of its own.
    let mut write = client.initiator.write(&cdb::write(0, 1), 512);
    write.lun = 1 << 48;
    assert_eq!(client.command(write, &[3; 512]).code(), (6, 0x29, 0), "power on or reset");
    let mut again = client.initiator.write(&cdb::write(0, 1), 512);
    again.lun = 1 << 48;
    client.command(again, &[3; 512]).good();

    let (read, written) = (7 * 4096, 10 * 4096 + 102_400);
    for version in ["-v1", "-v2c"] {
        let found = numbers(agent, version, &[DATA_IN, DATA_OUT]);
        assert_eq!(found, [read + 36, written + 512], "{version}");
    }
    // 11 writes, one of them with a Data-Out unit; 7 reads; INQUIRY; two writes to the other disk, one with data.
    assert_eq!(number(agent, UNITS) - units, 11 + 1 + 7 + 1 + 2 + 1);
    assert_eq!(disk(".1"), [read, written, 7, 11]);
    assert_eq!(disk(".2"), [0, 512, 0, 1]);
    assert_eq!(disk(""), [read, written + 512, 7, 12]);
    let wide = [12, 13].map(|number| column(number, ".1"));
    assert_eq!(numbers(agent, "-v2c", &[&wide[0], &wide[1]]), [read, written]);
    // Of 8 MiB, 16 pages of 4 KiB at most are in use beside what was written.
    let free = number(agent, DISK_FREE);
    assert!((96..=98).contains(&free), "{free} % free");

    // What was counted stays when its connection ends, and another one adds to it.
    log_out(client);
    expect(agent, LOGOUTS, 1);
    assert_eq!(disk(""), [read, written + 512, 7, 12]);
    assert_eq!(number(agent, DATA_IN), read + 36);
    let mut second = Client::login(server.address());
    second.get(&cdb::read(0, 1), 512).good();
    assert_eq!(disk(".1"), [read + 512, written, 8, 11]);
    drop(second);
    expect(agent, FAILURES, 1);
    let sessions = numbers(agent, "-v2c", &[LOGINS, LOGOUTS, FAILURES, DIGEST_ERRORS, FORMAT_ERRORS]);
    assert_eq!(sessions, [2, 1, 1, 0, 0]);
    assert_eq!(disk(".1"), [read + 512, written, 8, 11]);
}

/// What goes to a disk thread is counted like what does not, and its wait is told.
#[test]
fn a_load_that_waits() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder beside the build");
    let image = process::image(folder.path(), "disk.img", 4 << 20);
    let server = Iesp::start(&["-d", &image, "-S", "0"]);
    let agent = agent(&server);
    let mut client = Client::login(server.address());
    let begin = Instant::now();
    for lba in 0..50 {
        client.put_immediate(&cdb::write_fua(lba * 8, 8), &[1; 4096]).good();
    }
    client.get(&cdb::read(0, 400), 204_800).good();
    let names = [3, 4, 5, 6].map(|number| format!("{DISK}.{number}"));
    assert_eq!(numbers(agent, "-v2c", &names.each_ref().map(String::as_str)), [204_800, 204_800, 1, 50]);
    if rustix::fs::statfs(folder.path()).expect("a file system").f_type == TMPFS {
        eprintln!("the build folder is in memory: nothing waits there");
        return;
    }
    // In 1/100 s, and one command at a time: at some time more than nothing, and never more than went by.
    while number(agent, IO_WAIT) < 3 {
        client.put_immediate(&cdb::write_fua(0, 8), &[1; 4096]).good();
        assert!(begin.elapsed() < process::PATIENCE, "writes that wait, and no I/O wait");
    }
    let waited = number(agent, IO_WAIT);
    let elapsed = begin.elapsed().as_millis() / 10;
    assert!(u128::from(waited) <= elapsed, "{waited} of {elapsed}");
}

#[test]
fn errors_are_counted() {
    let mut server = Iesp::start(&["-b", "ram", "-d", "1M", "-S", "0"]);
    let agent = agent(&server);
    let keys = KEYS.replace("HeaderDigest=None", "HeaderDigest=CRC32C").replace("DataDigest=None", "DataDigest=CRC32C");
    let mut client = Client::login_as(server.address(), Client::isid(1), &keys);
    let command = client.initiator.write(&cdb::write(0, 1), 512);
    let mut unit = client.initiator.unit(&command.emit(), &[7; 512]);
    if let Some(last) = unit.last_mut() {
        *last ^= 1;
    }
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Reject(..)));
    assert_eq!(numbers(agent, "-v2c", &[DIGEST_ERRORS, FORMAT_ERRORS]), [1, 0]);
    drop(client);
    let mut client = Client::login_as(server.address(), Client::isid(2), KEYS);
    // RFC 7143 11.12: there is no login in full feature phase.
    let unit = client.initiator.login(Stage::OperationalNegotiation, Stage::FullFeaturePhase, KEYS);
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Reject(..)));
    assert_eq!(numbers(agent, "-v2c", &[DIGEST_ERRORS, FORMAT_ERRORS]), [1, 1]);
    server.assert_well();
}

#[test]
fn who_may_ask_and_what_may_not_be_asked() {
    let mut server = Iesp::start(&["-b", "ram", "-d", "1M", "-S", "0", "--snmp-community", "wonder"]);
    let agent = agent(&server);
    for version in ["-v1", "-v2c"] {
        assert!(run("snmpget", agent, &[version, "-cwonder", UNITS]).status.success());
        let refused = run("snmpset", agent, &[version, "-cwonder", UNITS, "u", "1"]);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{refused:?}");
        assert!(why.contains(if version == "-v1" { "noSuchName" } else { "notWritable" }), "{why}");
    }
    // An unknown community gets no answer: not even an error.
    let output = run("snmpget", agent, &["-v2c", "-cpublic", "-r0", "-t1", UNITS]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("No Response"), "{output:?}");
    assert!(output.stdout.is_empty());
    let absent =
        |name: &str| String::from_utf8_lossy(&run("snmpget", agent, &["-v2c", "-cwonder", name]).stdout).into_owned();
    assert!(absent(".1.3.6.1.2.1.1.9.0").contains("No Such Object"));
    assert!(absent(".1.3.6.1.2.1.1.1.1").contains("No Such Instance"));
    let end = run("snmpgetnext", agent, &["-v2c", "-cwonder", ".1.3.6.1.5"]);
    assert!(String::from_utf8_lossy(&end.stdout).contains("No more variables"), "{end:?}");
    server.assert_well();
}

/// Changed messages by the thousand, over the socket: a good one is answered all the same.
#[test]
fn malformed_datagrams_do_no_harm() {
    let mut server = Iesp::start(&["-b", "ram", "-d", "1M", "-S", "0"]);
    let agent = agent(&server);
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    #[rustfmt::skip]
    let good = [
        0x30, 0x26, 0x02, 0x01, 0x01, 0x04, 0x06, b'p', b'u', b'b', b'l', b'i', b'c', 0xa5, 0x19, 0x02, 0x01, 0x01,
        0x02, 0x01, 0x00, 0x02, 0x01, 0x03, 0x30, 0x0e, 0x30, 0x0c, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x02, 0x01, 0x01, 0x01,
        0x00, 0x05, 0x00,
    ];
    let mut state = 0x2026_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let asker = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    asker.connect(agent).expect("an address");
    asker.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let mut answer = vec![0; 1 << 16];
    for round in 0..100_000 {
        // The agent keeps up: no more wait for it than its socket holds.
        if round % 64 == 0 {
            let asked = (0..5).any(|_| asker.send(&good).is_ok() && asker.recv(&mut answer).is_ok());
            assert!(asked, "no answer after {round} datagrams: {}", server.errors());
        }
        let mut bytes = good;
        for _ in 0..=random() % 3 {
            bytes[random() % good.len()] = random() as u8;
        }
        let len = if random() % 4 == 0 { random() % (good.len() + 1) } else { good.len() };
        socket.send_to(&bytes[..len], agent).expect("sent");
    }
    assert_eq!(numbers(agent, "-v2c", &[UNITS]), [0]);
    server.assert_well();
    let largest = vec![0x30; 65_000];
    socket.send_to(&largest, agent).expect("sent");
    assert_eq!(numbers(agent, "-v1", &[UNITS]), [0]);
    server.assert_well();
}

#[test]
fn sockets_that_cannot_be_had() {
    let taken = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = process::command(&["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", "0", "-S", &port])
        .output()
        .expect("it runs");
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{why}");
    assert!(why.contains("choose another port with -S"), "{why}");
    // What is for the agent makes no sense without it.
    for option in [["--snmp-community", "x"], ["--snmp-listen", "127.0.0.1"]] {
        let output = process::command(&option).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--snmp-port"));
    }
    // Nobody asked for it: nothing is said of it.
    assert!(!Iesp::ram("1M").screen.contains("SNMP"));
}
