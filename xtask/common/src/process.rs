//! Child processes that always end: with a time limit, with a log, and never longer than the xtask itself.

use std::fs::File;
#[cfg(unix)]
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use wait_timeout::ChildExt;

/// How a child process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ended by itself, with this exit code.
    Exit(i32),
    /// A signal ended it, for example 11 (SIGSEGV) or 6 (SIGABRT).
    Signal(i32),
    /// It was still running when its time was up, and was killed.
    TimedOut,
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Ended::Exit(code),
            #[cfg(unix)]
            None => Ended::Signal(status.signal().unwrap_or_default()),
            // There is always one.
            #[cfg(windows)]
            None => Ended::Exit(-1),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exit(code) => write!(f, "exit code {code}"),
            Ended::Signal(signal) => write!(f, "signal {signal}"),
            Ended::TimedOut => write!(f, "still running when its time was up"),
        }
    }
}

/// Runs a command to its end, or to its time limit, with no input and with all of its output in one log file.
///
/// # Errors
/// When the log cannot be written or the command cannot be started.
pub fn run_logged(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let err = out.try_clone()?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    Running::start(command)?.wait(limit)
}

/// A child process that is killed, by its id, when this value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts the command. The kernel ends the child should this process be killed before it can clean up.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        die_with_parent(command);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        Ok(Running { child, name })
    }

    /// The child's standard output, when it was piped and not taken before.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the child ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn ended(&mut self) -> Result<Option<Ended>> {
        Ok(self.child.try_wait()?.map(Ended::from))
    }

    /// Waits for the end, for as long as `limit`; then kills the child.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn wait(&mut self, limit: Duration) -> Result<Ended> {
        if let Some(status) = self.child.wait_timeout(limit)? {
            return Ok(status.into());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(Ended::TimedOut)
    }

    /// Asks the child to stop (SIGTERM; Ctrl-Break on Windows) and waits for `limit`; then kills it.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn stop(&mut self, limit: Duration) -> Result<Ended> {
        if let Some(ended) = self.ended()? {
            return Ok(ended);
        }
        #[cfg(unix)]
        kill_process(self.pid()?, Signal::TERM)?;
        #[cfg(windows)]
        windows::interrupt(self.id())?;
        self.wait(limit)
    }

    /// The same by SIGINT, which a terminal sends for Ctrl-C.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    #[cfg(unix)]
    pub fn interrupt(&mut self, limit: Duration) -> Result<Ended> {
        if let Some(ended) = self.ended()? {
            return Ok(ended);
        }
        kill_process(self.pid()?, Signal::INT)?;
        self.wait(limit)
    }

    #[cfg(unix)]
    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).with_context(|| format!("{} has no id", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A child that was waited for is not signalled again: `Child` knows that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure runs in the child between fork and exec; it makes one system call (prctl), allocates nothing
    // and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

#[cfg(windows)]
use windows::die_with_parent;

#[cfg(not(any(target_os = "linux", windows)))]
fn die_with_parent(_command: &mut Command) {}

#[cfg(windows)]
mod windows {
    use std::io;
    use std::os::windows::process::CommandExt;
    use std::process::Command;

    use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
    use windows_sys::Win32::System::Threading::CREATE_NEW_PROCESS_GROUP;

    /// A group of its own: Ctrl-Break then reaches the child alone. It outlives this process where that is killed.
    pub fn die_with_parent(command: &mut Command) {
        command.creation_flags(CREATE_NEW_PROCESS_GROUP);
    }

    pub fn interrupt(group: u32) -> io::Result<()> {
        // SAFETY: numbers alone go in.
        if unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, group) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// A time that has passed, short enough for a table: `0.4 s`, `12.3 s`, `3 min 5 s`.
pub fn spell(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 99.95 {
        return format!("{seconds:.1} s");
    }
    let whole = time.as_secs();
    format!("{} min {} s", whole / 60, whole % 60)
}

/// Runs `work` and says how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed())
}

/// The last `count` lines of a file, as text; what is not UTF-8 is replaced. Empty when there is no such file.
pub fn last_lines(file: &Path, count: usize) -> Vec<String> {
    let text = std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn run(script: &str, limit: Duration) -> (Ended, String) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let ended = run_logged(&mut shell(script), &log, limit).unwrap();
        (ended, std::fs::read_to_string(log).unwrap())
    }

    #[test]
    fn output_and_errors_are_in_the_log_in_order() {
        assert_eq!(run("echo a; echo b >&2; exit 3", Duration::from_secs(10)), (Ended::Exit(3), "a\nb\n".into()));
    }

    #[test]
    fn a_signal_is_not_an_exit_code() {
        assert_eq!(run("kill -SEGV $$", Duration::from_secs(10)).0, Ended::Signal(11));
    }

    #[test]
    fn what_does_not_end_is_killed() {
        assert_eq!(run("exec sleep 600", Duration::from_millis(50)).0, Ended::TimedOut);
    }

    #[test]
    fn stop_lets_a_process_clean_up() {
        // `read` from a pipe that stays open: the shell handles the signal at once.
        let mut command = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        let mut running = Running::start(command.stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(running.take_stdout().unwrap()), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        assert_eq!(running.stop(Duration::from_secs(10)).unwrap(), Ended::Exit(0));
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let running = Running::start(&mut shell("exec sleep 600")).unwrap();
        let pid = running.pid().unwrap();
        drop(running);
        assert!(kill_process(pid, Signal::CONT).is_err());
    }

    #[test]
    fn times_are_short() {
        assert_eq!(spell(Duration::from_millis(412)), "0.4 s");
        assert_eq!(spell(Duration::from_secs(185)), "3 min 5 s");
    }

    #[test]
    fn the_last_lines_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        assert_eq!(last_lines(&file, 2), Vec::<String>::new());
        std::fs::write(&file, b"one\ntwo\nthree\xff\n").unwrap();
        assert_eq!(last_lines(&file, 2), ["two", "three\u{fffd}"]);
    }
}
