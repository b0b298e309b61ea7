//! PDUs that came before those that they belong behind (RFC 7143 4.2.2.1: commands are delivered in
//! order).

use heapless::Vec;

/// There are too many early PDUs, or too many bytes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Early PDUs by CmdSN: a command, then its Data-Out PDUs. `P` is the driver's copy of one.
#[derive(Debug)]
pub struct Early<P, const PDUS: usize> {
    waiting: Vec<Waiting<P>, PDUS>,
    bytes: usize,
    most_bytes: usize,
    /// The command whose PDUs are being handed out.
    turn: Option<u32>,
}

#[derive(Debug)]
struct Waiting<P> {
    cmd_sn: u32,
    len: usize,
    pdu: P,
}

impl<P, const PDUS: usize> Early<P, PDUS> {
    /// Room for `most_bytes` bytes of PDUs.
    pub const fn new(most_bytes: usize) -> Self {
        Self { waiting: Vec::new(), bytes: 0, most_bytes, turn: None }
    }

    /// Keeps a PDU of `len` bytes; `copy` makes the copy where there is room for it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn keep(&mut self, cmd_sn: u32, len: usize, copy: impl FnOnce() -> P) -> Result<(), NoRoom> {
        if self.waiting.is_full() || len > self.most_bytes - self.bytes {
            return Err(NoRoom);
        }
        self.bytes += len;
        self.waiting.push(Waiting { cmd_sn, len, pdu: copy() }).map_err(|_| NoRoom)
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next PDU whose turn has come; those of one command in the order in which they came.
    ///
    /// Ask again after each PDU: it may have moved `expected` (ExpCmdSN) on.
    #[inline]
    pub fn turn(&mut self, expected: u32) -> Option<P> {
        if self.is_empty() { None } else { self.find_turn(expected) }
    }

    fn find_turn(&mut self, expected: u32) -> Option<P> {
        let of = |cmd_sn: Option<u32>| self.waiting.iter().position(|waiting| Some(waiting.cmd_sn) == cmd_sn);
        // The Data-Out PDUs of a command follow it, though ExpCmdSN is beyond it by then.
        let at = match of(self.turn) {
            Some(at) => Some(at),
            None => {
                self.turn = Some(expected);
                of(self.turn)
            }
        };
        if let Some(at) = at {
            let Waiting { len, pdu, .. } = self.waiting.remove(at);
            self.bytes -= len;
            return Some(pdu);
        }
        // What an ABORT TASK declared as received never gets its turn (RFC 7143 11.6.1).
        let bytes = &mut self.bytes;
        self.waiting.retain(|waiting| {
            let is_over = (waiting.cmd_sn.wrapping_sub(expected) as i32) < 0;
            *bytes -= if is_over { waiting.len } else { 0 };
            !is_over
        });
        None
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn keep(early: &mut Early<&'static str, 4>, cmd_sn: u32, pdu: &'static str) -> Result<(), NoRoom> {
        early.keep(cmd_sn, pdu.len(), || pdu)
    }

    #[test]
    fn pdus_get_their_turn_in_order() {
        let mut early = Early::new(100);
        for (cmd_sn, pdu) in [(5, "write"), (6, "later"), (5, "data")] {
            assert_eq!(keep(&mut early, cmd_sn, pdu), Ok(()));
        }
        // The command was taken, its data follow it.
        let turns: Vec<_> = [4, 5, 6, 6, 7].into_iter().map(|expected| early.turn(expected)).collect();
        assert_eq!(turns, [None, Some("write"), Some("data"), Some("later"), None]);
        assert!(early.is_empty());
    }

    #[test]
    fn what_was_aborted_never_gets_its_turn() {
        let mut early = Early::new(100);
        assert_eq!(keep(&mut early, u32::MAX, "aborted"), Ok(()));
        assert_eq!(early.turn(u32::MAX - 1), None);
        assert_eq!(early.turn(0), None);
        assert!(early.is_empty() && early.bytes == 0);
    }

    #[test]
    fn there_is_room_for_so_many_pdus_and_bytes() {
        let mut early = Early::new(10);
        assert_eq!(keep(&mut early, 1, "12345678"), Ok(()));
        assert_eq!(keep(&mut early, 2, "123"), Err(NoRoom));
        for _ in 0..3 {
            assert_eq!(keep(&mut early, 2, ""), Ok(()));
        }
        assert_eq!(keep(&mut early, 2, ""), Err(NoRoom));
    }
}
