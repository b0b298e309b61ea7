//! Child processes that always end: with their owner, with a time limit, and, where they lead a
//! group, with all that they started.

#[cfg(unix)]
mod groups;

use std::io;
#[cfg(unix)]
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::Duration;

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

/// A child process that is killed, by its id, when this value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    /// The group that it leads.
    #[cfg(unix)]
    group: Option<groups::Group>,
}

impl Running {
    /// Starts the command. The kernel ends the child should this process be killed before it can
    /// clean up.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        die_with_parent(command);
        let child = command.spawn();
        let child =
            child.map_err(|error| io::Error::new(error.kind(), format!("{name} cannot be started: {error}")))?;
        Ok(Running {
            child,
            name,
            #[cfg(unix)]
            group: None,
        })
    }

    /// Starts the command as the leader of a process group: what it starts ends with it when its
    /// time is up. A signal that ends this process, such as Ctrl-C's, ends the group, too.
    ///
    /// # Errors
    /// When the program cannot be started, or such a signal has come already.
    #[cfg(unix)]
    pub fn start_group(command: &mut Command) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        groups::Group::prepare()?;
        let mut running = Self::start(command.process_group(0))?;
        running.group = Some(groups::Group::of(running.pid()?));
        Ok(running)
    }

    /// The child's standard input, when it was piped and not taken before.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The child's standard output, when it was piped and not taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
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
    pub fn ended(&mut self) -> io::Result<Option<Ended>> {
        Ok(self.child.try_wait()?.map(Ended::from))
    }

    /// Waits for the end, for as long as `limit`; then kills the child, or the whole group that it
    /// leads.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Ended> {
        if let Some(ended) = self.wait_for(limit)? {
            return Ok(ended);
        }
        #[cfg(unix)]
        if let Some(group) = &self.group {
            // A test runner ends what it started, in groups of their own, only when it is asked to.
            group.send(Signal::TERM);
            let ended = self.wait_for(groups::PATIENCE)?;
            // The leader may be gone, and others of its group not.
            group_killed(&self.group);
            if ended.is_some() {
                return Ok(Ended::TimedOut);
            }
        }
        self.kill()?;
        Ok(Ended::TimedOut)
    }

    /// Waits for the end, for as long as `limit`; the child may go on afterwards.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn wait_for(&mut self, limit: Duration) -> io::Result<Option<Ended>> {
        Ok(self.child.wait_timeout(limit)?.map(Ended::from))
    }

    /// Kills the child, and waits for its end.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn kill(&mut self) -> io::Result<Ended> {
        #[cfg(unix)]
        group_killed(&self.group);
        self.child.kill()?;
        Ok(self.child.wait()?.into())
    }

    /// Asks the child to stop (SIGTERM; Ctrl-Break on Windows) and waits for `limit`; then kills
    /// it.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn stop(&mut self, limit: Duration) -> io::Result<Ended> {
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
    pub fn interrupt(&mut self, limit: Duration) -> io::Result<Ended> {
        if let Some(ended) = self.ended()? {
            return Ok(ended);
        }
        kill_process(self.pid()?, Signal::INT)?;
        self.wait(limit)
    }

    #[cfg(unix)]
    fn pid(&self) -> io::Result<Pid> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        id.ok_or_else(|| io::Error::other(format!("{} has no id", self.name)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A child that was waited for is not signalled again: `Child` knows that it has ended.
        if matches!(self.ended(), Ok(None)) {
            let _ = self.kill();
        }
    }
}

/// Kills a group that a child leads.
#[cfg(unix)]
fn group_killed(group: &Option<groups::Group>) {
    if let Some(group) = group {
        group.send(Signal::KILL);
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure runs in the child between fork and exec; it makes one system call
    // (prctl), allocates nothing and takes no lock.
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

    /// A group of its own: Ctrl-Break then reaches the child alone. It outlives this process where
    /// that is killed.
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

#[cfg(all(test, unix))]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn stop_lets_a_process_clean_up() {
        // `read` from a pipe that stays open: the shell handles the signal at once.
        let mut command = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        let mut running = Running::start(command.stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(running.take_stdout().unwrap()), &mut line).unwrap();
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
    fn a_limit_that_only_ends_the_wait_leaves_the_process() {
        let mut running = Running::start(&mut shell("exec sleep 600")).unwrap();
        assert_eq!(running.wait_for(Duration::from_millis(20)).unwrap(), None);
        assert_eq!(running.ended().unwrap(), None);
        assert_eq!(running.kill().unwrap(), Ended::Signal(9));
    }
}
