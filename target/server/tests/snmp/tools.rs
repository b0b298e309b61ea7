//! Debian's tools, started against the program.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::{Iesp, process};

/// Where the first screen says that SNMP is answered.
pub fn agent(server: &Iesp) -> SocketAddr {
    let line = server.screen.lines().find_map(|line| line.trim().strip_prefix("SNMP")).expect("an address");
    line.trim().parse().expect("an address")
}

/// One of Debian's tools, with numbers in place of names, and its patience short.
pub fn run(tool: &str, agent: SocketAddr, args: &[&str]) -> Output {
    let mut command = Command::new(tool);
    // No configuration of the machine's: neither MIBs nor defaults.
    command.env("SNMPCONFPATH", "/nonexistent").env("MIBS", "");
    let (options, names) = args.split_at(args.iter().take_while(|arg| arg.starts_with('-')).count());
    let output = command.args(["-On", "-Oe", "-r2", "-t3"]).args(options).arg(agent.to_string()).args(names).output();
    output.expect("Debian's package snmp is installed (cargo xtask setup)")
}

/// Types and values by name, in the order in which they came.
pub fn parse(output: &Output) -> Vec<(String, String, String)> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| !line.contains("No more variables left")).filter_map(|line| {
        let (name, rest) = line.split_once(" = ")?;
        // An empty text has no type.
        let (kind, value) = rest.split_once(": ").unwrap_or(("STRING", rest));
        Some((name.to_owned(), kind.to_owned(), value.trim_matches('"').to_owned()))
    });
    lines.collect()
}

#[track_caller]
pub fn get(agent: SocketAddr, version: &str, names: &[&str]) -> Vec<(String, String)> {
    let output = run("snmpget", agent, &[&[version, "-cpublic"], names].concat());
    assert!(output.status.success(), "{output:?}");
    let found = parse(&output);
    assert!(found.iter().map(|(name, ..)| name.as_str()).eq(names.iter().copied()), "{found:?}");
    found.into_iter().map(|(_, kind, value)| (kind, value)).collect()
}

#[track_caller]
pub fn numbers(agent: SocketAddr, version: &str, names: &[&str]) -> Vec<u64> {
    let values = get(agent, version, names);
    values.iter().map(|(_, value)| value.parse().unwrap_or_else(|_| panic!("{values:?}"))).collect()
}

#[track_caller]
pub fn number(agent: SocketAddr, name: &str) -> u64 {
    numbers(agent, "-v2c", &[name])[0]
}

/// Waits until a counter that follows the end of a connection is there.
#[track_caller]
pub fn expect(agent: SocketAddr, name: &str, value: u64) {
    let deadline = Instant::now() + process::PATIENCE;
    while number(agent, name) < value && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(number(agent, name), value, "{name}");
}

/// A name's numbers.
pub fn key(name: &str) -> Vec<u32> {
    name[1..].split('.').map(|part| part.parse().expect("a number")).collect()
}
