//! The program as its user meets it: with and without a terminal, with all that can be wrong, to its end.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iesp-simulator"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().expect("it runs")
}

/// A folder with a card in it, both gone in the end.
struct Bench(PathBuf);

impl Bench {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("iesp-simulator-program-{}-{name}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let bench = Self(folder);
        let made = run(&["card", "make", &bench.card(), "--gigabytes", "4", "--disk", "16"]);
        assert!(made.status.success(), "{made:?}");
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(said.contains(&format!("iesp-simulator --card {}", bench.card())), "{said}");
        bench
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }

    fn card(&self) -> String {
        self.path("card.img")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What is left of it does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A simulator that runs; ended whatever becomes of the test.
struct Simulator {
    child: Child,
    lines: Option<BufReader<std::process::ChildStdout>>,
}

impl Simulator {
    /// Runs until it serves; the address.
    fn start(args: &[&str]) -> (Self, SocketAddr) {
        let mut child = command(args).spawn().expect("it runs");
        let lines = child.stdout.take().map(BufReader::new);
        let mut simulator = Self { child, lines };
        let first = simulator.line();
        let url = first.strip_prefix("initiators reach the board at iscsi://").expect("a URL");
        let address = url.split('/').next().expect("an address").parse().expect("an address");
        (simulator, address)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.as_mut().expect("a pipe").read_line(&mut line).expect("a line");
        line
    }

    /// Reads lines up to one with this in it.
    fn until(&mut self, word: &str) {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ended without {word:?}");
            if line.contains(word) {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is a child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line that says what is wrong and what to do.
#[test]
fn what_is_wrong_is_told_with_its_remedy() {
    let bench = Bench::new("wrong");
    let card = bench.card();
    let (missing, text, empty) = (bench.path("missing"), bench.path("text"), bench.path("empty"));
    fs::write(&text, [b'x'; 1000]).expect("written");
    fs::write(&empty, []).expect("written");
    let folder = bench.0.to_str().expect("a plain path").to_owned();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let tcp = tcp.local_addr().map(|address| (tcp, address.to_string())).expect("an address");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let udp = udp.local_addr().map(|address| (udp, address.to_string())).expect("an address");
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&[], 2, &["--card FILE", "card make FILE"]),
        (&["--card", &missing], 1, &[&missing, "no such card", "card make FILE"]),
        (&["--card", &text], 1, &[&text, "no image of a card", "card make FILE"]),
        (&["--card", &empty], 1, &["no image of a card"]),
        (&["--card", &folder], 1, &["no image of a card"]),
        (&["--card", "/dev/null"], 1, &["no image of a card"]),
        (&["--card", &card, "--listen", &tcp.1], 1, &[&tcp.1, "in use", "--listen"]),
        (&["--card", &card, "--listen", "127.0.0.1:0", "--snmp", &udp.1], 1, &[&udp.1, "in use", "--snmp"]),
        (&["--card", &card, "--listen", "127.0.0.1"], 2, &["--listen", "127.0.0.1:3260"]),
        (&["--card", &card, "--size", "small", "--snmp", "127.0.0.1:0"], 1, &["--size large"]),
        (&["--card", &card, "--spi-mhz", "0"], 2, &["1..=50"]),
        (&["--card", &card, "--faults", "1000001"], 2, &["1000000"]),
        (&["--card", &card, "--config", &text, "--listen", "127.0.0.1:0"], 1, &[&text]),
        (&["--card", &card, "--config", &missing, "--listen", "127.0.0.1:0"], 1, &[&missing]),
        (&["--card", &card, "--pcap", &folder, "--listen", "127.0.0.1:0"], 1, &[&folder]),
        (&["card", "make", &card], 1, &[&card, "there is a file already"]),
        (&["card", "make", &missing, "--disk", "0"], 2, &["--disk"]),
        (&["card", "make", &missing, "--disk", "9000"], 1, &["make the card larger"]),
        (&["card", "make", &missing, "--name", "a/b"], 1, &["a/b", "no name"]),
        (&["card", "make", &missing, "--gigabytes", "3"], 2, &["4..=2000"]),
        (&["card", "make", &missing, "--config", &text], 1, &[&text]),
    ];
    for (args, code, words) in cases {
        let output = run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(*code), "{args:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
        assert!(*code == 2 || said.lines().count() == 1, "{args:?}: {said}");
        assert!(!fs::exists(&missing).expect("it can be looked for"), "{args:?}: nothing is left behind");
    }
}

/// Without a terminal: lines, a capture of what went over the network, an end in order; and the card is one board's.
#[test]
fn lines_where_there_is_no_terminal() {
    let bench = Bench::new("lines");
    let (card, capture) = (bench.card(), bench.path("frames"));
    let args = ["--card", &card, "--listen", "127.0.0.1:0", "--pcap", &capture, "--faults", "300", "--seed", "5"];
    let (mut simulator, address) = Simulator::start(&args);
    while !simulator.line().contains("serving on") {}
    drop(TcpStream::connect(address).expect("it listens"));
    while !simulator.line().contains("connection 0: from") {}
    let second = run(&["--card", &card, "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!((second.status.code(), said.contains("in use by another simulator")), (Some(1), true), "{said}");
    simulator.signal(Signal::INT);
    let mut rest = String::new();
    simulator.lines.take().expect("a pipe").read_to_string(&mut rest).expect("text");
    assert_eq!(simulator.wait().code(), Some(0));
    assert!(rest.contains("\ncard: ") && rest.contains("\nframes: "), "{rest}");

    let capture = fs::read(capture).expect("a capture");
    assert_eq!(capture.first_chunk(), Some(&0xa1b2_c3d4_u32.to_ne_bytes()));
    let (mut at, mut frames) = (24, 0);
    while let Some(header) = capture.get(at..at + 16) {
        let [len, whole] = [8, 12].map(|at| u32::from_ne_bytes(*header[at..].first_chunk().expect("four bytes")));
        // An ARP request, and from then on what TCP has to say, at least.
        assert!(len == whole && len >= 42, "{len} of {whole}");
        at += 16 + len as usize;
        frames += 1;
    }
    assert!(at == capture.len() && frames >= 5, "{frames} frames, {at} of {}", capture.len());
}

/// `iesp-simulator ... | head -1`
#[test]
fn a_reader_that_goes_ends_it() {
    let bench = Bench::new("pipe");
    let (mut simulator, address) = Simulator::start(&["--card", &bench.card(), "--listen", "127.0.0.1:0"]);
    simulator.lines = None;
    let start = Instant::now();
    let status = loop {
        // What the board has to say of it is said to nobody.
        drop(TcpStream::connect(address));
        if let Some(status) = simulator.child.try_wait().expect("it is a child") {
            break status;
        }
        assert!(start.elapsed() < PATIENCE, "it does not end");
        thread::sleep(Duration::from_millis(20));
    };
    let mut errors = String::new();
    simulator.child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    assert_eq!((status.code(), &*errors), (Some(0), ""));
}

/// The card's configuration has the last word on what initiators enter.
#[test]
fn the_url_is_that_of_what_is_served() {
    let bench = Bench::new("url");
    let (config, card) = (bench.path("cfg-iESP.json"), bench.path("named.img"));
    fs::write(&config, r#"{ "target-name": "iqn.2026-01.home:disk" }"#).expect("written");
    let made = run(&["card", "make", &card, "--gigabytes", "4", "--disk", "16", "--config", &config]);
    assert!(made.status.success(), "{made:?}");
    let (mut simulator, address) = Simulator::start(&["--card", &card, "--listen", "127.0.0.1:0"]);
    let url = format!("initiators reach the board at iscsi://{address}/iqn.2026-01.home:disk/0\n");
    simulator.until(&url);
}

/// A card that is taken out and put back by its user.
#[test]
fn a_signal_turns_the_card() {
    let bench = Bench::new("turn");
    let (mut simulator, _) = Simulator::start(&["--card", &bench.card(), "--listen", "127.0.0.1:0"]);
    for what in ["taken out", "put back"] {
        simulator.signal(Signal::USR1);
        simulator.until(what);
    }
    simulator.signal(Signal::TERM);
    assert_eq!(simulator.wait().code(), Some(0));
}

/// A terminal of 80 by 24: the screen, its keys, and signals that leave the terminal as it was.
#[test]
fn a_screen_on_a_terminal() {
    let bench = Bench::new("screen");
    let card = bench.card();
    for (keys, signal) in [(&b"q"[..], None), (b"\x03", None), (b"", Some(Signal::TERM))] {
        let mut terminal = Terminal::new();
        let mut command = command(&["--card", &card, "--listen", "127.0.0.1:0"]);
        command.stdin(terminal.end()).stdout(terminal.end());
        let mut simulator = Simulator { child: command.spawn().expect("it runs"), lines: None };
        drop(command);
        let before = terminal.until("serving");
        // Spaces are skipped by the cursor.
        for word in ["board", "ends", "iscsi://127.0.0.1:", "console", "card:", "faults:", "none", "frames:"] {
            assert!(before.contains(word), "{word} in {before:?}");
        }
        for what in ["taken", "back"] {
            terminal.controller.write_all(b"c").expect("it takes keys");
            terminal.until(what);
        }
        terminal.controller.write_all(keys).expect("it takes keys");
        signal.into_iter().for_each(|signal| simulator.signal(signal));
        // The other screen is left, and the cursor is there again.
        terminal.until("\x1b[?1049l");
        assert_eq!(simulator.wait().code(), Some(0), "{keys:?} {signal:?}");
    }
}

struct Terminal {
    controller: fs::File,
    name: std::ffi::CString,
}

impl Terminal {
    fn new() -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&controller).and_then(|()| unlockpt(&controller)).expect("it is ours");
        let name = ptsname(&controller, Vec::new()).expect("its name");
        let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&controller, size).expect("its size");
        Self { controller: controller.into(), name }
    }

    /// The end of whoever is on the terminal.
    fn end(&self) -> fs::File {
        let name = self.name.to_str().expect("a plain name");
        fs::File::options().read(true).write(true).open(name).expect("the terminal's other end")
    }

    /// What is written to the terminal up to this.
    fn until(&mut self, word: &str) -> String {
        let (start, mut seen) = (Instant::now(), Vec::new());
        loop {
            assert!(start.elapsed() < PATIENCE, "no {word:?}");
            let mut bytes = [0; 4096];
            let count = match self.controller.read(&mut bytes) {
                // Linux tells so that nobody is at the other end any more.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.unwrap_or(0),
            };
            seen.extend(&bytes[..count]);
            let text = String::from_utf8_lossy(&seen).into_owned();
            if text.contains(word) {
                return text;
            }
            assert!(count > 0, "no {word:?} in {text:?}");
        }
    }
}
