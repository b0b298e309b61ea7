//! Process groups: they end with this process also where a signal ends it, as a terminal's Ctrl-C
//! reaches this one alone.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a group that was asked to end may take: a test runner gives its tests ten seconds.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What this process has started.
static STATE: Mutex<State> = Mutex::new(State { listens: false, ending: false, groups: Vec::new() });

struct State {
    /// Signals are listened to.
    listens: bool,
    /// One has come.
    ending: bool,
    groups: Vec<Pid>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A group that is led by a child.
#[derive(Debug)]
pub struct Group(Pid);

impl Group {
    /// Before the first one: listens to the signals that end a process.
    pub fn prepare() -> io::Result<()> {
        let mut state = state();
        if state.ending {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "this process was told to end"));
        }
        if !state.listens {
            let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
            std::thread::Builder::new().name("signals".into()).spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    end_all();
                    // As a shell tells the end by a signal.
                    std::process::exit(128 + signal);
                }
            })?;
            state.listens = true;
        }
        Ok(())
    }

    /// The group that this child leads.
    pub fn of(leader: Pid) -> Self {
        state().groups.push(leader);
        Group(leader)
    }

    /// Sends a signal to all of it.
    pub fn send(&self, signal: Signal) {
        // It may have ended.
        let _ = kill_process_group(self.0, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        state().groups.retain(|group| *group != self.0);
    }
}

fn end_all() {
    let groups = {
        let mut state = state();
        state.ending = true;
        state.groups.clone()
    };
    for group in &groups {
        let _ = kill_process_group(*group, Signal::TERM);
    }
    let limit = Instant::now() + PATIENCE;
    while groups.iter().any(|group| test_kill_process_group(*group).is_ok()) && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(20));
    }
    for group in groups {
        let _ = kill_process_group(group, Signal::KILL);
    }
}
