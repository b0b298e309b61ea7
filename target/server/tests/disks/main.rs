//! What is served is one thing each: its identity, its names, its paths; and what becomes of it at the start and at the stop.

#[path = "../support/mod.rs"]
mod support;

#[path = "../nbd/servers.rs"]
#[allow(dead_code, reason = "the tests of NBD use the rest")]
mod servers;

#[path = "../snmp/tools.rs"]
#[allow(dead_code, reason = "the tests of SNMP use the rest")]
mod tools;

mod awaited;
mod identity;
mod images;
mod in_use;
mod paths;
mod stop;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::client::{Done, KEYS};
pub use support::process::PATIENCE;
use support::process::command;
use support::{Client, Iesp, cdb};

/// A program that would serve, which it does not: its exit code, and what it said.
pub fn ends(args: &[&str]) -> (Option<i32>, String) {
    let mut command = command(args);
    command.args(["-i", "127.0.0.1", "-p", "0"]);
    let output = assert_cmd::Command::from_std(command).timeout(PATIENCE).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is served");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Refused in one line that has all these words.
#[track_caller]
pub fn refused(args: &[&str], words: &[&str]) {
    let (code, errors) = ends(args);
    let lines = errors.lines().filter(|line| !line.contains(" INFO ")).count();
    assert_eq!((code, lines), (Some(1), 1), "{errors}");
    for word in words {
        assert!(errors.contains(word), "no '{word}' in: {errors}");
    }
}

/// `iesp.toml` with these targets, each of them a name and the lines of its LUNs.
pub fn configuration(folder: &Path, targets: &[(&str, &[&str])]) -> String {
    let mut text = "[[portal]]\nlisten = \"127.0.0.1\"\nport = 0\n[log.screen]\nlevel = \"info\"\n".to_owned();
    for (name, luns) in targets {
        text += &format!("[[target]]\nname = \"{name}\"\n");
        luns.iter().for_each(|lun| text += &format!("[[target.lun]]\n{lun}\n"));
    }
    let (file, fresh) = (folder.join("iesp.toml"), folder.join("iesp.toml.new"));
    std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &file)).expect("written");
    file.to_str().expect("a plain path").to_owned()
}

/// The program by `iesp.toml`, with all that it keeps in the same folder.
pub fn serve(folder: &Path, more: &[&str]) -> Iesp {
    let mut program = command(&["--config", folder.join("iesp.toml").to_str().expect("a plain path")]);
    program.args(more).env("RUNTIME_DIRECTORY", folder).env("STATE_DIRECTORY", folder);
    Iesp::spawn(program)
}

/// Reads the configuration again; the line that says so.
pub fn reload(iesp: &Iesp) -> String {
    let is_it = |line: &&str| line.contains("the configuration was");
    let before = iesp.errors().lines().filter(is_it).count();
    iesp.signal(Signal::HUP);
    wait(iesp, |log| log.lines().filter(is_it).nth(before).map(str::to_owned))
}

/// Waits until the log says what is wanted.
pub fn wait<T>(iesp: &Iesp, mut found: impl FnMut(&str) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found(&iesp.errors()) {
            return found;
        }
        assert!(Instant::now() < deadline, "{}", iesp.errors());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A session with a target, whose unit attentions are still to come.
pub fn session(iesp: &Iesp, target: &str, number: u8) -> Client {
    let mut client = Client::connect(iesp.address());
    client.initiator.isid = Client::isid(number);
    let response = client.log_in(target, KEYS);
    assert_eq!(response.status, iesp_iscsi::pdu::LoginStatus::Success);
    client
}

/// A command for a LUN, with the bytes that it takes or the most that it gives.
pub fn on(client: &mut Client, lun: u8, cdb: &[u8], data_out: &[u8], data_in: u32) -> Done {
    let command = match data_in {
        0 if data_out.is_empty() => client.initiator.bare(cdb),
        0 => client.initiator.write(cdb, data_out.len() as u32),
        _ => client.initiator.read(cdb, data_in),
    };
    let command = iesp_iscsi::pdu::ScsiCommand { lun: u64::from(lun) << 48, ..command };
    client.command(command, data_out)
}

/// Takes all unit attentions of a LUN.
pub fn attentions(client: &mut Client, lun: u8) -> Vec<(u8, u8)> {
    let mut all = Vec::new();
    loop {
        let done = on(client, lun, &[0; 6], &[], 0);
        if done.status != 2 || done.code().0 != 6 {
            return all;
        }
        all.push((done.code().1, done.code().2));
    }
}

/// Unit Serial Number: what multipath knows a disk by.
pub fn serial(client: &mut Client, lun: u8) -> Vec<u8> {
    on(client, lun, &cdb::inquiry(Some(0x80), 64), &[], 64).good()
}

/// The numbers that REPORT LUNS gives.
pub fn luns(client: &mut Client) -> Vec<u8> {
    let list = on(client, 0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[], 256).good();
    list[8..].chunks(8).map(|lun| lun[1]).collect()
}

/// `iesp status --json` of this process: its first target's LUNs.
pub fn status(folder: &Path, iesp: &Iesp) -> String {
    let mut ask = command(&["status", "--json", "--pid", &iesp.id().to_string()]);
    let output = ask.env("RUNTIME_DIRECTORY", folder).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
