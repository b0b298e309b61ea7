//! The QEMU process: it ends with its owner.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::{Duration, Instant};

use wait_timeout::ChildExt;

/// How QEMU came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ended by itself, with this exit status.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Ended::Exit(code),
            None => Ended::Signal(status.signal().unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exit(code) => write!(f, "exit status {code}"),
            Ended::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A child process that is killed, by its id, when this value is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts the command; should this process be killed, the kernel ends the child.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        die_with_parent(command);
        Ok(Process { child: command.spawn()? })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<Ended>> {
        Ok(self.child.try_wait()?.map(Ended::from))
    }

    /// Waits for its end, until the deadline.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<Ended>> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        Ok(self.child.wait_timeout(left)?.map(Ended::from))
    }

    /// Ends it now.
    pub(crate) fn kill(&mut self) -> io::Result<Ended> {
        self.child.kill()?;
        Ok(self.child.wait()?.into())
    }
}

impl Drop for Process {
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
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?));
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, test_kill_process};

    use super::*;

    fn shell(script: &str) -> Process {
        Process::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let process = shell("exec sleep 600");
        let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
        test_kill_process(pid).unwrap();
        drop(process);
        assert!(test_kill_process(pid).is_err());
    }

    #[test]
    fn the_end_is_told() {
        let far = Instant::now() + Duration::from_secs(20);
        assert_eq!(shell("exit 3").wait_until(far).unwrap(), Some(Ended::Exit(3)));
        assert_eq!(shell("kill -SEGV $$").wait_until(far).unwrap(), Some(Ended::Signal(11)));
    }

    #[test]
    fn a_deadline_ends_the_wait_and_not_the_process() {
        let mut process = shell("exec sleep 600");
        assert_eq!(process.wait_until(Instant::now() + Duration::from_millis(20)).unwrap(), None);
        assert_eq!(process.ended().unwrap(), None);
        assert_eq!(process.kill().unwrap(), Ended::Signal(9));
    }
}
