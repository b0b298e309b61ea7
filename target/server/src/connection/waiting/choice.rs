//! Which way of waiting costs least: each is measured now and then, in CPU time a command, by turns, as how quick the machine is
//! changes all the time.

/// Commands of a window, which begins with some that are not measured: cores that slept take a moment to be quick.
const WINDOW: u32 = 128;
const SETTLING: u32 = 32;

/// Windows of each way that a comparison has.
const COMPARED: u32 = 4;

/// Windows between two comparisons at least, and how often that is doubled at most while they say the same.
const STAY: u32 = 4;
const DOUBLED: u32 = 6;

/// One part in so many of the CPU time is what the quicker answers of each way are worth beside the best of those before it.
const WORTH: u64 = 8;

/// So many looks in vain in a row say that no more are worth it.
const VAIN: u32 = 8;

/// What to do before a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Sleeping,
    /// Look whether something comes in a moment.
    Looking,
    /// Be on the initiator's core.
    Beside,
}

/// All, in the order in which they are compared.
const WAYS: [Way; 3] = [Way::Sleeping, Way::Looking, Way::Beside];

/// Which way is taken, and what is being measured.
#[derive(Debug)]
pub struct Choice {
    /// There is anything to choose.
    possible: bool,
    /// The way that is taken.
    way: Way,
    window: Window,
    phase: Phase,
    /// What the last comparison said.
    best: Way,
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
    /// The best way is taken for so many windows more.
    Staying { left: u32 },
    /// The first `ways` of them are, by turns; this is their `turn`. The nanoseconds a command so far, summed over the windows of each.
    Comparing { ways: usize, turn: usize, costs: [u64; WAYS.len()] },
}

impl Choice {
    /// Sleeping at first, and for ever where nothing else is `possible`.
    pub const fn new(possible: bool) -> Self {
        let (window, phase) = (Window::Closed, Phase::Staying { left: STAY });
        Self { possible, way: Way::Sleeping, window, phase, best: Way::Sleeping, doubled: 0, vain: 0 }
    }

    /// What was measured since the last window is worth nothing.
    pub const fn pause(&mut self) {
        self.window = Window::Closed;
    }

    /// A wait begins, and `next` is the StatSN of the next answer: what to do before it, [`Way::Beside`] only where it is to be
    /// `beside`. `used` tells the thread's CPU time in nanoseconds.
    #[inline]
    pub fn way(&mut self, next: u32, beside: bool, used: impl FnOnce() -> u64) -> Way {
        if self.way == Way::Beside && !beside {
            self.settle(Way::Sleeping);
        }
        match self.window {
            _ if !self.possible => {}
            Window::Closed => self.window = Window::Settling(next),
            Window::Settling(since) if next.wrapping_sub(since) >= SETTLING => self.window = Window::Open(next, used()),
            Window::Open(since, before) if next.wrapping_sub(since) >= WINDOW - SETTLING => {
                self.window = Window::Settling(next);
                self.measured((used() - before) / u64::from(next.wrapping_sub(since)), beside);
            }
            Window::Settling(_) | Window::Open(..) => {}
        }
        self.way
    }

    /// A window has cost so many nanoseconds a command.
    fn measured(&mut self, cost: u64, beside: bool) {
        match &mut self.phase {
            Phase::Staying { left } if *left > 1 => *left -= 1,
            Phase::Staying { .. } => {
                let ways = if beside { WAYS.len() } else { WAYS.len() - 1 };
                self.phase = Phase::Comparing { ways, turn: 0, costs: [0; WAYS.len()] };
                self.way = WAYS[0];
            }
            Phase::Comparing { ways, turn, costs } => {
                costs[*turn % *ways] += cost;
                *turn += 1;
                if *turn < *ways * COMPARED as usize {
                    self.way = WAYS[*turn % *ways];
                } else {
                    let best = best(&costs[..*ways]);
                    self.settle(best);
                }
            }
        }
    }

    /// Which way is taken until the next comparison.
    fn settle(&mut self, way: Way) {
        self.doubled = if way == self.best { (self.doubled + 1).min(DOUBLED) } else { 0 };
        self.phase = Phase::Staying { left: STAY << self.doubled };
        (self.best, self.way, self.vain) = (way, way, 0);
        self.pause();
    }

    /// A look has ended; whether there was something to see.
    pub fn looked(&mut self, saw: bool) {
        self.vain = if saw { 0 } else { self.vain + 1 };
        if self.vain == VAIN {
            self.settle(Way::Sleeping);
        }
    }
}

/// The best of the first ways: each but sleeping may cost a little more ([`WORTH`]) than the best of those before it.
fn best(costs: &[u64]) -> Way {
    let cheaper = |best: usize, way: usize| if costs[way] <= costs[best] + costs[best] / WORTH { way } else { best };
    WAYS[(1..costs.len()).fold(0, cheaper)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose commands cost so many nanoseconds each way.
    struct Machine {
        costs: [u64; 3],
        /// Looks end without anything to see.
        vain: bool,
        /// One command is in flight, of an initiator on this machine.
        beside: bool,
        choice: Choice,
        next: u32,
        used: u64,
    }

    impl Machine {
        fn new(costs: [u64; 3]) -> Self {
            // StatSN passes over its end (RFC 1982) in the middle of a window.
            let (choice, next) = (Choice::new(true), u32::MAX - 100);
            Self { costs: costs.map(|cost| cost * 1000), vain: false, beside: true, choice, next, used: 0 }
        }

        /// How often each way was taken for so many commands.
        fn runs(&mut self, commands: u32) -> [u32; 3] {
            let mut counts = [0; 3];
            for _ in 0..commands {
                let used = self.used;
                let way = self.choice.way(self.next, self.beside, || used);
                if way == Way::Looking {
                    self.choice.looked(!self.vain);
                }
                self.next = self.next.wrapping_add(1);
                self.used += self.costs[way as usize];
                counts[way as usize] += 1;
            }
            counts
        }
    }

    /// Commands from the start to the end of the first comparison.
    const FIRST: u32 = (STAY + COMPARED * 3 + 1) * WINDOW;

    /// Commands until a change of the machine has been seen, however seldom ways are compared.
    const SEEN: u32 = ((STAY << DOUBLED) + 1) * WINDOW + FIRST;

    #[test]
    fn the_cheapest_way_is_taken_and_a_little_is_paid_for_speed() {
        for (costs, wanted) in [
            ([25, 23, 10], Way::Beside),
            ([25, 28, 29], Way::Beside),
            ([25, 28, 40], Way::Looking),
            ([25, 22, 25], Way::Looking),
            ([25, 29, 29], Way::Sleeping),
            ([10, 17, 10], Way::Beside),
            ([10, 50, 50], Way::Sleeping),
        ] {
            let mut machine = Machine::new(costs);
            machine.runs(FIRST);
            assert_eq!(machine.choice.best, wanted, "{costs:?}");
        }
    }

    #[test]
    fn ways_that_are_not_taken_are_tried_seldom() {
        const COMMANDS: u32 = 1_000_000;
        for (costs, way) in [([10, 20, 20], 0), ([20, 10, 20], 1), ([20, 20, 10], 2)] {
            let counts = Machine::new(costs).runs(COMMANDS);
            let seldom = |other| other == way || (1000..COMMANDS / 50).contains(&counts[other]);
            assert!((0..3).all(seldom), "{costs:?}: {counts:?}");
        }
    }

    #[test]
    fn it_changes_with_the_machine() {
        let mut machine = Machine::new([25, 23, 40]);
        machine.runs(1_000_000);
        assert_eq!(machine.choice.best, Way::Looking);
        machine.costs = [10_000, 16_000, 40_000];
        machine.runs(SEEN);
        assert_eq!(machine.choice.best, Way::Sleeping, "a second initiator came");
    }

    #[test]
    fn beside_the_initiator_is_for_one_command_in_flight() {
        let mut machine = Machine::new([25, 40, 10]);
        machine.beside = false;
        assert_eq!(machine.runs(SEEN)[2], 0);
        machine.beside = true;
        machine.runs(SEEN);
        assert_eq!(machine.choice.way, Way::Beside);
        machine.beside = false;
        assert_eq!(machine.runs(SEEN)[2], 0, "another is in flight");
    }

    #[test]
    fn looks_in_vain_end_at_once() {
        let mut machine = Machine::new([25, 20, 40]);
        machine.vain = true;
        assert_eq!(machine.runs((STAY + 3) * WINDOW)[1], VAIN, "a comparison");
        machine.vain = false;
        machine.runs(SEEN);
        assert_eq!(machine.choice.best, Way::Looking);
        assert!((0..SEEN).any(|_| machine.runs(1)[1] > 0));
        machine.vain = true;
        assert_eq!(machine.runs(WINDOW)[1], VAIN, "the way that was best");
    }

    #[test]
    fn what_came_slowly_is_not_measured() {
        let mut machine = Machine::new([25, 20, 10]);
        for _ in 0..1000 {
            machine.runs(WINDOW - 1);
            machine.choice.pause();
            machine.used += 1_000_000;
        }
        assert!(matches!(machine.choice.phase, Phase::Staying { left: STAY }));
    }

    #[test]
    fn one_core_is_never_kept_from_the_initiator() {
        let mut choice = Choice::new(false);
        let asleep = |next| choice.way(next, true, || unreachable!("nothing is measured")) == Way::Sleeping;
        assert!((0..FIRST * 4).all(asleep));
    }
}
