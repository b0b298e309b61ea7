//! Turns of the CPU that a connection leaves to others. Where the server shares the CPU with this program, each of its replies
//! would take it away from it; let go on, it has more of them ready, and they cost one waking together.

use std::thread::yield_now;
use std::time::{Duration, Instant};

/// Calls in flight from which on more replies are to be expected soon.
const CALLS: usize = 8;

/// A turn this long was taken by somebody who has other work to do.
const LONG: Duration = Duration::from_micros(500);

/// How long nothing is left to such neighbours.
const PAUSE: Duration = Duration::from_millis(50);

/// How a connection gets on with its neighbours.
#[derive(Debug, Default)]
pub struct Courtesy {
    /// Not before then, where the last turn was a long one.
    again: Option<Instant>,
}

impl Courtesy {
    /// Before replies are looked at: leaves a turn to who is ready to run, with so many calls in flight.
    pub fn leave_turn(&mut self, calls: usize) {
        self.leave(calls, yield_now);
    }

    fn leave(&mut self, calls: usize, turn: impl FnOnce()) {
        if calls < CALLS {
            return;
        }
        let began = Instant::now();
        if self.again.is_some_and(|again| began < again) {
            return;
        }
        turn();
        let ended = Instant::now();
        self.again = (ended - began > LONG).then(|| ended + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn turns_are_left_where_replies_are_to_be_expected() {
        let left = |calls| {
            let mut turns = 0;
            Courtesy::default().leave(calls, || turns += 1);
            turns
        };
        assert_eq!((left(0), left(CALLS - 1), left(CALLS), left(128)), (0, 0, 1, 1));
    }

    #[test]
    fn nothing_is_left_to_a_neighbour_who_takes_long() {
        let mut courtesy = Courtesy::default();
        courtesy.leave(CALLS, || sleep(2 * LONG));
        courtesy.leave(CALLS, || panic!("too soon"));
        courtesy.again = Some(Instant::now());
        let mut turns = 0;
        courtesy.leave(CALLS, || turns += 1);
        assert_eq!(turns, 1, "after the pause again");
    }
}
