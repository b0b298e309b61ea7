//! The metrics as Prometheus reads them: what they say under a load whose size is known, what `promtool` says of them, a
//! scrape by Debian's Prometheus, and peers that mean harm.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Client, Iesp, cdb, process};

fn start(more: &[&str]) -> Iesp {
    Iesp::start(&[&["-b", "ram", "-d", "8M", "-d", "1M", "--metrics", "0"], more].concat())
}

/// Where the first screen says that metrics are.
fn address(server: &Iesp) -> SocketAddr {
    let line = server.screen.lines().find_map(|line| line.trim().strip_prefix("metrics")).expect("an address");
    let address = line.trim().strip_prefix("http://").and_then(|line| line.strip_suffix("/metrics"));
    address.expect("a URL").parse().expect("an address")
}

/// What comes back, head and body, until the connection ends.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(process::PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn page(address: SocketAddr, accept: &str) -> String {
    let (head, body) = ask(address, &format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body
}

/// The number of a series, with its labels as they are written.
#[track_caller]
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {page}")).parse().expect("a number")
}

#[test]
fn a_known_load_is_counted_byte_for_byte() {
    let server = start(&[]);
    let metrics = address(&server);
    assert!(metrics.ip().is_loopback());
    let mut client = Client::login(server.address());
    for lba in 0..10 {
        client.put_immediate(&cdb::write(lba * 8, 8), &[1; 4096]).good();
    }
    client.put(&cdb::write(1000, 200), &[2; 102_400]).good();
    for _ in 0..7 {
        client.get(&cdb::read(0, 8), 4096).good();
    }
    let flush = client.initiator.bare(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    client.command(flush, &[]).good();
    let peer = client.stream.local_addr().expect("an address").to_string();
    for accept in ["*/*", "application/openmetrics-text;version=1.0.0"] {
        let page = page(metrics, accept);
        // Login, TEST UNIT READY, 11 writes with one Data-Out unit, 7 reads, a flush.
        assert_eq!(value(&page, "iesp_units_received_total"), f64::from(2 + 11 + 1 + 7 + 1));
        assert_eq!(value(&page, "iesp_commands_received_total"), f64::from(1 + 11 + 7 + 1));
        assert_eq!(value(&page, "iesp_data_in_bytes_total"), f64::from(7 * 4096));
        assert_eq!(value(&page, "iesp_data_out_bytes_total"), f64::from(10 * 4096 + 102_400));
        let disk = |name: &str, lun: u32| {
            value(&page, &format!("iesp_disk_{name}{{target=\"test\",lun=\"{lun}\",disk=\"memory\"}}"))
        };
        assert_eq!(disk("reads_total", 0), 7.0);
        assert_eq!(disk("writes_total", 0), 11.0);
        assert_eq!(disk("written_bytes_total", 0), f64::from(10 * 4096 + 102_400));
        assert_eq!(disk("written_bytes_total", 1), 0.0);
        assert_eq!(disk("size_bytes", 1), f64::from(1 << 20));
        let duration = |what: &str, command: &str| {
            value(
                &page,
                &format!("iesp_command_duration_seconds_{what}{{target=\"test\",lun=\"0\",command=\"{command}\"}}"),
            )
        };
        for (command, count) in [("read", 7.0), ("write", 11.0), ("flush", 1.0), ("other", 1.0)] {
            assert_eq!(duration("count", command), count, "{command}");
            let sum = duration("sum", command);
            assert!(sum > 0.0 && sum < 20.0, "{command} took {sum} s");
        }
        let parts = ["iesp_command_duration_seconds_bucket{", "le=\"+Inf\"", "lun=\"0\"", "command=\"write\""];
        let whole = page.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        assert!(whole.is_some_and(|line| line.ends_with(" 11")), "{whole:?}");
        let session = format!(
            "{{session=\"1\",initiator=\"{}\",target=\"test\",peer=\"{peer}\"}}",
            support::initiator::INITIATOR
        );
        assert_eq!(value(&page, &format!("iesp_session_data_in_bytes_total{session}")), f64::from(7 * 4096));
        assert_eq!(value(&page, "iesp_sessions"), 1.0);
        assert_eq!(page.ends_with("# EOF\n"), accept != "*/*");
    }
    // A session that ended is not told any more; the sums stay.
    drop(client);
    let deadline = Instant::now() + process::PATIENCE;
    while page(metrics, "*/*").contains("iesp_session_commands_total{") {
        assert!(Instant::now() < deadline, "the session does not end");
    }
    let page = page(metrics, "*/*");
    assert_eq!(value(&page, "iesp_session_failures_total{reason=\"other\"}"), 1.0);
    assert_eq!(value(&page, "iesp_data_in_bytes_total"), f64::from(7 * 4096));
}

#[test]
fn promtool_finds_nothing_to_say() {
    let server = start(&[]);
    let mut client = Client::login(server.address());
    client.get(&cdb::read(0, 1), 512).good();
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Debian's package prometheus is installed (cargo xtask setup)");
    let page = page(address(&server), "*/*");
    tool.stdin.take().expect("piped").write_all(page.as_bytes()).expect("sent");
    let output = tool.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

/// A child that is gone at the end, whatever became of the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn prometheus(folder: &Path, target: SocketAddr) -> (Ended, SocketAddr) {
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  - job_name: iesp\n    static_configs: [{{targets: ['{target}']}}]\n"
    );
    std::fs::write(&config, text).expect("written");
    // A port that is free now.
    let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a port");
    let log = std::fs::File::create(folder.join("log")).expect("a file");
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("Debian's package prometheus is installed (cargo xtask setup)");
    (Ended(child), address)
}

/// What a query answers, as JSON; `None` while nobody listens.
fn query(address: SocketAddr, query: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(process::PATIENCE)).ok()?;
    let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn prometheus_scrapes_it() {
    let folder = process::folder();
    let mut server = start(&[]);
    let mut client = Client::login(server.address());
    for _ in 0..5 {
        client.get(&cdb::read(0, 8), 4096).good();
    }
    let (mut prometheus, address) = prometheus(folder.path(), address(&server));
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let deadline = Instant::now() + 3 * process::PATIENCE;
    let wait_for = |asked: &str, part: &str, prometheus: &mut Ended| {
        loop {
            if query(address, asked).is_some_and(|answer| answer.contains(part)) {
                return;
            }
            assert!(prometheus.0.try_wait().expect("a child").is_none(), "prometheus ended: {}", log());
            assert!(Instant::now() < deadline, "{asked}: {:?}\n{}", query(address, asked), log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for("up{job=\"iesp\"}", ",\"1\"]", &mut prometheus);
    wait_for("iesp_data_in_bytes_total", ",\"20480\"]", &mut prometheus);
    wait_for("iesp_command_duration_seconds_count{command=\"read\",lun=\"0\"}", ",\"5\"]", &mut prometheus);
    wait_for(
        "histogram_quantile(0.99, sum by (le) (iesp_command_duration_seconds_bucket{command=\"read\"})) < 10",
        "value",
        &mut prometheus,
    );
    server.assert_well();
}

#[test]
fn peers_that_mean_harm() {
    let mut server = start(&[]);
    let metrics = address(&server);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        ("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        ("GET /etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405"),
        ("GARBAGE\r\n\r\n", "400"),
        ("\0\0\0\0\r\n\r\n", "400"),
        (&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000)), "4"),
    ] {
        let mut stream = TcpStream::connect(metrics).expect("it listens");
        stream.set_read_timeout(Some(process::PATIENCE)).expect("a timeout");
        // It may have been refused before all of it was sent.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let begin: String = request.chars().take(30).collect();
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{begin:?}: {answer}");
        assert!(!answer.is_empty() || request.len() > 10_000, "{begin:?} got no answer");
    }
    // Those that say nothing are turned away in time, and take nobody's place for long.
    let begin = Instant::now();
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(metrics).expect("it listens")).collect();
    let deadline = Instant::now() + process::PATIENCE;
    let again = || {
        let mut stream = TcpStream::connect(metrics).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.starts_with("HTTP/1.1 200").then_some(())
    };
    while again().is_none() {
        assert!(Instant::now() < deadline, "still no answer after {:?}", begin.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(silent);
    // The target served all the while.
    Client::login(server.address()).get(&cdb::read(0, 1), 512).good();
    server.assert_well();
}

#[test]
fn addresses_that_are_none() {
    let begin = |listen: &str| {
        let args = ["-b", "ram", "-d", "1M", "-i", "127.0.0.1", "-p", "0", "--metrics", listen];
        let output = process::command(&args).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, why) = begin("nowhere");
    assert_eq!((code, why.contains("127.0.0.1:9260")), (Some(2), true), "{why}");
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
    let (code, why) = begin(&taken.local_addr().expect("an address").to_string());
    assert_eq!((code, why.contains("choose another port with --metrics")), (Some(1), true), "{why}");
    // Nobody asked for them: nothing is said of them.
    assert!(!Iesp::ram("1M").screen.contains("metrics"));
}
