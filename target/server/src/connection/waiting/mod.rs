//! What a connection does before a wait for its next request goes to sleep. Where the initiator is on this machine, two
//! cores that fall asleep and wake each other cost more than most commands do. There are two ways around that:
//!
//! - To look at the socket for a moment: the next request often comes sooner than a core falls asleep. It costs about as much CPU
//!   time as sleeping, and answers come in less than half the time.
//! - To run on the initiator's core, where it keeps one command in flight: it and the target never run at the same time then, and no core
//!   has to be woken. It costs less than half. The kernel keeps two threads that wake each other on one core as long as they are there,
//!   but for the times when it finds the other cores idle.
//!
//! Where the initiator is elsewhere, or the cores have other work, neither helps. So the ways are measured ([`choice`]).

mod choice;

use std::sync::LazyLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io;
use rustix::net::sockopt::socket_incoming_cpu;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::net::TcpStream;

use crate::clock::Clock;
use choice::{Choice, Way};

/// The longest look: about what it costs both ends when their cores fall asleep and are woken. It also bears with a core of the
/// initiator's that sleeps deeply still, as it does until looking has made the answers quick.
const LONGEST: Duration = Duration::from_micros(48);

/// Pauses of the CPU between two looks, so that the kernel can put into the socket what comes.
const PAUSES: u32 = 8;

/// Waits in a row with one command in flight that say that there is never another.
const SINGLE: u32 = 128;

/// One wait in so many on another core than the initiator's moves there. Most moves do not last: the kernel gives the
/// initiator a core that it used before, where that is idle.
const APART: u32 = 4;

/// Cores that the program may use. The answer is read from files: not for each connection.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// How one connection waits.
#[derive(Debug)]
pub struct Waiting {
    choice: Choice,
    /// The initiator is on this machine.
    is_local: bool,
    /// Waits in a row with one command in flight.
    single: u32,
    /// Waits on another core than the initiator's.
    apart: u32,
}

impl Waiting {
    /// Sleeps at first. The initiator is on this machine where it `is_local`.
    pub fn new(is_local: bool) -> Self {
        // An initiator on this machine has to have a core beside this one.
        Self { choice: Choice::new(*CORES > 1), is_local, single: 0, apart: 0 }
    }

    /// The requests do not come quickly any more: what was measured since is worth nothing.
    pub const fn pause(&mut self) {
        self.choice.pause();
    }

    /// Before a wait for bytes, where `next` is the StatSN of the next answer, and the initiator keeps so many commands in `flight`.
    pub fn before(&mut self, stream: &TcpStream, clock: Clock, next: u32, flight: u32) {
        self.single = if flight <= 1 { self.single.saturating_add(1) } else { 0 };
        match self.choice.way(next, self.is_local && self.single >= SINGLE, thread_time) {
            Way::Sleeping => {}
            Way::Looking => self.choice.looked(sees_something(stream, clock)),
            Way::Beside => {
                // Where Linux does not tell, the threads are left where they are.
                let Some(core) = core_of_initiator(stream).filter(|core| *core != sched_getcpu()) else { return };
                self.apart = self.apart.wrapping_add(1);
                if self.apart.is_multiple_of(APART) {
                    // It is a matter of speed alone.
                    let _ = move_to(core);
                } else {
                    self.choice.looked(sees_something(stream, clock));
                }
            }
        }
    }
}

/// Looks until there are bytes, or the end, or an error, or for [`LONGEST`]; whether there was anything.
fn sees_something(stream: &TcpStream, clock: Clock) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let until = clock.nanos() + LONGEST.as_nanos() as u64;
    loop {
        if poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&at_once)).is_ok_and(|count| count > 0) {
            return true;
        }
        if clock.nanos() >= until {
            return false;
        }
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
    }
}

/// The core that sent what came last.
fn core_of_initiator(stream: &TcpStream) -> Option<usize> {
    socket_incoming_cpu(stream).ok().map(|core| core as usize)
}

/// Moves this thread to a core, where it may run there. It is not kept there.
fn move_to(core: usize) -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    if core < CpuSet::MAX_CPU && allowed.is_set(core) {
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only)?;
        sched_setaffinity(None, &allowed)?;
    }
    Ok(())
}

/// The CPU time of this thread so far, in nanoseconds.
fn thread_time() -> u64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs with both ends of a connection.
    fn connected(test: impl FnOnce(&TcpStream, std::net::TcpStream)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let peer = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
            let (stream, _) = listener.accept().await.expect("a peer");
            test(&stream, peer);
        });
    }

    #[test]
    fn a_look_sees_bytes_and_the_end_and_does_not_last() {
        connected(|stream, peer| {
            let clock = Clock::start();
            assert!(!sees_something(stream, clock));
            drop(peer);
            // The end comes by itself: on loopback before the call returns, or soon.
            assert!((0..100_000).any(|_| sees_something(stream, clock)));
        });
    }

    #[test]
    fn a_thread_moves_to_any_core_that_it_may_use_and_stays_free() {
        let cores = |set: &CpuSet| (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect::<Vec<_>>();
        let allowed = cores(&sched_getaffinity(None).expect("Linux tells"));
        for core in allowed.iter().copied().chain([CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX]) {
            move_to(core).expect("Linux can, or there is nothing to do");
            assert_eq!(cores(&sched_getaffinity(None).expect("Linux tells")), allowed);
        }
    }

    #[test]
    fn the_initiators_core_is_the_one_that_sent() {
        connected(|stream, mut peer| {
            let core = sched_getcpu();
            let mut only = CpuSet::new();
            only.set(core);
            let allowed = sched_getaffinity(None).expect("Linux tells");
            sched_setaffinity(None, &only).expect("it runs there");
            std::io::Write::write_all(&mut peer, &[0]).expect("the stream is open");
            sched_setaffinity(None, &allowed).expect("it was so before");
            assert_eq!(core_of_initiator(stream), Some(core));
        });
    }
}
