//! The tables of ISCSI-MIB and UCD: rows by session, portal, target and disk; as snmptable prints them.

use std::path::Path;
use std::process::Command;

use iesp_iscsi::pdu::{LogoutReason, Stage};

use crate::support::client::KEYS;
use crate::support::initiator::Answer;
use crate::support::{Client, Iesp, cdb, process};
use crate::tools::{agent, expect, get, number, numbers, run};

const ISCSI: &str = ".1.3.6.1.2.1.142.1";

fn start() -> Iesp {
    Iesp::start(&["-b", "ram", "-d", "8M", "-d", "1M", "-S", "0"])
}

/// The sessions are told apart, and each has its own counters, byte for byte.
#[test]
fn sessions_and_connections() {
    let server = start();
    let agent = agent(&server);
    let column = |number: u32, row: &str| format!("{ISCSI}.10.2.1.{number}.1.1.{row}");
    let count = |row: &str| {
        let names = [1, 2, 3, 4, 7, 8].map(|number| column(number, row));
        numbers(agent, "-v2c", &names.each_ref().map(String::as_str))
    };
    let mut one = Client::login_as(server.address(), Client::isid(1), KEYS);
    let keys = KEYS.replace("HeaderDigest=None", "HeaderDigest=CRC32C").replace("DataDigest=None", "DataDigest=CRC32C");
    let mut two = Client::login_as(server.address(), Client::isid(2), &keys);
    // TEST UNIT READY, which had a unit attention to tell.
    assert_eq!((count("1"), count("2")), (vec![1, 1, 0, 0, 0, 0], vec![1, 1, 0, 0, 0, 0]));
    for lba in 0..5 {
        one.put_immediate(&cdb::write(lba * 8, 8), &[1; 4096]).good();
    }
    one.put(&cdb::write(1000, 200), &[2; 102_400]).good();
    for _ in 0..3 {
        two.get(&cdb::read(0, 8), 4096).good();
    }
    // A write is answered by a SCSI Response; a read's status travels with its data.
    assert_eq!(count("1"), [1 + 6, 1 + 6, 0, 5 * 4096 + 102_400, 0, 0]);
    assert_eq!(count("2"), [1 + 3, 1, 3 * 4096, 0, 0, 0]);
    let total = numbers(agent, "-v2c", &[&format!("{ISCSI}.10.2.1.3"), &format!("{ISCSI}.10.2.1.4")]);
    assert_eq!(total, [3 * 4096, 5 * 4096 + 102_400], "iESP's places have the sum");

    let text = |name: &str| get(agent, "-v2c", &[name])[0].1.clone();
    let attribute = |number: u32, row: &str| text(&format!("{ISCSI}.10.1.1.{number}.1.1.{row}"));
    assert!(attribute(4, "1").starts_with("iqn."));
    assert_eq!(attribute(5, "1"), "test");
    assert_ne!(attribute(6, "1"), attribute(6, "2"), "TSIH");
    assert_ne!(attribute(7, "1"), attribute(7, "2"), "ISID");
    // InitialR2T, ImmediateData, normal session, MaxOutstandingR2T, FirstBurstLength, MaxBurstLength, connections.
    let expected = ["1", "1", "1", "1", "262144", "1048576", "1"];
    for (number, expected) in (10..17).zip(expected) {
        assert_eq!(attribute(number, "1"), expected, "column {number}");
    }
    let connection = |number: u32, row: &str| text(&format!("{ISCSI}.11.1.1.{number}.1.1.{row}.1"));
    assert_eq!(connection(3, "1"), "2", "full feature phase");
    assert_eq!(connection(8, "1").trim(), "7F 00 00 01");
    assert_eq!(connection(9, "1"), one.stream.local_addr().expect("an address").port().to_string());
    assert_eq!(connection(7, "1"), server.address().port().to_string());
    assert_eq!((connection(12, "1"), connection(12, "2")), ("3".into(), "4".into()), "header digests");
    assert_eq!((connection(13, "1"), connection(13, "2")), ("3".into(), "4".into()), "data digests");
    assert_eq!(number(agent, &format!("{ISCSI}.1.1.1.9.1")), 2, "sessions");

    // A session that ended has no row any more; what it counted stays in the sum.
    let request = one.initiator.logout(LogoutReason::CloseConnection);
    let unit = one.initiator.unit(&request.emit(), &[]);
    one.send(&unit);
    assert!(matches!(one.answer(), Answer::Logout(_)));
    expect(agent, &format!("{ISCSI}.6.3.1.3.1.1"), 1);
    assert_eq!(number(agent, &format!("{ISCSI}.6.3.1.2.1.1")), 1, "another reason than the session's end");
    assert_eq!(number(agent, &format!("{ISCSI}.6.3.1.1.1.1")), 0);
    assert_eq!(number(agent, &format!("{ISCSI}.6.3.1.1")), 1, "iESP counts all of them");
    let gone = run("snmpget", agent, &["-v2c", "-cpublic", &column(1, "1")]);
    assert!(String::from_utf8_lossy(&gone.stdout).contains("No Such Instance"), "{gone:?}");
    assert_eq!(numbers(agent, "-v2c", &[&format!("{ISCSI}.10.2.1.4")]), [5 * 4096 + 102_400]);
    // The next one has a number of its own.
    let three = Client::login_as(server.address(), Client::isid(3), KEYS);
    assert_eq!(count("3"), [1, 1, 0, 0, 0, 0]);
    drop((two, three));
    expect(agent, &format!("{ISCSI}.1.1.1.10.1"), 2);
}

#[test]
fn logins_that_are_refused_and_sessions_that_fail() {
    let server = start();
    let agent = agent(&server);
    let mut client = Client::connect(server.address());
    let unit = client.initiator.login(
        Stage::OperationalNegotiation,
        Stage::FullFeaturePhase,
        "InitiatorName=iqn.2026-01.test:eve TargetName=nowhere SessionType=Normal",
    );
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Login(..)));
    expect(agent, &format!("{ISCSI}.6.1.1.1.1.1"), 1);
    assert_eq!(number(agent, &format!("{ISCSI}.6.2.1.2.1.1")), 1, "not found: none of the others");
    let last = [3, 4, 5].map(|number| format!("{ISCSI}.6.1.1.{number}.1.1"));
    let last = get(agent, "-v2c", &last.each_ref().map(String::as_str));
    let last: Vec<_> = last.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(last, [&format!("{ISCSI}.6.2.1.2"), "iqn.2026-01.test:eve", "1"]);
    // A header digest that is wrong ends the session: what comes behind it cannot be told apart.
    let keys = KEYS.replace("HeaderDigest=None", "HeaderDigest=CRC32C");
    let mut client = Client::login_as(server.address(), Client::isid(1), &keys);
    let command = client.initiator.bare(&[0]);
    let mut unit = client.initiator.unit(&command.emit(), &[]);
    unit[20] ^= 1;
    client.send(&unit);
    expect(agent, &format!("{ISCSI}.1.2.1.1.1"), 1);
    let why = get(agent, "-v2c", &[&format!("{ISCSI}.1.1.1.11.1"), &format!("{ISCSI}.1.1.1.12.1")]);
    assert_eq!(why[0].1, format!("{ISCSI}.1.2.1.1"));
    assert!(why[1].1.starts_with("iqn."), "{why:?}");
}

/// What these tables are called, for snmptable: it has no other way to tell which columns there are.
const NAMES: &str = "IESP-TEST DEFINITIONS ::= BEGIN
internet OBJECT IDENTIFIER ::= { iso org(3) dod(6) 1 }
TABLES
END
";

const NUMBER: &str = "INTEGER";
const TEXT: &str = "OCTET STRING";
const COUNTER: &str = "Counter";

/// A table of the test's own MIB: its columns, with the last number and the type of each.
fn declare(name: &str, oid: &str, columns: &[(&str, u32, &str)]) -> String {
    let upper = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    let numbers = key_words(oid);
    let mut text = format!(
        "{name}Table OBJECT-TYPE SYNTAX SEQUENCE OF {upper}Entry ACCESS not-accessible STATUS mandatory ::= {{ {numbers} }}
{name}Entry OBJECT-TYPE SYNTAX {upper}Entry ACCESS not-accessible STATUS mandatory INDEX {{ {first} }} ::= {{ {name}Table 1 }}
{upper}Entry ::= SEQUENCE {{ {fields} }}
",
        first = columns[0].0,
        fields = columns.iter().map(|(column, _, kind)| format!("{column} {kind}")).collect::<Vec<_>>().join(", "),
    );
    for (column, number, kind) in columns {
        text += &format!(
            "{column} OBJECT-TYPE SYNTAX {kind} ACCESS read-only STATUS mandatory ::= {{ {name}Entry {number} }}\n"
        );
    }
    text
}

fn key_words(oid: &str) -> String {
    let rest = oid.strip_prefix(".1.3.6.1.").expect("below internet");
    format!("internet {}", rest.replace('.', " "))
}

/// The rows that snmptable prints: cells by column.
fn table(folder: &Path, server: &Iesp, who: &[&str], name: &str) -> Vec<Vec<String>> {
    let output = Command::new("snmptable")
        .env("SNMPCONFPATH", "/nonexistent")
        .args(["-M", folder.to_str().expect("a plain path"), "-m", "IESP-TEST", "-Cf", "|", "-CH", "-Oe"])
        .args(who)
        .args([&agent(server).to_string(), &format!("IESP-TEST::{name}Table")])
        .output()
        .expect("Debian's package snmp is installed (cargo xtask setup)");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().filter(|line| line.contains('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim_matches('"').to_owned()).collect()).collect()
}

#[test]
fn snmptable_prints_them_in_every_version() {
    let folder = process::folder();
    let tables = [
        declare(
            "disk",
            ".1.3.6.1.4.1.2021.13.15.1",
            &[("dIndex", 1, NUMBER), ("dDevice", 2, TEXT), ("dRead", 3, COUNTER), ("dWritten", 4, COUNTER)],
        ),
        declare(
            "space",
            ".1.3.6.1.4.1.2021.9",
            &[("sIndex", 1, NUMBER), ("sPath", 2, TEXT), ("sTotal", 6, NUMBER), ("sFree", 9, NUMBER)],
        ),
        declare(
            "target",
            &format!("{ISCSI}.5.1"),
            &[("tName", 2, TEXT), ("tInitialR2T", 6, NUMBER), ("tConnections", 11, "Gauge")],
        ),
        declare(
            "session",
            &format!("{ISCSI}.10.1"),
            &[("nDirection", 3, NUMBER), ("nInitiator", 4, TEXT), ("nTarget", 5, TEXT)],
        ),
    ];
    std::fs::write(folder.path().join("IESP-TEST.txt"), NAMES.replace("TABLES", &tables.concat())).expect("written");
    let users = folder.path().join("users");
    std::fs::write(&users, "anna SHA-256 longenough AES-128 longenough\n").expect("written");
    let [users, engine] = [users, folder.path().join("engine")].map(|path| path.display().to_string());
    let server = Iesp::start(&[
        "-b",
        "ram",
        "-d",
        "8M",
        "-d",
        "1M",
        "-S",
        "0",
        "--snmp-community",
        "public",
        "--snmp-users",
        &users,
        "--snmp-engine-file",
        &engine,
    ]);
    let mut client = Client::login(server.address());
    client.put_immediate(&cdb::write(0, 8), &[1; 4096]).good();
    client.get(&cdb::read(0, 1), 512).good();
    let plain = Iesp::start(&["-b", "ram", "-d", "8M", "-S", "0", "--snmp-plain-tables"]);
    let rows = table(folder.path(), &plain, &["-v2c", "-cpublic"], "disk");
    assert_eq!(rows, [["1", "memory", "0", "0"]], "by GETBULK");
    assert_eq!(get(agent(&plain), "-v2c", &[".1.3.6.1.4.1.2021.13.15.1.1.2"])[0].1, "memory", "iESP's place");
    let three = ["-v3", "-uanna", "-lauthPriv", "-aSHA-256", "-Alongenough", "-xAES", "-Xlongenough"];
    for who in [&["-v1", "-cpublic"][..], &["-v2c", "-cpublic"], &three] {
        // By GETBULK it stops at the first name that is no row's: iESP's objects stand among the rows of this table, unless
        // they are asked not to.
        let rows = table(folder.path(), &server, &[who, &["-CB"]].concat(), "disk");
        assert_eq!(rows, [["1", "memory", "512", "4096"], ["2", "memory", "0", "0"]], "{who:?}");
        let rows = table(folder.path(), &server, who, "space");
        assert_eq!((rows.len(), &rows[1][..]), (2, &["2", "memory", "1024", "100"].map(String::from)[..]), "{who:?}");
        let rows = table(folder.path(), &server, who, "target");
        assert_eq!((rows.len(), &rows[0][0][..], &rows[0][2][..]), (1, "test", "1"), "{who:?}");
        let rows = table(folder.path(), &server, who, "session");
        assert_eq!((rows.len(), &rows[0][0][..], &rows[0][2][..]), (1, "1", "test"), "{who:?}");
        assert!(rows[0][1].starts_with("iqn."), "{rows:?}");
    }
}
