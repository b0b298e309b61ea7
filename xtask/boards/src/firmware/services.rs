//! What an emulated board does beside serving its disk, as the machine that it runs on sees it: its log and its questions for the
//! time arrive here, its SNMP agent answers, its announcements are on the wire.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Utc};
use qemu_launcher::Guest;
use xtask_common::process::{Ended, last_lines, run_logged};

use super::build::build_date;

/// What QEMU's network calls this machine.
const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// A name that must not be answered.
const COMMUNITY: &str = "boards";
/// How far the board's clock may be from this machine's, in seconds.
const CLOCK_TOLERANCE_S: i64 = 5;
const PATIENCE: Duration = Duration::from_secs(30);
const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// When a line of the log came, and the line.
type Line = (DateTime<Utc>, String);

/// A syslog server and a time server of this machine's; they end with this value.
#[derive(Debug)]
pub struct Helpers {
    log: SocketAddr,
    time: SocketAddr,
    lines: Arc<Mutex<Vec<Line>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Where the frames of the board's start are.
    pub capture: PathBuf,
}

/// Does a check under a name, and notes what came of it.
pub type Note<'a> = &'a mut dyn FnMut(&str, &mut dyn FnMut() -> Result<String>);

impl Helpers {
    /// Starts the servers, on ports that are free.
    ///
    /// # Errors
    /// When a port cannot be opened.
    pub fn start(dir: &Path) -> Result<Self> {
        let open = || -> Result<UdpSocket> {
            let socket =
                UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no UDP port for a server of the board's")?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        };
        let (log, time) = (open()?, open()?);
        let (log_at, time_at) = (log.local_addr()?, time.local_addr()?);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let kept = Arc::clone(&lines);
        let log = serve(log, &over, move |message| {
            let text = String::from_utf8_lossy(message).into_owned();
            kept.lock().unwrap_or_else(PoisonError::into_inner).push((Utc::now(), text));
            None
        });
        let time = serve(time, &over, |request| time_answer(request, SystemTime::now()));
        let capture = dir.join("start.pcap");
        Ok(Helpers { log: log_at, time: time_at, lines, over, threads: vec![log, time], capture })
    }

    /// The board's configuration: these servers are its.
    pub fn config(&self) -> String {
        let [log, time] = [self.log, self.time].map(|server| format!("{HERE}:{}", server.port()));
        serde_json::json!({ "syslog-host": log, "ntp-host": time, "snmp-community": COMMUNITY }).to_string()
    }

    /// Lets the board announce itself before the capture of its network ends.
    ///
    /// # Errors
    /// When the capture cannot be ended.
    pub fn wait_for_announcement(&self, guest: &mut Guest) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_announced() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(guest.end_capture()?)
    }

    fn is_announced(&self) -> bool {
        let bytes = std::fs::read(&self.capture).unwrap_or_default();
        announces(&bytes)
    }

    /// All checks; the board's agent is at this port.
    pub fn check(&self, snmp: u16, dir: &Path, note: Note<'_>) {
        note("log and time", &mut || self.log_and_time());
        note("discovery", &mut || {
            ensure!(self.is_announced(), "no announcement of _iscsi._tcp is in {}", self.capture.display());
            Ok("the board announced _iscsi._tcp by mDNS".into())
        });
        note("SNMP", &mut || asked(snmp, dir));
    }

    fn log_and_time(&self) -> Result<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for what in ["stage 1: Start", "stage 6: Serving"] {
            ensure!(
                lines.iter().any(|(_, line)| line.ends_with(what)),
                "no line {what:?} among {} of the log",
                lines.len()
            );
        }
        let told = format!(", of {HERE}");
        let is_timed = |line: &str| line.contains(" iesp - - - time: ") && line.ends_with(&told);
        let Some((came, line)) = lines.iter().find(|(_, line)| is_timed(line)) else {
            bail!(
                "the board did not learn the time: {:?}",
                lines.iter().take(12).map(|(_, line)| line).collect::<Vec<_>>()
            )
        };
        // RFC 5424 6: after the priority and the version comes the time.
        let stamp = line.split(' ').nth(1).unwrap_or_default();
        let stamp = DateTime::parse_from_rfc3339(stamp).with_context(|| format!("no time in {line:?}"))?;
        let apart = (stamp.with_timezone(&Utc) - came).num_seconds();
        ensure!(apart.abs() <= CLOCK_TOLERANCE_S, "the board's clock is {apart} s from this machine's: {line:?}");
        Ok(format!("{} lines came by syslog, with the right time", lines.len()))
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What it panicked with is on stderr.
            let _ = thread.join();
        }
    }
}

/// Takes datagrams, and answers them where there is an answer.
fn serve(
    socket: UdpSocket,
    over: &Arc<AtomicBool>,
    mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> JoinHandle<()> {
    let over = Arc::clone(over);
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        while !over.load(Ordering::Relaxed) {
            // A time-out lets it look whether it is over.
            let Ok((len, from)) = socket.recv_from(&mut bytes) else { continue };
            if let Some(answer) = answer(&bytes[..len]) {
                // Who does not get it asks again.
                let _ = socket.send_to(&answer, from);
            }
        }
    })
}

/// An answer of a time server (RFC 4330 4); `None` to what is no question.
fn time_answer(request: &[u8], now: SystemTime) -> Option<Vec<u8>> {
    const FROM_1900_TO_1970_S: u64 = 2_208_988_800;
    let asked = request.get(40..48).filter(|_| request[0] & 7 == 3)?;
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (since.as_secs() + FROM_1900_TO_1970_S) as u32;
    let fraction = ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000) as u32;
    let stamp = [seconds.to_be_bytes(), fraction.to_be_bytes()].concat();
    // Version 4, server; stratum 1.
    let mut answer = vec![0x24, 1, 0, 0xec];
    answer.extend([0; 8]);
    answer.extend(b"LOCL");
    answer.extend([&stamp, asked, &stamp, &stamp].into_iter().flatten());
    Some(answer)
}

/// Whether frames have an answer of mDNS with the target's service and its port.
fn announces(frames: &[u8]) -> bool {
    let has = |bytes: &[u8]| frames.windows(bytes.len()).any(|window| window == bytes);
    // RFC 1112 6.4: 224.0.0.251 as an address of Ethernet.
    has(&[0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb]) && has(b"\x06_iscsi\x04_tcp\x05local") && has(b"\x0btarget=test")
}

/// Net-SNMP asks the board's agent: by both versions, for what only a board that worked can say; and with a wrong community.
fn asked(port: u16, dir: &Path) -> Result<String> {
    const NAME: &str = "1.3.6.1.2.1.1.5.0";
    const UNITS: &str = "1.3.6.1.2.1.142.1.10.2.1.1";
    const LOGINS: &str = "1.3.6.1.2.1.142.1.6.2.1.1";
    const VERSION: &str = "1.3.6.1.4.1.2021.100.2";
    const BUILT: &str = "1.3.6.1.4.1.2021.100.3";
    const READ: &str = "1.3.6.1.4.1.2021.13.15.1.1.3";
    const WRITTEN: &str = "1.3.6.1.4.1.2021.13.15.1.1.4";
    const FREE_RAM: &str = "1.3.6.1.4.1.2021.4.11.0";
    let agent = format!("udp:127.0.0.1:{port}");
    let ask = |tool: &str, version: &str, community: &str, objects: &[&str]| -> Result<Vec<String>> {
        let log = dir.join("snmp.log");
        let mut command = Command::new(tool);
        // A configuration of the user's counts for nothing here.
        command.env("SNMPCONFPATH", dir).env("MIBS", "");
        command.args([version, "-c", community, "-r", "3", "-t", "2", "-Oqvn", &agent]).args(objects);
        let ended = run_logged(&mut command, &log, TOOL_LIMIT)?;
        ensure!(ended == Ended::Exit(0), "{tool} {version} ({ended}): {}", last_lines(&log, 3).join(" | "));
        Ok(last_lines(&log, usize::MAX))
    };
    let one = [NAME, UNITS, LOGINS, VERSION, BUILT, READ, WRITTEN, FREE_RAM];
    let said = ask("snmpget", "-v2c", COMMUNITY, &one)?;
    let [name, units, logins, version, built, read, written, free] = said.as_slice() else { bail!("{said:?}") };
    ensure!(name.trim_matches('"').starts_with("iESP-"), "the board is called {name}");
    ensure!(!version.trim_matches('"').is_empty(), "no version");
    let date = build_date();
    ensure!(built.trim_matches('"') == date, "the program says that it was built at {built}, not {date}");
    for (what, number) in [("units", units), ("logins", logins), ("read", read), ("written", written), ("free", free)] {
        let number: u64 = number.parse().with_context(|| format!("{what}: {number}"))?;
        ensure!(number > 0, "{what}: nothing was counted, after all that was done with the board");
    }
    // Version 1 has no Counter64.
    let old = ask("snmpget", "-v1", COMMUNITY, &[NAME])?;
    ensure!(old == [name.clone()], "version 1 says {old:?}");
    ensure!(ask("snmpget", "-v2c", "public", &[NAME]).is_err(), "another community is answered, too");
    let all = ask("snmpbulkwalk", "-v2c", COMMUNITY, &["1.3.6.1"])?;
    ensure!(all.len() >= 50, "a walk ends after {} objects", all.len());
    Ok(format!("{} objects; {units} units, {read} bytes read, {written} written", all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_server_answers_questions_alone() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_608_000_500);
        let mut request = vec![0; 48];
        request[0] = 0x23;
        request[40..].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let answer = time_answer(&request, now).unwrap();
        assert_eq!((answer.len(), &answer[24..32]), (48, &[1, 2, 3, 4, 5, 6, 7, 8][..]));
        let stamp = [(1_795_608_000_u32.wrapping_add(2_208_988_800)).to_be_bytes(), [0x80, 0, 0, 0]].concat();
        assert_eq!(answer[40..], stamp);
        request[0] = 0x24;
        assert_eq!(time_answer(&request, now), None);
        assert_eq!(time_answer(&request[..40], now), None);
    }

    #[test]
    fn an_announcement_is_told_from_other_frames() {
        let whole = b"..\x01\x00\x5e\x00\x00\xfb..\x06_iscsi\x04_tcp\x05local..\x0btarget=test..";
        assert!(announces(whole));
        assert!(!announces(&whole[..whole.len() - 4]) && !announces(&whole[3..]) && !announces(b""));
    }

    #[test]
    fn lines_arrive_and_are_held_against_what_they_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let helpers = Helpers::start(dir.path()).unwrap();
        let board = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let send = |line: &str| {
            let before = helpers.lines.lock().unwrap().len();
            board.send_to(line.as_bytes(), helpers.log).unwrap();
            while helpers.lines.lock().unwrap().len() == before {
                std::thread::sleep(Duration::from_millis(5));
            }
            helpers.log_and_time().map_err(|error| error.to_string())
        };
        assert!(send("<30>1 - b iesp - - - stage 1: Start").unwrap_err().contains("stage 6"));
        assert!(send("<30>1 - b iesp - - - stage 6: Serving").unwrap_err().contains("did not learn the time"));
        let stamp = Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
        send(&format!("<30>1 {stamp} b iesp - - - time: {stamp}, of 10.0.2.2")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&helpers.config()).unwrap();
        assert_eq!(config["syslog-host"], format!("10.0.2.2:{}", helpers.log.port()));
    }
}
