//! From start to stop.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use iesp_iscsi::pdu::LogoutReason;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::client::KEYS;
use crate::support::initiator::Answer;
use crate::support::process::{PATIENCE, command, folder, image, program};
use crate::support::{Client, Iesp, cdb};

/// A stop takes less, whoever is connected.
const STOP: Duration = Duration::from_secs(3);

#[test]
fn demo_mode_serves_an_image_that_it_makes_to_this_machine_alone() {
    let folder = folder();
    let start = || {
        let mut demo = command(&["-p", "0"]);
        demo.env("XDG_DATA_HOME", folder.path());
        Iesp::spawn(demo)
    };
    let server = start();
    assert_eq!(server.addresses.len(), 1);
    assert!(server.address().ip().is_loopback());
    let disk = folder.path().join("iesp/disk.img");
    let metadata = fs::metadata(&disk).expect("the image is there");
    assert_eq!(metadata.len(), 1 << 30);
    assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) < 1000, "sparse");
    assert!(server.screen.contains(&format!("iscsi://{}/test/0", server.address())), "{}", server.screen);
    assert!(server.screen.contains(disk.to_str().expect("a plain path")), "{}", server.screen);
    let mut client = Client::login(server.address());
    client.put(&cdb::write(9, 1), &[9; 512]).good();
    drop((client, server));
    let again = start();
    assert_eq!(Client::login(again.address()).get(&cdb::read(9, 1), 512).good(), [9; 512]);
}

/// What a user enters elsewhere stands on the first screen: an address that exists, and the name.
#[test]
fn the_first_screen_has_what_initiators_ask_for() {
    let server = Iesp::start(&["-b", "ram", "-d", "1M", "-i", "0.0.0.0", "-t", "iqn.2026-01.home.nas:disk"]);
    let port = server.address().port();
    let urls: Vec<_> = server.screen.lines().filter_map(|line| line.trim().strip_prefix("URL     iscsi://")).collect();
    assert!(!urls.is_empty(), "{}", server.screen);
    for url in urls {
        let (address, rest) = url.split_once('/').expect("an address and a name");
        assert_eq!(rest, "iqn.2026-01.home.nas:disk/0");
        let address: SocketAddr = address.parse().expect("an address");
        assert!(!address.ip().is_unspecified() && address.port() == port);
        TcpStream::connect(address).expect("it is reached there");
    }
    for address in &server.addresses {
        assert!(!address.ip().is_unspecified() && address.port() == port, "{}", server.screen);
    }
    assert!(server.screen.contains(&format!("\n  listens 0.0.0.0:{port}\n")), "{}", server.screen);
    assert!(!server.screen.contains("-t iqn."), "{}", server.screen);
    let plain = Iesp::ram("1M");
    assert!(plain.screen.contains("-t iqn."), "{}", plain.screen);
}

#[test]
fn help_and_version() {
    for flag in ["-h", "--help"] {
        let output = command(&[flag]).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success());
        for letter in ["-b", "-d", "-t", "-i", "-p", "-T", "-L", "-l", "-D", "-P", "-f", "-h"] {
            assert!(text.contains(&format!(" {letter}, --")), "{letter} has a long name: {text}");
        }
    }
    assert!(command(&["--version"]).output().expect("it runs").status.success());
}

#[test]
fn a_pid_file_is_there_while_it_serves() {
    let folder = folder();
    let pid_file = folder.path().join("pid");
    let disk = image(folder.path(), "disk", 1 << 20);
    let args = ["-d", &disk, "-P", pid_file.to_str().expect("a plain path")];
    // One that was left behind is no obstacle.
    fs::write(&pid_file, "2147483646\n").expect("written");
    let mut server = Iesp::start(&args);
    assert_eq!(fs::read_to_string(&pid_file).expect("there").trim(), server.id().to_string());
    let other = image(folder.path(), "other", 1 << 20);
    let second = command(&["-d", &other, "-p", "0", "-P", args[3]]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(1) && errors.contains(&server.id().to_string()), "{errors}");
    assert_eq!(server.stop().0.code(), Some(0));
    assert!(!pid_file.exists());
}

/// Ends a daemon, whatever becomes of the test.
struct Daemon(Pid);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn read_pid(pid_file: &Path) -> Pid {
    let text = fs::read_to_string(pid_file).expect("a PID file");
    text.trim().parse().ok().and_then(Pid::from_raw).expect("a process id")
}

#[test]
fn a_daemon_serves_when_the_command_returns() {
    let folder = folder();
    let pid_file = folder.path().join("pid");
    let disk = image(folder.path(), "disk", 1 << 20);
    let args = ["-f", "-d", &disk, "-i", "127.0.0.1", "-p", "0", "-P", pid_file.to_str().expect("a plain path")];
    let output = command(&args).output().expect("it runs");
    let daemon = Daemon(read_pid(&pid_file));
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""));
    let address = screen.lines().find_map(|line| line.trim().strip_prefix("address ")).expect("an address");
    let address: SocketAddr = address.parse().expect("an address");
    let mut client = Client::login(address);
    client.put(&cdb::write(0, 1), &[1; 512]).good();
    drop(client);
    kill_process(daemon.0, Signal::TERM).expect("it runs");
    let deadline = Instant::now() + PATIENCE;
    while pid_file.exists() || TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "the daemon does not stop");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What keeps a daemon from serving is told by the command.
#[test]
fn a_daemon_that_cannot_serve() {
    let output = command(&["-f", "-d", "/nowhere/disk", "-p", "0"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("/nowhere/disk") && errors.contains("no such file"), "{errors}");
}

#[test]
fn sigterm_and_sigint_with_nobody_there() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Iesp::ram("1M");
        let start = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
}

/// 11.9.1: initiators are asked to log out; one that does ends the wait.
#[test]
fn sigterm_with_a_session_that_logs_out() {
    let mut server = Iesp::ram("1M");
    let mut client = Client::login(server.address());
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert!(matches!(client.answer(), Answer::Async(_)));
    let logout = client.initiator.logout(LogoutReason::CloseSession);
    let unit = client.initiator.unit(&logout.emit(), &[]);
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Logout(_)));
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// Whoever is there: one that does nothing, one in the middle of a write, one that reads nothing, one before its login.
#[test]
fn sigterm_with_all_kinds_of_peers() {
    let mut server = Iesp::ram("64M");
    let address = server.address();
    let idle = Client::login_as(address, Client::isid(1), KEYS);
    let mut writing = Client::login_as(address, Client::isid(2), KEYS);
    let write = writing.initiator.write(&cdb::write(0, 8), 4096);
    writing.begin(&write);
    assert!(matches!(writing.answer(), Answer::R2t(_)));
    let mut deaf = Client::login_as(address, Client::isid(3), KEYS);
    for _ in 0..64 {
        let read = deaf.initiator.read(&cdb::read(0, 2048), 1 << 20);
        deaf.begin(&read);
    }
    let stranger = Client::connect(address);
    std::thread::sleep(Duration::from_millis(200));
    let (status, took) = server.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < STOP, "{took:?}");
    drop((idle, writing, deaf, stranger));
}

/// A restart on the same port at once, with connections of the last run still lingering.
#[test]
fn a_restart_on_the_same_port() {
    let mut server = Iesp::ram("1M");
    let address = server.address();
    let client = Client::login(address);
    server.kill();
    let port = address.port().to_string();
    let again = Iesp::start(&["-b", "ram", "-d", "1M", "-p", &port]);
    assert_eq!(again.address(), address);
    Client::login(address).run(&[0]).good();
    drop(client);
}

#[test]
fn the_log_file_has_its_own_level() {
    let folder = folder();
    let log = folder.path().join("log");
    let mut server =
        Iesp::start(&["-b", "ram", "-d", "1M", "-L", "info,error", "-l", log.to_str().expect("a plain path")]);
    drop(Client::login(server.address()));
    server.stop();
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.contains("logged in") && text.contains("iqn.2001-04.com.example:host"), "{text}");
    assert_eq!(server.errors(), "");
}

/// A program in the path of which nobody can write, and without a home: still serves memory.
#[test]
fn no_home_is_needed() {
    let mut program = Command::new(program());
    program.env_clear().args(["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", "0"]);
    Client::login(Iesp::spawn(program).address()).run(&[0]).good();
}

/// timeout(1) sends SIGTERM to the process and to its group: that is one wish, and the stop is in order.
#[test]
fn two_signals_at_once_are_one() {
    for pause in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(3)] {
        let mut server = Iesp::ram("1M");
        let mut client = Client::login(server.address());
        server.signal(Signal::TERM);
        std::thread::sleep(pause);
        server.signal(Signal::TERM);
        assert!(matches!(client.answer(), Answer::Async(_)));
        // A stop that is not in order has ended it by now.
        std::thread::sleep(Duration::from_millis(20));
        let logout = client.initiator.logout(LogoutReason::CloseSession);
        let unit = client.initiator.unit(&logout.emit(), &[]);
        client.send(&unit);
        assert!(matches!(client.answer(), Answer::Logout(_)));
        assert_eq!(server.wait().code(), Some(0), "{}", server.errors());
    }
}

/// SIGHUP reads the configuration again, however early it comes: who sees the port or the PID file may send it.
#[test]
fn a_signal_that_comes_as_soon_as_the_port_listens() {
    let folder = folder();
    let pid_file = folder.path().join("pid");
    for round in 0..30 {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let _ = fs::remove_file(&pid_file);
        let mut program = command(&["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", &port.to_string(), "-P"]);
        let mut child = program.arg(&pid_file).stdout(std::process::Stdio::null()).spawn().expect("it starts");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() && !fs::metadata(&pid_file).is_ok_and(|file| file.len() > 0) {
            assert!(Instant::now() < deadline, "it does not listen");
        }
        let id = Pid::from_child(&child);
        kill_process(id, Signal::HUP).expect("it runs");
        std::thread::sleep(Duration::from_millis(30));
        let ended = child.try_wait().expect("a child");
        if ended.is_none() {
            kill_process(id, Signal::KILL).expect("it runs");
            child.wait().expect("a child");
        }
        assert_eq!(ended, None, "round {round}");
    }
}

/// What a process left that was killed may be in use for a moment more: by requests that were in the kernel's hands.
#[test]
fn a_restart_at_once_on_an_image_that_is_let_go_of_late() {
    let folder = folder();
    let disk = image(folder.path(), "disk", 1 << 20);
    let held = fs::File::options().read(true).open(&disk).expect("the image");
    held.try_lock().expect("nobody has it");
    let holder = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
    });
    Client::login(Iesp::start(&["-d", &disk]).address()).run(&[0]).good();
    holder.join().expect("it let go");
}

/// A second signal does not wait for anybody.
#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut server = Iesp::ram("1M");
        let client = Client::login(server.address());
        let start = Instant::now();
        server.signal(Signal::TERM);
        // It waits for the logout of a session that does nothing.
        std::thread::sleep(Duration::from_millis(400));
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(code));
        assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
        assert!(server.errors().contains("ended at once"), "{}", server.errors());
        drop(client);
    }
}

/// A daemon that cannot serve says so in one line, with the exit code that it would have without -f.
#[test]
fn a_daemon_that_fails_says_one_thing() {
    for (args, code) in [(["-f", "-p", "0", "-d", "/nowhere/disk"], 1), (["-f", "-p", "0", "-t", "my disk"], 2)] {
        let output = command(&args).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), errors.lines().count()), (Some(code), 1), "{errors}");
    }
}
