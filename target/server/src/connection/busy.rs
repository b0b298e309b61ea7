//! Busy polling: looking at the socket for a moment before a wait for the next request goes to sleep. Where the initiator is on
//! this machine, its next request often comes sooner than two cores fall asleep and are woken: then looking costs no more CPU
//! time than sleeping, and the initiator is answered in less than half the time. Where it is elsewhere, or where the cores have other
//! work, looking is a waste. So both ways are measured now and then, in turns, and the better one is taken.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::net::TcpStream;

use crate::clock::Clock;

/// The longest look: about what it costs both ends when their cores fall asleep and are woken. It also bears with a core of the
/// initiator's that sleeps deeply still, as it does until looking has made the answers quick.
const LONGEST: Duration = Duration::from_micros(48);

/// Pauses of the CPU between two looks, so that the kernel can put into the socket what comes.
const PAUSES: u32 = 8;

/// Commands of a window, which begins with some that are not measured: cores that slept take a moment to be quick.
const WINDOW: u32 = 128;
const SETTLING: u32 = 32;

/// Windows of a comparison: as many of each way, in turns, as how quick the machine is changes all the time.
const COMPARED: u32 = 8;

/// Windows between two comparisons at least, and how often that is doubled at most while they say the same.
const STAY: u32 = 4;
const DOUBLED: u32 = 6;

/// One part in so many of the CPU time is what quicker answers are worth.
const WORTH: u64 = 8;

/// So many looks in vain in a row say that no more are worth it.
const VAIN: u32 = 8;

/// Which way is taken, and what is being measured.
#[derive(Debug)]
pub struct BusyPoll {
    /// An initiator on this machine has a core beside this one.
    possible: bool,
    /// The way that is taken: looking, or sleeping at once.
    looks: bool,
    window: Window,
    phase: Phase,
    /// What the last comparison said.
    better: bool,
    /// How often the time between comparisons was doubled.
    doubled: u32,
    /// Looks in vain in a row.
    vain: u32,
}

/// The commands that are being measured.
#[derive(Debug, Clone, Copy)]
enum Window {
    /// None yet.
    Closed,
    /// None, as things settle, since this StatSN.
    Settling(u32),
    /// Since this StatSN, when the thread had used so many nanoseconds.
    Open(u32, u64),
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The better way is taken for so many windows more.
    Staying { left: u32 },
    /// Both are, for so many more; nanoseconds a command so far, summed over the windows of each.
    Comparing { left: u32, sleeping: u64, looking: u64 },
}

impl BusyPoll {
    /// Sleeps at first. `cores` are those that the program may use.
    pub const fn new(cores: usize) -> Self {
        let (window, phase) = (Window::Closed, Phase::Staying { left: STAY });
        Self { possible: cores > 1, looks: false, window, phase, better: false, doubled: 0, vain: 0 }
    }

    /// The requests do not come quickly any more: what was measured since is worth nothing.
    pub const fn pause(&mut self) {
        self.window = Window::Closed;
    }

    /// Before a wait for bytes, where `next` is the StatSN of the next answer: looks whether they come, where that is worth it.
    pub fn look(&mut self, stream: &TcpStream, clock: Clock, next: u32) {
        if self.begins(next, thread_time) {
            let saw = sees_something(stream, clock);
            self.looked(saw);
        }
    }

    /// A wait begins; whether to look first. `used` tells the thread's CPU time in nanoseconds.
    #[inline]
    fn begins(&mut self, next: u32, used: impl FnOnce() -> u64) -> bool {
        match self.window {
            _ if !self.possible => {}
            Window::Closed => self.window = Window::Settling(next),
            Window::Settling(since) if next.wrapping_sub(since) >= SETTLING => self.window = Window::Open(next, used()),
            Window::Open(since, before) if next.wrapping_sub(since) >= WINDOW - SETTLING => {
                self.window = Window::Settling(next);
                self.measured((used() - before) / u64::from(next.wrapping_sub(since)));
            }
            Window::Settling(_) | Window::Open(..) => {}
        }
        self.looks
    }

    /// A window has cost so many nanoseconds a command.
    fn measured(&mut self, cost: u64) {
        match &mut self.phase {
            Phase::Staying { left } if *left > 1 => *left -= 1,
            Phase::Staying { .. } => self.phase = Phase::Comparing { left: COMPARED, sleeping: 0, looking: 0 },
            Phase::Comparing { left, sleeping, looking } => {
                *(if self.looks { &mut *looking } else { &mut *sleeping }) += cost;
                *left -= 1;
                if *left > 0 {
                    self.looks = !self.looks;
                } else {
                    let looks = *looking <= *sleeping + *sleeping / WORTH;
                    self.decide(looks);
                }
            }
        }
    }

    /// Which way is taken until the next comparison.
    fn decide(&mut self, looks: bool) {
        self.doubled = if looks == self.better { (self.doubled + 1).min(DOUBLED) } else { 0 };
        self.phase = Phase::Staying { left: STAY << self.doubled };
        (self.better, self.looks, self.vain) = (looks, looks, 0);
    }

    /// A look has ended; whether there was something to see.
    fn looked(&mut self, saw: bool) {
        self.vain = if saw { 0 } else { self.vain + 1 };
        if self.vain == VAIN {
            self.pause();
            self.decide(false);
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

/// The CPU time of this thread so far, in nanoseconds.
fn thread_time() -> u64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose commands cost so many nanoseconds each way.
    struct Machine {
        sleeping: u64,
        looking: u64,
        /// Looks end without anything to see.
        vain: bool,
        busy: BusyPoll,
        next: u32,
        used: u64,
    }

    impl Machine {
        fn new(sleeping: u64, looking: u64) -> Self {
            // StatSN passes over its end (RFC 1982) in the middle of a window.
            Self { sleeping, looking, vain: false, busy: BusyPoll::new(2), next: u32::MAX - 100, used: 0 }
        }

        /// How many of so many commands were looked for.
        fn runs(&mut self, commands: u32) -> u32 {
            let looks = |this: &mut Self| {
                let used = this.used;
                let looks = this.busy.begins(this.next, || used);
                if looks {
                    this.busy.looked(!this.vain);
                }
                this.next = this.next.wrapping_add(1);
                this.used += if looks { this.looking } else { this.sleeping };
                looks
            };
            (0..commands).map(|_| u32::from(looks(self))).sum()
        }
    }

    /// Commands from the start to the end of the first comparison.
    const FIRST: u32 = (STAY + COMPARED) * WINDOW;

    #[test]
    fn looking_is_the_way_where_it_costs_no_more() {
        for (looking, wanted) in [(22, true), (25, true), (28, true), (29, false), (50, false)] {
            let mut machine = Machine::new(25_000, looking * 1000);
            machine.runs(FIRST + WINDOW);
            assert_eq!(machine.busy.looks, wanted, "{looking} beside 25");
        }
    }

    #[test]
    fn the_way_that_is_not_taken_is_tried_seldom() {
        const COMMANDS: u32 = 1_000_000;
        let looks = Machine::new(10_000, 20_000).runs(COMMANDS);
        assert!((1000..COMMANDS / 50).contains(&looks), "{looks}");
        let sleeps = COMMANDS - Machine::new(20_000, 10_000).runs(COMMANDS);
        assert!((1000..COMMANDS / 50).contains(&sleeps), "{sleeps}");
    }

    #[test]
    fn it_changes_with_the_machine() {
        let mut machine = Machine::new(25_000, 23_000);
        machine.runs(1_000_000);
        assert!(machine.busy.better);
        (machine.sleeping, machine.looking) = (10_000, 16_000);
        machine.runs(((STAY << DOUBLED) + 2 * COMPARED) * WINDOW);
        assert!(!machine.busy.better, "a second initiator came");
    }

    #[test]
    fn looks_in_vain_end_at_once() {
        let mut machine = Machine::new(25_000, 20_000);
        machine.vain = true;
        assert_eq!(machine.runs(FIRST), VAIN, "a comparison of both ways");
        machine.vain = false;
        machine.runs(FIRST * 4);
        assert!(machine.busy.looks);
        machine.vain = true;
        assert_eq!(machine.runs(WINDOW), VAIN, "the way that was better");
    }

    #[test]
    fn what_came_slowly_is_not_measured() {
        let mut machine = Machine::new(25_000, 20_000);
        for _ in 0..1000 {
            machine.runs(WINDOW - 1);
            machine.busy.pause();
            machine.used += 1_000_000;
        }
        assert!(matches!(machine.busy.phase, Phase::Staying { left: STAY }));
    }

    #[test]
    fn one_core_is_never_kept_from_the_initiator() {
        let mut busy = BusyPoll::new(1);
        assert!((0..FIRST * 4).all(|next| !busy.begins(next, || unreachable!("nothing is measured"))));
    }

    #[test]
    fn a_look_sees_bytes_and_the_end_and_does_not_last() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let peer = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
            let (stream, _) = listener.accept().await.expect("a peer");
            let clock = Clock::start();
            assert!(!sees_something(&stream, clock));
            drop(peer);
            // The end comes by itself: on loopback before the call returns, or soon.
            assert!((0..100_000).any(|_| sees_something(&stream, clock)));
        });
    }
}
