//! Under systemd: its words, its watchdog, its sockets. systemd itself is played by the test.
#![cfg(target_os = "linux")]

mod support;

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::process::{PATIENCE, command, folder};
use support::{Client, Iesp, cdb};

/// The manager's end of NOTIFY_SOCKET.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = folder();
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Self { socket, folder }
    }

    fn start(&self, watchdog: Duration) -> Iesp {
        let mut program = command(&["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", "0"]);
        program.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        program.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        Iesp::spawn(program)
    }

    fn heard(&self) -> String {
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).expect("a word from iesp");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }
}

#[test]
fn it_says_when_it_serves_that_it_lives_and_when_it_stops() {
    let manager = Manager::new();
    let limit = Duration::from_millis(300);
    let mut server = manager.start(limit);
    let first = manager.heard();
    assert!(first.contains("READY=1\n") && first.contains("STATUS=serves test"), "{first}");
    Client::login(server.address()).run(&[0]).good();
    let start = Instant::now();
    for _ in 0..6 {
        assert_eq!(manager.heard(), "WATCHDOG=1\n");
    }
    // The first comes at once; five more take five thirds of the limit.
    assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    assert_eq!(server.stop().0.code(), Some(0));
    let stopping = std::iter::repeat_with(|| manager.heard()).find(|word| word != "WATCHDOG=1\n").expect("more");
    assert!(stopping.contains("STOPPING=1\n"), "{stopping}");
}

/// A manager that reads nothing for a while keeps nobody from logging in, and loses no word but those of life.
#[test]
fn a_manager_that_does_not_listen_holds_up_nobody() {
    let manager = Manager::new();
    let noise = UnixDatagram::unbound().expect("a socket");
    noise.set_nonblocking(true).expect("a socket that does not wait");
    let fill = || while noise.send_to(b"noise", manager.folder.path().join("notify")).is_ok() {};
    fill();
    let mut server = manager.start(Duration::from_millis(300));
    Client::login(server.address()).run(&[0]).good();
    let mut words = std::iter::repeat_with(|| manager.heard()).filter(|word| word != "noise");
    assert!(words.next().is_some_and(|word| word.contains("READY=1\n")));
    assert_eq!(words.next().as_deref(), Some("WATCHDOG=1\n"));
    fill();
    Client::login(server.address()).run(&[0]).good();
    assert_eq!(server.stop().0.code(), Some(0));
}

/// Under a shell that passes a socket as systemd does: descriptor 3, meant for this process.
fn activated(socket: OwnedFd, args: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    shell.args(["-c", script]).arg(support::process::program()).args(args);
    shell.stdin(Stdio::from(socket)).env_remove("RUST_LOG");
    shell
}

#[test]
fn a_socket_that_it_was_given_is_served_in_place_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    // A connection that came before the program did waits for it.
    let early = std::thread::spawn(move || Client::login(address));
    // An address that this machine does not have: were it used, the program would not start.
    let server = Iesp::spawn(activated(listener.into(), &["-b", "ram", "-d", "1M", "-i", "192.0.2.1"]));
    assert_eq!(server.addresses, [address]);
    early.join().expect("it logs in").put(&cdb::write(0, 1), &[7; 512]).good();
    assert_eq!(Client::login(address).get(&cdb::read(0, 1), 512).good(), [7; 512]);
}

#[test]
fn what_is_no_listener_is_refused() {
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let output = activated(datagrams.into(), &["-b", "ram", "-d", "1M"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("descriptor 3") && errors.contains("ListenStream="), "{errors}");
}

/// Sockets that were meant for another process (the one that started this) are left alone.
#[test]
fn sockets_of_another_process_are_not_taken() {
    let mut program = command(&["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", "0"]);
    program.env("LISTEN_FDS", "1").env("LISTEN_PID", std::process::id().to_string());
    Client::login(Iesp::spawn(program).address()).run(&[0]).good();
}
