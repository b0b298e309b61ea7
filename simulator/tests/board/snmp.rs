//! The board's SNMP agent, asked by net-snmp's tools through the gateway, in real time.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;

use iesp_simulator::board::Size;
use iesp_simulator::datagrams::Datagrams;
use iesp_simulator::host;
use iesp_simulator::time::{Pace, Tasks, now_us};

use crate::client::Client;
use crate::rig::{DISK, Rig};

/// What a tool of net-snmp's prints: names as numbers, values with their types.
fn ask(tool: &str, version: &str, agent: SocketAddr, community: &str, names: &[&str]) -> Result<String, String> {
    let mut command = Command::new(tool);
    command.args([version, "-c", community, "-On", "-t", "3", "-r", "1", &agent.to_string()]).args(names);
    // No other program's configuration, no MIBs: types and numbers are as they travel.
    command.env("SNMPCONFPATH", "/nonexistent").env("MIBS", "").env("LC_ALL", "C");
    let output = command.output().map_err(|error| format!("{tool}: {error} (cargo xtask setup installs it)"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Runs a board with a session behind it, and `work` with the address of its agent meanwhile.
fn asked<T: Send + 'static>(rig: &Rig, work: impl FnOnce(SocketAddr) -> T + Send + 'static) -> T {
    let gateway = Datagrams::listen("127.0.0.1:0".parse().unwrap(), 161).expect("a port");
    let agent = gateway.address().unwrap();
    let mut tasks = Tasks::new();
    rig.start(&mut tasks);
    let used = host::run(rig.port(), 1, async |stack| {
        let (mut received, mut sending) = (vec![0; 16384], vec![0; 16384]);
        let mut client = Client::connect(stack, (&mut received, &mut sending), "").await.expect("a session");
        assert_eq!(client.write(0, &[1; 8192]).await.unwrap().status, 0);
        assert_eq!(client.read(0, 16).await.unwrap().status, 0);
    });
    tasks.finish(Pace::Virtual, now_us() + 60_000_000, used).expect("a session");
    // The samples of a minute: most of the disk is free.
    tasks.run(Pace::Virtual, now_us() + 60_000_000, || false);
    tasks.spawn(host::run(rig.port(), 2, async |stack| gateway.run(stack).await));
    let asking = thread::spawn(move || work(agent));
    tasks.run(Pace::Real, now_us() + 120_000_000, || asking.is_finished());
    asking.join().expect("what was asked was answered")
}

/// The objects that dashboards are made of, as the C++ program has them, and their types.
const OBJECTS: &[(&str, &str)] = &[
    ("1.3.6.1.2.1.1.1.0", "STRING"),
    ("1.3.6.1.2.1.1.3.0", "Timeticks"),
    ("1.3.6.1.2.1.1.5.0", "STRING"),
    ("1.3.6.1.2.1.142.1.10.2.1.1", "Counter32"),
    ("1.3.6.1.2.1.142.1.10.2.1.3", "Counter64"),
    ("1.3.6.1.2.1.142.1.10.2.1.4", "Counter64"),
    ("1.3.6.1.2.1.142.1.1.1.1.10", "Counter32"),
    ("1.3.6.1.2.1.142.1.1.2.1.1", "Counter32"),
    ("1.3.6.1.2.1.142.1.1.2.1.3", "Counter32"),
    ("1.3.6.1.2.1.142.1.6.2.1.1", "Counter32"),
    ("1.3.6.1.2.1.142.1.6.3.1.1", "Counter32"),
    ("1.3.6.1.4.1.2021.100.1", "INTEGER"),
    ("1.3.6.1.4.1.2021.100.2", "STRING"),
    ("1.3.6.1.4.1.2021.100.3", "STRING"),
    ("1.3.6.1.4.1.2021.11.54", "Counter32"),
    ("1.3.6.1.4.1.2021.11.9.0", "INTEGER"),
    ("1.3.6.1.4.1.2021.13.15.1.1.2", "STRING"),
    ("1.3.6.1.4.1.2021.13.15.1.1.3", "Counter64"),
    ("1.3.6.1.4.1.2021.13.15.1.1.4", "Counter64"),
    ("1.3.6.1.4.1.2021.13.15.1.1.5", "Counter64"),
    ("1.3.6.1.4.1.2021.13.15.1.1.6", "Counter64"),
    ("1.3.6.1.4.1.2021.4.11.0", "INTEGER"),
    ("1.3.6.1.4.1.2021.9.1.9.1", "INTEGER"),
];

#[test]
fn the_same_objects_as_on_a_host() {
    let rig = Rig::plain(Size::Large);
    asked(&rig, |agent| {
        let names: Vec<&str> = OBJECTS.iter().map(|(name, _)| *name).collect();
        let answer = ask("snmpget", "-v2c", agent, "public", &names).unwrap();
        let mut values = std::collections::BTreeMap::new();
        for ((name, kind), line) in OBJECTS.iter().zip(answer.lines()) {
            let (left, value) = line.split_once(" = ").expect("a value");
            assert_eq!(left, format!(".{name}"));
            assert!(value.starts_with(&format!("{kind}: ")) || value == "\"\"", "{line} is no {kind}");
            values.insert(*name, value.rsplit(": ").next().unwrap_or_default().to_owned());
        }
        let number = |name: &str| values[name].parse::<u64>().unwrap_or_else(|_| panic!("{name}: {}", values[name]));
        assert!(number("1.3.6.1.2.1.142.1.10.2.1.1") >= 4, "units of a session");
        assert_eq!(number("1.3.6.1.2.1.142.1.6.2.1.1"), 1, "a login");
        assert_eq!(number("1.3.6.1.4.1.2021.13.15.1.1.3"), 8192, "read");
        assert_eq!(number("1.3.6.1.4.1.2021.13.15.1.1.4"), 8192, "written");
        assert_eq!(number("1.3.6.1.4.1.2021.11.9.0"), 7, "of the CPU");
        assert_eq!(number("1.3.6.1.4.1.2021.4.11.0"), 100, "kB free");
        assert!((90..=100).contains(&number("1.3.6.1.4.1.2021.9.1.9.1")), "most of the disk was never written to");
        assert_eq!(values["1.3.6.1.4.1.2021.13.15.1.1.2"], "\"test.dat\"");
        assert_eq!(values["1.3.6.1.2.1.1.5.0"], "\"iESP-45535001\"");

        let walk = ask("snmpbulkwalk", "-v2c", agent, "public", &[".1"]).unwrap();
        assert!(walk.lines().count() > 80, "{walk}");
        let total = format!(".1.3.6.1.4.1.2021.9.1.6.1 = INTEGER: {}", DISK >> 10);
        assert!(walk.lines().any(|line| line == total), "{walk}");
        assert!(walk.contains("iSCSI") || walk.contains(".1.3.6.1.2.1.142.1.5.1.1.2.1.1"), "the target's node: {walk}");
        assert!(ask("snmpget", "-v1", agent, "public", &["1.3.6.1.2.1.1.5.0"]).unwrap().contains("iESP-45535001"));
        assert!(ask("snmpget", "-v2c", agent, "private", &["1.3.6.1.2.1.1.5.0"]).unwrap_err().contains("Timeout"));
    });
}
