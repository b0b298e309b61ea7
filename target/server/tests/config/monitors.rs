//! SNMP and metrics, as the configuration is read again: they come, change, move and go, and no session notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use crate::support::process::PATIENCE;
use crate::{LOG, PORTAL, Served, target};

fn text(more: &str) -> String {
    format!("{PORTAL}{LOG}{}{more}", target("a", "1M"))
}

/// sysLocation, as Debian's snmpget shows it; `None` where nobody answers.
fn location(address: SocketAddr, community: &str) -> Option<String> {
    let mut command = Command::new("snmpget");
    command.env("SNMPCONFPATH", "/nonexistent").env("MIBS", "").args(["-v2c", "-Oqv", "-r1", "-t1", "-c", community]);
    let output = command.arg(address.to_string()).arg(".1.3.6.1.2.1.1.6.0").output();
    let output = output.expect("Debian's package snmp is installed (cargo xtask setup)");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().trim_matches('"').to_owned())
}

#[test]
fn snmp() {
    let free = || UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let (one, two) = (free(), free());
    let agent = |address: SocketAddr, community: &str| {
        text(&format!("[snmp]\nlisten = \"{address}\"\ncommunity = \"{community}\"\nlocation = \"{community}'s\"\n"))
    };
    let served = Served::by(&text(""));
    let mut client = served.login("a", 1);
    served.reload(&agent(one, "wonder"));
    assert_eq!(location(one, "wonder").as_deref(), Some("wonder's"));
    // At the same address: the old agent has to let go of it first.
    served.reload(&agent(one, "other"));
    assert_eq!((location(one, "other").as_deref(), location(one, "wonder")), (Some("other's"), None));
    served.reload(&agent(two, "other"));
    assert_eq!((location(two, "other").as_deref(), location(one, "other")), (Some("other's"), None));
    let taken = UdpSocket::bind(one).expect("it is free");
    let line = served.reload(&agent(one, "wonder"));
    assert!(line.contains("nothing was changed") && line.contains("cannot answer SNMP"), "{line}");
    assert_eq!(location(two, "other").as_deref(), Some("other's"));
    drop(taken);
    served.reload(&text(""));
    assert_eq!(location(two, "other"), None);
    client.run(&[0]).good();
}

/// The page; `None` where nobody listens.
fn page(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: iesp\r\nConnection: close\r\n\r\n").expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page");
    Some(page)
}

#[test]
fn metrics() {
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let (one, two) = (free(), free());
    let server = |address: SocketAddr| text(&format!("[metrics]\nlisten = \"{address}\"\n"));
    let is_there = |address| page(address).is_some_and(|page| page.contains("iesp_build_info"));
    let served = Served::by(&text(""));
    let mut client = served.login("a", 1);
    served.reload(&server(one));
    assert!(is_there(one));
    served.reload(&server(two));
    assert!(is_there(two) && !is_there(one));
    // Another program listens where it is to go.
    let taken = TcpListener::bind(one).expect("it is free");
    let line = served.reload(&(server(one) + &target("b", "1M")));
    assert!(line.contains("nothing was changed") && line.contains("cannot serve metrics"), "{line}");
    assert!(is_there(two));
    drop(taken);
    served.reload(&text(""));
    assert!(!is_there(two));
    client.run(&[0]).good();
}
