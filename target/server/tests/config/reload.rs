//! SIGHUP: what changed changes, the sessions of the rest notice nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use iesp_iscsi::pdu::{LoginStatus, LogoutReason};

use crate::support::client::{Done, KEYS};
use crate::support::initiator::Answer;
use crate::support::process::{PATIENCE, image};
use crate::support::{Client, cdb};
use crate::{LOG, PORTAL, Served, target};

/// Reads and writes what it has written, until it is told to stop; unit attentions are counted and the command repeated.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: thread::JoinHandle<Vec<(u8, u8, u8)>>,
}

impl Load {
    fn start(mut client: Client) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            let mut attentions = Vec::new();
            for round in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (lba, data) = (round % 100, [round as u8; 4096]);
                patient(|| client.put(&cdb::write(lba * 8, 8), &data), &mut attentions);
                let read = patient(|| client.get(&cdb::read(lba * 8, 8), 4096), &mut attentions);
                assert_eq!(read, data);
                count.fetch_add(1, Ordering::Relaxed);
            }
            attentions
        });
        Self { stop, done, thread }
    }

    /// Waits until it has gone on.
    fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while self.done.load(Ordering::Relaxed) < before + 20 {
            assert!(Instant::now() < deadline && !self.thread.is_finished(), "the load stands still");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The unit attentions that it got.
    fn end(self) -> Vec<(u8, u8, u8)> {
        self.goes_on();
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load was served")
    }
}

fn patient(mut command: impl FnMut() -> Done, attentions: &mut Vec<(u8, u8, u8)>) -> Vec<u8> {
    loop {
        let done = command();
        if done.status == 2 && done.code().0 == 6 {
            attentions.push(done.code());
            continue;
        }
        return done.good();
    }
}

/// REPORTED LUNS DATA HAS CHANGED.
const LUNS_CHANGED: (u8, u8, u8) = (6, 0x3f, 0x0e);

/// Targets and LUNs come and go beside a load, again and again.
#[test]
fn targets_and_luns_come_and_go_beside_a_load() {
    let text = |a: &str, more: &str| format!("{PORTAL}{LOG}{}{more}", target("a", a));
    let served = Served::by(&text("1M", &target("b", "1M")));
    let load = Load::start(served.login("a", 1));
    load.goes_on();
    for _ in 0..3 {
        let mut gone = served.login("b", 1);
        let line = served.reload(&text("1M 2M", &target("c", "1M")));
        for change in ["LUN 1 of a added", "target c added", "target b removed"] {
            assert!(line.contains(change), "{change} in {line}");
        }
        // 11.9.1: it was asked to log out before it was dropped.
        assert!(matches!(gone.answer(), Answer::Async(_)));
        assert_eq!(gone.answer_or_end(), None);
        assert_eq!(served.connect("b", 1).err(), Some(LoginStatus::NotFound));
        load.goes_on();
        served.login("c", 1).run(&[0]).good();
        // The new LUN is there for sessions that were, too.
        let mut other = served.login("a", 2);
        let ready = other.initiator.bare(&[0]);
        let ready = iesp_iscsi::pdu::ScsiCommand { lun: 1 << 48, ..ready };
        assert_eq!(other.command(ready, &[]).code(), (6, 0x29, 0));
        served.reload(&text("1M", &target("b", "1M")));
        assert_eq!(other.run(&[0]).code(), LUNS_CHANGED);
        other.run(&[0]).good();
        let ready = other.initiator.bare(&[0]);
        let ready = iesp_iscsi::pdu::ScsiCommand { lun: 1 << 48, ..ready };
        assert_eq!(other.command(ready, &[]).code(), (5, 0x25, 0), "it is gone");
        load.goes_on();
    }
    // One for each change of the inventory.
    assert_eq!(load.end(), [LUNS_CHANGED; 6]);
}

/// A session that is asked to log out and does is waited for no longer than that takes.
#[test]
fn a_removed_target_waits_for_the_logout() {
    let served = Served::by(&format!("{PORTAL}{LOG}{}{}", target("a", "1M"), target("b", "1M")));
    let mut client = served.login("b", 1);
    let start = Instant::now();
    let thread = thread::spawn(move || {
        assert!(matches!(client.answer(), Answer::Async(_)));
        let logout = client.initiator.logout(LogoutReason::CloseSession);
        let unit = client.initiator.unit(&logout.emit(), &[]);
        client.send(&unit);
        assert!(matches!(client.answer(), Answer::Logout(_)));
    });
    served.reload(&format!("{PORTAL}{LOG}{}", target("a", "1M")));
    thread.join().expect("a logout");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// A write for a LUN that is removed ends in order, and what it wrote is in the file.
#[test]
fn commands_for_a_removed_lun_end_in_order() {
    let folder = crate::folder();
    let disk = image(folder.path(), "disk.img", 1 << 20);
    let base = format!("{PORTAL}{LOG}{}", target("a", "1M"));
    let lun = "[[target.lun]]\nfile = \"disk.img\"\n";
    let served = Served::with(folder, &format!("{base}{lun}"), &[]);
    let mut client = served.login("a", 1);
    let on_one = |command: iesp_iscsi::pdu::ScsiCommand| iesp_iscsi::pdu::ScsiCommand { lun: 1 << 48, ..command };
    let ready = on_one(client.initiator.bare(&[0]));
    assert_eq!(client.command(ready, &[]).code(), (6, 0x29, 0));
    let write = on_one(client.initiator.write(&cdb::write(0, 8), 4096));
    client.begin(&write);
    let Answer::R2t(r2t) = client.answer() else { panic!("no R2T") };
    let changing = thread::scope(|scope| {
        let changing = scope.spawn(|| served.reload(&base));
        thread::sleep(Duration::from_millis(200));
        assert!(!changing.is_finished(), "the write is waited for");
        // None are taken any more.
        let ready = on_one(client.initiator.bare(&[0]));
        assert_eq!(client.command(ready, &[]).code(), (5, 0x25, 0));
        client.answer_r2t(&r2t, &[7; 4096]);
        client.finish(write.itt, &[]).good();
        changing.join().expect("it was read")
    });
    assert!(changing.contains("LUN 1 of a removed"), "{changing}");
    assert_eq!(std::fs::read(&disk).expect("the file")[..4096], [7; 4096]);
    // The file is free for others.
    let again = crate::Iesp::start(&["-d", &disk]);
    Client::login(again.address()).run(&[0]).good();
}

/// One that never sends its data does not keep a LUN for ever: its session ends.
#[test]
fn a_command_that_never_ends_costs_its_session() {
    let base = format!("{PORTAL}{LOG}{}", target("a", "1M"));
    let served = Served::by(&format!("{PORTAL}{LOG}{}", target("a", "1M 1M")));
    let mut client = served.login("a", 1);
    let mut other = served.login("a", 2);
    let ready = iesp_iscsi::pdu::ScsiCommand { lun: 1 << 48, ..client.initiator.bare(&[0]) };
    assert_eq!(client.command(ready, &[]).code(), (6, 0x29, 0));
    let write = iesp_iscsi::pdu::ScsiCommand { lun: 1 << 48, ..client.initiator.write(&cdb::write(0, 8), 4096) };
    client.begin(&write);
    assert!(matches!(client.answer(), Answer::R2t(_)));
    served.reload(&base);
    assert_eq!(client.answer_or_end(), None);
    assert_eq!(other.run(&[0]).code(), LUNS_CHANGED);
    other.run(&[0]).good();
}

/// A faulty file, one with a disk that is not there, one with an address that cannot be had: one line each, and no change.
#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let right = format!("{PORTAL}{LOG}{}", target("a", "1M"));
    let served = Served::by(&right);
    let load = Load::start(served.login("a", 1));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    for (wrong, why) in [
        (
            format!("{right}[limits]\nsesions = 3\nwindow = 0\n"),
            "iesp.toml:11:1: 'sesions' is not known in [limits]: did you mean 'sessions'? (and 1 more",
        ),
        (right.replace("ram = \"1M\"", "file = \"missing.img\""), "missing.img: there is no such file"),
        (format!("{right}{}[[portal]]\nlisten = \"127.0.0.1:{port}\"\n", target("b", "1M")), "cannot listen on"),
        (right.replace("[log.screen]", "[log.file]\npath = \"/nowhere/log\"\n[log.screen]"), "/nowhere/log"),
        (right.replace("target", "target = "), "iesp.toml"),
    ] {
        // The refusal of a login may be told later.
        let lines = || served.iesp.errors().lines().filter(|line| line.contains(" ERROR ")).count();
        let before = lines();
        let line = served.reload(&wrong);
        assert!(
            line.contains("ERROR") && line.contains("nothing was changed") && line.contains(why),
            "{why} in {line}"
        );
        assert_eq!(lines(), before + 1, "one line: {}", served.iesp.errors());
        assert_eq!(served.connect("b", 3).err(), Some(LoginStatus::NotFound));
        load.goes_on();
    }
    std::fs::remove_file(served.file()).expect("removed");
    assert!(served.hang_up().contains("nothing was changed"));
    assert_eq!(load.end(), []);
    assert!(served.reload(&right).contains("was read again"));
}

/// READ CAPACITY(10): the last block.
fn last_block(client: &mut Client) -> u32 {
    let capacity = client.get(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8).good();
    u32::from_be_bytes([capacity[0], capacity[1], capacity[2], capacity[3]])
}

/// Memory by the file, an image by its own size.
#[test]
fn disks_of_another_size() {
    let folder = crate::folder();
    let disk = image(folder.path(), "disk.img", 1 << 20);
    let text = |size: &str| {
        format!("{PORTAL}{LOG}{}[[target]]\nname = \"f\"\n[[target.lun]]\nfile = \"disk.img\"\n", target("a", size))
    };
    let served = Served::with(folder, &text("1M"), &[]);
    let (mut memory, mut file) = (served.login("a", 1), served.login("f", 1));
    assert_eq!([last_block(&mut memory), last_block(&mut file)], [2047, 2047]);
    let load = Load::start(served.login("a", 2));
    load.goes_on();
    std::fs::File::options().write(true).open(&disk).and_then(|file| file.set_len(2 << 20)).expect("longer");
    let line = served.reload(&text("4M"));
    assert!(line.contains("no target or disk comes or goes"), "{line}");
    for (client, last) in [(&mut memory, 8191), (&mut file, 4095)] {
        assert_eq!(client.run(&[0]).code(), (6, 0x2a, 9), "CAPACITY DATA HAS CHANGED");
        assert_eq!(last_block(client), last);
        client.put(&cdb::write(last.into(), 1), &[3; 512]).good();
    }
    served.reload(&text("2M"));
    assert_eq!(memory.run(&[0]).code(), (6, 0x2a, 9));
    assert_eq!(last_block(&mut memory), 4095);
    assert_eq!(memory.get(&cdb::read(4096, 1), 512).code(), (5, 0x21, 0));
    // No whole blocks: as it was, and one line.
    std::fs::File::options().write(true).open(&disk).and_then(|file| file.set_len((2 << 20) + 100)).expect("longer");
    served.hang_up();
    assert_eq!(last_block(&mut file), 4095);
    assert!(served.iesp.errors().contains("no number of whole blocks"), "{}", served.iesp.errors());
    assert_eq!(load.end(), [(6, 0x2a, 9); 2]);
}

/// A disk in the place of another.
#[test]
fn a_lun_that_becomes_another_disk() {
    let folder = crate::folder();
    image(folder.path(), "one.img", 1 << 20);
    image(folder.path(), "two.img", 2 << 20);
    let text = |name: &str, more: &str| {
        format!("{PORTAL}{LOG}{}[[target]]\nname = \"b\"\n[[target.lun]]\nfile = \"{name}\"\n{more}", target("a", "1M"))
    };
    let served = Served::with(folder, &text("one.img", ""), &[]);
    let load = Load::start(served.login("a", 1));
    let mut client = served.login("b", 1);
    client.put(&cdb::write(0, 1), &[1; 512]).good();
    assert!(served.reload(&text("two.img", "")).contains("LUN 0 of b replaced"));
    // To this session it is new, and what INQUIRY said of the number holds no longer.
    let is_new = |client: &mut Client| {
        assert_eq!(client.run(&[0]).code(), (6, 0x29, 0));
        assert_eq!(client.run(&[0]).code(), (6, 0x3f, 3));
    };
    is_new(&mut client);
    assert_eq!(last_block(&mut client), 4095);
    assert_eq!(client.get(&cdb::read(0, 1), 512).good(), [0; 512]);
    // The same file in another way.
    assert!(served.reload(&text("one.img", "read-only = true\n")).contains("LUN 0 of b replaced"));
    is_new(&mut client);
    assert_eq!(client.get(&cdb::read(0, 1), 512).good(), [1; 512]);
    assert_eq!(client.put(&cdb::write(0, 1), &[2; 512]).code(), (7, 0x27, 0));
    // In a way that it cannot be had: it is there as before, and the next file is taken.
    std::fs::File::options()
        .write(true)
        .open(served.folder.path().join("one.img"))
        .and_then(|file| file.set_len((1 << 20) + 512))
        .expect("longer");
    served.reload(&text("one.img", "block-size = 4096\n"));
    assert!(served.iesp.errors().contains("a disk cannot be had"), "{}", served.iesp.errors());
    is_new(&mut client);
    assert_eq!(last_block(&mut client), 2048);
    assert!(served.reload(&text("two.img", "")).contains("LUN 0 of b replaced"));
    is_new(&mut client);
    assert_eq!(last_block(&mut client), 4095);
    assert_eq!(load.end(), []);
}

/// REPORT LUNS tells of a change, and no logical unit of the nexus tells of it again; the other initiator is told once.
#[test]
fn report_luns_ends_the_news_at_every_logical_unit() {
    let text = |size: &str| format!("{PORTAL}{LOG}{}", target("a", size));
    let served = Served::by(&text("1M 1M"));
    let on_one = |client: &mut Client| {
        let ready = client.initiator.bare(&[0]);
        client.command(iesp_iscsi::pdu::ScsiCommand { lun: 1 << 48, ..ready }, &[])
    };
    let (mut asks, mut other) = (served.login("a", 1), served.login("a", 2));
    for client in [&mut asks, &mut other] {
        assert_eq!(on_one(client).code(), (6, 0x29, 0));
    }
    served.reload(&text("1M 1M 1M"));
    let luns = asks.get(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 256).good();
    assert_eq!(luns[..4], [0, 0, 0, 24]);
    asks.run(&[0]).good();
    on_one(&mut asks).good();
    assert_eq!(other.run(&[0]).code(), LUNS_CHANGED);
    assert_eq!(on_one(&mut other).code(), LUNS_CHANGED);
    other.run(&[0]).good();
    // LUICLR in the Extended INQUIRY Data page (SPC-4 7.8.8).
    assert_eq!(asks.get(&cdb::inquiry(Some(0x86), 64), 64).good()[7] & 1, 1);
}

/// Who may log in changes for those who come; those who may not any more leave.
#[test]
fn access_that_changes() {
    let text = |more: &str| format!("{PORTAL}{LOG}{}{}{more}", target("a", "1M"), target("b", "1M"));
    let served = Served::by(&text(""));
    let load = Load::start(served.login("a", 1));
    let mut there = served.login("b", 1);
    served.reload(&text("[[target.chap]]\nuser = \"anna\"\nsecret = \"twelve bytes\"\n"));
    assert_eq!(served.connect("b", 2).err(), Some(LoginStatus::AuthenticationFailure));
    there.run(&[0]).good();
    served.login("a", 2);
    served.reload(&text("").replace("name = \"b\"", "name = \"b\"\ninitiators = \"iqn.2001-04.com.example:nobody\""));
    assert!(matches!(there.answer(), Answer::Async(_)));
    assert_eq!(there.answer_or_end(), None);
    assert_eq!(served.connect("b", 2).err(), Some(LoginStatus::AuthorizationFailure));
    served.reload(&text(""));
    served.login("b", 2);
    assert_eq!(load.end(), []);
}

/// Portals come and go; those who came by one that went leave.
#[test]
fn portals_that_change() {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let (one, two) = (free(), free());
    let portal = |address| format!("[[portal]]\nlisten = \"{address}\"\n");
    let text = |portals: &str| format!("{portals}{LOG}{}", target("a", "1M"));
    let served = Served::by(&text(&(portal(one) + &portal(two))));
    let load = Load::start(served.login("a", 1));
    let mut by_two = Client::connect(two);
    by_two.initiator.isid = Client::isid(2);
    assert_eq!(by_two.log_in("a", KEYS).status, LoginStatus::Success);
    served.reload(&text(&portal(one)));
    assert!(matches!(by_two.answer(), Answer::Async(_)));
    assert_eq!(by_two.answer_or_end(), None);
    assert!(std::net::TcpStream::connect(two).is_err());
    served.reload(&text(&(portal(one) + &portal(two))));
    let mut by_two = Client::connect(two);
    by_two.initiator.isid = Client::isid(2);
    assert_eq!(by_two.log_in("a", KEYS).status, LoginStatus::Success);
    assert_eq!(load.end(), []);
}

/// Limits hold for those who come.
#[test]
fn limits_that_change() {
    let text = |sessions: u8| {
        format!("{PORTAL}{LOG}{}[limits]\nsessions = {sessions}\nmemory = \"{sessions}G\"\n", target("a", "1M"))
    };
    let served = Served::by(&text(1));
    let mut client = served.login("a", 1);
    assert_eq!(served.connect("a", 2).err(), Some(LoginStatus::OutOfResources));
    served.reload(&text(2));
    served.login("a", 2);
    client.run(&[0]).good();
    served.reload(&format!("threads = 7\n{}", text(2)));
    assert!(served.iesp.errors().contains("at the next start"), "{}", served.iesp.errors());
}

/// Without a file it looks at the disks' sizes, and opens its log again.
#[test]
fn without_a_file() {
    let folder = crate::folder();
    let disk = image(folder.path(), "disk.img", 1 << 20);
    let log = folder.path().join("log");
    let log_name = log.to_str().expect("a plain path");
    let server = crate::Iesp::start(&["-d", &disk, "-L", "info,info", "-l", log_name]);
    let mut client = Client::login(server.address());
    std::fs::File::options().write(true).open(&disk).and_then(|file| file.set_len(2 << 20)).expect("longer");
    std::fs::rename(&log, folder.path().join("log.1")).expect("moved");
    server.signal(rustix::process::Signal::HUP);
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("was read again")) {
        assert!(Instant::now() < deadline, "{}", server.errors());
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.run(&[0]).code(), (6, 0x2a, 9));
    assert_eq!(last_block(&mut client), 4095);
}

/// libiscsi's iscsi-perf reads from a target that stays while others come and go, and while wrong files are refused. It does
/// not connect again: a lost session would end it.
#[test]
fn an_initiator_that_people_use() {
    use std::process::{Command, Stdio};
    let text = |more: &str| format!("{PORTAL}{LOG}{}{more}", target("iqn.2026-01.home.nas:kept", "64M"));
    let served = Served::by(&text(&target("b", "1M")));
    let url = format!("iscsi://{}/iqn.2026-01.home.nas:kept/0", served.iesp.address());
    let started = Command::new("iscsi-perf")
        .args(["-r", "-t", "3", "-x", "0", &url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut perf = match started {
        Ok(perf) => perf,
        Err(_) if std::env::var_os("CI").is_none() => {
            return eprintln!("skipped: cargo xtask setup installs iscsi-perf");
        }
        Err(error) => panic!("iscsi-perf: {error}: cargo xtask setup installs it"),
    };
    served.logs("logged in");
    for round in 0..4 {
        assert!(served.reload(&text(&target("c", "1M 1M"))).contains("was read again"), "round {round}");
        assert!(served.reload(&text("colour = 1\n")).contains("nothing was changed"));
        assert!(served.reload(&text(&target("b", "2M"))).contains("was read again"));
    }
    let in_time = perf.try_wait().expect("a child").is_none();
    let output = perf.wait_with_output().expect("it ends");
    assert!(in_time, "the files were read while it ran");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.to_lowercase().contains("fail"), "{said}");
    served.logs("logged out");
    let log = served.iesp.errors();
    assert_eq!((log.matches("logged in").count(), log.matches("session ended").count()), (1, 0), "{log}");
}
