//! A running guest.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use xtask_process::Running;

use crate::board::{CAPTURE, Transport};
use crate::{Accelerator, Console, Ended, LaunchError, Qmp, QmpError, Verdict, Waited};

/// How long QEMU may take until it has opened its channels.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running guest. Dropping it kills it.
#[derive(Debug)]
pub struct Guest {
    process: Running,
    console: Console,
    report: Console,
    qmp: Qmp,
    accelerator: Accelerator,
    stderr: PathBuf,
    /// Holds the sockets' names; they live as long as the guest.
    _sockets: TempDir,
}

impl Guest {
    /// Starts QEMU with the arguments that `line` makes for the sockets of the machine protocol and of the second serial
    /// line.
    pub(crate) fn start(
        program: &Path,
        accelerator: Accelerator,
        line: impl FnOnce(&Path, &Path) -> Vec<OsString>,
        logs: &Path,
    ) -> Result<Self, LaunchError> {
        // A socket's name has room for 107 bytes: the logs' folder may be deeper than that.
        let sockets = TempDir::with_prefix("qemu-").map_err(LaunchError::io("cannot make a folder for sockets"))?;
        let (qmp_path, report_path) = (sockets.path().join("qmp"), sockets.path().join("report"));
        let (qmp_listener, report_listener) = (listen(&qmp_path)?, listen(&report_path)?);
        let stderr = logs.join("qemu.log");
        let errors = File::create(&stderr).map_err(LaunchError::io(format!("cannot write {}", stderr.display())))?;

        let mut command = Command::new(program);
        command.args(line(&qmp_path, &report_path));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut process = Running::start(&mut command)
            .map_err(|source| LaunchError::Program { program: program.to_owned(), source })?;

        let pipes = (process.take_stdout(), process.take_stdin());
        let (Some(output), Some(input)) = pipes else {
            return Err(LaunchError::io("QEMU has no console")(io::ErrorKind::BrokenPipe.into()));
        };
        let console = Console::collect(output, Some(Box::new(input)), &logs.join("console.log"))?;
        let deadline = Instant::now() + START_LIMIT;
        let stream = accept(&report_listener, "second serial line", &mut process, &stderr, deadline)?;
        let writer: Box<dyn Write + Send> =
            Box::new(stream.try_clone().map_err(LaunchError::io("cannot share a socket"))?);
        let report = Console::collect(stream, Some(writer), &logs.join("report.log"))?;
        let stream = accept(&qmp_listener, "machine protocol", &mut process, &stderr, deadline)?;
        let qmp = Qmp::handshake(stream)?;
        Ok(Guest { process, console, report, qmp, accelerator, stderr, _sockets: sockets })
    }

    /// The first serial line: firmware, loader, kernel.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The second serial line: a script in the guest and the host talk over it.
    #[must_use]
    pub fn report(&self) -> &Console {
        &self.report
    }

    /// The machine protocol.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// The port of the host's loopback address at which this port of the guest is reached; `None` when it is not.
    ///
    /// # Errors
    /// When QEMU does not tell.
    pub fn forwarded_port(&mut self, transport: Transport, guest: u16) -> Result<Option<u16>, QmpError> {
        let arguments = json!({ "command-line": "info usernet" });
        let table = self.qmp.command("human-monitor-command", &arguments)?;
        Ok(forwarded_in(table.as_str().unwrap_or_default(), transport, guest))
    }

    /// Ends the capture of the network that [`Board::capture`](crate::Board::capture) began: its file is whole then.
    ///
    /// # Errors
    /// When there is none.
    pub fn end_capture(&mut self) -> Result<(), QmpError> {
        self.qmp.command("object-del", &json!({ "id": CAPTURE })).map(drop)
    }

    /// Writes a part of the guest's memory, by its physical address, to a file.
    ///
    /// # Errors
    /// When QEMU cannot.
    pub fn save_memory(&mut self, address: u64, length: u64, file: &Path) -> Result<(), QmpError> {
        let arguments = json!({ "val": address, "size": length, "filename": file.display().to_string() });
        self.qmp.command("pmemsave", &arguments).map(drop)
    }

    /// What executes its instructions.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// QEMU's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What QEMU said on its standard error.
    #[must_use]
    pub fn said(&self) -> String {
        said(&self.stderr)
    }

    /// How QEMU ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not know the process.
    pub fn ended(&mut self) -> io::Result<Option<Ended>> {
        self.process.ended()
    }

    /// Waits for the end, until the deadline, and ends it then. A pass needs a line that contains `last_line` on one of
    /// the two serial lines, too.
    ///
    /// # Errors
    /// When the kernel does not know the process.
    pub fn conclude(mut self, last_line: &str, deadline: Instant) -> io::Result<Verdict> {
        let ended =
            self.process.wait_for(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))?;
        if ended.is_none() {
            self.process.kill()?;
        }
        // The process has ended, so both serial lines come to their end.
        let soon = Instant::now() + Duration::from_secs(5);
        let said = |console: &Console| matches!(console.lines().find(last_line, soon), Waited::Line(_));
        let said_last_line = said(&self.report) || said(&self.console);
        Ok(Verdict::of(ended, said_last_line))
    }
}

/// Looks in the table of `info usernet` for a forwarded port: protocol, descriptor, address and port of the host, then of
/// the guest.
fn forwarded_in(table: &str, transport: Transport, guest: u16) -> Option<u16> {
    let kind = format!("{}[HOST_FORWARD]", transport.word().to_uppercase());
    table.lines().filter(|line| line.contains(&kind)).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |index: usize| words.get(index)?.parse::<u16>().ok();
        (port(5) == Some(guest)).then(|| port(3))?
    })
}

fn listen(path: &Path) -> Result<UnixListener, LaunchError> {
    let what = || format!("cannot make the socket {}", path.display());
    let listener = UnixListener::bind(path).map_err(LaunchError::io(what()))?;
    listener.set_nonblocking(true).map_err(LaunchError::io(what()))?;
    Ok(listener)
}

/// Waits for QEMU to connect; sees it when it dies instead.
fn accept(
    listener: &UnixListener,
    channel: &'static str,
    process: &mut Running,
    stderr: &Path,
    deadline: Instant,
) -> Result<UnixStream, LaunchError> {
    let failed = || LaunchError::io(format!("QEMU's {channel}"));
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(failed())?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed()(error)),
        }
        if let Some(ended) = process.ended().map_err(failed())? {
            return Err(LaunchError::Refused { ended, said: said(stderr) });
        }
        if Instant::now() >= deadline {
            return Err(LaunchError::Silent { channel, limit: START_LIMIT });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn said(stderr: &Path) -> String {
    let text = std::fs::read(stderr).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_ports_are_found() {
        let table = "Hub -1 (#net095):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
            TCP[HOST_FORWARD]  12       127.0.0.1 36131       10.0.2.15  3260     0     0\r\n  \
            UDP[HOST_FORWARD]  13       127.0.0.1 36132       10.0.2.15   161     0     0\r\n";
        assert_eq!(forwarded_in(table, Transport::Tcp, 3260), Some(36131));
        assert_eq!(forwarded_in(table, Transport::Tcp, 161), None);
        assert_eq!(forwarded_in(table, Transport::Udp, 161), Some(36132));
        assert_eq!(forwarded_in("", Transport::Tcp, 3260), None);
    }
}
