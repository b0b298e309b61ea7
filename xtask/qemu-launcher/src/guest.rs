//! A running guest.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;
use crate::{Accelerator, Console, Ended, LaunchError, Machine, Qmp, Verdict, Waited};

/// How long QEMU may take until it has opened its channels.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running guest. Dropping it kills it.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    console: Console,
    report: Console,
    qmp: Qmp,
    accelerator: Accelerator,
    stderr: PathBuf,
    /// Holds the sockets' names; they live as long as the guest.
    _sockets: TempDir,
}

impl Guest {
    pub(crate) fn start(machine: &Machine, logs: &Path) -> Result<Self, LaunchError> {
        // A socket's name has room for 107 bytes: the logs' folder may be deeper than that.
        let sockets = TempDir::with_prefix("qemu-").map_err(LaunchError::io("cannot make a folder for sockets"))?;
        let (qmp_path, report_path) = (sockets.path().join("qmp"), sockets.path().join("report"));
        let (qmp_listener, report_listener) = (listen(&qmp_path)?, listen(&report_path)?);
        let stderr = logs.join("qemu.log");
        let errors = File::create(&stderr).map_err(LaunchError::io(format!("cannot write {}", stderr.display())))?;

        let mut command = Command::new(&machine.program);
        command.args(machine.command_line(&qmp_path, &report_path));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut process = Process::start(&mut command)
            .map_err(|source| LaunchError::Program { program: machine.program.clone(), source })?;

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
        Ok(Guest { process, console, report, qmp, accelerator: machine.accelerator, stderr, _sockets: sockets })
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
        let ended = self.process.wait_until(deadline)?;
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
    process: &mut Process,
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
