//! An emulated board: it starts a program that is given as an ELF file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Accelerator, Guest, LaunchError};

/// An emulated board that can be started, several times over.
///
/// Its first serial line is the [`console`](Guest::console), its second one the [`report`](Guest::report). What the board's
/// ports are on the host, [`Guest::forwarded_port`] tells.
#[derive(Clone, Debug)]
pub struct Board {
    program: PathBuf,
    machine: String,
    elf: PathBuf,
    memory_mib: Option<u32>,
    card: Option<PathBuf>,
    ports: Vec<(Transport, u16, u16)>,
    capture: Option<PathBuf>,
}

/// How a port is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// As QEMU's options have it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

impl Board {
    /// A board of ARM's, by QEMU's name for the machine, and what it runs.
    #[must_use]
    pub fn arm(machine: &str, elf: &Path) -> Self {
        Board {
            program: PathBuf::from("qemu-system-arm"),
            machine: machine.to_owned(),
            elf: elf.to_owned(),
            memory_mib: None,
            card: None,
            ports: Vec::new(),
            capture: None,
        }
    }

    /// Memory in MiB, where the machine leaves a choice.
    #[must_use]
    pub fn memory_mib(mut self, memory: u32) -> Self {
        self.memory_mib = Some(memory);
        self
    }

    /// The image of the SD card in its slot: its length is a power of two.
    #[must_use]
    pub fn card(mut self, image: &Path) -> Self {
        self.card = Some(image.to_owned());
        self
    }

    /// Makes a port of the board's reachable at this port of the host's loopback address; 0 is one that is free.
    #[must_use]
    pub fn forward(mut self, transport: Transport, host: u16, board: u16) -> Self {
        self.ports.push((transport, host, board));
        self
    }

    /// Writes the frames of the board's network to this file (pcap), until [`Guest::end_capture`].
    #[must_use]
    pub fn capture(mut self, file: &Path) -> Self {
        self.capture = Some(file.to_owned());
        self
    }

    /// Starts it. Logs go to the folder `logs`: `console.log`, `report.log`, `qemu.log`.
    ///
    /// # Errors
    /// When QEMU is not there, refuses its arguments, or does not open its channels within 20 seconds.
    pub fn start(&self, logs: &Path) -> Result<Guest, LaunchError> {
        Guest::start(&self.program, Accelerator::Tcg, |qmp, report| self.command_line(qmp, report), logs)
    }

    fn command_line(&self, qmp: &Path, report: &Path) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        add(&["-nodefaults", "-no-user-config", "-display", "none", "-machine", &self.machine]);
        if let Some(memory) = self.memory_mib {
            add(&["-m", &format!("{memory}M")]);
        }
        add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        add(&["-chardev", &format!("socket,id=report,path={},server=off", report.display())]);
        add(&["-serial", "chardev:report"]);
        add(&["-chardev", &format!("socket,id=qmp,path={},server=off", qmp.display())]);
        add(&["-mon", "chardev=qmp,mode=control"]);
        let mut network = String::from("user,id=network");
        for (transport, host, board) in &self.ports {
            network += &format!(",hostfwd={}:127.0.0.1:{host}-:{board}", transport.word());
        }
        add(&["-nic", &network]);
        if let Some(file) = &self.capture {
            add(&["-object", &format!("filter-dump,id={CAPTURE},netdev=network,file={}", escaped(file))]);
        }
        if let Some(card) = &self.card {
            add(&["-drive", &format!("if=sd,format=raw,file={}", escaped(card))]);
        }
        line.extend(["-kernel".into(), self.elf.clone().into()]);
        line
    }
}

/// QEMU's name of what captures.
pub(crate) const CAPTURE: &str = "capture";

/// In an option's value a comma is written twice.
fn escaped(file: &Path) -> String {
    file.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_what_was_asked_for() {
        let board = Board::arm("lm3s6965evb", Path::new("/e")).card(Path::new("/a,b")).memory_mib(64);
        let board = board.forward(Transport::Tcp, 0, 3260).forward(Transport::Udp, 5, 161).capture(Path::new("/c,d"));
        let line = board.command_line(Path::new("/q"), Path::new("/r"));
        let line = line.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        for part in [
            "-machine lm3s6965evb -m 64M",
            "-nic user,id=network,hostfwd=tcp:127.0.0.1:0-:3260,hostfwd=udp:127.0.0.1:5-:161",
            "-object filter-dump,id=capture,netdev=network,file=/c,,d",
            "-drive if=sd,format=raw,file=/a,,b -kernel /e",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
}
