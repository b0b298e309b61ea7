//! What a board does beside serving disks: log, time, discovery, SNMP, WiFi; and what of it stays when it is switched off.

use std::net::Ipv4Addr;

use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::{Duration, with_timeout};
use iesp_simulator::board::Size;
use iesp_simulator::card::{Faults, Timing};
use iesp_simulator::host::{self, BOARD};
use iesp_simulator::image::{FileSpec, Table};
use iesp_simulator::parts::{AccessPoint, SimRadio};
use iesp_simulator::time::{Pace, Tasks, now_us};

use crate::client::Client;
use crate::rig::{DISK, Rig};

const MINUTE_US: u64 = 60_000_000;

/// A board that needs nobody to get its address.
const FIXED: &str = r#"{"ip-address": "10.0.0.5/24"}"#;

/// A board with this configuration on its flash.
fn rig(config: &'static str) -> Rig {
    let mut rig = Rig::plain(Size::Large);
    rig.setup.config = Some(config.as_bytes());
    rig
}

/// Runs the board, and `work` on the PC beside it.
fn beside<T>(rig: &Rig, work: impl AsyncFnOnce(Stack<'_>) -> T) -> T {
    let mut tasks = Tasks::new();
    rig.start(&mut tasks);
    let done = tasks.finish(Pace::Virtual, now_us() + 10 * MINUTE_US, host::run(rig.port(), 1, work));
    done.unwrap_or_else(|| panic!("no end:\n{}", rig.console()))
}

/// A UDP port of the PC's.
async fn with_port<T>(stack: Stack<'_>, port: u16, work: impl AsyncFnOnce(&mut UdpSocket<'_>) -> T) -> T {
    let (mut received, mut sending) = (vec![0; 8192], vec![0; 8192]);
    let mut places = [[PacketMetadata::EMPTY; 16]; 2];
    let [received_places, sending_places] = &mut places;
    let mut socket = UdpSocket::new(stack, received_places, &mut received, sending_places, &mut sending);
    socket.bind(port).expect("a port");
    work(&mut socket).await
}

async fn next(socket: &UdpSocket<'_>) -> (Vec<u8>, IpEndpoint) {
    let mut bytes = [0; 2048];
    let received = with_timeout(Duration::from_secs(120), socket.recv_from(&mut bytes)).await;
    let (len, from) = received.expect("a datagram in time").expect("a datagram");
    (bytes[..len].to_vec(), from.endpoint)
}

/// A time server that knows one time: that of the moment when the test began.
async fn tell_time(socket: &UdpSocket<'_>, unix_s: u64) {
    let (request, from) = next(socket).await;
    assert_eq!((request.len(), request[0] & 7), (48, 3), "a client's request");
    let mut answer = [0; 48];
    // Version 4, server; stratum 1.
    answer[..4].copy_from_slice(&[0x24, 1, 0, 0xfa]);
    answer[12..16].copy_from_slice(b"GPS\0");
    let now = ((unix_s + now_us() / 1_000_000 + 2_208_988_800) as u32).to_be_bytes();
    answer[24..32].copy_from_slice(&request[40..48]);
    for at in [16, 32, 40] {
        answer[at..at + 4].copy_from_slice(&now);
    }
    socket.send_to(&answer, from).await.expect("an answer");
}

#[test]
fn the_log_goes_to_a_syslog_server_with_the_time_of_day() {
    let rig = rig(r#"{"syslog-host": "10.0.0.1", "ntp-host": "10.0.0.1", "log-level": "info"}"#);
    // 25 November 2026, 12:00.
    const NOON: u64 = 1_795_608_000;
    let lines = beside(&rig, async |stack| {
        with_port(stack, 123, async |time| {
            with_port(stack, 514, async |log| {
                // The first request is not answered: the board asks again.
                let (_, _) = next(time).await;
                tell_time(time, NOON).await;
                let mut lines = Vec::new();
                while !lines.iter().any(|line: &String| line.contains(", of 10.0.0.1")) {
                    let (message, from) = next(log).await;
                    assert_eq!(from.addr, BOARD.into());
                    lines.push(String::from_utf8(message).expect("text"));
                }
                lines
            })
            .await
        })
        .await
    });
    let line = |words: &str| {
        let found = lines.iter().find(|line| line.ends_with(words) || line.contains(words));
        found.unwrap_or_else(|| panic!("{words}: {lines:#?}")).as_str()
    };
    // RFC 5424: facility 3, severity 6.
    assert!(line("reset: power on").starts_with("<30>1 - iESP-45535001 iesp - - - iESP "), "{lines:#?}");
    assert!(line("stage 6: Serving").starts_with("<30>1 "), "{lines:#?}");
    assert!(line("does not answer").starts_with("<28>1 "), "a warning: {lines:#?}");
    let told = line("time: 2026-11-25T12:00:1");
    assert!(
        told.starts_with("<30>1 2026-11-25T12:00:1") && told.contains("Z iESP-45535001 iesp - - - time: "),
        "{told}"
    );
}

#[test]
fn the_log_level_counts_and_a_wrong_address_is_told() {
    let rig = rig(r#"{"syslog-host": "10.0.0.256", "log-level": "error", "ip-address": "10.0.0.5/24"}"#);
    let console = rig.alone(2_000_000);
    let told = r#""syslog-host" must be a name or an address like 192.168.1.2, not "10.0.0.256""#;
    assert!(console.contains(told), "{console}");
    assert!(!console.contains("stage 6"), "that is no error: {console}");
    assert_eq!(rig.panel.0.borrow().stage, 6, "and it serves all the same");
}

/// Answers the next question of DNS, which is for this name: with an address, or that there is none.
async fn tell_address(socket: &UdpSocket<'_>, name: &str, address: Option<Ipv4Addr>) {
    let (mut message, from) = next(socket).await;
    assert_eq!(message[12..], question(name, 1)[12..], "a question for its address");
    // A response, recursion desired and available (RFC 1035 4.1.1).
    message[2..4].copy_from_slice(&[0x81, if address.is_some() { 0x80 } else { 0x83 }]);
    if let Some(address) = address {
        message[7] = 1;
        // The name of the question, type A, class IN, for a minute, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(address.octets());
    }
    socket.send_to(&message, from).await.expect("an answer");
}

#[test]
fn servers_may_have_names_and_ports() {
    let rig = rig(
        r#"{"syslog-host": "logs.example:1514", "ip-address": "10.0.0.5/24", "gateway": "10.0.0.1", "log-level": "info"}"#,
    );
    let line = beside(&rig, async |stack| {
        with_port(stack, 53, async |names| {
            with_port(stack, 1514, async |log| {
                tell_address(names, "logs.example", None).await;
                // It is asked again, and lines wait.
                tell_address(names, "logs.example", Some(host::ADDRESS)).await;
                String::from_utf8(next(log).await.0).expect("text")
            })
            .await
        })
        .await
    });
    assert!(line.starts_with("<30>1 - iESP-45535001 iesp - - - stage 1: Start"), "{line}");
    assert!(rig.console().contains("no name server knows logs.example: it is asked again"), "{}", rig.console());
}

#[test]
fn keys_that_do_nothing_on_a_board_are_told() {
    let rig = rig(r#"{"led-red": 5, "SD-CS": 12, "led-green": -1, "ip-address": "10.0.0.5/24"}"#);
    let console = rig.alone(2_000_000);
    let told: Vec<&str> = console.lines().filter(|line| line.contains("has no effect")).collect();
    assert_eq!(told.len(), 2, "{console}");
    for (line, key) in told.iter().zip(["led-red", "SD-CS"]) {
        assert!(line.ends_with(&format!(r#"cfg-iESP.json: "{key}" has no effect on this board"#)), "{line}");
    }
}

#[test]
fn a_panic_is_told_by_the_next_start() {
    let rig = rig(r#"{"syslog-host": "10.0.0.1"}"#);
    let panic = std::panic::catch_unwind(|| {
        let disks: [u8; 0] = [];
        std::hint::black_box(&disks[..])[std::hint::black_box(3)]
    });
    let panic = panic.expect_err("a panic");
    let words = panic.downcast_ref::<String>().expect("words");
    rig.setup.last_words.borrow_mut().write(format_args!("{words}"));
    let line = beside(&rig, async |stack| {
        with_port(stack, 514, async |log| {
            loop {
                let message = String::from_utf8(next(log).await.0).expect("text");
                if message.contains("panic") {
                    return message;
                }
            }
        })
        .await
    });
    let told = "the last start ended by a panic: index out of bounds: the len is 0 but the index is 3";
    assert!(line.starts_with("<27>1 ") && line.ends_with(told), "{line}");
    // Once.
    let console = rig.console().len();
    assert!(!rig.alone(2_000_000)[console..].contains("panic"));
}

/// A question of DNS for pointers (12) or addresses (1).
fn question(name: &str, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, kind, 0, 1]);
    bytes
}

fn holds(message: &[u8], bytes: &[u8]) -> bool {
    message.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn mdns_finds_the_target() {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    beside(&rig("{}"), async |stack| {
        stack.join_multicast_group(group).expect("a group");
        with_port(stack, 5353, async |socket| {
            // Two announcements, a second apart.
            for _ in 0..2 {
                let (message, from) = next(socket).await;
                assert_eq!((from.addr, from.port), (BOARD.into(), 5353));
                assert_eq!(message[2] & 0x84, 0x84, "an authoritative answer");
                assert!(holds(&message, b"\x06_iscsi\x04_tcp\x05local") && holds(&message, b"\x0diESP-45535001"));
                assert!(holds(&message, b"\x0btarget=test"), "TXT");
                // SRV: port 3260; A: the address.
                assert!(holds(&message, &3260u16.to_be_bytes()) && holds(&message, &BOARD.octets()));
            }
            let ask = async |name: &str, kind| {
                socket.send_to(&question(name, kind), (group, 5353)).await.expect("a question");
                with_timeout(Duration::from_secs(5), next(socket)).await.ok().map(|(message, _)| message)
            };
            let found = ask("_iscsi._tcp.local", 12).await.expect("an answer");
            assert!(holds(&found, b"\x0diESP-45535001") && holds(&found, &3260u16.to_be_bytes()));
            let address = ask("iESP-45535001.local", 1).await.expect("an answer");
            assert!(holds(&address, &BOARD.octets()));
            assert_eq!(ask("_http._tcp.local", 12).await, None);
            // Bytes that are no message of DNS do nothing.
            for len in 0..40 {
                socket.send_to(&vec![0xc0; len], (group, 5353)).await.expect("a datagram");
            }
            assert!(ask("_iscsi._tcp.local", 12).await.is_some());
        })
        .await;
        // RFC 6762 6.7: whoever asks from another port is answered alone, with the question.
        with_port(stack, 40_000, async |socket| {
            socket.send_to(&question("_iscsi._tcp.local", 12), (group, 5353)).await.expect("a question");
            let (answer, from) = next(socket).await;
            assert_eq!((from.addr, from.port), (BOARD.into(), 5353));
            assert!(holds(&answer, &question("_iscsi._tcp.local", 12)[12..]));
        })
        .await;
    });
}

fn point(ssid: &str, psk: &str, strength: i16) -> AccessPoint {
    AccessPoint { ssid: ssid.into(), psk: psk.into(), strength }
}

#[test]
fn wifi_takes_the_strongest_and_comes_back() {
    let mut rig = rig(
        r#"{"wifi": [{"ssid": "home", "psk": "one"}, {"ssid": "attic", "psk": "two"}, {"ssid": "old", "psk": "x"}]}"#,
    );
    let radio = SimRadio { wire: Some(rig.wire.clone()), ..SimRadio::default() };
    radio.wire.as_ref().unwrap().borrow_mut().set_up(false);
    // The strongest one has another pass phrase by now, the next one is a neighbour's.
    radio.air.borrow_mut().access_points = vec![
        point("home", "one", -70),
        point("attic", "two", -60),
        point("old", "changed", -20),
        point("pub", "", -10),
    ];
    rig.setup.radio = radio.clone();
    let joined = || radio.air.borrow().joined.clone();
    let mut tasks = Tasks::new();
    rig.start(&mut tasks);
    tasks.run(Pace::Virtual, 5_000_000, || joined().is_some());
    assert_eq!(joined().as_deref(), Some("attic"), "{}", rig.console());
    let session = async |stack: Stack<'_>| {
        let (mut received, mut sending) = ([0; 16384], [0; 16384]);
        let mut client = Client::connect(stack, (&mut received, &mut sending), "").await.expect("a session");
        assert_eq!(client.read(0, 8).await.expect("an answer").status, 0);
    };
    tasks.finish(Pace::Virtual, now_us() + MINUTE_US, host::run(rig.port(), 1, session)).expect("a session in time");
    radio.air.borrow_mut().access_points.remove(1);
    tasks.run(Pace::Virtual, now_us() + 5_000_000, || joined().as_deref() == Some("home"));
    assert_eq!(joined().as_deref(), Some("home"), "{}", rig.console());
    // None at all for a while.
    let points = std::mem::take(&mut radio.air.borrow_mut().access_points);
    tasks.run(Pace::Virtual, now_us() + 10 * MINUTE_US, || false);
    assert_eq!(joined(), None);
    radio.air.borrow_mut().access_points = points;
    let back = tasks.finish(Pace::Virtual, now_us() + 2 * MINUTE_US, host::run(rig.port(), 2, session));
    assert!(back.is_some(), "{}", rig.console());
    for words in [r#"WiFi: "old" cannot be joined"#, r#"WiFi: "attic", -60 dBm"#, r#"WiFi: "attic" is lost"#] {
        assert!(rig.console().contains(words), "{}", rig.console());
    }
}

#[test]
fn the_configuration_of_a_card_stays_on_flash() {
    let text = r#"{"target-name": "named", "ip-address": "10.0.0.5/24"}"#;
    let files = [FileSpec::disk("test.dat", DISK), FileSpec::text("cfg-iESP.json", text)];
    let with = Rig::new(Size::Large, 1, Faults::none(1), Timing::quick(), &files, Table::Mbr);
    let console = with.alone(2_000_000);
    assert!(console.contains("cfg-iESP.json: from the card") && console.contains("cfg-iESP.json: kept on flash"));
    assert!(console.contains("serving on 10.0.0.5:3260, target named"), "{console}");
    let console = with.console().len();
    assert!(!with.alone(2_000_000)[console..].contains("kept on flash"), "it is there already");

    let mut without = Rig::plain(Size::Large);
    without.setup.flash = with.setup.flash.clone();
    let console = without.alone(2_000_000);
    assert!(console.contains("from flash, as it was on a card") && console.contains("target named"), "{console}");

    // A card's that is wrong is told, and what was kept holds.
    let files = [FileSpec::disk("test.dat", DISK), FileSpec::text("cfg-iESP.json", r#"{"trim-level": 7}"#)];
    let mut wrong = Rig::new(Size::Large, 1, Faults::none(1), Timing::quick(), &files, Table::Mbr);
    wrong.setup.flash = with.setup.flash.clone();
    let console = wrong.alone(2_000_000);
    assert!(console.contains(r#"the card: cfg-iESP.json: "trim-level" must be 0, 1 or 2"#), "{console}");
    assert!(console.contains("target named"), "{console}");
}

/// The Pico's watchdog waits for 2.5 s.
const WATCHDOG_US: u64 = 2_500_000;

#[test]
fn the_watchdog_is_fed_whatever_is_waited_for() {
    let longest = |rig: &Rig| rig.setup.watchdog.0.borrow().1;
    // No card for ten seconds, then no network for longer.
    let rig = rig(FIXED);
    rig.wire.borrow_mut().set_up(false);
    let now = rig.slot.now_us();
    rig.slot.with_card(|card| card.remove(now));
    let mut tasks = Tasks::new();
    rig.start(&mut tasks);
    tasks.run(Pace::Virtual, 10_000_000, || false);
    assert!(rig.panel.0.borrow().lights[2] && rig.console().contains("card: "), "{}", rig.console());
    rig.slot.with_card(|card| card.insert());
    tasks.run(Pace::Virtual, 60_000_000, || false);
    assert!(rig.console().contains("no network after 30 s: it is waited for"), "{}", rig.console());
    rig.wire.borrow_mut().set_up(true);
    tasks.run(Pace::Virtual, 120_000_000, || rig.panel.0.borrow().stage == 6);
    assert_eq!(rig.panel.0.borrow().stage, 6, "{}", rig.console());
    assert!(longest(&rig) < WATCHDOG_US, "{} µs without a meal", longest(&rig));
}

#[test]
fn lights_and_stages() {
    let rig = rig(FIXED);
    let lights = || rig.panel.0.borrow().lights;
    let mut tasks = Tasks::new();
    rig.start(&mut tasks);
    tasks.run(Pace::Virtual, now_us() + 1, || false);
    assert_eq!(lights(), [true, true, false], "both while it starts");
    let mut stages = vec![0];
    tasks.run(Pace::Virtual, now_us() + MINUTE_US, || {
        let stage = rig.panel.0.borrow().stage;
        if stages.last() != Some(&stage) {
            stages.push(stage);
        }
        stage == 6
    });
    assert!(stages.is_sorted() && stages.len() > 4, "{stages:?}");
    assert_eq!((stages.last(), lights()), (Some(&6), [false; 3]));
    drop(tasks);
    let lit = |at: usize| rig.panel.0.borrow().lit_at_us[at].unwrap_or(0);
    rig.session(async |client| {
        let began = now_us();
        client.read(0, 16).await.expect("an answer");
        assert!(lit(0) >= began && lit(1) < began, "green: it reads");
        let wrote = now_us();
        client.write(0, &[1; 8192]).await.expect("an answer");
        assert!(lit(1) >= wrote && lit(2) < began, "yellow: it writes");
        assert_eq!(client.flush().await.expect("an answer").status, 0);
        let remove = || {
            let now = rig.slot.now_us();
            rig.slot.with_card(|card| card.remove(now));
        };
        let told = |text: &str| rig.console().matches(text).count();
        remove();
        for _ in 0..3 {
            assert_eq!(client.read(4096, 16).await.expect("an answer").status, 2);
            assert!(lights()[2], "red: trouble");
        }
        assert_eq!((told("card: no card answers"), told("card: it is there again")), (1, 0), "{}", rig.console());
        rig.slot.with_card(|card| card.insert());
        assert_eq!(client.read(4096, 16).await.expect("an answer").status, 0);
        assert_eq!((told("card: it is there again"), lights()[2]), (1, false));
        // What was acknowledged and not flushed goes with the card.
        client.write(0, &[2; 16384]).await.expect("an answer");
        remove();
        assert_eq!(client.read(4096, 16).await.expect("an answer").status, 2);
        rig.slot.with_card(|card| card.insert());
        assert_eq!(client.flush().await.expect("an answer").status, 2);
        assert_eq!((told("lost"), lights()[2]), (1, true), "{}", rig.console());
        assert_eq!(client.read(4096, 16).await.expect("an answer").status, 0);
        assert!(told("until the board is restarted") == 1 && lights()[2], "{}", rig.console());
    });
}
