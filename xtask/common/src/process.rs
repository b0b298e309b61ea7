//! What the xtask's programs do with child processes: logs, limits, times.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
pub use xtask_process::{Ended, Running};

/// Runs a command to its end, or to its time limit, with no input and with all of its output in one
/// log file.
///
/// # Errors
/// When the log cannot be written or the command cannot be started.
pub fn run_logged(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    logged(command, log)?;
    Ok(Running::start(command)?.wait(limit)?)
}

/// As [`run_logged`], as the leader of a process group: what it started ends with it when its time
/// is up.
///
/// # Errors
/// As there.
#[cfg(unix)]
pub fn run_group_logged(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    logged(command, log)?;
    Ok(Running::start_group(command)?.wait(limit)?)
}

/// Sends all of a command's output to one log file, and gives it no input.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let err = out.try_clone()?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    Ok(())
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

/// The last `count` lines of a file, as text; what is not UTF-8 is replaced. Empty when there is no
/// such file.
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
    fn what_a_step_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (log, id) = (dir.path().join("log"), dir.path().join("id"));
        // One of its own takes no notice of SIGTERM, and would outlive it.
        let script = format!("(trap '' TERM; exec sleep 600) & echo $! > {}; exec sleep 600", id.display());
        let ended = run_group_logged(&mut shell(&script), &log, Duration::from_millis(500)).unwrap();
        assert_eq!(ended, Ended::TimedOut);
        let id = std::fs::read_to_string(id).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
        // Whoever inherits a process that has ended may not have taken note of it yet.
        let is_gone = || state().rsplit(") ").next().is_none_or(|state| state.is_empty() || state.starts_with('Z'));
        let limit = Instant::now() + Duration::from_secs(20);
        while !is_gone() {
            assert!(Instant::now() < limit, "{}", state());
            std::thread::sleep(Duration::from_millis(5));
        }
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
