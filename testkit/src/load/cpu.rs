//! CPU time of a process in nanoseconds, all of its threads together, those that have ended included.

use std::io;
use std::time::Duration;

use super::LoadError;

/// The CPU-time clock of one process.
#[derive(Debug)]
pub struct CpuClock {
    pid: u32,
    id: libc::clockid_t,
}

impl CpuClock {
    /// Finds the clock of a process.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of_process(pid: u32) -> Result<Self, LoadError> {
        Self::find(pid).map_err(|error| LoadError::Cpu { pid, error })
    }

    fn find(pid: u32) -> io::Result<Self> {
        let c_pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut id = 0;
        // SAFETY: the pointer is to a valid variable.
        match unsafe { libc::clock_getcpuclockid(c_pid, &mut id) } {
            0 => Ok(Self { pid, id }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// The CPU time used so far.
    ///
    /// # Errors
    /// The process has ended.
    fn now(&self) -> io::Result<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a valid variable.
        if unsafe { libc::clock_gettime(self.id, &mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // A CPU-time clock is never negative.
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// The same.
    ///
    /// # Errors
    /// The process has ended.
    pub(super) fn read(&self) -> Result<Duration, LoadError> {
        self.now().map_err(|error| LoadError::Cpu { pid: self.pid, error })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn spin(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    /// The clock counts threads that have ended, and agrees with what /proc says of those that live.
    #[test]
    fn ended_threads_count() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        let clock = CpuClock::of_process(child.id()).expect("a clock");
        let before = clock.now().expect("alive");
        spin(Duration::from_millis(100));
        let used = clock.now().expect("alive");
        let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", child.id()));
        let _ = child.kill();
        let _ = child.wait();
        assert!(used > before, "{used:?} after {before:?}");
        if let Some(nanoseconds) = schedstat.ok().and_then(|text| text.split(' ').next()?.parse().ok()) {
            let difference = Duration::from_nanos(nanoseconds).abs_diff(used);
            assert!(difference < Duration::from_millis(50), "{nanoseconds} ns beside {used:?}");
        }
        let own = CpuClock::of_process(std::process::id()).expect("a clock");
        let before = own.now().expect("alive");
        std::thread::spawn(|| spin(Duration::from_millis(60))).join().expect("no panic");
        let used = own.now().expect("alive") - before;
        assert!(used > Duration::from_millis(10), "{used:?}");
    }

    #[test]
    fn no_such_process() {
        assert!(CpuClock::of_process(0x7fff_fffe).is_err());
    }
}
