//! `iesp` with a configuration file: what it serves by it, what it says of a wrong one, and what it does when it is read again.

#[path = "../support/mod.rs"]
mod support;

mod check;
mod flags;
mod initiators;
mod journal;
mod logs;
mod monitors;
mod reload;
mod running;
mod targets;
mod trace;

use std::path::Path;

use iesp_iscsi::pdu::LoginStatus;
use rustix::process::Signal;
use tempfile::TempDir;

use support::client::KEYS;
use support::initiator::INITIATOR;
use support::process::{PATIENCE, command, folder};
use support::{Client, Iesp};

/// A target's part of a file.
pub fn target(name: &str, disks: &str) -> String {
    let luns: String = disks.split(' ').map(|size| format!("[[target.lun]]\nram = \"{size}\"\n")).collect();
    format!("[[target]]\nname = \"{name}\"\n{luns}")
}

/// A portal on a free port.
pub const PORTAL: &str = "[[portal]]\nlisten = \"127.0.0.1\"\nport = 0\n";

/// The program by a file in a folder of its own.
pub struct Served {
    /// The program.
    pub iesp: Iesp,
    /// With its file.
    pub folder: TempDir,
}

impl Served {
    /// By this text; the log goes to standard error, at info.
    pub fn by(text: &str) -> Self {
        Self::with(folder(), text, &[])
    }

    /// The same in a folder that there is, with more arguments.
    pub fn with(folder: TempDir, text: &str, args: &[&str]) -> Self {
        let file = write(folder.path(), text);
        let mut program = command(&["--config", &file]);
        // The socket of `iesp status` goes to a folder of its own: tests run beside each other.
        program.args(args).env("RUNTIME_DIRECTORY", folder.path()).env("STATE_DIRECTORY", folder.path());
        Self { iesp: Iesp::spawn(program), folder }
    }

    /// The file.
    pub fn file(&self) -> String {
        self.folder.path().join("iesp.toml").to_str().expect("a plain path").to_owned()
    }

    /// Another text, which is read; waits until that is done, and returns the line that says so.
    pub fn reload(&self, text: &str) -> String {
        write(self.folder.path(), text);
        self.hang_up()
    }

    /// SIGHUP; waits for the line in the log.
    pub fn hang_up(&self) -> String {
        let is_it = |line: &&str| line.contains("the configuration was");
        let before = self.iesp.errors().lines().filter(is_it).count();
        self.iesp.signal(Signal::HUP);
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.iesp.errors().lines().filter(is_it).nth(before) {
                return line.to_owned();
            }
            assert!(std::time::Instant::now() < deadline, "it is not read again: {}", self.iesp.errors());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits for this in the log: it may come a little later than what the peer sees.
    pub fn logs(&self, what: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.iesp.errors().contains(what) {
            assert!(std::time::Instant::now() < deadline, "no {what} in {}", self.iesp.errors());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// A session with a target, past the unit attentions of its LUN 0.
    pub fn login(&self, target: &str, number: u8) -> Client {
        let mut client = self.connect(target, number).expect("a session");
        let ready = client.initiator.bare(&[0]);
        assert_eq!(client.command(ready, &[]).code(), (6, 0x29, 0));
        client
    }

    /// A session, or why there is none.
    pub fn connect(&self, target: &str, number: u8) -> Result<Client, LoginStatus> {
        let mut client = Client::connect(self.iesp.address());
        client.initiator.isid = Client::isid(number);
        match client.log_in(target, KEYS).status {
            LoginStatus::Success => Ok(client),
            status => Err(status),
        }
    }
}

/// Writes `iesp.toml`; its path.
pub fn write(folder: &Path, text: &str) -> String {
    let file = folder.join("iesp.toml");
    // Whole or not at all, as editors do it.
    let fresh = folder.join("iesp.toml.new");
    std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &file)).expect("written");
    file.to_str().expect("a plain path").to_owned()
}

/// The log of a file: everything from info on to standard error.
pub const LOG: &str = "[log.screen]\nlevel = \"info\"\n";

/// The targets that this portal tells of, each with its addresses.
pub fn send_targets(address: std::net::SocketAddr) -> String {
    let mut client = Client::connect(address);
    let (response, _) = client.log_in_with(&format!("InitiatorName={INITIATOR} SessionType=Discovery"));
    assert_eq!(response.status, LoginStatus::Success);
    let request = client.initiator.text_request();
    let unit = client.initiator.unit(&request.emit(), &support::initiator::text("SendTargets=All"));
    client.send(&unit);
    match client.answer() {
        support::initiator::Answer::Text(_, text) => text,
        other => panic!("{other:?}"),
    }
}
