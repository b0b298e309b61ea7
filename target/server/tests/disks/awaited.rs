//! Disks that are not there: the others are served, and what comes is served when it comes.

use std::fs;

use crate::servers::Server;
use crate::support::cdb;
use crate::support::process::{folder, image};
use crate::{attentions, configuration, ends, luns, on, reload, serial, serve, session, status, tools, wait};

/// REPORTED LUNS DATA HAS CHANGED.
const LUNS_CHANGED: (u8, u8) = (0x3f, 0x0e);

/// One image is missing at the start. Two initiators use the other disk, and see no error.
#[test]
fn a_missing_image_keeps_no_other_disk_from_being_served() {
    let folder = folder();
    image(folder.path(), "there", 1 << 20);
    configuration(folder.path(), &[("a", &["file = \"there\"", "file = \"late\""])]);
    let iesp = serve(folder.path(), &[]);
    assert!(iesp.screen.contains("LUN 1") && iesp.screen.contains("no such file"), "{}", iesp.screen);
    let (mut one, mut two) = (session(&iesp, "a", 1), session(&iesp, "a", 2));
    for client in [&mut one, &mut two] {
        attentions(client, 0);
        on(client, 0, &cdb::write(0, 1), &[1; 512], 0).good();
        assert_eq!(luns(client), [0]);
        // PERIPHERAL QUALIFIER 001b: it can be there, and is not.
        assert_eq!(on(client, 1, &cdb::inquiry(None, 36), &[], 36).good()[0], 0x20);
        assert_eq!(on(client, 2, &cdb::inquiry(None, 36), &[], 36).good()[0], 0x7f);
        assert_eq!(on(client, 1, &[0; 6], &[], 0).code(), (5, 0x25, 0));
    }
    let shown = status(folder.path(), &iesp);
    assert!(shown.contains("\"state\":\"waiting\"") && shown.contains("no such file"), "{shown}");
    image(folder.path(), "late", 2 << 20);
    wait(&iesp, |log| log.contains("is served now").then_some(()));
    for client in [&mut one, &mut two] {
        assert_eq!(attentions(client, 0), [LUNS_CHANGED]);
        assert_eq!(luns(client), [0, 1]);
        assert_eq!(attentions(client, 1), [(0x29, 0)]);
        on(client, 1, &cdb::write(0, 1), &[2; 512], 0).good();
        on(client, 0, &cdb::read(0, 1), &[], 512).good();
    }
    assert!(!status(folder.path(), &iesp).contains("waiting"));
    assert!(reload(&iesp).contains("no target or disk comes or goes"));
    assert_eq!(attentions(&mut two, 0), []);
}

/// One that is known is listed, and not ready.
#[test]
fn a_disk_that_is_known_is_not_ready() {
    let folder = folder();
    let Some(mut server) = Server::nbdkit(folder.path(), &["memory", "1M"]) else { return };
    let export = format!("nbd = \"{}\"\nuuid = \"5f0e0d0c-0b0a-4908-8706-05040302010e\"", server.url);
    server.kill();
    configuration(folder.path(), &[("a", &["ram = \"1M\"", &export])]);
    let iesp = serve(folder.path(), &[]);
    let mut client = session(&iesp, "a", 1);
    attentions(&mut client, 0);
    assert_eq!(luns(&mut client), [0, 1]);
    assert_eq!(attentions(&mut client, 1), [(0x29, 0)]);
    let known = serial(&mut client, 1);
    assert_eq!(on(&mut client, 1, &[0; 6], &[], 0).code(), (2, 4, 0), "NOT READY");
    assert_eq!(on(&mut client, 1, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[], 8).code(), (2, 4, 0));
    assert_eq!(on(&mut client, 1, &cdb::read(0, 1), &[], 512).code(), (2, 4, 0));
    assert_eq!(on(&mut client, 1, &cdb::inquiry(None, 36), &[], 36).good()[0], 0);
    server.start_again();
    wait(&iesp, |log| log.contains("is served now").then_some(()));
    // POWER ON, and INQUIRY DATA HAS CHANGED: what it can do is known now.
    assert_eq!(attentions(&mut client, 1), [(0x29, 0), (0x3f, 3)]);
    assert_eq!(serial(&mut client, 1), known);
    on(&mut client, 1, &cdb::write(0, 1), &[2; 512], 0).good();
    assert_eq!(attentions(&mut client, 0), []);
}

/// Servers that take connections and say nothing: what waits for one of them waits for all of them.
#[test]
fn several_silent_servers_take_no_longer_than_one() {
    let folder = folder();
    image(folder.path(), "there", 1 << 20);
    let silent: Vec<_> = (0..4).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let ports = silent.iter().map(|socket| socket.local_addr().expect("an address").port());
    let exports: Vec<_> = ports.map(|port| format!("nbd = \"nbd://127.0.0.1:{port}/\"")).collect();
    let luns: Vec<_> = ["file = \"there\""].into_iter().chain(exports.iter().map(String::as_str)).collect();
    configuration(folder.path(), &[("a", &luns)]);
    let start = std::time::Instant::now();
    let iesp = serve(folder.path(), &[]);
    assert!(start.elapsed() < std::time::Duration::from_secs(18), "{:?}", start.elapsed());
    let mut client = session(&iesp, "a", 1);
    attentions(&mut client, 0);
    assert_eq!(crate::luns(&mut client), [0]);
    // The configuration is read again meanwhile.
    let start = std::time::Instant::now();
    configuration(folder.path(), &[("a", &["file = \"there\""])]);
    reload(&iesp);
    assert!(start.elapsed() < std::time::Duration::from_secs(18), "{:?}", start.elapsed());
}

#[test]
fn all_or_none_for_those_who_want_it() {
    let folder = folder();
    let there = image(folder.path(), "there", 1 << 20);
    let late = folder.path().join("late").display().to_string();
    let (code, errors) = ends(&["-d", &there, "-d", &late, "--strict"]);
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(errors.contains("late") && errors.contains("no such file"), "{errors}");
    let text = fs::read_to_string(configuration(folder.path(), &[("a", &["file = \"there\"", "file = \"late\""])]));
    let file = folder.path().join("strict.toml");
    fs::write(&file, format!("strict = true\n{}", text.expect("the file"))).expect("written");
    assert_eq!(ends(&["--config", file.to_str().expect("a plain path")]).0, Some(1));
    // Nothing at all is nothing to serve.
    assert_eq!(ends(&["-d", &late]).0, Some(1));
}

/// A disk that is taken out of the configuration is waited for no longer, and one whose number another disk takes neither.
#[test]
fn a_disk_that_is_wanted_no_longer_is_not_waited_for() {
    let folder = folder();
    image(folder.path(), "there", 1 << 20);
    configuration(folder.path(), &[("a", &["file = \"there\"", "file = \"late\""])]);
    let iesp = serve(folder.path(), &[]);
    let mut client = session(&iesp, "a", 1);
    attentions(&mut client, 0);
    configuration(folder.path(), &[("a", &["file = \"there\""])]);
    assert!(reload(&iesp).contains("LUN 1 of a removed"));
    assert_eq!(on(&mut client, 1, &cdb::inquiry(None, 36), &[], 36).good()[0], 0x7f);
    image(folder.path(), "late", 1 << 20);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(luns(&mut client), [0]);
    assert!(!status(folder.path(), &iesp).contains("waiting"));
}

/// What goes wrong with a disk that is served shows, and that it is there again.
#[test]
fn the_state_of_each_disk_is_shown() {
    let folder = folder();
    let Some(mut server) = Server::nbdkit(folder.path(), &["memory", "1M"]) else { return };
    let cut = image(folder.path(), "cut", 1 << 20);
    let export = format!("nbd = \"{}\"\nnbd-reconnect = 1", server.url);
    configuration(folder.path(), &[("a", &["file = \"cut\"", &export, "ram = \"1M\""])]);
    let port = crate::servers::free_port();
    let iesp = serve(folder.path(), &["--metrics", &format!("127.0.0.1:{port}"), "-S", "0"]);
    // dskErrorFlag and dskErrorMsg (UCD-SNMP-MIB).
    let agent = tools::agent(&iesp);
    let flags = || [1, 2, 3].map(|row| tools::number(agent, &format!(".1.3.6.1.4.1.2021.9.1.100.{row}")));
    let message = |row: u8| tools::get(agent, "-v2c", &[&format!(".1.3.6.1.4.1.2021.9.1.101.{row}")])[0].1.clone();
    let mut client = session(&iesp, "a", 1);
    (0..3).for_each(|lun| drop(attentions(&mut client, lun)));
    let metrics = || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("metrics");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        text.lines()
            .filter(|line| line.starts_with("iesp_disk_state"))
            .fold(String::new(), |all, line| all + line + "\n")
    };
    let state = |lun: u8, name: &str| {
        let text = metrics();
        let is_it = |line: &&str| {
            line.starts_with("iesp_disk_state{")
                && line.contains(&format!("lun=\"{lun}\""))
                && line.contains(&format!("state=\"{name}\""))
        };
        text.lines().find(is_it).is_some_and(|line| line.ends_with(" 1.0"))
    };
    assert!(state(0, "serving") && state(1, "serving") && state(2, "serving"), "{}", metrics());
    assert_eq!((flags(), message(1)), ([0, 0, 0], String::new()));
    fs::File::options().write(true).open(&cut).and_then(|file| file.set_len(4096)).expect("cut");
    assert_eq!(on(&mut client, 0, &cdb::read(1024, 1), &[], 512).status, 2);
    assert_eq!(on(&mut client, 0, &cdb::ten(0x35, 0, 0, 0), &[], 0).status, 2);
    server.kill();
    wait(&iesp, |log| log.contains("the disk is away").then_some(()));
    let shown = status(folder.path(), &iesp);
    assert!(shown.contains("\"state\":\"failed\"") && shown.contains("\"state\":\"waiting\""), "{shown}");
    assert!(state(0, "failed") && state(1, "waiting") && state(2, "serving"), "{}", metrics());
    assert_eq!(flags(), [1, 1, 0]);
    assert!(message(1).contains("shorter") && message(2).contains("NBD server"), "{} {}", message(1), message(2));
    server.start_again();
    wait(&iesp, |log| log.contains("the disk is served again").then_some(()));
    assert!(state(1, "serving"), "{}", metrics());
    assert_eq!(flags(), [1, 0, 0]);
    assert!(status(folder.path(), &iesp).contains("\"state\":\"failed\""));
}

/// Both disks get another setting; one of them is away, and keeps the other from nothing.
#[test]
fn a_disk_that_is_away_takes_no_other_with_it_at_a_reload() {
    let folder = folder();
    image(folder.path(), "there", 1 << 20);
    configuration(folder.path(), &[("a", &["file = \"there\"", "file = \"late\""])]);
    let iesp = serve(folder.path(), &[]);
    let mut client = session(&iesp, "a", 1);
    attentions(&mut client, 0);
    on(&mut client, 0, &cdb::write(0, 1), &[1; 512], 0).good();
    let read_only = ["file = \"there\"\nread-only = true", "file = \"late\"\nread-only = true"];
    configuration(folder.path(), &[("a", &read_only)]);
    reload(&iesp);
    attentions(&mut client, 0);
    assert_eq!(luns(&mut client), [0], "{}", iesp.errors());
    assert_eq!(on(&mut client, 0, &cdb::read(0, 1), &[], 512).good(), [1; 512]);
    assert_eq!(on(&mut client, 0, &cdb::write(0, 1), &[2; 512], 0).code(), (7, 0x27, 0));
    assert_eq!(on(&mut client, 1, &cdb::inquiry(None, 36), &[], 36).good()[0], 0x20);
    // It comes as it is wanted now.
    image(folder.path(), "late", 1 << 20);
    wait(&iesp, |log| log.contains("is served now").then_some(()));
    attentions(&mut client, 1);
    assert_eq!(on(&mut client, 1, &cdb::write(0, 1), &[2; 512], 0).code(), (7, 0x27, 0));
    assert!(reload(&iesp).contains("no target or disk comes or goes"));
}

/// What is served goes on being served in the old way where the new one cannot be, also beside one that has gone meanwhile.
#[test]
fn a_disk_that_has_gone_takes_no_other_with_it_at_a_reload() {
    let folder = folder();
    image(folder.path(), "stays", 1 << 20);
    let goes = image(folder.path(), "goes", 1 << 20);
    configuration(folder.path(), &[("a", &["file = \"stays\"", "file = \"goes\""])]);
    let iesp = serve(folder.path(), &[]);
    let mut client = session(&iesp, "a", 1);
    attentions(&mut client, 0);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&goes, &elsewhere).expect("renamed");
    let read_only = ["file = \"stays\"\nread-only = true", "file = \"goes\"\nread-only = true"];
    configuration(folder.path(), &[("a", &read_only)]);
    reload(&iesp);
    attentions(&mut client, 0);
    on(&mut client, 0, &cdb::write(0, 1), &[2; 512], 0).good();
    fs::rename(&elsewhere, &goes).expect("renamed");
    wait(&iesp, |log| log.contains("is served now").then_some(()));
    attentions(&mut client, 1);
    on(&mut client, 1, &cdb::write(0, 1), &[2; 512], 0).good();
}

/// Reloads more often than disks are tried again.
#[test]
fn a_disk_comes_however_often_the_configuration_is_read() {
    let folder = folder();
    image(folder.path(), "there", 1 << 20);
    configuration(folder.path(), &[("a", &["file = \"there\"", "file = \"late\""])]);
    let iesp = serve(folder.path(), &[]);
    image(folder.path(), "late", 1 << 20);
    wait(&iesp, |log| {
        iesp.signal(rustix::process::Signal::HUP);
        log.contains("is served now").then_some(())
    });
}

/// The place of a disk that is away is kept for it.
#[test]
fn a_copy_is_not_served_in_place_of_what_is_away() {
    let folder = folder();
    let there = image(folder.path(), "there", 1 << 20);
    let original = image(folder.path(), "original", 1 << 20);
    drop(crate::support::Iesp::start(&["-d", &original]));
    let copy = folder.path().join("copy").display().to_string();
    fs::copy(format!("{original}.uuid"), format!("{copy}.uuid")).expect("a copy");
    fs::rename(&original, folder.path().join("elsewhere")).expect("renamed");
    configuration(folder.path(), &[("a", &["file = \"there\"", "file = \"original\"", "file = \"copy\""])]);
    let iesp = serve(folder.path(), &[]);
    image(folder.path(), "copy", 1 << 20);
    wait(&iesp, |log| log.contains("which is another disk").then_some(()));
    let mut client = session(&iesp, "a", 1);
    attentions(&mut client, 0);
    assert_eq!(luns(&mut client), [0, 1]);
    drop(iesp);
    let (code, errors) = ends(&["-d", &there, "-d", &copy, "-d", &original]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("which is another disk") && errors.contains("copy.uuid"), "{errors}");
}

/// A server that says nothing: neither the start nor the stop waits for it where somebody wants the end.
#[test]
fn a_silent_server_keeps_nobody_from_ending_the_program() {
    use rustix::process::{Pid, Signal, kill_process};
    let folder = folder();
    image(folder.path(), "there", 1 << 20);
    let port = crate::servers::free_port();
    let export = format!("nbd = \"nbd://127.0.0.1:{port}/\"");
    let file = configuration(folder.path(), &[("a", &["file = \"there\"", &export])]);
    let mut iesp = serve(folder.path(), &[]);
    let silent = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port");
    drop(silent.accept().expect("it tries again"));
    let _attempt = silent.accept().expect("it tries again");
    let (status, took) = iesp.stop();
    assert_eq!(status.code(), Some(0), "{}", iesp.errors());
    assert!(took < std::time::Duration::from_secs(6), "{took:?}");
    // At the start.
    let mut command = crate::support::process::command(&["--config", &file]);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("it starts");
    let _attempt = silent.accept().expect("it tries");
    let id = Pid::from_child(&child);
    let begin = std::time::Instant::now();
    for _ in 0..2 {
        kill_process(id, Signal::TERM).expect("it runs");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    child.wait().expect("a child");
    assert!(begin.elapsed() < std::time::Duration::from_secs(6), "{:?}", begin.elapsed());
}
