//! Units that came before those that they belong behind (RFC 7143 4.2.2.1: commands are delivered in order).

use std::collections::VecDeque;

/// Most bytes that wait.
const MOST: usize = 1 << 20;

/// Copies of units, by CmdSN: a command, then its Data-Out units.
#[derive(Debug, Default)]
pub struct Early {
    units: Vec<(u32, Vec<u8>)>,
    bytes: usize,
    /// Those whose turn has come.
    ready: VecDeque<Vec<u8>>,
}

impl Early {
    /// Keeps a copy; false where that is more than there may be.
    pub fn keep(&mut self, cmd_sn: u32, unit: &[u8]) -> bool {
        self.bytes += unit.len();
        if self.bytes > MOST {
            return false;
        }
        self.units.push((cmd_sn, unit.to_vec()));
        true
    }

    /// The next unit whose turn has come; those of one command in the order in which they came. Ask again after each: its
    /// turn may be over and another's begun.
    #[inline]
    pub fn turn(&mut self, expected: u32) -> Option<Vec<u8>> {
        if self.ready.is_empty() && !self.units.is_empty() {
            self.find_ready(expected);
        }
        self.ready.pop_front()
    }

    fn find_ready(&mut self, expected: u32) {
        let ready = &mut self.ready;
        self.units.retain_mut(|(cmd_sn, unit)| {
            // What an ABORT TASK declared as received never gets its turn.
            let distance = expected.wrapping_sub(*cmd_sn) as i32;
            if distance == 0 {
                ready.push_back(std::mem::take(unit));
            }
            distance < 0
        });
        self.bytes = self.units.iter().map(|(_, unit)| unit.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_get_their_turn_in_order() {
        let mut early = Early::default();
        assert!(early.keep(5, b"write") && early.keep(6, b"later") && early.keep(5, b"data"));
        assert_eq!(early.turn(4), None);
        assert_eq!(early.turn(5), Some(b"write".to_vec()));
        // The command was taken, its data follow it.
        assert_eq!(early.turn(6), Some(b"data".to_vec()));
        assert_eq!(early.turn(6), Some(b"later".to_vec()));
        assert_eq!(early.turn(7), None);
        assert!(early.keep(8, b"aborted"));
        assert_eq!(early.turn(9), None);
        assert_eq!(early.bytes, 0);
        assert!(!early.keep(9, &vec![0; MOST + 1]));
    }
}
